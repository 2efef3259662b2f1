"""The limit on the size of a body."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.middleware.body_limit import BodyLimit
from serving.problems import answer_problem, document_of, problem_response
from vision.errors import Problem


async def length(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


@pytest.fixture
def client() -> TestClient:
    app = Starlette(
        routes=[Route("/length", length, methods=["POST"])],
        middleware=[Middleware(BodyLimit, max_bytes=1000, pause_seconds=1)],
        exception_handlers={Problem: answer_problem},
    )
    return TestClient(app)


@pytest.mark.parametrize("size", [0, 1000], ids="{} bytes".format)
def test_a_body_within_the_limit_is_read(client, size):
    assert client.post("/length", content=bytes(size)).json() == {"length": size}


def test_a_body_over_the_limit_is_too_large(client):
    response = client.post("/length", content=bytes(1001))

    assert response.status_code == 413
    assert "1,001 bytes" in response.json()["detail"]
    assert "at most 1,000" in response.json()["detail"]


def test_who_sends_more_than_may_be_sent_is_told_so_when_all_of_it_has_come():
    """For a client that is still sending may not see the answer."""
    happened = []

    async def ask() -> list[str]:
        bodies = iter([bytes(600), bytes(600), bytes(600), b""])

        async def receive() -> dict:
            body = next(bodies)
            happened.append(f"{len(body)} received")
            return {"type": "http.request", "body": body, "more_body": bool(body)}

        async def send(message: dict) -> None:
            happened.append(str(message.get("status", "body")))

        async def reads(scope, receive, send) -> None:
            try:
                await Request(scope, receive).body()
            except Problem as problem:
                happened.append("let go")
                await problem_response(document_of(problem))(scope, receive, send)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        await BodyLimit(reads, max_bytes=1000, pause_seconds=1)(scope, receive, send)
        return happened

    asyncio.run(ask())

    assert happened == ["600 received", "600 received", "let go", "600 received", "0 received", "413", "body"]


@pytest.mark.parametrize("declared", [b"5000", b""], ids=["declared", "not declared"])
def test_who_sends_too_much_and_pauses_is_told_so_and_waited_for_no_longer(declared):
    async def ask() -> list[int]:
        bodies, statuses = iter([bytes(600), bytes(600)]), []

        async def receive() -> dict:
            body = next(bodies, None)
            if body is None:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": body, "more_body": True}

        async def send(message: dict) -> None:
            statuses.append(message.get("status"))

        async def reads(scope, receive, send) -> None:
            try:
                await Request(scope, receive).body()
            except Problem as problem:
                await problem_response(document_of(problem))(scope, receive, send)

        headers = [(b"content-length", declared)]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        await BodyLimit(reads, max_bytes=1000, pause_seconds=0.01)(scope, receive, send)
        return statuses

    assert asyncio.run(ask()) == [413, None]


def test_a_body_that_does_not_say_its_length_is_too_large_all_the_same(client):
    response = client.post("/length", content=(bytes(100) for _ in range(11)))

    assert response.request.headers.get("content-length") is None
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
