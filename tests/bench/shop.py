"""The made-up shop whose telemetry the benchmarks send: 8 services, 60 operations, 64 SQL statements.

A `~` in a text stands for a digit that differs in every request sent; `generator.py` fills it in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
MS = 1_000_000
MAX_SPANS = 20  # per trace
_MAX_LEAF_NS = 180 * MS  # 20 of them stay below the 4.29 s that a time offset can hold
_FAILED_SHARE = 0.02  # of traces: with the spans above the failed one this makes about 1 % of all spans

_OPERATIONS = {
    "web": "GET /|GET /products|GET /products/{id}|GET /categories/{id}|GET /cart|POST /cart/items|GET /checkout"
    "|POST /checkout|GET /orders|GET /orders/{id}|GET /search|GET /account|POST /login|POST /logout",
    "mobile": "GET /v2/home|GET /v2/products/{id}|GET /v2/feed|POST /v2/cart|POST /v2/orders|GET /v2/orders/{id}"
    "|GET /v2/profile|PUT /v2/profile",
    "api": "GET /api/products|GET /api/products/{id}|GET /api/categories/{id}/products|GET /api/cart/{id}"
    "|POST /api/cart/{id}/items|DELETE /api/cart/{id}/items|POST /api/orders|GET /api/orders/{id}"
    "|GET /api/customers/{id}/orders|GET /api/recommendations/{id}|GET /api/prices/{id}|POST /api/coupons/{id}"
    "|GET /api/reviews/{id}|POST /api/reviews|GET /api/shipping/{id}|GET /api/session/{id}",
    "payments": "POST /charges|GET /charges/{id}|POST /refunds|POST /cards/{id}/verify|GET /limits/{id}",
    "inventory": "GET /stock/{id}|POST /reservations|DELETE /reservations/{id}|GET /warehouses/{id}|POST /stock/bulk",
    "users": "GET /users/{id}|PUT /users/{id}|POST /sessions|GET /sessions/{id}|GET /users/{id}/roles|POST /tokens",
    "search": "POST /query|GET /suggest|GET /documents/{id}",
    "worker": "process orders|process mails|process thumbnails|process invoices|process index",
}
OPERATIONS = {service: tuple(name.strip() for name in text.split("|")) for service, text in _OPERATIONS.items()}
SERVICES = tuple(OPERATIONS)

# What an operation of a service does, one after the other, and how likely each step is.
_STEPS = {
    "web": (("redis", 0.4), ("api", 1.0), ("api", 0.1)),
    "mobile": (("users", 0.2), ("api", 1.0)),
    "api": (
        ("redis", 0.5),
        ("sql", 1.0),
        ("sql", 0.5),
        ("users", 0.15),
        ("inventory", 0.25),
        ("payments", 0.1),
        ("search", 0.1),
        ("worker", 0.12),
    ),
    "payments": (("sql", 1.0), ("bank", 0.7), ("sql", 0.5)),
    "inventory": (("redis", 0.3), ("sql", 1.0), ("sql", 0.3)),
    "users": (("redis", 0.5), ("sql", 0.8)),
    "search": (("sql", 0.3), ("index", 0.8)),
    "worker": (("sql", 1.0), ("sql", 0.6), ("redis", 0.3)),
}
_TABLES = ("products", "orders", "order_items", "customers", "carts", "payments", "stock", "reviews")
_SQL_FORMS = (
    "SELECT {t}.id, {t}.created_at, {t}.state FROM {t} WHERE {t}.id = ~~~~~~~",
    "SELECT {t}.id, {t}.amount FROM {t} WHERE {t}.customer_id = ~~~~~~ AND {t}.state = 'open' ORDER BY id LIMIT 20",
    "SELECT count(*) FROM {t} WHERE {t}.created_at > '2026-01-~~ 09:~~:~~'",
    "INSERT INTO {t} (customer_id, amount, note) VALUES (~~~~~~, ~~.~~, 'n-~~~~~~~~')",
    "UPDATE {t} SET state = 'done', updated_at = 17~~~~~~~~ WHERE id = ~~~~~~~",
    "DELETE FROM {t} WHERE id = ~~~~~~~",
    "SELECT {t}.id, c.name FROM {t} JOIN customers AS c ON c.id = {t}.customer_id WHERE c.email = 'c~~~~~~@shop.test'",
    "SELECT {t}.state, sum({t}.amount) FROM {t} WHERE {t}.id IN (~~~~~, ~~~~~, ~~~~~) GROUP BY {t}.state",
)
STATEMENTS = tuple((form.format(t=table), table) for table in _TABLES for form in _SQL_FORMS)
_REDIS = (
    "GET session:~~~~~~~~",
    "SETEX cart:~~~~~~~ 600 ?",
    "HGETALL product:~~~~~~",
    "INCR visits:~~~~~",
    "DEL lock:~~~~~~",
)
_AGENTS = tuple(
    f"Mozilla/5.0 ({platform}) AppleWebKit/537.36 Chrome/{version}.0.0.0"
    for platform in ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15", "X11; Linux x86_64")
    for version in range(136, 142)
)
_STACK = "".join(
    f'  File "/srv/shop/{name}.py", line {line}, in {name}\n    return {name}(order_id=~~~~~~, retry=False)\n'
    for name, line in (("handle", 88), ("dispatch", 141), ("place_order", 57), ("charge", 203), ("execute", 311))
)
_EXCEPTIONS = (("TimeoutError", "no answer within 3.~~ s"), ("ValueError", "amount ~~~~ is above the limit"))


@dataclass(slots=True)
class Draft:
    """One span before it is encoded; `parent` is the index of its parent in the trace, -1 for the root."""

    service: str
    scope: str
    name: str
    kind: int
    parent: int
    start_ns: int
    duration_ns: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    is_failed: bool = False


def make_trace(dice: random.Random) -> list[Draft]:
    """One trace of 4 to 20 spans, parents before their children; times count from 0."""
    trace = _Trace(dice)
    trace.serve("web" if dice.random() < 0.7 else "mobile", parent=-1, start_ns=0)
    if dice.random() < _FAILED_SHARE:
        trace.fail()
    return trace.spans


class _Trace:
    """A trace in the making."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.spans: list[Draft] = []

    def serve(self, service: str, parent: int, start_ns: int) -> int:
        """Let a service work on a request; give the time at which it is done."""
        operations = OPERATIONS[service]
        operation = operations[min(int(self._dice.expovariate(5 / len(operations))), len(operations) - 1)]
        if service == "worker":
            span = Draft(service, "celery", operation, CONSUMER, parent, start_ns, attributes=self._message(operation))
        else:
            span = Draft(service, "flask", operation, SERVER, parent, start_ns, attributes=self._request(operation))
        me = self._add(span)
        now_ns = start_ns + self._lognormal_ns(0.4)
        for step, likelihood in _STEPS[service]:
            if self._dice.random() < likelihood and len(self.spans) <= MAX_SPANS - 3:
                now_ns = self._step(service, step, me, now_ns) + self._lognormal_ns(0.05)
        span.duration_ns = now_ns - start_ns
        return now_ns

    def fail(self) -> None:
        """Let the last span end with an exception, and all above it fail."""
        index = len(self.spans) - 1
        leaf = self.spans[index]
        kind, message = self._dice.choice(_EXCEPTIONS)
        stack = f"Traceback (most recent call last):\n{_STACK}{kind}: {message}\n"
        exception = {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack}
        leaf.events.append(("exception", leaf.start_ns + leaf.duration_ns, exception))
        while index >= 0:
            span = self.spans[index]
            span.is_failed = True
            span.attributes["error.type"] = kind
            if "http.response.status_code" in span.attributes:
                span.attributes["http.response.status_code"] = 500
            index = span.parent

    def _step(self, service: str, step: str, parent: int, start_ns: int) -> int:
        """One call out of a service; give the time at which it is answered."""
        if step in ("sql", "redis"):
            statement = self._sql() if step == "sql" else self._redis()
            name = f"{statement['db.operation.name']} {statement.get('db.collection.name', '')}".strip()
            duration_ns = self._lognormal_ns(1.5 if step == "sql" else 0.3)
            scope = "sqlalchemy" if step == "sql" else "redis"
            self._add(Draft(service, scope, name, CLIENT, parent, start_ns, duration_ns, statement))
            return start_ns + duration_ns
        if step == "worker":
            publish = Draft(service, "celery", "publish orders", PRODUCER, parent, start_ns, 200_000)
            publish.attributes = self._message("publish orders")
            self.serve("worker", self._add(publish), start_ns + self._lognormal_ns(20))
            return start_ns + publish.duration_ns
        call = Draft(service, "requests", self._dice.choice(("GET", "POST")), CLIENT, parent, start_ns)
        call.attributes = self._call(step, call.name)
        me = self._add(call)
        is_ours = step in OPERATIONS  # a bank and a search index send no spans
        end_ns = self.serve(step, me, start_ns + 300_000) if is_ours else start_ns + self._lognormal_ns(12)
        call.duration_ns = end_ns + 200_000 - start_ns
        return end_ns + 200_000

    def _add(self, span: Draft) -> int:
        if self._dice.random() < 0.1:
            span.events.append(("cache.miss", span.start_ns + 20_000, {"cache.key": "k:~~~~~~~", "cache.tier": "l2"}))
        self.spans.append(span)
        return len(self.spans) - 1

    def _lognormal_ns(self, median_ms: float) -> int:
        return min(int(self._dice.lognormvariate(0, 1.0) * median_ms * MS), _MAX_LEAF_NS)

    def _request(self, operation: str) -> dict[str, Any]:
        method, route = operation.split()
        return {
            "http.request.method": method,
            "http.route": route,
            "url.path": route.replace("{id}", "~~~~~~~"),
            "url.scheme": "https",
            "server.address": "shop.example",
            "client.address": "10.~~.1~~.~~",
            "user_agent.original": self._dice.choice(_AGENTS),
            "http.response.status_code": self._dice.choices((200, 201, 304, 404), (90, 5, 3, 2))[0],
            "user.id": "u-~~~~~~~~",
            "thread.id": self._dice.randrange(1, 17),
        }

    def _call(self, target: str, method: str) -> dict[str, Any]:
        return {
            "http.request.method": method,
            "url.full": f"http://{target}.internal:8080/v1/items/~~~~~~~?customer=~~~~~~&cursor=~~~~~~~~~~",
            "server.address": f"{target}.internal",
            "server.port": 8080,
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "network.peer.address": f"172.16.0.{self._dice.randrange(8)}",
            "request.id": "r-~~~~~~~~~~~~",
        }

    def _sql(self) -> dict[str, Any]:
        rank = min(int(self._dice.expovariate(0.08)), len(STATEMENTS) - 1)
        text, table = STATEMENTS[rank]
        return {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "db.query.text": text,
            "db.operation.name": text.partition(" ")[0],
            "db.collection.name": table,
            "server.address": "db.internal",
            "server.port": 5432,
            "db.response.returned_rows": self._dice.randrange(20),
            "code.function.name": f"shop.{table}.load",
            "order.id": "o-~~~~~~~~",
        }

    def _redis(self) -> dict[str, Any]:
        text = self._dice.choice(_REDIS)
        return {
            "db.system.name": "redis",
            "db.namespace": "0",
            "db.query.text": text,
            "db.operation.name": text.partition(" ")[0],
            "server.address": "cache.internal",
            "server.port": 6379,
            "network.peer.address": "172.16.1.3",
            "thread.id": self._dice.randrange(1, 17),
        }

    def _message(self, operation: str) -> dict[str, Any]:
        verb, destination = operation.split()
        return {
            "messaging.system": "rabbitmq",
            "messaging.destination.name": destination,
            "messaging.operation.type": verb,
            "messaging.message.id": "m-~~~~~~~~~~",
            "messaging.message.body.size": self._dice.randrange(200, 4000),
            "messaging.client.id": f"worker-{self._dice.randrange(4)}",
            "server.address": "queue.internal",
            "order.id": "o-~~~~~~~~",
            "thread.id": self._dice.randrange(1, 17),
        }
