"""Celery, and requests; run as a script it is the sender of tasks."""

import os
import sys

import requests
import stock
from celery import Celery

app = Celery("shop", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="shop.item")
def item(item_id):
    return stock.find(item_id)


@app.task(name="shop.call")
def call():
    return requests.get(stock.URL, timeout=10).json()


if __name__ == "__main__":
    results = [item.delay(number + 1) for number in range(int(sys.argv[1]))]
    results += [call.delay() for _ in range(int(sys.argv[2]))]
    print(len({result.get(timeout=20).get("pid") for result in results}))
