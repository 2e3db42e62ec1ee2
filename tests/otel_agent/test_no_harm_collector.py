"""No harm from a collector that misbehaves: the host ends in time, says what it says without us, and reads little."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from otel_agent.transport import HttpTransport, Tls

MANY = """
import logging, sqlite3, time
connection = sqlite3.connect(":memory:")
for _ in range(1500):
    connection.execute("SELECT 1")
logging.getLogger("shop").warning("last")
connection.close()
print("out")
print(time.time())
"""


def wait_for_the_client_to_leave(connection):
    """Read until the other side closes."""
    while connection.recv(65536):
        pass


def receive(connection):
    """Read what has come; raise ConnectionError when the other side has closed."""
    received = connection.recv(65536)
    if not received:
        raise ConnectionError
    return received


def read_request(connection):
    """Read one whole HTTP request."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(
        next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    )
    while len(body) < length:
        body += receive(connection)


def answer_with(answer):
    """Return a behaviour: the same bytes to every request."""

    def behave(server, connection):
        while True:
            read_request(connection)
            connection.sendall(answer)

    return behave


def drip(answer, pause_s):
    """Return a behaviour: the answer byte by byte, and then zeros for ever."""

    def behave(server, connection):
        read_request(connection)
        for byte in answer:
            connection.sendall(bytes([byte]))
            server.ended.wait(pause_s)
        while not server.ended.wait(pause_s):
            connection.sendall(b"0")

    return behave


def stay_silent(server, connection):
    """Take everything and answer nothing."""
    wait_for_the_client_to_leave(connection)


def reset(server, connection):
    """End the connection with an RST."""
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_a_gigabyte(server, connection):
    """Answer with 1 GiB, as far as it is read."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
    for _ in range(16384):
        connection.sendall(bytes(65536))
        server.sent_bytes += 65536


def send_endless_headers(server, connection):
    """Answer with headers that never end."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not server.ended.wait(0.02):
        connection.sendall(b"x-more: 1\r\n")


def close_in_the_middle(server, connection):
    """Promise a body and leave."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")


BEHAVIOURS = {
    "silent": stay_silent,
    "one byte per second": drip(b"HTTP/1.1 200 OK\r\n", 1),
    "reset": reset,
    "500": answer_with(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"),
    "429 for years": answer_with(b"HTTP/1.1 429 No\r\nretry-after: 1000000000\r\ncontent-length: 0\r\n\r\n"),
    "503 at once": answer_with(b"HTTP/1.1 503 No\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"),
    "503 garbage": answer_with(b"HTTP/1.1 503 No\r\nretry-after: soon-ish\r\ncontent-length: 0\r\n\r\n"),
    "gigabyte": send_a_gigabyte,
    "redirect to itself": answer_with(b"HTTP/1.1 307 Go\r\nlocation: /v1/traces\r\ncontent-length: 0\r\n\r\n"),
    "endless headers": send_endless_headers,
    "closes in the middle": close_in_the_middle,
    "html": answer_with(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"),
    "no http": answer_with(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n"),
}


class Collector:
    """A server on `port` that behaves as told to every connection; `sent_bytes` counts the body of a gigabyte."""

    def __init__(self, behave):
        self.sent_bytes = 0
        self.connections = 0
        self.ended = threading.Event()
        self._behave = behave
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, suppress(OSError, StopIteration):
            self._behave(self, connection)

    def close(self):
        self.ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def collector_that():
    """Return a function that starts a collector with one of BEHAVIOURS."""
    started = []

    def start(name):
        started.append(Collector(BEHAVIOURS[name]))
        return started[-1]

    yield start
    for collector in started:
        collector.close()


def delayed_exit(run_host, endpoint):
    """Return outcome, host's output and seconds from its last line to its end: the better of two on a busy machine."""
    for _ in range(2):
        outcome = run_host(MANY, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        word, ended_s = outcome.out.split()
        if outcome.ended_s - float(ended_s) < 2:
            break
    return outcome, word, outcome.ended_s - float(ended_s)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_host_ends_within_two_seconds(run_host, collector_that, behaviour):
    """Whatever the collector does, exit waits 2 s at most, and exit code and outputs are the host's own."""
    outcome, word, delay_s = delayed_exit(run_host, f"http://127.0.0.1:{collector_that(behaviour).port}")

    assert (outcome.code, word, outcome.err) == (0, "out", "last\n")
    assert delay_s < 2


def test_host_name_that_does_not_resolve(run_host):
    """A collector whose name nobody knows delays exit by 2 s at most."""
    outcome, word, delay_s = delayed_exit(run_host, "http://collector.invalid:4318")

    assert (outcome.code, word, outcome.err) == (0, "out", "last\n")
    assert delay_s < 2


def request(port, timeout_s=5.0):
    """Send one export with the agent's transport; return its result and the seconds it took."""
    start_s = time.monotonic()
    result = HttpTransport(Tls(None, None, None)).request(
        "POST", f"http://127.0.0.1:{port}/v1/traces", headers={}, timeout=timeout_s, data=b"x"
    )
    return result, time.monotonic() - start_s


def test_response_is_read_to_four_mebibytes(collector_that):
    """Of an answer of 1 GiB no more is taken than 4 MiB and what the sockets hold; its status still counts."""
    collector = collector_that("gigabyte")

    result, _ = request(collector.port)

    assert result.status_code == 200
    assert collector.sent_bytes < 32 * 1024 * 1024


@pytest.mark.parametrize("behaviour", ["silent", "one byte per second", "endless headers"])
def test_slow_answer_ends_at_the_timeout(collector_that, behaviour):
    """The timeout is for the whole exchange: a byte now and then does not prolong it."""
    result, took_s = request(collector_that(behaviour).port, timeout_s=0.5)

    assert isinstance(result.error, (OSError, Exception))
    assert result.status_code is None
    assert took_s < 1.5


def test_redirect_is_not_followed(collector_that):
    """A redirect is an error that names where it points, not a success and not a second request."""
    collector = collector_that("redirect to itself")

    result, _ = request(collector.port)

    assert result.status_code is None
    assert "/v1/traces" in str(result.error)
    assert collector.connections == 1


@pytest.mark.parametrize("behaviour", ["html", "closes in the middle"])
def test_odd_body_of_a_success_is_a_success(collector_that, behaviour):
    """Status 200 means taken, whatever the body is."""
    result, _ = request(collector_that(behaviour).port)

    assert (result.status_code, result.error) == (200, None)


def test_restart_of_the_collector_loses_nothing(run_host, dead_port, late_sink):
    """Spans that end while nobody listens arrive, once each, when the collector is there again."""
    script = """
import sqlite3, sys, time
connection = sqlite3.connect(":memory:")
for n in range(300):
    connection.execute(f"SELECT {n} FROM (SELECT 1) AS t")
time.sleep(6)
"""
    threading.Timer(2.5, lambda: sinks.append(late_sink(dead_port))).start()
    sinks = []

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert len({(span.trace_id, span.span_id) for _, _, span in sinks[0].spans}) == 300
