"""The shop's tables, as its storefront and its worker see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class ShopBase(DeclarativeBase):
    """The tables of shop.db."""


class Product(ShopBase):
    """Something for sale."""

    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(index=True)
    price_cents: Mapped[int]
    stock: Mapped[Stock] = relationship()


class Stock(ShopBase):
    """How many pieces of a product lie in the warehouse."""

    __tablename__ = "stock"
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    quantity: Mapped[int]


class StockMovement(ShopBase):
    """One delivery or sale; the table that the missing-index fault is about."""

    __tablename__ = "stock_movements"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    delta: Mapped[int]
    note: Mapped[str]
    moved_at: Mapped[str]


class CartItem(ShopBase):
    """A product in a visitor's cart."""

    __tablename__ = "cart_items"
    visitor: Mapped[str] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    quantity: Mapped[int]
    product: Mapped[Product] = relationship(lazy="joined", innerjoin=True)


class Order(ShopBase):
    """A checkout: placed, then paid or failed, then settled."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    visitor: Mapped[str]
    amount_cents: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)


class CacheBase(DeclarativeBase):
    """The tables of cache.db."""


class CacheEntry(CacheBase):
    """One cached number, good until `expires_at` (seconds since 1970)."""

    __tablename__ = "cache_entries"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]
    expires_at: Mapped[float]


class PaymentsBase(DeclarativeBase):
    """The tables of payments.db."""


class Charge(PaymentsBase):
    """One attempt to charge an order."""

    __tablename__ = "charges"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(index=True)
    amount_cents: Mapped[int]
    state: Mapped[str]


def open_engine(path: Path) -> Engine:
    """An engine on one SQLite file, where readers and the writer do not wait for each other."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;")
