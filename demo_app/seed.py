"""Fill the shop's SQLite files with the same products, stock and movements every time, once per data directory."""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

VERSION = "1"
MOVEMENTS = 160_000
ORDERS = 2_000
LOOKS = "Alpine Autumn Canvas Classic Coastal Desert Forest Granite Harbour Linen Meadow Misty Nordic Ocean Plain River"
KINDS = (
    "Backpack Beanie Belt Blanket Boots Bottle Cap Gloves Hammock Jacket Kettle Knife Lamp Mug Parka Poncho Rope "
    "Sandals Scarf Shirt Socks Stove Tent Torch Trousers"
)
PRODUCTS = len(LOOKS.split()) * len(KINDS.split())


def ensure_seeded(data_dir: Path) -> None:
    """Seed the directory unless that is done; in a process of its own, which takes its memory along when it ends."""
    if is_seeded(data_dir):
        return
    # -E: whatever the environment loads into the shop's services has no business in this one-off.
    command = [sys.executable, "-E", "-m", "demo_app.seed", "--data", str(data_dir)]
    if subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode:
        raise SystemExit(f"the shop's data could not be made in {data_dir}; the reason stands above")


def is_seeded(data_dir: Path) -> bool:
    """Whether this version of the data is complete in the directory."""
    stamp = data_dir / "seeded"
    return stamp.exists() and stamp.read_text() == VERSION


def seed(data_dir: Path) -> bool:
    """Make shop.db, cache.db and payments.db; gives False when they were there. One of several at once does it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    # An exclusive SQLite transaction is a lock that works everywhere and dies with its holder.
    with closing(sqlite3.connect(data_dir / "seed-lock.db", timeout=30, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if is_seeded(data_dir):
            return False
        for name in ("shop", "cache", "payments"):
            _replace_database(data_dir, name)
        half = data_dir / "seeded.half"
        half.write_text(VERSION)
        half.replace(data_dir / "seeded")
        return True


def _replace_database(data_dir: Path, name: str) -> None:
    """Write `<name>.db` under another name and rename it when it is whole, so that nobody meets a half-made one."""
    half, whole = data_dir / f"{name}.half", data_dir / f"{name}.db"
    half.unlink(missing_ok=True)
    _create_tables(half, name)
    if name == "shop":
        with closing(sqlite3.connect(half, isolation_level=None)) as connection:
            connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
            _fill(connection)
            connection.execute("COMMIT")
    for leftover in (f"{whole}-wal", f"{whole}-shm"):
        Path(leftover).unlink(missing_ok=True)
    half.replace(whole)


def _create_tables(path: Path, name: str) -> None:
    from sqlalchemy import create_engine

    from demo_app.models import CacheBase, PaymentsBase, ShopBase

    engine = create_engine(f"sqlite:///{path}")
    {"shop": ShopBase, "cache": CacheBase, "payments": PaymentsBase}[name].metadata.create_all(engine)
    engine.dispose()


def _fill(connection: sqlite3.Connection) -> None:
    dice = random.Random(7)
    products = list(_products(dice))
    connection.executemany("INSERT INTO products (id, sku, name, kind, price_cents) VALUES (?, ?, ?, ?, ?)", products)
    stock = [(product[0], dice.randrange(200, 900)) for product in products]
    connection.executemany("INSERT INTO stock (product_id, quantity) VALUES (?, ?)", stock)
    movements = _movements([str(product[1]) for product in products])
    connection.executemany("INSERT INTO stock_movements (sku, delta, note, moved_at) VALUES (?, ?, ?, ?)", movements)
    orders = [(f"visitor-{dice.randrange(10**6):06d}", dice.randrange(900, 30_000), "settled") for _ in range(ORDERS)]
    connection.executemany("INSERT INTO orders (visitor, amount_cents, state) VALUES (?, ?, ?)", orders)


def _products(dice: random.Random) -> Iterator[tuple[int, str, str, str, int]]:
    names = [(look, kind) for look in LOOKS.split() for kind in KINDS.split()]
    for number, (look, kind) in enumerate(names, start=1):
        yield number, f"{kind.upper()}-{number:03d}", f"{look} {kind}", kind, dice.randrange(900, 25_000)


def _movements(skus: list[str]) -> Iterator[tuple[str, int, str, str]]:
    # The note is long because real movement tables carry such text, and a full scan pays for every byte of it.
    notes = [
        f"{what}, pallet checked at gate {gate}. ".ljust(240, ".") for what in ("delivery", "sale") for gate in "ABC"
    ]
    start = datetime(2026, 1, 1)  # noqa: DTZ001  the shop writes local time without a zone, as many do
    hours = [(start + timedelta(hours=hour)).isoformat(" ") for hour in range(24 * 300)]
    for number in range(MOVEMENTS):
        # 7919 is prime: every SKU gets its share, in an order that looks unordered.
        yield skus[number * 7919 % len(skus)], number % 60 - 20, notes[number % 6], hours[number * 9 // 200]


def main() -> None:
    """Seed the directory given by --data or SHOP_DATA."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.seed", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOP_DATA", "demo-data")))
    seed(parser.parse_args().data)


if __name__ == "__main__":
    main()
