"""Cuts the power of a disk in use, many times, and prints what was lost: of the product it must be nothing.

The data directory lies on ext4 in an image file: what has reached the image is what a disk would have after the cut.
A copy of the image, taken while all processes are stopped, is the disk after the cut. Bare SQLite writers are the
controls: with synchronous=OFF the rig must find broken databases, with NORMAL lost rows. Needs root and loop devices.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.report import show
from crash.bare_writer import ROWS_PER_COMMIT
from crash.judge import Verdict, judge_apart
from crash.kill import await_checkpoint, kill, processes, start_accepting, task_states
from crash.load import Ledger, Senders
from stack import Stack, wait_for

IMAGE_BYTES = 2**30
BARE_WRITER = Path(__file__).with_name("bare_writer.py")
_CONTROL_CUTS = 8
_STOP_TIMEOUT_S = 20.0


def main() -> int:
    """Run the controls and the product, print the table; 1 when the product lost data or a control saw nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="cuts of the product")
    parser.add_argument("--control-rounds", type=int, default=_CONTROL_CUTS, help="cuts of each bare writer")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="spanwise-cut-") as directory:
        if reason := _why_not(Path(directory)):
            print(f"power cut: skipped, {reason}")
            return 0
        controls = [_control(Path(directory), mode, args.control_rounds, dice) for mode in ("OFF", "NORMAL", "FULL")]
        is_good = _product(Path(directory), args.rounds, dice)
    return 0 if is_good and all(controls) else 1


def _why_not(directory: Path) -> str:
    """Why images cannot be mounted here; "" when they can."""
    if os.geteuid() != 0:
        return "it needs root to mount an image"
    try:
        with _disk(directory / "probe.img"):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no image can be mounted here: {error}"


@contextmanager
def _disk(image: Path) -> Iterator[Path]:
    """A new image with an empty file system, mounted; gives the mount point. The image is removed at the end."""
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _call("mkfs.ext4", "-q", str(image))
    with _mounted(image) as mount_point:
        yield mount_point
    image.unlink()


@contextmanager
def _mounted(image: Path) -> Iterator[Path]:
    mount_point = image.with_suffix(".mnt")
    mount_point.mkdir(exist_ok=True)
    _call("mount", "-o", "loop", str(image), str(mount_point))
    try:
        yield mount_point
    finally:
        _call("umount", str(mount_point))


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _cut(image: Path, copy: Path, pids: list[int], read_ledger: Callable[[], object]) -> None:
    """Stop every process, then read the ledger, then copy the image, then let them go on.

    In this order the ledger never claims more than was acknowledged at the cut; and a copy of a disk that is being
    written would be torn, as no power cut tears it.
    """
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(task_states(pid) == {"T"} for pid in pids), _STOP_TIMEOUT_S, "all threads have stopped")
    read_ledger()
    _call("cp", "--sparse=always", str(image), str(copy))
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


@dataclass
class BareOutcome:
    """What the cuts of a bare writer left: databases broken or gone, rows lost from sound ones, sound ones."""

    broken: int = 0
    lost_rows: int = 0
    sound: int = 0


def _control(directory: Path, synchronous: str, cuts: int, dice: random.Random) -> bool:
    """Cut under a bare writer; whether the rig saw what this mode must show."""
    image, ledger = directory / "bare.img", directory / f"bare-{synchronous}.txt"
    ledger.touch()
    numbers: list[int] = []
    with _disk(image) as mount_point:
        argv = [sys.executable, str(BARE_WRITER), str(mount_point / "bare.db"), synchronous, str(ledger)]
        writer = subprocess.Popen(argv)
        try:
            wait_for(lambda: ledger.stat().st_size > 0, 10, "the bare writer commits")
            for cut in range(cuts):
                time.sleep(dice.uniform(0.3, 1.2))
                _cut(image, directory / f"bare-{cut}.img", [writer.pid], lambda: numbers.append(_last_number(ledger)))
        finally:
            writer.kill()
            writer.wait()
    outcome = BareOutcome()
    for cut, number in enumerate(numbers):
        _examine(directory / f"bare-{cut}.img", number, outcome)
    expected = {
        "OFF": outcome.broken > 0 and outcome.sound < cuts,
        "NORMAL": outcome.broken == 0 and outcome.lost_rows > 0,
        "FULL": outcome.broken == 0 and outcome.lost_rows == 0,
    }[synchronous]
    value = f"{outcome.broken} of {cuts} broken, {outcome.lost_rows:,} rows lost"
    target = {"OFF": "broken", "NORMAL": "sound, rows lost", "FULL": "sound, none lost"}[synchronous]
    show(f"control: bare SQLite, synchronous={synchronous}", value, expected, target)
    return expected


