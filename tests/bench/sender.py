"""Sends requests to a collector from a process of its own, over keep-alive connections, and measures the answers."""

from __future__ import annotations

import http.client
import multiprocessing
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.generator import Generator, Request, make_json_wave, restamp_json

CONNECTIONS = 8
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TIMEOUT_S = 60
_GIVE_UP_S = 60


class RefusedError(Exception):
    """The collector asks to send the request again later."""


@dataclass(frozen=True)
class Load:
    """What to send: `protocol` is `http`, `grpc` or `json`; `spans_per_s` 0 means as fast as answers come.

    Requests are stamped before the clock starts, or while sending when `is_endless`.
    """

    protocol: str
    port: int
    spans_per_s: float
    seconds: float
    first_wave: int = 1
    is_endless: bool = False


@dataclass
class Sent:
    """What became of a load. Times are of the monotonic clock, which all processes of a machine share.

    `spans` were acknowledged; `refusals` are requests that were asked to come again, and did; `unanswered` are those
    that failed for good.
    """

    spans: int = 0
    unanswered: int = 0
    refusals: int = 0
    ack_ms: list[float] = field(default_factory=list)
    started_s: float = 0.0
    ended_s: float = 0.0
    cpu_s: float = 0.0
    body_bytes: int = 0

    @property
    def spans_per_s(self) -> float:
        """Acknowledged spans per second of sending."""
        return self.spans / (self.ended_s - self.started_s)


class Sending:
    """A load that is being sent by a child process.

    `acknowledged` gives (trace id, time of its acknowledgement) about once a second while it goes on.
    """

    def __init__(self, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(load, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.result: Sent | None = None

    def wait_started(self) -> None:
        """Return when the requests are stamped and the clock runs."""
        self._ours.recv()

    def acknowledged(self) -> list[tuple[str, float]]:
        """What was acknowledged since the last call; never blocks. Sets `result` once all is sent."""
        samples = []
        while self.result is None and self._ours.poll():
            message = self._ours.recv()
            if isinstance(message, Sent):
                self.result = message
                self._process.join()
            else:
                samples.append(message)
        return samples

    def stop(self) -> None:
        """End a load before its time, such as an endless one."""
        self._process.terminate()
        self._process.join()


def _serve(load: Load, pipe: Connection) -> None:
    """Run in the child: stamp, say that the clock starts, send, report."""
    requests = _endless(load) if load.is_endless else iter(_stamped(load))
    sender = _Sender(load, requests, pipe)
    pipe.send("started")
    pipe.send(sender.run())


def _endless(load: Load) -> Iterator[Request]:
    generator, number = Generator.make(waves=1, wave_spans=5_000), load.first_wave
    while True:
        yield from generator.wave(number, time.time_ns())
        number += 1


def _stamped(load: Load) -> list[Request]:
    """The requests of the whole load, their times as far apart as they will be sent."""
    rate = load.spans_per_s or 300_000
    generator = Generator.make()
    json_wave = make_json_wave(generator, time.time_ns()) if load.protocol == "json" else []
    now_ns, requests, spans, number = time.time_ns(), [], 0, load.first_wave
    while spans < rate * load.seconds:
        start_ns = now_ns + int(spans / rate * 1e9)
        wave = restamp_json(json_wave, number) if json_wave else generator.wave(number, start_ns)
        requests += wave
        spans += sum(request.item_count for request in wave)
        number += 1
    return requests


class _Sender:
    """Threads that share the requests of one load, one connection each."""

    def __init__(self, load: Load, requests: Iterator[Request], pipe: Connection) -> None:
        self._load, self._requests, self._pipe = load, requests, pipe
        self._lock = threading.Lock()
        self._taken_spans = 0
        self._next_sample_s = 0.0
        self._sent = Sent()

    def run(self) -> Sent:
        """Send until the requests or the seconds are over."""
        self._sent.started_s = time.monotonic()
        cpu_s = _cpu_s()
        threads = [threading.Thread(target=self._send_all) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._sent.ended_s = time.monotonic()
        self._sent.cpu_s = _cpu_s() - cpu_s
        return self._sent

    def _send_all(self) -> None:
        post = connect(self._load.protocol, self._load.port)
        while (taken := self._take()) is not None:
            request, due_s = taken
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            try:
                self._send(post, request)
            except OSError as error:
                print(f"not answered: {error}", file=sys.stderr, flush=True)
                with self._lock:
                    self._sent.unanswered += 1
                post = connect(self._load.protocol, self._load.port)

    def _take(self) -> tuple[Request, float] | None:
        """The next request and when it is due; None at the end."""
        with self._lock:
            elapsed_s = time.monotonic() - self._sent.started_s
            request = None if elapsed_s > self._load.seconds else next(self._requests, None)
            if request is None:
                return None
            rate = self._load.spans_per_s
            due_s = self._sent.started_s + (self._taken_spans / rate if rate else 0)
            self._taken_spans += request.item_count
            return request, due_s

    def _send(self, post: Callable[[bytes], None], request: Request) -> None:
        """Send one request until it is taken, as an SDK does when it is asked to come again."""
        refusals, started_s = 0, time.monotonic()
        while True:
            try:
                post(request.body)
                break
            except RefusedError as error:
                refusals += 1
                if time.monotonic() - started_s > _GIVE_UP_S:
                    raise OSError(f"refused for {_GIVE_UP_S} s") from error
                time.sleep(0.1)
        now_s = time.monotonic()
        with self._lock:
            sent = self._sent
            sent.spans += request.item_count
            sent.body_bytes += len(request.body)
            sent.refusals += refusals
            sent.ack_ms.append((now_s - started_s) * 1000)
            if now_s >= self._next_sample_s:
                self._next_sample_s = now_s + 1
                self._pipe.send((request.trace_id, now_s))


def connect(protocol: str, port: int) -> Callable[[bytes], None]:
    """A function that sends one body of spans and returns when it is acknowledged.

    It raises RefusedError when the collector wants it later, OSError when it fails otherwise.
    """
    return _connect_grpc(port) if protocol == "grpc" else _connect_http(port, protocol)


def _connect_http(port: int, protocol: str) -> Callable[[bytes], None]:
    link = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content_type = "application/json" if protocol == "json" else "application/x-protobuf"
    head = f"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\nContent-Length: "

    def post(body: bytes) -> None:
        link.sendall(f"{head}{len(body)}\r\n\r\n".encode())
        link.sendall(body)
        response = http.client.HTTPResponse(link)
        try:
            response.begin()
            answer = response.read()
        except http.client.HTTPException as error:
            raise OSError(f"no whole answer: {error!r}") from error
        if response.status == 503:
            raise RefusedError
        if response.status != 200 or (answer and answer != b"{}"):
            raise OSError(f"{response.status}: {answer[:300]!r}")

    return post


def _connect_grpc(port: int) -> Callable[[bytes], None]:
    import grpc

    call: Any = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(EXPORT)

    def post(body: bytes) -> None:
        try:
            answer = call(body, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise RefusedError from error
            raise OSError(str(error)) from error
        if answer:
            raise OSError(f"partial success: {answer[:300]!r}")

    return post


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
