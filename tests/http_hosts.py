"""Scripts of hosts that answer HTTP requests of many kinds, without a server: one per framework."""

_SQL = """
import sqlite3
connection = sqlite3.connect(":memory:", check_same_thread=False)
connection.execute("CREATE TABLE items (id INTEGER)")
def query():
    connection.execute("SELECT id FROM items WHERE id = ?", (1,)).fetchall()
    connection.executemany("INSERT INTO items VALUES (?)", [(1,), (2,)])
"""

_OPENTELEMETRY = """
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation import propagators
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
def mark(name):
    trace.get_current_span().set_attribute(name, str(dict(baggage.get_all())))
CALLER = "00-" + "1" * 32 + "-" + "2" * 16
TRACED = {"traceparent": CALLER + "-01", "tracestate": "a=b", "baggage": "shop=a,user=b"}
"""

FLASK = f"""{_SQL}{_OPENTELEMETRY}
import threading
from flask import Flask, Response, abort, copy_current_request_context, redirect, request, stream_with_context
app = Flask("shop")

@app.route("/items/<int:item_id>", methods=["GET", "POST", "PURGE", "get"])
def item(item_id):
    query()
    mark("view")
    return str(1 / item_id), 201, {{"x-kind": "item", "X-Kind-Too": "a"}}

@app.get("/refused")
def refused():
    abort(418)

@app.get("/moved")
def moved():
    return redirect("/items/1")

@app.get("/status/<status>")
def status(status):
    return Response("", status=status)

@app.get("/stream/<int:keeps_context>")
def stream(keeps_context):
    def parts():
        with trace.get_tracer("shop").start_as_current_span("part"):
            yield "a"
        yield request.path if keeps_context else "b"
    return Response(stream_with_context(parts()) if keeps_context else parts())

@app.get("/broken-stream")
def broken_stream():
    def parts():
        yield "a"
        raise LookupError("no more")
    return Response(stream_with_context(parts()))

@app.get("/thread")
def thread():
    @copy_current_request_context
    def work():
        mark("thread of " + request.path)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    work()
    mark("after")
    return ""

@app.get("/nested")
def nested():
    return other.test_client().get("/inner/1?a=b").data

@app.errorhandler(KeyError)
def no_key(error):
    mark("handler")
    return "no key", 409

@app.get("/key")
def key():
    return {{}}["a"]

@app.before_request
def early():
    if request.args.get("early"):
        return "early"

@app.teardown_request
def told(error):
    mark("teardown " + type(error).__name__)

other = Flask("other")
other.testing = True

@other.get("/inner/<name>")
def inner(name):
    mark("inner")
    raise_it = request.args.get("raise")
    if raise_it:
        raise LookupError(raise_it)
    return name

def run(client, path, method="GET", **kwargs):
    try:
        client.open(path, method=method, **kwargs).get_data()
    except (LookupError, AssertionError) as error:
        print(type(error))
    print(trace.get_current_span() is trace.INVALID_SPAN, len(context.get_current()))

client = app.test_client()
headers = {{"user-agent": "curl", "x-shop": "a", "traceparent": CALLER + "-01"}}
for path in ("/items/1?a=b", "/items/0", "/nowhere", "/items/2"):
    run(client, path, "POST", headers=headers, data="12345")
    run(client, path)
for method in ("HEAD", "OPTIONS", "PUT", "PURGE", "get", "Odd Method", ""):
    run(client, "/items/3", method)
    run(client, "/nowhere/3", method)
for path in ("refused", "moved", "stream/0", "stream/1", "broken-stream", "thread", "nested", "key", "x?early=1"):
    run(client, "/" + path, headers=TRACED)
for status in ("204", "299 Odd", "599 Worse", "not a number", "99 Low", "000 None", "1000 High"):
    run(client, "/status/" + status)
for value in (CALLER + "-00", CALLER + "-03", "nonsense", CALLER + "-01-more", CALLER.replace("1", "0") + "-01"):
    run(client, "/items/4", headers={{"traceparent": value, "user-agent": "Googlebot/2.1"}})
run(client, "/items/5", headers={{"baggage": "shop=a", "user-agent": "x" * 600 + "bot"}})
run(client, "/items/5", headers={{"tracestate": "a=b", "user-agent": "é"}})
run(other.test_client(), "/inner/2?raise=yes")
run(client, "/items/6", environ_overrides={{"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "4", "REMOTE_HOST": "peer"}})
run(client, "/items/6", environ_overrides={{"REMOTE_HOST": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/2"}})
run(client, "/items/6", environ_overrides={{"SERVER_PROTOCOL": "", "wsgi.url_scheme": "https", "SERVER_PORT": ""}})
run(client, "/items/6", environ_overrides={{"RAW_URI": "", "REQUEST_URI": "", "HTTP_HOST": ""}})
with suppress_http_instrumentation():
    run(client, "/items/7")
with trace.get_tracer("shop").start_as_current_span("outer"):
    run(client, "/items/7", headers=TRACED)
with trace.use_span(trace.INVALID_SPAN):
    run(client, "/items/8", headers=TRACED)
with app.test_request_context("/items/9"):
    mark("nowhere")
with app.test_request_context("/items/9", headers=TRACED):
    app.preprocess_request()
    mark("preprocessed")
with client:
    run(client, "/items/10")
propagators.set_global_response_propagator(propagators.TraceResponsePropagator())
print(len(client.get("/items/11").headers["traceresponse"]))
"""

