"""What stands around every request: problem documents from all layers, and a limit on what is read."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.middleware.request_id import request_id
from serving.problems import MEDIA_TYPE, document_of, problem_document, problem_response
from vision.errors import MAX_ECHO, TooLargeError

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

# A body over the limit is read and thrown away up to this many times the limit, since a client that is still
# sending when the connection closes does not see the answer.
DRAIN_FACTOR = 4

DEFECT = "The request could not be answered because of a defect. The service's log holds the details."


class ProblemDocuments:
    """Make every error answer a problem document, whichever layer it comes from.

    BentoML and Starlette answer errors with JSON objects, JSON lists and plain text. Their status and what
    they say is kept; only the form changes.
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
            path = scope["raw_path"][:MAX_ECHO].decode("latin-1")  # in which no line can end
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
        return DEFECT  # whatever else it says is for the log
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


def declared_length(headers: Mapping[bytes, bytes]) -> int:
    """Return how long a body says it is, or 0 where it does not say so."""
    digits = headers.get(b"content-length", b"").lstrip(b"0")  # of which there may be more than int takes
    return int(digits) if digits.isdigit() else 0


class BodyLimit:
    """Answer 413 to a body over the limit, whether it says its length beforehand or not."""

    def __init__(self, app: ASGIApp, max_bytes: int, pause_seconds: float) -> None:
        """Put a limit before an application.

        Args:
            app: The application.
            max_bytes: Of a body.
            pause_seconds: For which a client may pause before it is not listened to any further.
        """
        self.app = app
        self.max_bytes = max_bytes
        self.pause_seconds = pause_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        declared = declared_length(headers)
        if declared > self.max_bytes:
            if b"expect" not in headers:  # a client that asks first has not sent the body yet
                await self.drain(receive)
            problem = TooLargeError(f"The request has {declared:,} bytes. Send at most {self.max_bytes:,}.")
            return await problem_response(document_of(problem))(scope, receive, send)
        received = 0
        unread = False

        async def receive_counted() -> Message:
            nonlocal received, unread
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                unread = bool(message.get("more_body"))
                raise TooLargeError(
                    f"The request is over {self.max_bytes:,} bytes. Send the images in several."
                )
            return message

        async def send_after_the_rest(message: Message) -> None:
            nonlocal unread
            if unread:  # by now nothing of it is held any more
                unread = False
                await self.drain(receive)
            await send(message)

        return await self.app(scope, receive_counted, send_after_the_rest)

    async def drain(self, receive: Receive) -> None:
        drained, more = 0, True
        with suppress(TimeoutError):
            while more and drained <= DRAIN_FACTOR * self.max_bytes:
                async with asyncio.timeout(self.pause_seconds):
                    message = await receive()
                drained += len(message.get("body", b""))
                more = message["type"] == "http.request" and message.get("more_body", False)
