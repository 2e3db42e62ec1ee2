"""The background job: settles paid orders, restocks what ran low, and makes the reports that it forgets to let go."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import requests
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from demo_app.faults import read_faults
from demo_app.models import Order, Stock, open_engine
from demo_app.seed import ensure_seeded
from demo_app.service import start_logging, stop_on_signal

log = logging.getLogger("worker")

LEAK_LIMIT_BYTES = 64 * 1024 * 1024
BATCH_ORDERS = 20
REPORT_ORDERS = 64
REPORT_ROW_BYTES = 1024


@dataclass
class Reports:
    """The reports made so far; with the leak they all stay, until the limit, so that no laptop is ever hurt."""

    leaks: bool
    kept: list[bytes] = field(default_factory=list)

    def add(self, rows: list[bytes]) -> None:
        """Take one report; without the leak it replaces the one before."""
        if not self.leaks:
            self.kept = rows
        elif (len(self.kept) + len(rows)) * REPORT_ROW_BYTES <= LEAK_LIMIT_BYTES:
            self.kept += rows


def settle_orders(engine: Engine, http: requests.Session, payments_url: str) -> int:
    """Settle up to BATCH_ORDERS paid orders at payments; gives how many. One that fails stays for the next round."""
    settled = 0
    paid = select(Order).where(Order.state == "paid").order_by(Order.id).limit(BATCH_ORDERS)
    with Session(engine, expire_on_commit=False) as session:
        orders = session.scalars(paid).all()
        for order in orders:
            try:
                http.post(f"{payments_url}/settle", json={"order_id": order.id}, timeout=1).raise_for_status()
            except requests.RequestException:
                log.warning("order %d could not be settled, next try in the next round", order.id, exc_info=True)
                break
            order.state = "settled"
            session.commit()
            settled += 1
    return settled


def restock(engine: Engine) -> None:
    """Order 500 more pieces of everything that runs low."""
    with Session(engine) as session:
        session.execute(update(Stock).where(Stock.quantity < 50).values(quantity=Stock.quantity + 500))
        session.commit()


def make_report(engine: Engine) -> list[bytes]:
    """One row of text per recent order."""
    statement = select(Order.id, Order.amount_cents, Order.state).order_by(Order.id.desc()).limit(REPORT_ORDERS)
    with Session(engine) as session:
        rows = session.execute(statement).all()
    return [f"{row.id} {row.amount_cents} {row.state}".ljust(REPORT_ROW_BYTES).encode() for row in rows]


def main() -> None:
    """Do all three every few seconds until SIGTERM, and again at once while more orders wait."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.worker", description=__doc__)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two rounds (default 5)")
    args = parser.parse_args()
    start_logging()
    stop = stop_on_signal()
    data_dir = Path(os.environ.get("SHOP_DATA", "demo-data"))
    ensure_seeded(data_dir)
    payments_url = os.environ.get("SHOP_PAYMENTS_URL", "http://127.0.0.1:8001")
    engine, reports, http = open_engine(data_dir / "shop.db"), Reports(read_faults(os.environ).memory_leak), _http()
    settled = 0
    while not stop.wait(0 if settled == BATCH_ORDERS else args.interval):
        settled = settle_orders(engine, http, payments_url)
        restock(engine)
        reports.add(make_report(engine))
        log.info("settled %d orders, %d report rows in memory", settled, len(reports.kept))


def _http() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a neighbour on the same machine; no proxy stands between
    return session


if __name__ == "__main__":
    main()
