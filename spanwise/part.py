"""One part of the stack in a process of its own: `python -m spanwise.part NAME SETTINGS`, started by the supervisor."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from spanwise.access import new_control_token, port_token, token_check
from spanwise.config_file import HISTORY_NAME, config_paths
from spanwise.settings import Settings, environment
from spanwise.version import VERSION

if TYPE_CHECKING:
    from apm_collector.collector import Collector
    from apm_collector.config import CollectorConfig

Ready = Callable[[], None]
Wait = Callable[[], None]


def main() -> int:
    """Run the named part until SIGTERM or until the supervisor is gone; give the exit status."""
    parser = argparse.ArgumentParser(prog="spanwise.part")
    parser.add_argument("name", choices=("collector", "ui"))
    parser.add_argument("settings")
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = Settings.from_json(args.settings)
    serve = run_collector if args.name == "collector" else run_ui
    from apm_store.api import StoreError

    try:
        return serve(settings, _Lifeline(args.lifeline_fd, args.ready_fd))
    except StoreError as error:
        print(error, file=sys.stderr, flush=True)
        return 1


class _Lifeline:
    """The part's end of the two pipes to the supervisor."""

    def __init__(self, lifeline_fd: int, ready_fd: int) -> None:
        self._lifeline_fd, self._ready_fd = lifeline_fd, ready_fd
        self.stop_asked = threading.Event()
        self.failure = ""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self.stop_asked.set())

    def wait_go(self) -> bool:
        """Whether to serve: blocks until the supervisor says so or is gone."""
        if os.read(self._lifeline_fd, 3) != b"go\n":
            return False
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()
        return True

    def say_ready(self) -> None:
        """Tell the supervisor that this part serves."""
        os.write(self._ready_fd, b"ready\n")

    def fail(self, reason: str) -> None:
        """End this part although nobody asked: it cannot serve any more."""
        self.failure = reason
        print(reason, file=sys.stderr, flush=True)
        self.stop_asked.set()

    def _watch(self) -> None:
        os.read(self._lifeline_fd, 1)  # returns only at the end of the pipe: the supervisor is gone
        self.stop_asked.set()


def run_collector(settings: Settings, lifeline: _Lifeline) -> int:
    """Receive OTLP and write it to the store."""
    from apm_collector.collector import Collector
    from apm_collector.config_history import ConfigHistory
    from apm_collector.live_config import LiveConfig
    from apm_store.open import open_store
    from apm_store.query import Retention

    if not lifeline.wait_go():
        return 0
    live = LiveConfig(
        config_paths(settings), ConfigHistory(settings.data_dir / HISTORY_NAME), lambda text: _parse(text, settings)
    )
    retention = Retention(budget_bytes=settings.max_bytes, max_age_s=settings.max_age_s)
    store = open_store(settings.data_dir, retention=retention)
    try:
        collector = Collector(
            live.load(),
            store,
            settings.data_dir,
            check_token=token_check(settings),
            control_token=new_control_token(settings.data_dir),
            config_state=live.state,
            version=VERSION,
        )
        collector.start()
        live.follow(collector.apply)
        _collect_garbage_seldom()
        threading.Thread(target=_end_with, args=(collector, lifeline), name="end", daemon=True).start()
        lifeline.say_ready()
        lifeline.stop_asked.wait()
        live.stop()
        collector.stop()
    finally:
        store.close()
    return 1 if lifeline.failure else 0


def _collect_garbage_seldom() -> None:
    """Have what lives long not looked through again and again: a seventh of the collector's time under load.

    Telemetry goes through in objects that no cycle keeps alive.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _end_with(collector: Collector, lifeline: _Lifeline) -> None:
    """End the part when the collector ends by itself, so that the supervisor starts it again."""
    from apm_collector.errors import CollectorError

    try:
        collector.wait()
    except CollectorError as error:
        lifeline.fail(str(error))


def _parse(text: str, settings: Settings) -> CollectorConfig:
    """A configuration at the addresses that were settled at the start: they are what everybody was told."""
    from apm_collector.config import parse_config

    config = parse_config(text, environment())
    return config.listening_on(settings.host, settings.otlp_http_port, settings.otlp_grpc_port)


def run_ui(settings: Settings, lifeline: _Lifeline) -> int:
    """Serve the pages and the JSON API from the store."""
    from apm_store.open import open_store
    from apm_ui.app import create_app
    from apm_ui.server import make_server
    from apm_ui.sources import Sources
    from spanwise.run import has_demo

    if not lifeline.wait_go():
        return 0
    store = open_store(settings.data_dir, read_only=True)
    try:
        sources = Sources(
            store,
            settings.slos_dir,
            otlp_http=f"{settings.host}:{settings.otlp_http_port}",
            otlp_grpc=f"{settings.host}:{settings.otlp_grpc_port}",
            has_demo=has_demo(),
            collector_token=port_token(settings),
        )
        app = create_app(sources, hosts=(settings.host,), check_token=token_check(settings))
        server = make_server(app, settings.host, settings.ui_port)
        threading.Thread(target=server.run, name="ui", daemon=True).start()
        lifeline.say_ready()
        lifeline.stop_asked.wait()
        server.close()
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
