"""Problem documents: one form for every error."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.errors import UntestableBatchError
from serving.middleware.problem_documents import ProblemDocuments
from serving.problems import answer_out_of_memory, answer_problem
from vision.errors import Problem


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
    endpoints = (good, bentoml_list, bentoml_object, plain, problem, forgetful, defect)
    app = Starlette(
        routes=[Route(f"/{endpoint.__name__}", endpoint, methods=["GET", "POST"]) for endpoint in endpoints],
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


def test_a_request_that_finds_no_memory_anywhere_is_told_so(client):
    response = client.get("/forgetful")

    assert response.status_code == 503
    assert response.json()["type"] == "urn:driftbento:problem:out-of-memory"
    assert response.headers["retry-after"] == "1"


def test_of_a_long_path_an_answer_repeats_the_beginning(client):
    response = client.get("/" + "x" * 5000)

    assert response.status_code == 404
    assert len(response.json()["detail"]) < 300
