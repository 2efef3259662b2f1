"""Middleware: one form for every error, and a limit on what is read."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.errors import UntestableBatchError
from serving.middleware.problem_documents import BodyLimit, ProblemDocuments
from serving.problems import answer_out_of_memory, answer_problem, document_of, problem_response
from vision.errors import Problem


async def length(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


async def good(_: Request) -> Response:
    return PlainTextResponse("good")


async def bentoml_list(_: Request) -> Response:
    return JSONResponse([{"error": "as a list"}], status_code=400)


async def bentoml_object(_: Request) -> Response:
    return JSONResponse({"error": "Too many requests"}, status_code=429, headers={"Retry-After": "1"})


async def plain(_: Request) -> Response:
    return PlainTextResponse("in plain text", status_code=503)


async def problem(_: Request) -> Response:
    raise UntestableBatchError("already a problem", more=1)


async def forgetful(_: Request) -> Response:
    raise MemoryError


async def defect(_: Request) -> Response:
    raise ZeroDivisionError("secret")


@pytest.fixture
def client() -> TestClient:
    endpoints = (good, length, bentoml_list, bentoml_object, plain, problem, forgetful, defect)
    app = Starlette(
        routes=[Route(f"/{endpoint.__name__}", endpoint, methods=["GET", "POST"]) for endpoint in endpoints],
        middleware=[Middleware(BodyLimit, max_bytes=1000, pause_seconds=1)],
        exception_handlers={Problem: answer_problem, MemoryError: answer_out_of_memory},
    )
    return TestClient(ProblemDocuments(app), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/bentoml_list", 400, "as a list"),
        ("/bentoml_object", 429, "Too many requests"),
        ("/plain", 503, "in plain text"),
        ("/problem", 422, "already a problem"),
        ("/nowhere", 404, "There is nothing at /nowhere. GET /docs.json lists what there is."),
    ],
)
def test_every_error_is_a_problem_document(client, path, status, detail):
    response = client.get(path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["detail"] == detail
    assert document["title"]
    assert document["type"]


def test_what_a_problem_says_beside_its_members_is_kept(client):
    assert client.get("/problem").json()["more"] == 1


def test_the_headers_of_the_error_are_kept(client):
    assert client.get("/bentoml_object").headers["retry-after"] == "1"


def test_a_method_that_is_not_allowed_is_a_problem_that_names_it(client):
    response = client.delete("/good")

    assert response.status_code == 405
    assert "does not take DELETE" in response.json()["detail"]
    assert response.headers["allow"]


def test_a_defect_is_a_500_that_gives_nothing_away(client):
    response = client.get("/defect")

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert "The service's log holds the details" in response.json()["detail"]


def test_what_is_no_error_passes_unchanged(client):
    assert client.get("/good").text == "good"


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


def test_a_request_that_finds_no_memory_anywhere_is_told_so(client):
    response = client.get("/forgetful")

    assert response.status_code == 503
    assert response.json()["type"] == "urn:driftbento:problem:out-of-memory"
    assert response.headers["retry-after"] == "1"


def test_of_a_long_path_an_answer_repeats_the_beginning(client):
    response = client.get("/" + "x" * 5000)

    assert response.status_code == 404
    assert len(response.json()["detail"]) < 300


def test_a_body_that_does_not_say_its_length_is_too_large_all_the_same(client):
    response = client.post("/length", content=(bytes(100) for _ in range(11)))

    assert response.request.headers.get("content-length") is None
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
