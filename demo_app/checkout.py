"""The cart, and turning it into a paid order: look at the stock, reserve it, charge, then confirm or release."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

import requests
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from demo_app.cache import Cache
from demo_app.catalogue import price, stock_history
from demo_app.models import CartItem, Order, Stock, StockMovement

log = logging.getLogger("storefront.checkout")

ATTEMPTS = 3
BACKOFF_S = 0.1
CHARGE_TIMEOUT_S = 3.0


class EmptyCartError(Exception):
    """The visitor's cart is empty."""


class OutOfStockError(Exception):
    """There are not enough pieces of a product."""


class PaymentFailedError(Exception):
    """payments did not take the charge, however often it was asked."""


def add_to_cart(session: Session, visitor: str, product_id: int) -> None:
    """Put one more piece of a product into the cart; an unknown product is a `LookupError`."""
    if session.get(Stock, product_id) is None:
        raise LookupError(f"there is no product {product_id}")
    statement = insert(CartItem).values(visitor=visitor, product_id=product_id, quantity=1)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["visitor", "product_id"], set_={"quantity": CartItem.quantity + 1}
        )
    )
    session.commit()


def show_cart(session: Session, cache: Cache, visitor: str) -> dict[str, Any]:
    """The lines of the cart with today's prices, and their sum."""
    items = _items(session, visitor)
    prices = price(cache, [item.product for item in items])
    lines = [
        {"product_id": item.product_id, "quantity": item.quantity, "price_cents": prices[item.product.sku]}
        for item in items
    ]
    return {"visitor": visitor, "lines": lines, "total_cents": _total(items, prices)}


def place_order(session: Session, cache: Cache, payments: Payments, visitor: str) -> Order:
    """Order what is in the cart and pay for it; raises EmptyCartError, OutOfStockError or PaymentFailedError."""
    items = _items(session, visitor)
    if not items:
        raise EmptyCartError(f"the cart of {visitor} is empty")
    for item in items:
        history = stock_history(session, item.product.sku)
        log.info("%d movements loaded, sku=%s", len(history), item.product.sku)
    order = Order(visitor=visitor, amount_cents=_total(items, price(cache, [i.product for i in items])), state="placed")
    pieces = {item.product_id: (item.product.sku, item.quantity) for item in items}
    _reserve(session, order, pieces)
    try:
        payments.charge(order.id, order.amount_cents)
    except PaymentFailedError:
        _release(session, order, pieces)
        raise
    order.state = "paid"
    session.execute(delete(CartItem).where(CartItem.visitor == visitor))
    session.commit()
    log.info("order %d paid, %d cents", order.id, order.amount_cents)
    return order


class Payments:
    """The payments service, as the storefront talks to it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = requests.Session()
        self._http.trust_env = False  # a neighbour on the same machine; no proxy stands between

    def is_up(self) -> bool:
        """Whether it answers its health check."""
        try:
            return self._http.get(f"{self._url}/healthz", timeout=1).ok
        except requests.RequestException:
            return False

    def charge(self, order_id: int, amount_cents: int) -> None:
        """Charge an order, trying again after 100 and 200 ms; PaymentFailedError when the last attempt fails too."""
        for attempt in range(1, ATTEMPTS + 1):
            error = self._try_charge(order_id, amount_cents)
            if error is None:
                return
            log.warning("charging order %d failed, attempt %d of %d: %s", order_id, attempt, ATTEMPTS, error)
            if attempt < ATTEMPTS:
                time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        raise PaymentFailedError(f"order {order_id} could not be charged in {ATTEMPTS} attempts") from error

    def _try_charge(self, order_id: int, amount_cents: int) -> requests.RequestException | None:
        body = {"order_id": order_id, "amount_cents": amount_cents}
        try:
            self._http.post(f"{self._url}/charge", json=body, timeout=CHARGE_TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:
            return error
        return None


def _items(session: Session, visitor: str) -> list[CartItem]:
    return list(session.scalars(select(CartItem).where(CartItem.visitor == visitor)))


def _total(items: list[CartItem], prices: dict[str, int]) -> int:
    return sum(prices[item.product.sku] * item.quantity for item in items)


def _reserve(session: Session, order: Order, pieces: dict[int, tuple[str, int]]) -> None:
    """Take the pieces from the stock and place the order, in one short transaction."""
    for product_id, (sku, quantity) in pieces.items():
        enough = update(Stock).where(Stock.product_id == product_id, Stock.quantity >= quantity)
        if session.execute(enough.values(quantity=Stock.quantity - quantity)).rowcount == 0:  # type: ignore[attr-defined]
            session.rollback()
            raise OutOfStockError(f"fewer than {quantity} pieces of {sku} are left")
        session.add(_movement(sku, -quantity, "sale"))
    session.add(order)
    session.commit()


def _release(session: Session, order: Order, pieces: dict[int, tuple[str, int]]) -> None:
    """Put the pieces back and mark the order as failed."""
    for product_id, (sku, quantity) in pieces.items():
        session.execute(update(Stock).where(Stock.product_id == product_id).values(quantity=Stock.quantity + quantity))
        session.add(_movement(sku, quantity, "sale undone"))
    order.state = "failed"
    session.commit()


def _movement(sku: str, delta: int, note: str) -> StockMovement:
    now = datetime.now().isoformat(" ", "seconds")  # noqa: DTZ005  the shop writes local time without a zone
    return StockMovement(sku=sku, delta=delta, note=note, moved_at=now)
