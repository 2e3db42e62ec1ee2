"""Celery in one process: its broker is in memory, and the worker is a thread beside the one that sends tasks."""

import sys

import requests
import stock
from celery import Celery
from celery.contrib.testing.worker import start_worker

app = Celery("shop", broker="memory://", backend="cache+memory://")


@app.task(name="shop.item")
def item(item_id):
    return stock.find(item_id)


@app.task(name="shop.call")
def call():
    return requests.get(stock.URL, timeout=10).json()


if __name__ == "__main__":
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
        results = [item.delay(number + 1) for number in range(int(sys.argv[1]))]
        results += [call.delay() for _ in range(int(sys.argv[2]))]
        for result in results:
            result.get(timeout=20)
