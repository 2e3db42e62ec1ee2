"""`spanwise config`: check the collector's configuration, and look at or go back to what was accepted before."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

from spanwise.config_file import HISTORY_NAME, OWN_NAME, config_in_use, config_paths
from spanwise.data_dir import running_instance
from spanwise.settings import Settings, add_flags, default_config_file, environment, load_settings

TAKEN_WITHIN_S = 5.0


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `spanwise config` its actions."""
    actions = parser.add_subparsers(
        title="actions",
        metavar="ACTION",
        required=True,
        help="validate [FILE], history, show N or rollback N; each takes the flags of `up`",
    )
    action = actions.add_parser("validate", help="check a configuration file")
    action.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the file in use")
    action.set_defaults(action=_validate)
    actions.add_parser("history", help="list every accepted configuration").set_defaults(action=_history)
    for name, run, text in (
        ("show", _show, "print an accepted configuration"),
        ("rollback", _rollback, "put an accepted configuration back into the file in use"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("number", type=int, metavar="N", help="the number that `history` shows")
        action.set_defaults(action=run)
    for action in actions.choices.values():
        add_flags(action)


def config(args: argparse.Namespace) -> int:
    """Run one action; give its exit status, 1 with one line on stderr when it failed."""
    from apm_collector.config import ConfigError
    from apm_collector.config_history import HistoryError

    try:
        status: int = args.action(args, load_settings(vars(args), environment()))
    except (ConfigError, HistoryError) as error:
        print(f"spanwise: {error}", file=sys.stderr)
        return 1
    return status


def _validate(args: argparse.Namespace, settings: Settings) -> int:
    from apm_collector.config import load_config

    path = args.file or config_in_use(settings)
    load_config(path, environment())
    print(f"{path} is valid.")
    return 0


def _history(_args: argparse.Namespace, settings: Settings) -> int:
    from apm_collector.config_history import ConfigHistory

    checkpoints = ConfigHistory(settings.data_dir / HISTORY_NAME).checkpoints()
    if not checkpoints:
        print(f"No configuration was accepted in {settings.data_dir} yet.")
    for one in checkpoints:
        accepted = datetime.fromtimestamp(one.time_ns // 1_000_000_000).astimezone().isoformat(" ")
        in_use = "  ← in use" if one is checkpoints[-1] else ""
        print(f"{one.number:>5}  {accepted}  {one.sha256[:12]}  {one.file}{in_use}")
    return 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    from apm_collector.config_history import ConfigHistory

    sys.stdout.buffer.write(ConfigHistory(settings.data_dir / HISTORY_NAME).text(args.number))
    sys.stdout.buffer.flush()
    return 0


def _rollback(args: argparse.Namespace, settings: Settings) -> int:
    from apm_collector.config import ConfigError, parse_config
    from apm_collector.config_history import ConfigHistory, write_atomically

    history = ConfigHistory(settings.data_dir / HISTORY_NAME)
    text = history.text(args.number)
    try:
        parse_config(text.decode(), environment())
    except ConfigError as error:
        raise ConfigError(f"Checkpoint {args.number} cannot be used any more: {error}") from error
    path = _file_to_write(settings, history.checkpoints()[-1].file)
    try:
        write_atomically(path, text)
    except OSError as error:
        print(f"spanwise: {path} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{path} is checkpoint {args.number} again.")
    if running_instance(settings.data_dir) is None:
        print("The collector does not run; it starts with this configuration.")
        return 0
    return _wait_until_taken(settings, text)


def _file_to_write(settings: Settings, last_used: str) -> Path:
    """The file in use: what a flag or variable names, else what the collector took its configuration from last.

    The file that comes with Spanwise is never changed: the data directory gets one of its own, which goes before it.
    """
    paths = config_paths(settings)
    if len(paths) == 1:
        return paths[0].resolve()
    path = Path(last_used).resolve()
    return settings.data_dir / OWN_NAME if path == default_config_file().resolve() else path


def _wait_until_taken(settings: Settings, text: bytes) -> int:
    """Say what the running collector made of it."""
    from apm_collector.config_history import ConfigHistory, hash_of

    history = ConfigHistory(settings.data_dir / HISTORY_NAME)
    deadline_s = time.monotonic() + TAKEN_WITHIN_S
    while time.monotonic() < deadline_s:
        newest = history.checkpoints()[-1]
        if newest.sha256 == hash_of(text):
            print(f"The collector runs with it, as checkpoint {newest.number}.")
            return 0
        time.sleep(0.1)
    print("spanwise: the collector has not taken it; `spanwise status` says why.", file=sys.stderr)
    return 1
