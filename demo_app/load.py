"""Visitors for the shop: requests arrive at random moments at a steady rate, whether or not the shop keeps up."""

from __future__ import annotations

import argparse
import json
import logging
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from demo_app.seed import KINDS, LOOKS, PRODUCTS
from demo_app.service import start_logging, stop_on_signal

log = logging.getLogger("load")

TIMEOUT_S = 10.0
VISITORS = 8
# No proxy: the shop is on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class Request:
    """One thing that a visitor asks; with a body it is a POST."""

    path: str
    body: dict[str, Any] | None = None


def journey(visitor: str, dice: random.Random) -> Iterator[Request]:
    """What one visitor does: look around, maybe fill a cart, mostly check out."""
    yield Request(f"/products?page={_popular(dice, 10)}")
    for _ in range(dice.randint(1, 4)):
        search = Request(f"/search?q={dice.choice((LOOKS + ' ' + KINDS).split())}")
        product = Request(f"/products/{_popular(dice, PRODUCTS)}")
        page = Request(f"/products?page={_popular(dice, 10)}")
        yield dice.choices((search, product, page), (3, 5, 2))[0]
    if dice.random() < 0.55:
        for _ in range(dice.randint(1, 3)):
            yield Request(f"/cart/{visitor}/items", {"product_id": _popular(dice, PRODUCTS)})
        yield Request(f"/cart/{visitor}")
        if dice.random() < 0.85:
            yield Request("/checkout", {"visitor": visitor})


def _popular(dice: random.Random, count: int) -> int:
    """A number from 1 to count; small ones more often, as with everything people buy."""
    return 1 + int(count * dice.random() ** 2)


def visits(number: int, seed: int) -> Iterator[Request]:
    """One journey after the other, each as a new visitor."""
    dice = random.Random(f"{seed}:{number}")
    while True:
        yield from journey(f"visitor-{dice.randrange(16**8):08x}", dice)


@dataclass
class Load:
    """An open loop: arrivals never wait for answers. At most one request per visitor is in flight; more are skipped."""

    url: str
    rate: float
    duration_s: float | None = None
    max_requests: int | None = None
    seed: int = 7
    visitors: int = VISITORS
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, stop: threading.Event) -> None:
        """Send until the duration, the number of requests or `stop`; `counts` says what became of them."""
        idle = [visits(number, self.seed) for number in range(self.visitors)]
        dice = random.Random(self.seed)
        now = time.monotonic()
        end, due = now + (self.duration_s or float("inf")), now
        while self.max_requests is None or self.counts["arrived"] < self.max_requests:
            due += dice.expovariate(self.rate)
            if due > end or stop.wait(max(0.0, due - time.monotonic())):
                break
            self._arrive(idle, dice)
        if not stop.is_set():
            self._wait_for_answers(idle, stop)

    def _arrive(self, idle: list[Iterator[Request]], dice: random.Random) -> None:
        self.counts["arrived"] += 1
        if not idle:
            self.counts["skipped"] += 1
            return
        visitor = idle.pop(dice.randrange(len(idle)))
        # A daemon, so that ending never waits for a slow answer.
        threading.Thread(target=self._step, args=(idle, visitor), daemon=True).start()

    def _step(self, idle: list[Iterator[Request]], visitor: Iterator[Request]) -> None:
        self.counts[send(self.url, next(visitor))] += 1
        idle.append(visitor)

    def _wait_for_answers(self, idle: list[Iterator[Request]], stop: threading.Event) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while len(idle) < self.visitors and time.monotonic() < deadline and not stop.wait(0.02):
            pass


def send(url: str, request: Request) -> str:
    """Ask the shop; gives `ok`, `refused` (4xx), `failed` (5xx) or `unanswered`."""
    body = None if request.body is None else json.dumps(request.body).encode()
    message = urllib.request.Request(url + request.path, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with _open(message, timeout=TIMEOUT_S) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        return "failed" if error.code >= 500 else "refused"
    except OSError:
        return "unanswered"
    return "ok"


def wait_until_up(url: str, stop: threading.Event, patience_s: float = 30.0) -> bool:
    """Wait until the shop says it is well; False when it does not in time or `stop` comes first."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if send(url, Request("/healthz")) == "ok":
            return True
        if stop.wait(0.1):
            break
    return False


def main() -> int:
    """Load the shop until the duration is over or SIGTERM."""
    args = _arguments()
    start_logging()
    stop = stop_on_signal()
    if not wait_until_up(args.url, stop):
        if not stop.is_set():
            log.error("%s/healthz did not answer within 30 s", args.url)
        return 0 if stop.is_set() else 1
    log.info("%s is up; about %g requests/s from now on", args.url, args.rate)
    load = Load(args.url, args.rate, args.duration, args.max_requests, args.seed)
    load.run(stop)
    log.info("%s", summary(load.counts))
    return 0


def summary(counts: Counter[str]) -> str:
    """One line with what became of the arrivals."""
    parts = [f"{counts[name]} {name}" for name in ("ok", "refused", "failed", "unanswered")]
    skipped = f"{counts['skipped']} skipped because all visitors were waiting for an answer"
    return f"{counts['arrived']} requests arrived: {', '.join(parts)}, {skipped}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo_app.load", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", type=_local_url, help="the storefront, on 127.0.0.1")
    parser.add_argument("--rate", default=4.0, type=positive, help="requests per second (default 4)")
    parser.add_argument("--duration", type=positive, help="seconds; without it until SIGTERM")
    parser.add_argument("--max-requests", type=int)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def positive(value: str) -> float:
    """A number above zero, for argparse."""
    number = float(value)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a number above zero")
    return number


def _local_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1":
        raise argparse.ArgumentTypeError(f"{value} is not on http://127.0.0.1; this load is for the demo shop alone")
    return value.rstrip("/")


if __name__ == "__main__":
    raise SystemExit(main())
