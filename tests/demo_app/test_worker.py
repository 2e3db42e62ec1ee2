"""The background job and its bounded leak."""

import pytest
import requests
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from demo_app import payments
from demo_app.models import Order, Stock, open_engine
from demo_app.worker import (
    BATCH_ORDERS,
    LEAK_LIMIT_BYTES,
    REPORT_ORDERS,
    REPORT_ROW_BYTES,
    Reports,
    make_report,
    restock,
)
from demo_app.worker import settle_orders as settle

REPORT = [bytes(REPORT_ROW_BYTES)] * REPORT_ORDERS


@pytest.fixture
def engine(shop_data):
    """The shop's database, with three paid orders."""
    engine = open_engine(shop_data / "shop.db")
    with Session(engine) as session:
        session.add_all([Order(visitor="ann", amount_cents=100, state="paid") for _ in range(3)])
        session.commit()
    return engine


def count_paid(engine):
    """How many orders wait to be settled."""
    with Session(engine) as session:
        return session.scalar(select(func.count()).where(Order.state == "paid"))


def test_the_leak_grows_and_stops_at_its_limit():
    """With the fault reports pile up, but never over 64 MB."""
    reports = Reports(leaks=True)
    reports.add(REPORT)
    reports.add(REPORT)
    two = len(reports.kept)
    for _ in range(2000):
        reports.add(REPORT)

    assert two == 2 * REPORT_ORDERS
    assert len(reports.kept) * REPORT_ROW_BYTES == LEAK_LIMIT_BYTES == 64 * 1024 * 1024


def test_without_the_leak_only_the_last_report_is_kept():
    """With the fault off memory does not grow."""
    reports = Reports(leaks=False)
    for _ in range(100):
        reports.add(REPORT)

    assert len(reports.kept) == REPORT_ORDERS


def test_a_report_row_has_the_size_that_the_limit_counts_with(engine):
    """A report has a row per recent order, each of the size on which the bound rests."""
    report = make_report(engine)

    assert {len(row) for row in report} == {REPORT_ROW_BYTES}
    assert len(report) == REPORT_ORDERS


def test_paid_orders_are_settled(engine, shop_data, quiet, serve):
    """All paid orders are settled at payments, once."""
    url = serve(payments.create_app(shop_data, quiet))
    with requests.Session() as http:
        counts = [settle(engine, http, url), settle(engine, http, url)]

    assert counts == [3, 0]
    assert count_paid(engine) == 0


def test_a_full_batch_tells_that_more_orders_may_wait(engine, shop_data, quiet, serve):
    """Of 23 orders 20 are settled in the first round; the rest in the next, which starts at once."""
    with Session(engine) as session:
        session.add_all([Order(visitor="bob", amount_cents=100, state="paid") for _ in range(20)])
        session.commit()
    url = serve(payments.create_app(shop_data, quiet))
    with requests.Session() as http:
        counts = [settle(engine, http, url), settle(engine, http, url)]

    assert counts == [BATCH_ORDERS, 3]


def test_orders_wait_while_payments_is_gone(engine):
    """When payments does not answer the orders stay paid for the next round."""
    with requests.Session() as http:
        settled = settle(engine, http, "http://127.0.0.1:1")

    assert settled == 0
    assert count_paid(engine) == 3


def test_what_runs_low_is_restocked(engine):
    """A product with fewer than 50 pieces gets 500 more, the others nothing."""
    with Session(engine) as session:
        session.execute(update(Stock).where(Stock.product_id == 1).values(quantity=10))
        session.execute(update(Stock).where(Stock.product_id == 2).values(quantity=50))
        session.commit()
    restock(engine)
    with Session(engine) as session:
        quantities = session.scalars(select(Stock.quantity).where(Stock.product_id.in_([1, 2]))).all()

    assert quantities == [510, 50]
