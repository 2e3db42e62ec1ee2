"""`make fuzz`: the properties with many examples, then mutated requests against a live collector.

Prints how often each answer came. Fails on any 5xx but 503, a gRPC code that no bad data may cause, an answer that
takes longer than 5 s, more than 512 MiB of memory, or the death of the server; the request at fault is kept.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from builders import make_request, make_span
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

HERE = Path(__file__).parent
CASES = HERE.parents[1] / ".." / "shared" / "fixtures" / "otlp" / "30-generated-bad-inputs"
TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
SERVICES = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}
FINE = {"200", "400", "413", "415", "503", "OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
MAX_SEED_BYTES = 20_000
MAX_WAIT_S = 5
MAX_RSS_MIB = 512


@dataclass(frozen=True)
class Request:
    """One request: over HTTP in an encoding, or over gRPC."""

    signal: str
    encoding: str
    body: bytes
    content_encoding: str = ""
    is_grpc: bool = False


def seeds() -> list[Request]:
    """Good requests to start from: our own, and the fixtures where they are there."""
    spans = [make_span(f"op {n}", span=n, parent=n - 1, attributes={"k": n, "text": "ä" * n}) for n in range(1, 6)]
    spans[0].links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    spans[1].events.add(name="exception", time_unix_nano=9)
    metrics = ExportMetricsServiceRequest()
    scope = metrics.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="g").gauge.data_points.add(as_double=0.5, time_unix_nano=9)
    scope.metrics.add(name="s").summary.data_points.add(count=1).quantile_values.add(quantile=0.5)
    histogram = scope.metrics.add(name="h").histogram
    histogram.aggregation_temporality = 2
    histogram.data_points.add(bucket_counts=[1, 2], explicit_bounds=[1], count=3)
    exponential = scope.metrics.add(name="e").exponential_histogram
    exponential.aggregation_temporality = 1
    exponential.data_points.add(scale=2, count=3, zero_count=1).positive.bucket_counts.extend([1, 1])
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="WARN").body.string_value = "text"
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "op", "startTimeUnixNano": "5", "kind": 2}
    span["attributes"] = [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"doubleValue": 0.5}]}}}]
    found = [
        Request("traces", "protobuf", make_request(spans).SerializeToString()),
        Request("metrics", "protobuf", metrics.SerializeToString()),
        Request("logs", "protobuf", logs.SerializeToString()),
        Request("traces", "json", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()),
    ]
    for path in sorted(CASES.glob("*.bin")) if CASES.is_dir() else []:
        kind = path.name.partition("_")[0]
        if kind in ("json", "pb", "m", "l", "x") and path.stat().st_size <= MAX_SEED_BYTES:
            body = path.read_bytes()
            signal = {"m": "metrics", "l": "logs"}.get(kind, "traces")
            found.append(Request(signal, "json" if body[:1] in (b"{", b"[") else "protobuf", body))
    return found


def mutated(seed: Request, other: Request, dice: random.Random) -> Request:
    """A request with one to four changes of its bytes, in half of all cases compressed, sometimes broken after that."""
    body = bytearray(seed.body)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _change(body, other.body, dice)
    data, content_encoding = bytes(body), ""
    is_grpc = seed.encoding == "protobuf" and dice.random() < 0.15
    if not is_grpc and dice.random() < 0.5:
        content_encoding = "gzip"
        data = gzip.compress(data, 1)
        if dice.random() < 0.2:
            packed = bytearray(data)
            _change(packed, data, dice)
            data = bytes(packed)
    return Request(seed.signal, seed.encoding, data, content_encoding, is_grpc)


def _change(body: bytearray, other: bytes, dice: random.Random) -> None:
    """One change in place."""
    place, size = dice.randint(0, len(body)), dice.choice((1, 1, 2, 8, 40))
    kind = dice.choice((0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6))
    if kind == 0:
        body[place : place + 1] = bytes([dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))])
    elif kind == 1 and place < len(body):
        body[place] ^= 1 << dice.randrange(8)
    elif kind == 2:
        del body[place : place + size]
    elif kind == 3:
        body[place:place] = body[place : place + size] * dice.choice((1, 2, 200))
    elif kind == 4:
        body[place:place] = dice.randbytes(size)
    elif kind == 5:
        del body[place:]
    else:
        start = dice.randint(0, len(other))
        body[place:place] = other[start : start + size * 5]


class Sender(threading.Thread):
    """Sends its share of the requests and counts the answers; `fault` tells why it stopped early."""

    def __init__(self, seed: int, count: int, addresses: dict[str, list[object]], out: Path) -> None:
        super().__init__(daemon=True)
        self.counts: Counter[str] = Counter()
        self.fault = ""
        self._dice = random.Random(seed)
        self._count, self._out = count, out
        self._http_address = addresses["http"]
        self._connection: http.client.HTTPConnection | None = None
        self._channel = grpc.insecure_channel("{}:{}".format(*addresses["grpc"]))

    def run(self) -> None:
        """Send until done or until an answer is not fine."""
        known = seeds()
        for number in range(self._count):
            if number % 500:
                request = mutated(self._dice.choice(known), self._dice.choice(known), self._dice)
            else:
                request = known[0]
            answer = self._export(request) if request.is_grpc else self._post(request)
            self.counts[answer] += 1
            if answer not in FINE or (number % 500 == 0 and answer not in ("200", "503")):
                self._out.mkdir(parents=True, exist_ok=True)
                kept = self._out / f"{request.signal}-{request.encoding}-{request.content_encoding}-{answer}.bin"
                kept.write_bytes(request.body)
                self.fault = (
                    f"{answer} to {'gRPC' if request.is_grpc else 'HTTP'} {request.signal}; body kept in {kept}"
                )
                return

    def _post(self, request: Request) -> str:
        headers = {"Content-Type": TYPES[request.encoding]}
        if request.content_encoding:
            headers["Content-Encoding"] = request.content_encoding
        try:
            if self._connection is None:
                host, port = self._http_address
                self._connection = http.client.HTTPConnection(str(host), int(str(port)), timeout=MAX_WAIT_S)
            self._connection.request("POST", f"/v1/{request.signal}", request.body, headers)
            response = self._connection.getresponse()
            response.read()
            return str(response.status)
        except (OSError, http.client.HTTPException) as error:
            self._connection = None
            return type(error).__name__

    def _export(self, request: Request) -> str:
        method = f"/opentelemetry.proto.collector.{SERVICES[request.signal]}/Export"
        try:
            self._channel.unary_unary(method)(request.body, timeout=MAX_WAIT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


def fuzz_server(count: int, seed: int, threads: int) -> list[str]:
    """Send mutated requests to a live collector; gives what went wrong."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(HERE / "server.py"), directory + "/data"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdin is not None
        assert server.stdout is not None
        addresses = json.loads(server.stdout.readline())
        out = Path(tempfile.gettempdir()) / "spanwise-fuzz"
        senders = [Sender(seed * 1000 + n, -(-count // threads), addresses, out) for n in range(threads)]
        began = time.monotonic()
        for sender in senders:
            sender.start()
        peak_mib = _watch(server, senders)
        seconds = time.monotonic() - began
        faults = [sender.fault for sender in senders if sender.fault]
        if peak_mib > MAX_RSS_MIB:
            faults.append(f"the server took {peak_mib:.0f} MiB, at most {MAX_RSS_MIB} are allowed")
        if server.poll() is not None:
            faults.append(f"the server died with {server.returncode}")
        server.stdin.close()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            faults.append("the server did not stop within 30 s")
    counts = sum((sender.counts for sender in senders), Counter[str]())
    print(f"{counts.total():,} requests in {seconds:.0f} s, seed {seed}, peak {peak_mib:.0f} MiB")
    for answer, times in counts.most_common():
        print(f"  {answer:20} {times:>10,}")
    return faults


def _watch(server: subprocess.Popen[str], senders: list[Sender]) -> float:
    """Wait for the senders; gives the largest memory of the server in MiB."""
    peak = 0
    process = psutil.Process(server.pid)
    while any(sender.is_alive() for sender in senders) and server.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.2)
    return peak / 2**20


def main() -> int:
    """Both parts; the exit code is that of the worse one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="mutated requests to send")
    parser.add_argument("--examples", type=int, default=2_000, help="examples for each property; 0 leaves them out")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same requests")
    parser.add_argument("--threads", type=int, default=4, help="senders at a time")
    given = parser.parse_args()
    faults = []
    if given.examples:
        command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", str(HERE / "test_properties.py")]
        done = subprocess.run(command, check=False, env={**os.environ, "FUZZ_EXAMPLES": str(given.examples)})
        faults += ["a property does not hold"] if done.returncode else []
    faults += fuzz_server(given.requests, given.seed, given.threads)
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
