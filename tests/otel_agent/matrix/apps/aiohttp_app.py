"""aiohttp, server and client."""

import sys

import aiohttp
import stock
from aiohttp import web


async def item(request):
    return web.json_response(stock.find(int(request.match_info["item_id"])))


async def call(_request):
    async with aiohttp.ClientSession() as session, session.get(stock.URL) as response:
        return web.json_response(await response.json())


app = web.Application()
app.add_routes([web.get("/items/{item_id}", item), web.get("/call", call)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
