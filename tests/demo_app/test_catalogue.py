"""The catalogue's pages, and the two faults that slow them down."""

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import text

from demo_app.models import open_engine

PLAN = """EXPLAIN QUERY PLAN SELECT id, sku, delta, moved_at FROM stock_movements
          WHERE sku = 'BOOTS-005' ORDER BY moved_at DESC LIMIT 14"""


def tables(statements):
    """How many SELECTs went to each table."""
    return Counter(statement.split("FROM ")[1].split()[0] for statement in statements if statement.startswith("SELECT"))


def test_the_list_reads_each_stock_alone_with_the_fault(shop, quiet, statements):
    """With N+1 a page of 40 products costs 41 queries."""
    client = shop(replace(quiet, n_plus_one=True))
    statements.clear()
    answer = client.get("/products?page=2")

    assert len(answer.json) == 40
    assert tables(statements) == {"products": 1, "stock": 40}


def test_the_list_reads_all_stock_at_once_without_the_fault(shop, quiet, statements):
    """Without N+1 the same page costs two queries and shows the same."""
    client = shop(quiet)
    statements.clear()
    answer = client.get("/products?page=2")

    assert answer.json == shop(replace(quiet, n_plus_one=True)).get("/products?page=2").json
    assert tables(statements[:2]) == {"products": 1, "stock": 1}


@pytest.mark.parametrize(("is_missing", "access"), [(True, "SCAN"), (False, "SEARCH")])
def test_the_stock_history_scans_without_the_index(shop, quiet, shop_data, is_missing, access):
    """The fault makes the history read the whole table; without it an index leads there."""
    shop(replace(quiet, missing_index=is_missing))
    engine = open_engine(shop_data / "shop.db")
    with engine.connect() as connection:
        plan = connection.execute(text(PLAN)).all()

    assert plan[0].detail.startswith(f"{access} stock_movements")


def test_a_product_shows_its_history_newest_first(shop, quiet):
    """The page of a product has its latest 14 movements and what goes with it, the same with the faults as without."""
    page = shop(quiet).get("/products/114").json
    moved = [movement["moved_at"] for movement in page["movements"]]

    assert len(moved) == 14
    assert moved == sorted(moved, reverse=True)
    assert len(page["related"]) == 12
    assert shop(replace(quiet, missing_index=True, chatty_cache=True)).get("/products/114").json == page


def test_the_chatty_cache_shows_as_many_small_queries(shop, quiet, statements):
    """With the fault a search that finds 16 products asks the cache table 32 times, without it not even once."""
    counts = []
    for chatty in (True, False):
        client = shop(replace(quiet, chatty_cache=chatty))
        assert len(client.get("/search?q=boots").json) == 16
        statements.clear()
        client.get("/search?q=boots")
        counts.append(tables(statements)["cache_entries"])

    assert counts == [32, 0]


def test_discounts_are_taken_off(shop, quiet):
    """Every seventh product costs ten percent less than its list price."""
    client = shop(quiet)
    listed = {product["id"]: product["price_cents"] for product in client.get("/products").json}

    assert client.get("/products/7").json["price_cents"] == listed[7] * 90 // 100
    assert client.get("/products/8").json["price_cents"] == listed[8]


def test_what_is_not_there_is_404(shop, quiet):
    """An unknown product and an unknown path are 404 with a message in JSON."""
    client = shop(quiet)

    assert client.get("/products/99999").json == {"error": "There is no product 99999."}
    assert client.get("/nowhere").status_code == 404
    assert client.get("/search?q=zebra").json == []
    assert client.get("/search?q=%25").json == []
    assert client.get("/products?page=-3").status_code == client.get("/products?page=x").status_code == 200
