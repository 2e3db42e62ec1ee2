"""Where the apps of the database and of the other service are told; like any user's module it knows of no tracing."""

import os
import sqlite3
import time

URL = os.environ.get("STOCK_URL", "") + "/stock"


def find(item_id):
    """Query the database; it takes long enough for a second worker to be asked for the next item."""
    connection = sqlite3.connect(os.environ["SHOP_DB"])
    (name,) = connection.execute("SELECT name FROM items WHERE id = ?", (item_id,)).fetchone()
    connection.close()
    time.sleep(0.02)
    return {"name": name, "pid": os.getpid()}
