"""The access log: a line for every answer."""

import asyncio
import logging

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.middleware.access_log import AccessLog

HEALTH = ("/livez",)


def app() -> Starlette:
    async def quick(_: Request) -> Response:
        return PlainTextResponse("quick")

    return Starlette(routes=[Route("/quick", quick), Route("/livez", quick)])


def test_a_line_in_the_log_says_who_asked_for_what_and_what_came_out(caplog):
    async def ask() -> None:
        transport = httpx.ASGITransport(AccessLog(app(), silent=HEALTH))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.get("/quick")
            await client.get("/nowhere")
            await client.get("/livez")

    with caplog.at_level(logging.INFO, logger="bentoml.access"):
        logging.getLogger("bentoml").propagate = True
        asyncio.run(ask())

    quick, nowhere = (record.getMessage() for record in caplog.records)
    assert quick.startswith('127.0.0.1:123 "GET /quick" 200, 5 bytes, ')
    assert quick.endswith(" ms, key -, request ")
    assert '"GET /nowhere" 404' in nowhere


def test_what_is_no_request_passes():
    passed = []

    async def inner(scope, _receive, _send) -> None:
        passed.append(scope["type"])

    asyncio.run(AccessLog(inner, silent=HEALTH)({"type": "lifespan"}, None, None))

    assert passed == ["lifespan"]