_ASGI = '''
import asyncio

async def send_one(app, scope):
    sent, to_come = [], [{"type": "http.request", "body": b"", "more_body": False}]
    async def receive():
        return to_come.pop() if to_come else await asyncio.Event().wait()
    async def send(message):
        sent.append((message["type"], message.get("status"), len(message.get("headers", ()))))
    try:
        await app(scope, receive, send)
    except (ArithmeticError, LookupError, RuntimeError, OSError) as error:
        print(type(error))
    print(sent, trace.get_current_span() is trace.INVALID_SPAN)

def http(path, method="GET", headers=(), host=b"shop:8000", **more):
    pairs = [(name.encode(), value.encode()) for name, value in dict(headers).items()]
    return {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "scheme": "http", "headers": [(b"host", host), *pairs], "root_path": "",
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 4000), **more,
    }

PATHS = """
/moved /refused /stream /broken-stream /background /key /nested /odd /own /only-post /docs /openapi.json
/sub /sub/deep/4 /sub/nothing /part/a/5 /part/b/6 /part/b/zero /status/201 /status/599
"""

async def run_all(app):
    async def run(*args, **kwargs):
        await send_one(app, http(*args, **kwargs))
    for path in ("/items/1", "/items/0", "/nowhere", "/items/2", "/items/x", "/items/2/"):
        await run(path, headers={"user-agent": "curl", "x-shop": "a"})
        await run(path, "POST", headers={**TRACED, "content-length": "5"})
    for method in ("HEAD", "OPTIONS", "PUT", "PURGE", "get", ""):
        await run("/items/3", method)
        await run("/nowhere", method)
    for path in PATHS.split():
        await run(path, headers=TRACED)
    for value in (CALLER + "-00", CALLER + "-03", "nonsense", CALLER + "-01-more"):
        await run("/items/4", headers={"traceparent": value, "user-agent": "Googlebot/2.1"})
    await run("/items/5", headers={"Baggage": "shop=a", "User-Agent": "x" * 600 + "bot"})
    await run("/items/5", headers={"tracestate": "a=b", "content-length": "x"})
    await run("/items/6", query_string=b"a=b&c=%20", scheme="https", http_version="2", server=None, client=None)
    await run("/items/6", server=("shop", 80), client=("10.0.0.1", None), http_version="")
    await run("/items/6", server=("/tmp/socket", None), client=("", 0), query_string="a=b")
    await run("/api/items/6", root_path="/api")
    await run("/deep/4", host=b"elsewhere")
    least = ("type", "method", "path")
    await send_one(app, {key: value for key, value in http("/items/7").items() if key in least})
    with suppress_http_instrumentation():
        await run("/items/7")
    with trace.get_tracer("shop").start_as_current_span("outer"):
        await run("/items/8", headers=TRACED)
    with trace.use_span(trace.INVALID_SPAN):
        await run("/items/9", headers=TRACED)
    propagators.set_global_response_propagator(propagators.TraceResponsePropagator())
    await run("/items/10")
'''

_PARTS = """
async def parts():
    with trace.get_tracer("shop").start_as_current_span("part"):
        yield b"a"
    yield b"b"

async def broken_parts():
    yield b"a"
    raise LookupError("no more")

async def later():
    mark("later")
"""

