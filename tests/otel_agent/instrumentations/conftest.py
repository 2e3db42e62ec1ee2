"""A server that caches talk to."""

import socket
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def memcached_port() -> Iterator[int]:
    """Yield the port of a server that speaks as much of memcached's protocol as reading takes: it has "a" and "b"."""
    values = {b"a": b"1", b"b": b"2"}

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection, connection.makefile("rwb") as stream:
            for line in stream:
                command, *keys = line.split()
                cas = b" 7" if command == b"gets" else b""
                for key in keys:
                    if key in values:
                        stream.write(b"VALUE %b 0 1%b\r\n%b\r\n" % (key, cas, values[key]))
                stream.write(b"END\r\n")
                stream.flush()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
