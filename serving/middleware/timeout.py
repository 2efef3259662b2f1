"""A time limit for every request.

BentoML's own leaves a timer behind for every request, which keeps what the request held for a minute.
"""

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import StoppingError, TooSlowError
from serving.problems import document_of, problem_response
from vision.errors import Problem


class Timeout:
    """Answer 504 to a request that takes too long, and 503 to one that the server stops waiting for."""

    def __init__(self, app: ASGIApp, *, timeout_seconds: float, unlimited: Collection[str]) -> None:
        self.app = app
        self.timeout_seconds = timeout_seconds
        self.unlimited = frozenset(unlimited)  # paths without a limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.unlimited:
            return await self.app(scope, receive, send)
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def refuse(problem: Problem) -> None:
            await problem_response(document_of(problem))(scope, receive, send)

        try:
            async with asyncio.timeout(self.timeout_seconds) as limit:
                await self.app(scope, receive, send_noted)
        except TimeoutError:
            if not limit.expired():
                raise
            if not started:  # else the client has not read its answer to the end
                await refuse(TooSlowError(self.timeout_seconds))
        except asyncio.CancelledError:  # the server stops and waits no longer
            if started:
                raise
            await refuse(StoppingError())
