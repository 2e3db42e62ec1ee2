"""Servers that caches and pools talk to."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a Redis server of our own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    yield port
    server.terminate()
    server.wait(10)


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
