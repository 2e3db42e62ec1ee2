"""A small service that knows a price; it knows nothing of OpenTelemetry."""

import sys

import flask

app = flask.Flask("prices")


@app.get("/products/<int:product_id>")
def price(product_id: int) -> dict[str, int]:
    """The price of a product in cents."""
    return {"product_id": product_id, "cents": 250}


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]))
