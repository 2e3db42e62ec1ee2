"""What the scripts of ASGI hosts share: asking their `app` without a server, and serving it to one request."""

ASK = """
import asyncio

async def ask(path):
    statuses = []
    async def receive():
        return {"type": "http.request"}
    async def send(message):
        statuses.append(message.get("status"))
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "scheme": "http"}
    try:
        await app(scope, receive, send)
    except ZeroDivisionError:
        pass
    return statuses[0]
"""

SERVE = """
import asyncio, socket, urllib.request
import uvicorn

async def serve(path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
        server.should_exit = True
        await serving
"""
