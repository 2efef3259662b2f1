"""The time limit: requests that take too long are answered, and nothing is left behind."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.middleware.timeout import Timeout

HEALTH = ("/livez",)


def app(answer_slow: asyncio.Event | None = None) -> Starlette:
    async def slow(_: Request) -> Response:
        assert answer_slow is not None
        await answer_slow.wait()
        return PlainTextResponse("late")

    async def quick(_: Request) -> Response:
        return PlainTextResponse("quick")

    routes = [Route("/slow", slow), Route("/quick", quick), Route("/livez", quick)]
    return Starlette(routes=routes)


def client_of(application) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x")


def test_a_request_that_takes_too_long_is_answered_and_health_is_not_timed():
    async def ask() -> tuple[httpx.Response, httpx.Response]:
        limited = Timeout(app(asyncio.Event()), timeout_seconds=0.01, unlimited=HEALTH)
        async with client_of(limited) as client:
            return await client.get("/slow"), await client.get("/quick")

    late, next_ = asyncio.run(ask())

    assert late.status_code == 504
    assert "within 0.01 seconds" in late.json()["detail"]
    assert next_.text == "quick"


def test_what_is_answered_leaves_no_timer_behind():
    """BentoML's own time limit leaves one for each request, with all that the request held, for a minute."""

    async def ask() -> int:
        loop = asyncio.get_running_loop()
        limited = Timeout(app(), timeout_seconds=3600, unlimited=HEALTH)
        async with client_of(limited) as client:
            for _ in range(300):
                await client.get("/quick")
        return sum(not timer.cancelled() for timer in loop._scheduled)

    assert asyncio.run(ask()) == 0


def test_what_is_no_request_passes():
    passed = []

    async def inner(scope, _receive, _send) -> None:
        passed.append(scope["type"])

    asyncio.run(Timeout(inner, timeout_seconds=0, unlimited=HEALTH)({"type": "lifespan"}, None, None))

    assert passed == ["lifespan"]
