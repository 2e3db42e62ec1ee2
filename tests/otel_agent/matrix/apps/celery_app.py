"""Celery, and requests; run as a script it is the sender of tasks. Without REDIS_URL its broker is in memory."""

import os
import sys

import requests
import stock
from celery import Celery

broker = os.environ.get("REDIS_URL", "memory://")
app = Celery("shop", broker=broker, backend=os.environ.get("REDIS_URL", "cache+memory://"))
app.conf.broker_connection_retry_on_startup = True


@app.task(name="shop.item")
def item(item_id):
    return stock.find(item_id)


@app.task(name="shop.call")
def call():
    return requests.get(stock.URL, timeout=10).json()


def send_tasks():
    """Send as many of both as the command line says, and return their results."""
    results = [item.delay(number + 1) for number in range(int(sys.argv[1]))]
    results += [call.delay() for _ in range(int(sys.argv[2]))]
    return [result.get(timeout=20) for result in results]


if __name__ == "__main__":
    print(len({result.get("pid") for result in send_tasks()}))
