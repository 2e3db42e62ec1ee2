"""The cache asks the shared table once, or with the fault once per key."""

import pytest
from sqlalchemy.orm import Session

from demo_app.cache import Cache
from demo_app.models import CacheEntry, open_engine

KEYS = {f"price:{number}": number for number in range(20)}


@pytest.fixture
def engine(shop_data):
    """The shared table's engine."""
    return open_engine(shop_data / "cache.db")


def test_memory_answers_without_a_query(engine, statements):
    """What this process put it finds again without asking the table."""
    cache = Cache(engine, chatty=False)
    cache.put_many(KEYS)
    statements.clear()

    assert cache.get_many(KEYS) == KEYS
    assert statements == []


def test_misses_are_asked_in_one_query(engine, statements):
    """Another process's numbers come from the table, all at once."""
    Cache(engine, chatty=False).put_many(KEYS)
    statements.clear()

    assert Cache(engine, chatty=False).get_many([*KEYS, "price:unknown"]) == KEYS
    assert len(statements) == 1


def test_a_chatty_cache_asks_key_by_key(engine, statements):
    """With the fault each key costs a query, every time."""
    cache = Cache(engine, chatty=True)
    cache.put_many(KEYS)
    statements.clear()

    assert cache.get_many(KEYS) == KEYS
    assert cache.get_many(KEYS) == KEYS
    assert len(statements) == 2 * len(KEYS)


@pytest.mark.parametrize("chatty", [False, True])
def test_stale_numbers_are_misses(engine, chatty):
    """A number whose time is over is not given."""
    with Session(engine) as session:
        session.add(CacheEntry(key="price:1", value=1, expires_at=1.0))
        session.commit()

    assert Cache(engine, chatty=chatty).get_many(["price:1"]) == {}
