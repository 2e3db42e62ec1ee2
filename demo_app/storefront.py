"""The storefront: products, search, cart and checkout over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from demo_app import catalogue, checkout
from demo_app.cache import Cache
from demo_app.faults import Faults, read_faults
from demo_app.models import open_engine
from demo_app.seed import ensure_seeded
from demo_app.service import serve, start_logging

log = logging.getLogger("storefront")


def create_app(data_dir: Path, payments_url: str, faults: Faults) -> Flask:
    """The storefront on the data of one directory."""
    app = Flask("storefront")
    engine = open_engine(data_dir / "shop.db")
    cache = Cache(open_engine(data_dir / "cache.db"), chatty=faults.chatty_cache)
    payments = checkout.Payments(payments_url)
    _set_index(engine, wanted=not faults.missing_index)
    _add_catalogue(app, engine, cache, faults)
    _add_cart(app, engine, cache, payments)

    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        return {"status": "ok"} if payments.is_up() else ({"error": "payments does not answer"}, 503)

    for status in (400, 404):
        app.register_error_handler(status, lambda error: ({"error": error.description}, error.code))
    return app


def _add_catalogue(app: Flask, engine: Engine, cache: Cache, faults: Faults) -> None:
    @app.get("/")
    def index() -> str:
        links = ("/products", "/products/114", "/search?q=boots")
        return "<h1>Shop</h1>" + "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)

    @app.get("/products")
    def products() -> ResponseReturnValue:
        page = request.args.get("page", 1, type=int)
        with Session(engine) as session:
            return jsonify(catalogue.list_products(session, max(page, 1), n_plus_one=faults.n_plus_one))

    @app.get("/products/<int:product_id>")
    def product(product_id: int) -> ResponseReturnValue:
        with Session(engine) as session:
            shown = catalogue.show_product(session, cache, product_id)
        return shown if shown else abort(404, f"There is no product {product_id}.")

    @app.get("/search")
    def search() -> ResponseReturnValue:
        words = request.args.get("q", "")
        with Session(engine) as session:
            found = catalogue.search_products(session, cache, words)
        if not found:
            log.warning("nothing found for %r", words)
        return jsonify(found)


def _add_cart(app: Flask, engine: Engine, cache: Cache, payments: checkout.Payments) -> None:
    @app.get("/cart/<visitor>")
    def cart(visitor: str) -> ResponseReturnValue:
        with Session(engine) as session:
            return checkout.show_cart(session, cache, visitor)

    @app.post("/cart/<visitor>/items")
    def add_item(visitor: str) -> ResponseReturnValue:
        product_id = _field("product_id", int)
        try:
            with Session(engine) as session:
                checkout.add_to_cart(session, visitor, product_id)
        except LookupError as error:
            abort(404, str(error))
        return {"visitor": visitor, "product_id": product_id}, 201

    @app.post("/checkout")
    def check_out() -> ResponseReturnValue:
        visitor = _field("visitor", str)
        try:
            # What was read stays readable after the short transactions; the next one re-reads nothing.
            with Session(engine, expire_on_commit=False) as session:
                order = checkout.place_order(session, cache, payments, visitor)
        except checkout.EmptyCartError as error:
            abort(400, str(error))
        except checkout.OutOfStockError as error:
            log.warning("checkout of %s refused: %s", visitor, error)
            return {"error": str(error)}, 409
        except checkout.PaymentFailedError as error:
            log.error("checkout of %s failed", visitor, exc_info=error)
            return {"error": str(error)}, 502
        return {"order_id": order.id, "amount_cents": order.amount_cents}, 201


def _field(name: str, kind: type) -> Any:
    """One field of the JSON body; 400 when it is missing or of another type."""
    body = request.get_json()
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind):
        abort(400, f"The body needs {name!r}, of type {kind.__name__}.")
    return value


def _set_index(engine: Engine, *, wanted: bool) -> None:
    """Make or drop the index whose absence is the fault."""
    make = "CREATE INDEX IF NOT EXISTS stock_movements_sku ON stock_movements (sku, moved_at)"
    drop = "DROP INDEX IF EXISTS stock_movements_sku"
    with engine.begin() as connection:
        connection.execute(text(make if wanted else drop))


def main() -> None:
    """Serve the storefront until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo_app.storefront", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    start_logging()
    data_dir = Path(os.environ.get("SHOP_DATA", "demo-data"))
    ensure_seeded(data_dir)
    payments_url = os.environ.get("SHOP_PAYMENTS_URL", "http://127.0.0.1:8001")
    serve(create_app(data_dir, payments_url, read_faults(os.environ)), args.host, args.port)


if __name__ == "__main__":
    main()
