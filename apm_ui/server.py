"""Serves the app from one process with a few threads."""

from __future__ import annotations

import logging
import socket

import waitress
from dash import Dash
from waitress.server import BaseWSGIServer

from apm_ui.security import MAX_BODY_BYTES

THREADS = 4


def make_server(app: Dash, host: str, port: int) -> BaseWSGIServer:
    """A bound server: `.run()` serves until `.close()` is called from another thread or a signal ends it.

    Port 0 takes a free one; `.effective_port` says which, as text. Raises OSError when the port is taken.
    """
    # Waitress warns of every request that waits for a thread, which a page with many assets always makes.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # Bound here, because Waitress leaves its own sockets open when it cannot bind.
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    limits = {"threads": THREADS, "max_request_body_size": MAX_BODY_BYTES}
    return waitress.create_server(app.server, sockets=[listener], ident="", **limits)
