"""The second request over a connection, which takes a shorter way, ends as the first one does."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest

from otel_agent.transport import HttpTransport, Tls

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HEADERS = {"Content-Type": "application/x-protobuf", "x-key": "ä"}
Answers = Sequence[Sequence[bytes]]


class Server:
    """Answers one request after the other with the pieces given; an empty piece closes the connection."""

    def __init__(self, answers: Answers) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/traces?a=b"
        self.requests: list[bytes] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection, suppress(OSError):  # who asks may have gone away
                while self._answers and (request := self._read(connection)):
                    self.requests.append(request)
                    if not self._answer(connection, self._answers.pop(0)):
                        break

    def _read(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request or len(request) < self._length(request):
            if not (piece := connection.recv(65536)):
                return b""
            request += piece
        return request

    def _length(self, request: bytes) -> int:
        head, _, _ = request.partition(b"\r\n\r\n")
        (length,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        return len(head) + 4 + int(length.split()[1])

    def _answer(self, connection: socket.socket, pieces: Sequence[bytes]) -> bool:
        for piece in pieces:
            if not piece:
                return False
            connection.sendall(piece)
            time.sleep(0.02)  # so that it travels alone
        return True

    def close(self) -> None:
        """Wait for the last answer."""
        self._thread.join(5)
        assert not self._thread.is_alive(), f"nobody has asked for {self._answers}"
        self._listener.close()


@pytest.fixture
def connect() -> Iterator[Callable[[], HttpTransport]]:
    """Return what makes a transport, whose connection is closed at the end."""
    transports: list[HttpTransport] = []

    def make() -> HttpTransport:
        transports.append(HttpTransport(Tls(None, None, None)))
        return transports[-1]

    yield make
    for transport in transports:
        transport._drop_connection()


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], Server]]:
    """Return what starts a server that gives these answers."""
    servers: list[Server] = []

    def start(answers: Answers) -> Server:
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def post(transport: HttpTransport, server: Server, data: bytes, timeout_s: float = 5.0) -> object:
    """Send one request; return what comes of it."""
    result = transport.request("POST", server.url, headers=HEADERS, timeout=timeout_s, data=data)
    return result.status_code, type(result.error), str(result.error), transport.retry_after_s


def test_the_second_head_differs_in_the_length_alone(serve, connect):
    """All that http.client writes once is written again."""
    server, transport = serve([[OK]] * 3), connect()
    for data in (b"", b"12345", b"x" * 100_000):
        post(transport, server, data)

    heads, bodies = zip(*(request.split(b"\r\n\r\n", 1) for request in server.requests), strict=True)
    assert server.connections == 1
    assert list(map(len, bodies)) == [0, 5, 100_000]
    assert heads[1] == heads[0].replace(b"Content-Length: 0\r\n", b"Content-Length: 5\r\n")
    assert heads[2] == heads[0].replace(b"Content-Length: 0\r\n", b"Content-Length: 100000\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        [OK],
        [b"HTTP/1.1 202 Accepted\r\ncontent-length:  3  \r\nServer: a\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"a", b"bc"],
        [b"HTTP/1.1 20", b"0 OK\r\nContent-Le", b"ngth: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
        [b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"a" * 20_000],
        [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad"],
        [b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 429 Slow down\r\nContent-Length: 20000\r\n\r\n" + b"a" * 20_000],
        [b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b""],
        [b"HTTP/1.1 200 OK\r\n\r\nabc", b""],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", b""],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", b""],
        [b"nonsense\r\n\r\n", b""],
        [b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", b""],
    ],
    ids=range(19),
)
def test_an_answer_means_the_same_the_second_time(serve, connect, answer):
    """Whole, in pieces, chunked, without length, an error, a redirect, cut off: as http.client reads it."""
    first_server, second_server = serve([answer]), serve([[OK], answer])
    first = post(connect(), first_server, b"data")
    transport = connect()
    post(transport, second_server, b"data")

    assert post(transport, second_server, b"more data") == first
    assert second_server.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_opened_again(serve, connect):
    """Nothing is lost, and the third request takes the shorter way again."""
    server, transport = serve([[OK, b""], [OK], [OK]]), connect()
    results = [post(transport, server, b"data") for _ in range(3)]

    assert [result[0] for result in results] == [200] * 3  # type: ignore[index]
    assert server.connections == 2


@pytest.mark.parametrize("change", [{"url": "/other"}, {"headers": {"a": "b"}}, {"headers": {"content-length": "4"}}])
def test_what_is_asked_otherwise_is_written_anew(serve, connect, change):
    """Another path or other headers do not go out with the head of the last request."""
    server, transport = serve([[OK]] * 3), connect()
    post(transport, server, b"data")
    url = server.url.replace("/v1/traces", change.get("url", "/v1/traces"))
    for _ in range(2):
        transport.request("POST", url, headers=change.get("headers", HEADERS), timeout=5, data=b"1234")

    assert change.get("url", "/v1/traces").encode() in server.requests[1].split(b"\r\n")[0]
    assert (b"x-key" in server.requests[1]) == ("headers" not in change)
    assert server.requests[2] == server.requests[1]


@pytest.mark.parametrize("answer", [[], [b"HTTP/1.1 2"] + [b"0"] * 100])
def test_the_second_answer_may_not_take_longer_either(serve, connect, answer):
    """Nothing at all, or a byte now and then: the time given is the time taken."""
    server, transport = serve([[OK], answer]), connect()
    post(transport, server, b"data")
    start_s = time.monotonic()
    status, *_ = post(transport, server, b"data", timeout_s=0.3)  # type: ignore[misc]

    assert status is None
    assert 0.2 < time.monotonic() - start_s < 1.0


def test_the_second_answer_may_not_be_longer_either(serve, connect):
    """Four megabytes are read, and no more; the status has been said by then."""
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n", b"x" * 4_200_000, b""]
    server, transport = serve([[OK], answer]), connect()
    post(transport, server, b"data")

    assert post(transport, server, b"data") == (200, type(None), "None", None)
    assert transport._connection is None


def test_a_debugging_host_sees_nothing(serve, connect, capsys, monkeypatch):
    """Not even where http.client is told to print all that it sends."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    server, transport = serve([[OK]] * 2), connect()
    for _ in range(2):
        post(transport, server, b"data")

    assert capsys.readouterr().out == ""
