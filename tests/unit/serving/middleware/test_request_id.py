"""Headers: an id for each request, wherever its answer comes from, and what every answer carries."""

import asyncio
import logging
import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.errors import UntestableBatchError
from serving.middleware.access_log import AccessLog
from serving.middleware.body_limit import BodyLimit
from serving.middleware.problem_documents import ProblemDocuments
from serving.middleware.request_id import ResponseHeaders, request_id
from serving.middleware.timeout import Timeout
from serving.problems import answer_problem
from vision.errors import Problem

NEW = re.compile("[0-9a-f]{32}")


async def good(_: Request) -> Response:
    return PlainTextResponse(request_id(), headers={"Cache-Control": "max-age=9"})


async def problem(_: Request) -> Response:
    raise UntestableBatchError("too few")


async def refused(_: Request) -> Response:
    raise HTTPException(503, "not yet")


async def slow(_: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("late")


async def defect(_: Request) -> Response:
    raise ZeroDivisionError("secret")


def ask(path: str, *, content: bytes = b"", **headers: str) -> httpx.Response:
    """Ask an application that has all layers of the service but for the keys."""

    async def send() -> httpx.Response:
        endpoints = (good, problem, refused, slow, defect)
        routes = [Route(f"/{one.__name__}", one, methods=["GET", "POST"]) for one in endpoints]
        inner = BodyLimit(
            Starlette(routes=routes, exception_handlers={Problem: answer_problem}), 100, pause_seconds=1
        )
        limited = Timeout(inner, timeout_seconds=0.05, unlimited=())
        app = ResponseHeaders(ProblemDocuments(AccessLog(limited, silent=())))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(send())


@pytest.mark.parametrize(
    "given",
    ["a", "0" * 128, "trace:1-2_3.4", "7f1c2a9e-0f3b-4f57-9d52-6f6a9c1f0001"],
    ids=["one letter", "128", "signs", "UUID"],
)
def test_the_id_of_a_request_comes_back(given):
    answer = ask("/good", **{"X-Request-ID": given})

    assert answer.headers["x-request-id"] == answer.text == given


@pytest.mark.parametrize(
    "given",
    ["", "0" * 129, "a b", "a\tb", "a,b", '"a"', "<a>", "a/b", "%0a"],
    ids=["empty", "129", "space", "tab", "comma", "quotes", "tag", "slash", "percent"],
)
def test_an_id_that_could_harm_a_log_is_replaced_by_a_new_one(given):
    answer = ask("/good", **{"X-Request-ID": given})

    assert NEW.fullmatch(answer.headers["x-request-id"])
    assert answer.text == answer.headers["x-request-id"]


def test_requests_without_an_id_get_each_their_own():
    ids = {ask("/good").headers["x-request-id"] for _ in range(3)}

    assert len(ids) == 3
    assert all(NEW.fullmatch(one) for one in ids)


@pytest.mark.parametrize(
    ("path", "status", "options"),
    [
        ("/nowhere", 404, {}),
        ("/good", 413, {"content": bytes(101)}),
        ("/problem", 422, {}),
        ("/defect", 500, {}),
        ("/refused", 503, {}),
        ("/slow", 504, {}),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_problem_says_the_id_of_its_request_from_whichever_layer_it_comes(path, status, options, caplog):
    with caplog.at_level(logging.INFO, logger="bentoml"):
        logging.getLogger("bentoml").propagate = True
        answer = ask(path, **options, **{"X-Request-ID": "mine"})

    assert answer.status_code == status
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "bentoml.access"]
    assert f" {status}, " in line
    assert line.endswith("request mine")


def test_the_log_of_a_defect_says_which_request_it_was(caplog):
    with caplog.at_level(logging.INFO, logger="bentoml"):
        logging.getLogger("bentoml").propagate = True
        ask("/defect", **{"X-Request-ID": "mine"})

    (said,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert said.getMessage() == "POST /defect failed, request mine"
    assert said.exc_info[0] is ZeroDivisionError


def test_every_answer_has_the_headers_that_it_has_not_set_itself():
    headers = ask("/good").headers

    assert headers["cache-control"] == "max-age=9"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert ask("/problem").headers["cache-control"] == "no-store"


def test_outside_of_a_request_there_is_no_id():
    ask("/good", **{"X-Request-ID": "mine"})

    assert request_id() == ""
