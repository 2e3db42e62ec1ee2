"""Flask and requests."""

import requests
import stock
from flask import Flask

app = Flask("shop")


@app.get("/items/<int:item_id>")
def item(item_id):
    return stock.find(item_id)


@app.get("/call")
def call():
    return requests.get(stock.URL, timeout=10).json()


@app.get("/stock")
def amount():
    return {"amount": 7}
