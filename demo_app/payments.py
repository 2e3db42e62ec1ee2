"""The payments service: charges orders at a bank that is not always well, and settles what was charged."""

from __future__ import annotations

import argparse
import logging
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from demo_app.faults import Faults, read_faults
from demo_app.models import Charge, open_engine
from demo_app.seed import ensure_seeded
from demo_app.service import serve, start_logging

log = logging.getLogger("payments")

# A bank that refused an order mostly still refuses it 0.1 s later; otherwise retries would hide the fault.
STAYS_DOWN = 0.85


@dataclass(frozen=True)
class BankAnswer:
    """What the bank says to one attempt: whether it takes the charge, and after how long."""

    accepted: bool
    delay_s: float = 0.0


def ask_bank(order_id: int, attempt: int, faults: Faults) -> BankAnswer:
    """The bank's answer. The dice depend on seed, order and attempt alone, so every run tells the same story."""
    if not faults.flaky_payments:
        return BankAnswer(accepted=True)
    dice = random.Random(f"{faults.seed}:{order_id}")
    roll = dice.random()
    if roll < faults.fail_rate:
        again = random.Random(f"{faults.seed}:{order_id}:{attempt}").random()
        return BankAnswer(accepted=attempt > 1 and again > max(STAYS_DOWN, faults.fail_rate))
    if roll < faults.fail_rate + faults.slow_rate:
        return BankAnswer(accepted=True, delay_s=dice.uniform(0.8, 1.5))
    return BankAnswer(accepted=True)


def create_app(data_dir: Path, faults: Faults) -> Flask:
    """The payments service on the data of one directory."""
    app = Flask("payments")
    engine = open_engine(data_dir / "payments.db")

    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        return {"status": "ok"}

    @app.post("/charge")
    def charge() -> ResponseReturnValue:
        order_id, amount_cents = _number("order_id"), _number("amount_cents")
        answer = ask_bank(order_id, _count_attempts(engine, order_id) + 1, faults)
        time.sleep(answer.delay_s)
        if answer.delay_s:
            log.warning("the bank took %.2f s for order %d", answer.delay_s, order_id)
        _record(engine, order_id, amount_cents, "accepted" if answer.accepted else "refused")
        if not answer.accepted:
            log.error("the bank refused order %d", order_id)
            return {"error": "the bank does not answer"}, 503
        return {"order_id": order_id, "state": "accepted"}

    @app.post("/settle")
    def settle() -> ResponseReturnValue:
        order_id = _number("order_id")
        accepted = update(Charge).where(Charge.order_id == order_id, Charge.state == "accepted")
        with Session(engine) as session:
            session.execute(accepted.values(state="settled"))
            session.commit()
        return {"order_id": order_id, "state": "settled"}

    app.register_error_handler(400, lambda error: ({"error": error.description}, 400))
    return app


def _count_attempts(engine: Engine, order_id: int) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).where(Charge.order_id == order_id)) or 0


def _record(engine: Engine, order_id: int, amount_cents: int, state: str) -> None:
    with Session(engine) as session:
        session.add(Charge(order_id=order_id, amount_cents=amount_cents, state=state))
        session.commit()


def _number(name: str) -> int:
    """One whole number of the JSON body; 400 when it is missing."""
    body: Any = request.get_json()
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, int):
        abort(400, f"The body needs {name!r}, a whole number.")
    return value


def main() -> None:
    """Serve payments until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.payments", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    args = parser.parse_args()
    start_logging()
    data_dir = Path(os.environ.get("SHOP_DATA", "demo-data"))
    ensure_seeded(data_dir)
    serve(create_app(data_dir, read_faults(os.environ)), args.host, args.port)


if __name__ == "__main__":
    main()