def _last_number(ledger: Path) -> int:
    return int(ledger.read_text().split("\n")[-2])


def _examine(copy: Path, number: int, outcome: BareOutcome) -> None:
    """Mount one copy, recover its database, compare it with the ledger's last number."""
    with _mounted(copy) as mount_point:
        try:
            with closing(sqlite3.connect(mount_point / "bare.db")) as database:
                is_sound = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                last = database.execute("SELECT coalesce(max(number), 0) FROM row").fetchone()[0]
        except sqlite3.Error:
            is_sound, last = False, number
    copy.unlink()
    outcome.broken += not is_sound
    outcome.sound += is_sound
    outcome.lost_rows += max(0, number - last) * ROWS_PER_COMMIT if is_sound else 0


def _product(directory: Path, cuts: int, dice: random.Random) -> bool:
    """Cut under the product; start it on each copy and judge what it finds; whether all are good."""
    image, ledger_dir = directory / "disk.img", directory / "ledger"
    ledger = Ledger(ledger_dir)
    with _disk(image) as mount_point:
        stack = Stack(mount_point / "data")
        senders = Senders(stack, ledger)
        start_accepting(stack)
        senders.start()
        try:
            for cut in range(cuts):
                time.sleep(dice.uniform(0.3, 1.5))
                if cut % 3 == 2:
                    await_checkpoint(mount_point / "data")
                keep = directory / f"ledger-{cut}"
                read_ledger = partial(shutil.copytree, ledger_dir, keep)
                _cut(image, directory / f"cut-{cut}.img", processes(stack), read_ledger)
        finally:
            senders.stop()
            kill(stack)
    verdicts, start_s = [], []
    for cut in range(cuts):
        verdict, seconds = _judge_copy(directory / f"cut-{cut}.img", directory / f"ledger-{cut}")
        verdicts.append(verdict)
        start_s.append(seconds)
        if not verdict.is_good:
            print(f"  cut {cut + 1}: {verdict}", flush=True)
    return _show_product(verdicts, start_s)


def _judge_copy(copy: Path, ledger_dir: Path) -> tuple[Verdict, float]:
    """Start the product on one copy, stop it, judge; give also the seconds of the start."""
    with _mounted(copy) as mount_point:
        stack = Stack(mount_point / "data")
        try:
            seconds = start_accepting(stack)
        except AssertionError as error:
            verdict, seconds = Verdict(unsound=str(error)), float("inf")
        else:
            stack.stop()
            verdict = judge_apart(mount_point / "data", ledger_dir)
    copy.unlink()
    return verdict, seconds


def _show_product(verdicts: list[Verdict], start_s: list[float]) -> bool:
    is_good = all(verdict.is_good for verdict in verdicts)
    lost = sum(verdict.lost for verdict in verdicts)
    show("spans acknowledged before the last cut", f"{verdicts[-1].acknowledged:,}")
    show("acknowledged spans lost, all cuts", f"{lost:,}", lost == 0, "0")
    good = sum(verdict.is_good for verdict in verdicts)
    show("cuts without any finding", f"{good} of {len(verdicts)}", is_good)
    show("start on the cut disk, slowest", f"{max(start_s):.2f} s", max(start_s) <= 2, "≤ 2 s")
    return is_good


if __name__ == "__main__":
    sys.exit(main())
