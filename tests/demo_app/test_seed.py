"""The shop's data is the same every time, made once, and never half-made."""

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from demo_app.seed import MOVEMENTS, PRODUCTS, ensure_seeded, is_seeded, seed

TABLES = ("products", "stock", "stock_movements", "orders")


def digest(path):
    """A checksum over all rows of the shop's tables."""
    sums = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1"):
                sums.update(repr(row).encode())
    return sums.hexdigest()


def test_two_seeds_are_equal(seeded, tmp_path):
    """Two directories get the same rows."""
    seed(tmp_path)

    assert digest(tmp_path / "shop.db") == digest(seeded / "shop.db")


def test_the_slow_table_is_large(seeded):
    """There are enough movements for a full scan to be slow, spread over all products."""
    with closing(sqlite3.connect(seeded / "shop.db")) as connection:
        rows, skus = connection.execute("SELECT count(*), count(DISTINCT sku) FROM stock_movements").fetchone()

    assert rows == MOVEMENTS >= 120_000
    assert skus == PRODUCTS


def test_a_seeded_directory_is_left_alone(shop_data):
    """Seeding again changes no file."""
    before = {path.name: path.stat().st_mtime_ns for path in shop_data.iterdir()}

    assert seed(shop_data) is False
    assert {path.name: path.stat().st_mtime_ns for path in shop_data.iterdir()} == before


def test_a_half_made_seed_is_made_anew(seeded, tmp_path):
    """Files without the stamp, such as a killed seed leaves, are replaced by whole ones."""
    (tmp_path / "shop.half").write_bytes(b"half")
    (tmp_path / "shop.db").write_bytes(b"not a database")

    assert not is_seeded(tmp_path)
    assert seed(tmp_path) is True
    assert digest(tmp_path / "shop.db") == digest(seeded / "shop.db")


def test_only_one_of_several_seeds_at_once(tmp_path):
    """Of three that start together one seeds, and the others find it done."""
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(seed, [tmp_path] * 3))

    assert sorted(made) == [False, False, True]


def test_a_service_seeds_what_is_missing(tmp_path):
    """A service that finds no data makes it, in a process of its own."""
    ensure_seeded(tmp_path / "new")

    assert is_seeded(tmp_path / "new")
