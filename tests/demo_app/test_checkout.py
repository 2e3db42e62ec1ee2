"""Cart and checkout, with payments behind real HTTP."""

import logging
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from demo_app import storefront
from demo_app.models import Charge, Order, Stock, open_engine


def fill_cart(client, visitor="ann", products=(3, 3, 7)):
    """Put these products into the cart."""
    for product_id in products:
        assert client.post(f"/cart/{visitor}/items", json={"product_id": product_id}).status_code == 201


def ask(shop_data, name, statement):
    """One value from one of the shop's files."""
    with Session(open_engine(shop_data / f"{name}.db")) as session:
        return session.scalar(statement)


def test_a_checkout_pays_the_cart(shop, quiet, shop_data):
    """The order is paid, the stock is less by what was bought, and the cart is empty."""
    before = ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3))
    client = shop(quiet)
    fill_cart(client)
    total = client.get("/cart/ann").json["total_cents"]
    answer = client.post("/checkout", json={"visitor": "ann"})

    assert answer.status_code == 201
    assert answer.json["amount_cents"] == total > 0
    assert ask(shop_data, "shop", select(Order.state).where(Order.id == answer.json["order_id"])) == "paid"
    assert ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3)) == before - 2
    assert client.get("/cart/ann").json["lines"] == []


def test_a_refused_payment_fails_the_checkout(shop, quiet, shop_data, caplog):
    """When payments refuses three times the checkout is 502, the stock is given back and the log has the traceback."""
    before = ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3))
    client = shop(replace(quiet, flaky_payments=True, fail_rate=1.0))
    fill_cart(client)
    with caplog.at_level(logging.WARNING, "storefront"):
        answer = client.post("/checkout", json={"visitor": "ann"})

    assert answer.status_code == 502
    assert ask(shop_data, "payments", select(func.count()).where(Charge.state == "refused")) == 3
    assert ask(shop_data, "shop", select(Order.state).order_by(Order.id.desc()).limit(1)) == "failed"
    assert ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3)) == before
    assert [record.levelname for record in caplog.records if record.name.startswith("storefront")] == [
        *["WARNING"] * 3,
        "ERROR",
    ]
    assert "PaymentFailedError" in caplog.text


def test_a_payments_service_that_is_gone_fails_the_checkout(shop_data, quiet):
    """Without payments the checkout is 502 as well, and the health check says why."""
    client = storefront.create_app(shop_data, "http://127.0.0.1:1", quiet).test_client()
    fill_cart(client)

    assert client.post("/checkout", json={"visitor": "ann"}).status_code == 502
    assert client.get("/healthz").json == {"error": "payments does not answer"}


def test_nothing_is_sold_twice(shop, quiet, shop_data):
    """An order for more pieces than there are is 409 and takes nothing."""
    with Session(open_engine(shop_data / "shop.db")) as session:
        session.execute(update(Stock).where(Stock.product_id == 7).values(quantity=0))
        session.commit()
    before = ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3))
    client = shop(quiet)
    fill_cart(client)

    assert client.post("/checkout", json={"visitor": "ann"}).status_code == 409
    assert ask(shop_data, "shop", select(Stock.quantity).where(Stock.product_id == 3)) == before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/checkout", {"visitor": "nobody"}, 400),
        ("/checkout", {"visitor": 3}, 400),
        ("/checkout", ["visitor"], 400),
        ("/cart/ann/items", {}, 400),
        ("/cart/ann/items", {"product_id": 99999}, 404),
    ],
)
def test_wrong_bodies_are_refused(shop, quiet, path, body, status):
    """What cannot be understood or found is a 4xx with a message."""
    answer = shop(quiet).post(path, json=body)

    assert answer.status_code == status
    assert answer.json["error"]
