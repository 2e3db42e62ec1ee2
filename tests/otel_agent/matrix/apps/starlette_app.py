"""Starlette and aiohttp's client."""

import aiohttp
import stock
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def item(request):
    return JSONResponse(stock.find(request.path_params["item_id"]))


async def call(_request):
    async with aiohttp.ClientSession() as session, session.get(stock.URL) as response:
        return JSONResponse(await response.json())


app = Starlette(routes=[Route("/items/{item_id:int}", item), Route("/call", call)])
