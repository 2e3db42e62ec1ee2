"""The hosts of the agent's benchmark: scripts that serve themselves requests, or run statements, and print figures."""

# What every host script begins with: one request's work, of which `own_ms` is the part in which no agent has a say.
_COMMON = """
import json, os, sqlite3, sys, threading, time
import psutil

own_ms = 0.0

connection = sqlite3.connect(":memory:", check_same_thread=False)
connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, amount REAL, state TEXT)")
connection.executemany("INSERT INTO orders (customer, amount, state) VALUES (?, ?, ?)",
                       [(n % 97, n * 1.5, "open" if n % 3 else "paid") for n in range(3000)])

def work(customer):
    global own_ms
    rows = connection.execute("SELECT id, amount FROM orders WHERE customer = ?", (customer,)).fetchall()
    question = "SELECT sum(amount) FROM orders WHERE customer = ? AND state = 'open'"
    total, = connection.execute(question, (customer,)).fetchone()
    last, = connection.execute("SELECT max(id) FROM orders").fetchone()
    start_s = time.thread_time()
    for _ in range(WORK_ROUNDS):
        text = json.dumps([{"id": row[0], "amount": row[1], "share": row[1] / total} for row in rows])
        parsed = sorted(json.loads(text), key=lambda row: -row["amount"])
    own_ms = (time.thread_time() - start_s) * 1000
    return {"orders": parsed[:3], "total": total, "last": last}
"""

# How a host serves; that of Flask is the same without the words "async" and "await".
_SERVE = """
async def serve(call, next_line):
    # The first request, then as many as each line asks for, answered with the figures since the last answer.
    await call(0)
    ready = {"start_s": time.time() - float(sys.argv[1]), "start_cpu_s": time.process_time()}
    for n in range(50):
        await call(n)
    ready["rss_mb"] = psutil.Process().memory_info().rss / 1e6
    print(json.dumps(ready), flush=True)
    done_cpu_s, done_s = time.process_time(), time.monotonic()
    while line := await next_line():
        wall, thread, outside, waited_s = [], [], [], time.monotonic() - done_s
        for n in range(int(line)):
            start_s, start_thread_s = time.perf_counter(), time.thread_time()
            await call(n)
            wall.append((time.perf_counter() - start_s) * 1000)
            thread.append((time.thread_time() - start_thread_s) * 1000)
            outside.append(thread[-1] - own_ms)
        last_cpu_s, done_cpu_s, done_s = done_cpu_s, time.process_time(), time.monotonic()
        cpu_ms = (done_cpu_s - last_cpu_s) * 1000
        figures = {"wall_ms": wall, "thread_ms": thread, "outside_ms": outside, "cpu_ms": cpu_ms, "waited_s": waited_s}
        print(json.dumps(figures), flush=True)
"""

FLASK = (
    _COMMON
    + _SERVE.replace("async ", "").replace("await ", "")
    + """
from flask import Flask
app = Flask("bench")

@app.get("/customers/<int:customer>")
def page(customer):
    answer = work(customer)
    time.sleep(0.002)
    return answer

from werkzeug.test import EnvironBuilder
def call(n):
    environ = EnvironBuilder(path=f"/customers/{n % 97}", headers={"user-agent": "bench"}).get_environ()
    statuses = []
    b"".join(app(environ, lambda status, headers, exc_info=None: statuses.append(status)))
    assert statuses == ["200 OK"], statuses

serve(call, sys.stdin.readline)
"""
)

FASTAPI = (
    _COMMON
    + _SERVE
    + """
import asyncio
from fastapi import FastAPI
app = FastAPI()

@app.get("/customers/{customer}")
async def page(customer: int):
    answer = work(customer)
    await asyncio.sleep(0.002)
    return answer

async def call(n):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    path = f"/customers/{n % 97}"
    await app({
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"bench"), (b"user-agent", b"bench")], "server": ("127.0.0.1", 80), "state": {},
    }, receive, send)
    assert sent[0]["status"] == 200, sent

async def next_line():
    return await asyncio.to_thread(sys.stdin.readline)

asyncio.run(serve(call, next_line))
"""
)

STATEMENTS = """
import sqlite3, sys, time
connection = sqlite3.connect(":memory:")
cursor = connection.cursor()
for n in range(500):
    cursor.execute("SELECT 1")
start_s = time.process_time()
for n in range(int(sys.argv[1])):
    cursor.execute("SELECT 1")
    if n % 200 == 0:
        time.sleep(0.01)
print(time.process_time() - start_s)
"""
