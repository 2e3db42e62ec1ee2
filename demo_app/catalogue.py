"""What visitors look at: the product list, one product, search, and prices through the cache."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from demo_app.cache import Cache
from demo_app.models import Product, StockMovement

PAGE_SIZE = 40
RELATED = 12
HISTORY = 14


def list_products(session: Session, page: int, *, n_plus_one: bool) -> list[dict[str, Any]]:
    """One page of products with their stock: two queries, or one per product more with the fault."""
    statement = select(Product).order_by(Product.id).limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE)
    if not n_plus_one:
        statement = statement.options(selectinload(Product.stock))
    return [
        {"id": product.id, "name": product.name, "price_cents": product.price_cents, "in_stock": product.stock.quantity}
        for product in session.scalars(statement)
    ]


def show_product(session: Session, cache: Cache, product_id: int) -> dict[str, Any] | None:
    """A product, its latest stock movements and what goes with it; None when there is no such product."""
    product = session.get(Product, product_id)
    if product is None:
        return None
    others = session.scalars(
        select(Product).where(Product.kind == product.kind, Product.id != product_id).limit(RELATED)
    ).all()
    prices = price(cache, [product, *others])
    return {
        "id": product.id,
        "name": product.name,
        "price_cents": prices[product.sku],
        "in_stock": product.stock.quantity,
        "movements": stock_history(session, product.sku),
        "related": [{"id": other.id, "name": other.name, "price_cents": prices[other.sku]} for other in others],
    }


def search_products(session: Session, cache: Cache, words: str) -> list[dict[str, Any]]:
    """Up to 20 products whose name contains the words."""
    statement = select(Product).where(Product.name.icontains(words, autoescape=True)).order_by(Product.name).limit(20)
    products = list(session.scalars(statement))
    prices = price(cache, products)
    return [{"id": product.id, "name": product.name, "price_cents": prices[product.sku]} for product in products]


def stock_history(session: Session, sku: str) -> list[dict[str, Any]]:
    """The latest movements of one SKU, newest first. Without an index on `sku` this reads the whole table."""
    statement = (
        select(StockMovement.id, StockMovement.sku, StockMovement.delta, StockMovement.moved_at)
        .where(StockMovement.sku == sku)
        .order_by(StockMovement.moved_at.desc())
        .limit(HISTORY)
    )
    return [{"delta": row.delta, "moved_at": row.moved_at} for row in session.execute(statement)]


def price(cache: Cache, products: list[Product]) -> dict[str, int]:
    """What each product costs now, in cents by SKU: its price less its discount, both through the cache."""
    wanted = {f"price:{product.sku}": product.price_cents for product in products} | {
        f"discount:{product.sku}": _discount_percent(product) for product in products
    }
    known = cache.get_many(wanted)
    missing = {key: value for key, value in wanted.items() if key not in known}
    if missing:
        cache.put_many(missing)
    known |= missing
    return {
        product.sku: known[f"price:{product.sku}"] * (100 - known[f"discount:{product.sku}"]) // 100
        for product in products
    }


def _discount_percent(product: Product) -> int:
    return 10 if product.id % 7 == 0 else 0
