"""Seeded secrets and harmless values, and the places of a request where text can stand."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.model import Batch, Signal

_REQUESTS = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
ALNUM = string.ascii_letters + string.digits


def word(rng: random.Random, length: int, letters: str = ALNUM) -> str:
    """A random word with at least one digit."""
    return "".join(rng.choices(letters, k=length - 1)) + rng.choice(string.digits)


def jwt(rng: random.Random) -> str:
    """A JSON Web Token."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': word(rng, 12)})}.{word(rng, 43)}"


def card(rng: random.Random) -> str:
    """The number of a payment card, in groups or not."""
    digits = rng.choice(["4", "51", "55", "2221", "34", "37", "6011"])
    length = 15 if digits in ("34", "37") else 16
    digits += "".join(rng.choices(string.digits, k=length - len(digits) - 1))
    total = sum(sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    digits += str(-total % 10)
    separator = rng.choice(["", " ", "-"])
    return separator.join(digits[i : i + 4] for i in range(0, len(digits), 4)) if separator else digits


def secret(rng: random.Random) -> tuple[str, str]:
    """A text that holds a secret, and the secret."""
    token = word(rng, rng.randint(16, 40))
    makers: list[Callable[[], tuple[str, str]]] = [
        lambda: (f"Authorization: Bearer {token}", token),
        lambda: (f'headers={{"authorization": "Token {token}"}}', token),
        lambda: (f"sent with bearer {token} to the billing service", token),
        lambda: (f"Authorization: Basic {(b := base64.b64encode(f'bob:{token}'.encode()).decode())}", b),
        lambda: (f"Cookie: theme=dark; sid={token}", token),
        lambda: (f"Set-Cookie: session={token}; Path=/; HttpOnly", token),
        lambda: (f"https://bob:{token}@api.example.com/v1/items", token),
        lambda: (f"https://acc.blob.core.windows.net/c/f.txt?sv=2020&sig={token}%3D&se=2026", token),
        lambda: (f"https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIA{word(rng, 16, string.ascii_uppercase)}"
                 f"&Signature={token}&Expires=1", token),
        lambda: (f"https://storage.googleapis.com/b/o?X-Goog-Date=1&X-Goog-Signature={token}", token),
        lambda: (f"/callback?state=1&access_token={token}&scope=all", token),
        lambda: (f"postgres://shop:{token}@db.internal:5432/shop", token),
        lambda: (f"cannot connect to mysql+pymysql://root:{token}@10.0.0.3/app", token),
        lambda: (f"redis://:{token}@cache:6379/0", token),
        lambda: (f"host=db user=shop password={token} dbname=shop", token),
        lambda: (f"Server=db;Database=x;User Id=sa;Password={token};", token),
        lambda: ((key := "AKIA" + word(rng, 16, string.ascii_uppercase + string.digits)) + " was refused", key),
        lambda: (f"export AWS_SECRET_ACCESS_KEY={token}", token),
        lambda: (f"token for this session is {(t := jwt(rng))}", t),
        lambda: (f'{{"user": "bob", "password": "{token}"}}', token),
        lambda: (f'x-api-key: {token}', token),
        lambda: (f"paid with {(c := card(rng))} today", c),
        lambda: (f"-----BEGIN RSA PRIVATE KEY-----\n{token}\n{token}\n-----END RSA PRIVATE KEY-----", token),
    ]  # fmt: skip
    return rng.choice(makers)()


def harmless(rng: random.Random) -> str:
    """A text as telemetry has it, without a secret."""
    number = rng.randint(0, 10**6)
    return rng.choice(
        [
            f"GET /api/orders/{number}",
            f"http://shop.local:8080/api/orders/{number}?page=2&sort=name",
            f"https://example.com/~user@home/{number}",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            f"SELECT o.id FROM orders o WHERE o.customer_id = {number} AND o.token = $1 AND o.key = ?",
            f"UPDATE users SET password = ? WHERE id = {number}",
            f"{rng.getrandbits(128):032x}",
            str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            str(1_764_000_000_000 + number),
            str((1_764_000_000_000 + number) * 1_000_000),
            f"ValueError: invalid literal for int() with base 10: '{number}'",
            f"Traceback (most recent call last):\n  File \"/srv/app/auth.py\", line {number % 900}, in check_token",
            f"token expired for user {number}",
            "password must have at least 12 characters",
            "Missing bearer authentication in header",
            f"{number} input tokens, {number // 2} output tokens",
            "cookie consent was given",
            f"partition key: orders-{number}, offset {number * 7}",
            f"2026-03-0{number % 9 + 1}T10:11:12.{number:06d}Z INFO worker-{number % 16} took {number / 1000:.3f} ms",
            f"order {number:013d} was shipped",
            f"+49 30 {number:07d}",
            f"shop-{number % 99}.eu-central-1.compute.internal",
            f"ssh://git@github.com/acme/shop-{number}.git",
            f"arn:aws:sqs:eu-central-1:123456789012:orders-{number}",
            f"sha256:{rng.getrandbits(256):064x}",
            f"user-{number}@example.com",
            "secret santa event was created",
            f"DHL tracking {rng.randint(10**11, 10**12 - 1)}",
        ]
    )  # fmt: skip


def request_with(position: str, text: str, key: str = "app.note") -> tuple[Signal, Any]:
    """A request with a text in one place; `key` is its attribute's where the place is an attribute."""
    signal = Signal(POSITIONS[position])
    request = _REQUESTS[signal]()
    if signal is Signal.TRACES:
        group = request.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = "shop"
        item = group.scope_spans.add().spans.add(name="op", trace_id=bytes(range(16)), span_id=bytes(range(8)))
        item.attributes.add(key="http.request.method").value.string_value = "GET"
    elif signal is Signal.LOGS:
        group = request.resource_logs.add()
        item = group.scope_logs.add().log_records.add(severity_text="INFO")
    else:
        group = request.resource_metrics.add()
        item = group.scope_metrics.add().metrics.add(name="requests").sum.data_points.add(as_int=1)
    if position == "span name":
        item.name = text
    elif position == "status message":
        item.status.message = text
    elif position == "event name":
        item.events.add(name=text)
    elif position == "log body":
        item.body.string_value = text
    elif position == "nested log body":
        inner = item.body.kvlist_value.values.add(key="payload").value.array_value.values.add()
        inner.kvlist_value.values.add(key=key).value.string_value = text
    elif position == "array attribute":
        item.attributes.add(key=key).value.array_value.values.add(string_value=text)
    else:
        holder = {
            "resource attribute": group.resource.attributes,
            "event attribute": item.events.add(name="exception").attributes if signal is Signal.TRACES else None,
            "link attribute": item.links.add(trace_id=bytes(16)).attributes if signal is Signal.TRACES else None,
            "exemplar": item.exemplars.add().filtered_attributes if signal is Signal.METRICS else None,
        }.get(position, item.attributes)
        holder.add(key=key).value.string_value = text  # type: ignore[union-attr]
    return signal, request


POSITIONS = {
    "span attribute": "traces",
    "span name": "traces",
    "status message": "traces",
    "event name": "traces",
    "event attribute": "traces",
    "link attribute": "traces",
    "resource attribute": "traces",
    "array attribute": "traces",
    "log body": "logs",
    "nested log body": "logs",
    "log attribute": "logs",
    "metric label": "metrics",
    "exemplar": "metrics",
}


def batch_of(signal: Signal, request: Any) -> Batch:
    """A batch of one item."""
    return Batch(signal, request, request.SerializeToString(), 1)
