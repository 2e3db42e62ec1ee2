"""FastAPI and HTTPX."""

import httpx
import stock
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item_id}")
def item(item_id: int):
    return stock.find(item_id)


@app.get("/call")
async def call():
    async with httpx.AsyncClient() as client:
        return (await client.get(stock.URL)).json()
