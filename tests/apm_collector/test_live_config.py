"""A configuration file that changes while the collector runs."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import make_request, make_span

from apm_collector.collector import Collector
from apm_collector.config import CollectorConfig, ConfigError, parse_config
from apm_collector.config_history import ConfigHistory, hash_of, write_atomically
from apm_collector.errors import StartError
from apm_collector.live_config import LiveConfig
from apm_store.api import Store
from apm_store.model import Signal

INTERVAL_S = 0.05


def text_of(name: str, *, signals: str = "traces") -> bytes:
    """A valid configuration that carries a name."""
    pipelines = ", ".join(f"{signal}: {{receivers: [otlp], exporters: [store]}}" for signal in signals.split())
    return f"""# {name}
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:0"}}}}}}}}
exporters: {{store: }}
service: {{pipelines: {{{pipelines}}}}}
""".encode()


class Follower:
    """A LiveConfig with its file, and a list of what was applied."""

    def __init__(self, directory: Path, names: tuple[str, ...] = ("c.yaml",)) -> None:
        self.paths = [directory / name for name in names]
        self.path = self.paths[-1]
        self.history = ConfigHistory(directory / "config")
        self.live = LiveConfig(self.paths, self.history, lambda text: parse_config(text, {}), interval_s=INTERVAL_S)
        self.applied: list[CollectorConfig] = []

    def start(self, apply: Callable[[CollectorConfig], None] | None = None) -> None:
        self.live.load()
        self.live.follow(apply or self.applied.append)

    def wait(self, what: str, value: Any, timeout_s: float = 10.0) -> None:
        """Return once the state says so."""
        deadline_s = time.monotonic() + timeout_s
        while self.live.state()[what] != value:
            assert time.monotonic() < deadline_s, self.live.state()
            time.sleep(0.01)

    def wait_refused(self) -> str:
        """The reason, once something was refused."""
        deadline_s = time.monotonic() + 10
        while not (reason := self.live.state()["refused"]):
            assert time.monotonic() < deadline_s, self.live.state()
            time.sleep(0.01)
        return str(reason)


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    """A configuration file in use, and its history."""
    follower = Follower(tmp_path)
    follower.path.write_bytes(text_of("first"))
    yield follower
    follower.live.stop()


def test_the_first_configuration_is_checkpoint_1(follower: Follower) -> None:
    """What the collector starts with is in use, with its hash and its file."""
    follower.start()

    state = follower.live.state()

    assert state["checkpoint"] == 1
    assert state["sha256"] == hash_of(text_of("first"))
    assert state["file"] == str(follower.path)
    assert state["refused"] == ""
    assert 0 <= time.time_ns() - state["since_ns"] < 60e9


@pytest.mark.parametrize("write", [Path.write_bytes, write_atomically], ids=["in place", "atomically"])
def test_a_change_is_applied_and_kept(write: Callable[[Path, bytes], Any], follower: Follower) -> None:
    """The new configuration is applied once, and is the next checkpoint."""
    follower.start()

    write(follower.path, text_of("second", signals="traces logs"))
    follower.wait("checkpoint", 2)

    assert [set(config.pipelines) for config in follower.applied] == [{Signal.TRACES, Signal.LOGS}]
    assert follower.history.text(2) == text_of("second", signals="traces logs")


def test_the_same_text_again_changes_nothing(follower: Follower) -> None:
    """A file that was only touched, or written anew with the same text, is not applied."""
    follower.start()
    since_ns = follower.live.state()["since_ns"]

    write_atomically(follower.path, text_of("first"))
    os.utime(follower.path)
    time.sleep(INTERVAL_S * 6)

    assert follower.applied == []
    assert [one.number for one in follower.history.checkpoints()] == [1]
    assert follower.live.state()["since_ns"] == since_ns


BAD = {
    "empty": (b"", "the file is missing or empty"),
    "torn": (text_of("x")[:80], "exporters: "),
    "not yaml": (b"receivers: [", "line"),
    "unknown key": (text_of("x").replace(b"endpoint", b"endpiont"), r'endpiont: unknown key, did you mean "endpoint"'),
    "wrong type": (text_of("x").replace(b"[otlp]", b"otlp"), r"receivers: a list of receivers is needed"),
    "not text": (b"\xff\xfe", "not UTF-8"),
    "too large": (b"# " + b"x" * 300_000, "larger"),
    "terminal": (b"\x1b[31m: 1", r"special characters|\\x1b"),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_refused_and_the_running_one_stays(
    kind: str, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    """The state and one log line say what is wrong with it; a good file is taken afterwards."""
    text, reason = BAD[kind]
    follower.start()

    with caplog.at_level(logging.WARNING):
        follower.path.write_bytes(text)
        refused = follower.wait_refused()
        time.sleep(INTERVAL_S * 4)
    state = follower.live.state()
    follower.path.write_bytes(text_of("second"))
    follower.wait("checkpoint", 2)

    assert (state["checkpoint"], state["sha256"]) == (1, hash_of(text_of("first")))
    assert refused.startswith(str(follower.path))
    assert refused.isprintable()
    assert re.search(reason, refused)
    assert [line.getMessage() for line in caplog.records if "stays" in line.getMessage()] == [
        f"{refused}; the configuration in use stays"
    ]
    assert len(follower.applied) == 1
    assert follower.live.state()["refused"] == ""


def test_a_missing_file_is_refused(follower: Follower) -> None:
    """The running configuration stays; when the same file comes back the refusal is over."""
    follower.start()

    follower.path.unlink()
    refused = follower.wait_refused()
    follower.path.write_bytes(text_of("first"))
    follower.wait("refused", "")

    assert "No such file" in refused
    assert follower.applied == []


def test_a_configuration_that_cannot_be_applied_is_refused(follower: Follower) -> None:
    """A valid file whose endpoint is taken is no checkpoint."""

    def apply(_config: CollectorConfig) -> None:
        raise StartError("OTLP/HTTP cannot listen on 127.0.0.1:80")

    follower.start(apply)

    follower.path.write_bytes(text_of("second"))

    assert "cannot listen on 127.0.0.1:80" in follower.wait_refused()
    assert [one.number for one in follower.history.checkpoints()] == [1]
    assert follower.live.state()["checkpoint"] == 1


def test_a_file_that_is_still_being_written_is_not_read(follower: Follower) -> None:
    """What an editor writes in pieces is applied once, whole, although its beginning would be valid too."""
    follower.start()
    whole = text_of("x", signals="traces logs metrics")
    pieces = text_of("x") + b"# more to come\n"

    for end in range(0, len(pieces), 10):
        follower.path.write_bytes(pieces[:end])
        time.sleep(INTERVAL_S / 5)
    follower.path.write_bytes(whole)
    follower.wait("checkpoint", 2)

    assert [len(config.pipelines) for config in follower.applied] == [3]
    assert follower.live.state()["refused"] == ""


def test_two_writers_end_with_one_of_their_texts(follower: Follower) -> None:
    """Two editors that write over each other in place: what is applied is one text or the other, never a mixture."""
    follower.start()
    texts = [text_of("a" * 50), text_of("b" * 2000)]

    def write(text: bytes) -> None:
        for _ in range(50):
            follower.path.write_bytes(text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    follower.path.write_bytes(texts[0])
    follower.wait("sha256", hash_of(texts[0]))

    kept = {follower.history.text(one.number) for one in follower.history.checkpoints()}
    assert kept <= {text_of("first"), *texts}


def test_a_start_with_a_bad_file_uses_what_was_accepted_last(follower: Follower) -> None:
    """A collector that is restarted while the file is broken runs as before, and says what is wrong."""
    follower.start()
    follower.live.stop()
    follower.path.write_bytes(b"receivers: [")
    again = Follower(follower.path.parent)

    config = again.live.load()

    assert set(config.pipelines) == {Signal.TRACES}
    assert again.live.state()["checkpoint"] == 1
    assert "line 1" in again.live.state()["refused"]


def test_a_first_start_with_a_bad_file_fails(follower: Follower) -> None:
    """With nothing accepted before there is nothing to run."""
    follower.path.write_bytes(b"receivers: [")

    with pytest.raises(ConfigError, match=r"c\.yaml: line"):
        follower.live.load()


def test_the_first_path_that_is_there_is_in_use(tmp_path: Path) -> None:
    """A file that appears takes the place of one behind it; when it goes again, what runs stays."""
    follower = Follower(tmp_path, ("own.yaml", "built-in.yaml"))
    follower.paths[1].write_bytes(text_of("built-in"))
    follower.start()

    write_atomically(follower.paths[0], text_of("own"))
    follower.wait("file", str(follower.paths[0]))
    follower.paths[0].unlink()
    refused = follower.wait_refused()
    follower.live.stop()

    assert "own.yaml" in refused
    assert follower.live.state()["sha256"] == hash_of(text_of("own"))


def test_a_history_that_cannot_be_written_does_not_stop_a_change(follower: Follower) -> None:
    """The new configuration runs; only its checkpoint is missing."""
    follower.start()
    shutil.rmtree(follower.path.parent / "config")
    (follower.path.parent / "config").write_text("a file")

    follower.path.write_bytes(text_of("second"))
    follower.wait("sha256", hash_of(text_of("second")))

    assert follower.live.state()["checkpoint"] is None
    assert len(follower.applied) == 1


class _Sender(threading.Thread):
    """Sends one span per request over a kept connection, and remembers which were acknowledged."""

    def __init__(self, collector: Collector, number: int) -> None:
        super().__init__(daemon=True)
        self.collector, self.number, self.count = collector, number, 0
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):  # the receiver moves; no answer, no promise
                endpoint = self.collector.endpoints["otlp/http"]
                with contextlib.closing(http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)) as one:
                    self._send_over(one)

    def _send_over(self, connection: http.client.HTTPConnection) -> None:
        while not self.ending.is_set():
            self.count += 1
            trace = self.number * 1_000_000 + self.count
            body = make_request([make_span("op", trace=trace)]).SerializeToString()
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
            response = connection.getresponse()
            response.read()
            self.statuses.add(response.status)
            if response.status == 200:
                self.acknowledged.append(f"{trace:032x}")


def test_changes_under_load_lose_nothing_that_was_acknowledged(follower: Follower, store: Store) -> None:
    """30 changes back and forth, some of receivers, some refused, while senders send: all acknowledged is stored."""
    follower.live.load()
    data_dir = follower.path.parent / "data"
    collector = Collector(parse_config(text_of("first").decode(), {}), store, data_dir)
    collector.start()
    follower.live.follow(collector.apply)
    senders = [_Sender(collector, number + 1) for number in range(2)]
    for sender in senders:
        sender.start()
    texts = [
        text_of("first"),
        text_of("more signals", signals="traces logs"),
        text_of("teed").replace(b"[store]", b"[store, debug]").replace(b"store: }", b"store: , debug: }"),
        b"broken: [",
    ]
    for number in range(30):
        text = random.choice(texts[:3]) if number % 2 else texts[number // 2 % 4]
        write_atomically(follower.path, text)
        time.sleep(INTERVAL_S * random.uniform(0.5, 4))
    write_atomically(follower.path, texts[1])
    follower.wait("sha256", hash_of(texts[1]))
    for sender in senders:
        sender.ending.set()
        sender.join(15)
    follower.live.stop()
    collector.stop()

    acknowledged = [trace_id for sender in senders for trace_id in sender.acknowledged]
    missing = [trace_id for trace_id in acknowledged if not store.traces.get(trace_id)]
    assert len(acknowledged) > 100
    assert missing == []
    assert set().union(*(sender.statuses for sender in senders)) == {200}
    assert len(follower.history.checkpoints()) > 5