FASTAPI = f"""{_SQL}{_OPENTELEMETRY}{_ASGI}{_PARTS}
from http import HTTPStatus
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from fastapi.routing import APIRoute
app, sub, router, deeper = FastAPI(), FastAPI(), APIRouter(prefix="/part"), APIRouter(prefix="/b")

class OwnRoute(APIRoute):
    pass

own = APIRouter(route_class=OwnRoute)

@app.api_route("/items/{{item_id}}", methods=["GET", "PURGE", "POST", "get"])
def item(item_id: int):
    query()
    mark("view")
    return JSONResponse(1 / item_id, headers={{"x-kind": "item"}})

@app.post("/only-post")
async def only_post():
    return RedirectResponse("/items/1")

@app.get("/refused")
async def refused():
    raise HTTPException(418)

@app.get("/stream")
async def stream():
    return StreamingResponse(parts())

@app.get("/broken-stream")
async def broken_stream():
    return StreamingResponse(broken_parts())

@app.get("/background")
async def background(tasks: BackgroundTasks):
    tasks.add_task(later)
    return 1

@app.get("/key")
async def key():
    return {{}}["a"]

@app.exception_handler(KeyError)
async def no_key(request, error):
    mark("handler")
    return JSONResponse("no key", 409)

@app.get("/status/{{code}}")
async def status(code: int):
    return Response("", status_code=code)

@app.get("/odd")
async def odd():
    return Response("", status_code=HTTPStatus.INTERNAL_SERVER_ERROR)

@app.get("/nested")
async def nested():
    await send_one(sub, http("/deep/9"))
    return 1

@sub.get("/deep/{{item_id}}")
async def deep(item_id: int):
    mark("deep")
    return item_id

@router.get("/a/{{item_id}}")
async def part_a(item_id: int):
    return item_id

@deeper.get("/{{item_id:int}}")
async def part_b(item_id: int):
    return item_id

@own.get("/own")
async def own_view():
    return 1

router.include_router(deeper)
app.include_router(router)
app.include_router(own)
app.mount("/sub", sub)
app.host("elsewhere", sub)

@app.websocket("/socket/{{name}}")
async def socket(websocket: WebSocket, name: str):
    await websocket.accept()
    mark(await websocket.receive_text())
    await websocket.send_text(name)
    await websocket.close()

async def talk():
    to_come = [{{"type": "websocket.connect"}}, {{"type": "websocket.receive", "text": "hello"}}]
    async def receive():
        return to_come.pop(0) if to_come else {{"type": "websocket.disconnect"}}
    async def send(message):
        print(message["type"])
    scope = {{key: value for key, value in http("/socket/a", headers=TRACED).items() if key != "method"}}
    await app({{**scope, "type": "websocket", "scheme": "ws", "subprotocols": []}}, receive, send)

@app.middleware("http")
async def around(request, call_next):
    mark("around")
    return await call_next(request)

asyncio.run(talk())
asyncio.run(run_all(app))
"""

STARLETTE = f"""{_SQL}{_OPENTELEMETRY}{_ASGI}{_PARTS}
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Host, Mount, Route

async def item(request):
    query()
    mark("view")
    return PlainTextResponse(str(1 / request.path_params["item_id"]), headers={{"x-kind": "item"}})

async def moved(request):
    return RedirectResponse("/items/1")

async def refused(request):
    raise HTTPException(418)

async def stream(request):
    return StreamingResponse(parts())

async def broken_stream(request):
    return StreamingResponse(broken_parts())

async def background(request):
    return PlainTextResponse("", background=BackgroundTask(later))

async def key(request):
    return {{}}["a"]

async def no_key(request, error):
    mark("handler")
    return PlainTextResponse("no key", 409)

async def status(request):
    return PlainTextResponse("", request.path_params["code"])

async def nested(request):
    await send_one(other, http("/deep/9"))
    return PlainTextResponse("")

class Deep(HTTPEndpoint):
    async def get(self, request):
        mark("deep")
        return PlainTextResponse("")

other = Starlette(routes=[Route("/deep/{{item_id:int}}", Deep)])
app = Starlette(
    routes=[
        Route("/items/{{item_id:int}}", item, methods=["GET", "POST", "PURGE"]),
        Route("/moved", moved),
        Route("/refused", refused),
        Route("/stream", stream),
        Route("/broken-stream", broken_stream),
        Route("/background", background),
        Route("/key", key),
        Route("/status/{{code:int}}", status),
        Route("/nested", nested),
        Route("/only-post", item, methods=["POST"]),
        Mount("/sub", other),
        Mount("/part", routes=[Route("/a/{{item_id:int}}", Deep)]),
        Host("elsewhere", other),
    ],
    exception_handlers={{KeyError: no_key}},
)
asyncio.run(run_all(app))
"""
