"""How each of the shop's processes lives: its log lines, its end on SIGTERM, and serving a Flask app until then."""

from __future__ import annotations

import logging
import signal
import threading

from flask import Flask
from waitress.server import create_server

# A request in flight gets this long to finish; then the process ends all the same.
GRACE_S = 1.0


def start_logging() -> None:
    """Log from INFO on to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM or Ctrl-C sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def serve(app: Flask, host: str, port: int) -> None:
    """Serve the app with waitress until SIGTERM or Ctrl-C; a port that cannot be opened ends in one line."""
    stop = stop_on_signal()
    try:
        server = create_server(app, host=host, port=port, threads=8)
    except OSError as error:
        raise SystemExit(f"{app.name} cannot listen on {host}:{port}: {error.strerror}") from error
    threading.Thread(target=server.run, name="waitress", daemon=True).start()
    logging.getLogger(app.name).info("listening on http://%s:%s", host, server.effective_port)
    stop.wait()
    server.task_dispatcher.shutdown(timeout=GRACE_S)
