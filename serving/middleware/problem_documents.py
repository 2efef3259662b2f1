"""Problem documents for the errors of every layer."""

import json
import logging
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.middleware.request_id import request_id
from serving.problems import MEDIA_TYPE, problem_document, problem_response
from vision.errors import MAX_ECHO

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

DEFECT = "The request could not be answered because of a defect. The service's log holds the details."


class ProblemDocuments:
    """Make every error answer a problem document, whichever layer it comes from.

    BentoML and Starlette answer errors with JSON objects, JSON lists and plain text. The status and the words
    are kept; only the form changes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start: Message | None = None
        replaced: Message | None = None
        body = b""
        answered = False

        async def send_problem(message: Message) -> None:
            nonlocal start, replaced, body, answered
            if message["type"] == "http.response.start":
                start = message
                if message["status"] >= 400 and content_type(message) != MEDIA_TYPE:
                    replaced = message
                    return
            elif replaced is not None:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await respond(replaced, body, scope, receive, send)
                    answered = True
                return
            await send(message)

        try:
            await self.app(scope, receive, send_problem)
        except Exception:
            if start is not None and not answered:
                raise
            path = scope["raw_path"][:MAX_ECHO].decode("latin-1")  # still encoded, so that no line ends in it
            logger.exception("%s %s failed, request %s", scope["method"], path, request_id())
            if answered:  # Starlette answers and raises too; raised further, it would end the connection
                return None
            await problem_response(problem_document(500, DEFECT))(scope, receive, send)
        return None


def content_type(start: Message) -> str:
    headers = dict(start["headers"])
    return str(headers.get(b"content-type", b"").decode("latin-1").partition(";")[0])


async def respond(start: Message, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error answer of another layer as a problem document, with that layer's own headers."""
    response = problem_response(problem_document(start["status"], words_of(body, start["status"], scope)))
    taken = {name for name, _ in response.raw_headers}
    response.raw_headers += [(name, value) for name, value in start["headers"] if name.lower() not in taken]
    await response(scope, receive, send)


def words_of(body: bytes, status: int, scope: Scope) -> str:
    """Return what an error answer says, as a sentence."""
    if status == 500:
        return DEFECT  # the rest is for the log alone
    path = scope["path"][:MAX_ECHO]
    if status == 404:
        return f"There is nothing at {path}. GET /docs.json lists what there is."
    if status == 405:
        return f"{path} does not take {scope['method']}. GET /docs.json says what it takes."
    if b"range" in dict(scope["headers"]) and status in {400, 416}:
        return f"The Range header asks for no part of {path}. Send bytes=FIRST-LAST within it, or none."
    text = body.decode("utf-8", errors="replace").strip()
    try:
        said: Any = json.loads(text)
    except ValueError:
        return text or f"{HTTPStatus(status).phrase}."
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict):
        said = said.get("error") or said.get("detail") or text
    return str(said)
