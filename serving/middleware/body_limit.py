"""A limit on the size of a request's body."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import document_of, problem_response
from vision.errors import TooLargeError

DRAIN_FACTOR = 4  # times the limit: how much of a body that is too large is read and thrown away


def declared_length(headers: Mapping[bytes, bytes]) -> int:
    """Return how long a body says it is, or 0 where it does not say so."""
    digits = headers.get(b"content-length", b"").lstrip(b"0")  # int() refuses thousands of digits, zeros too
    return int(digits) if digits.isdigit() else 0


class BodyLimit:
    """Answer 413 to a body over the limit, with or without a Content-Length."""

    def __init__(self, app: ASGIApp, max_bytes: int, pause_seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.pause_seconds = pause_seconds  # how long a client whose body is thrown away may send nothing

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
            if unread:  # what was read of it has been let go by now
                unread = False
                await self.drain(receive)
            await send(message)

        return await self.app(scope, receive_counted, send_after_the_rest)

    async def drain(self, receive: Receive) -> None:
        """Read the rest of a body and throw it away.

        A client that is still sending when the connection closes does not see the answer.
        """
        drained, more = 0, True
        with suppress(TimeoutError):
            while more and drained <= DRAIN_FACTOR * self.max_bytes:
                async with asyncio.timeout(self.pause_seconds):
                    message = await receive()
                drained += len(message.get("body", b""))
                more = message["type"] == "http.request" and message.get("more_body", False)
