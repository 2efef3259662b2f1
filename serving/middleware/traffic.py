"""What every request passes: a time limit, and a line in the log.

BentoML has middleware for each of these. Its time limit leaves a timer behind for every request, which holds
on to what the request held for a minute; and all of it together takes longer than classifying a digit.
"""

import asyncio
import logging
import time
from collections.abc import Collection

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import StoppingError, TooSlowError
from serving.middleware.request_id import request_id
from serving.problems import document_of, problem_response
from vision.errors import MAX_NAME, Problem

PATH_BEFORE = "driftbento.path"  # in the scope of a request whose path is hidden

access = logging.getLogger("bentoml.access")  # which BentoML's own settings switch on and off
LINE = '%s "%s %s" %d, %d bytes, %.1f ms, key %s, request %s'
KEY_NAME = "driftbento.key"  # in the scope of a request that has shown a key


class Traffic:
    """Answer 504 to requests that take too long.

    Those that are still in progress when the server has waited for long enough to stop get 503.
    """

    def __init__(self, app: ASGIApp, *, timeout_seconds: float, unlimited: Collection[str]) -> None:
        self.app = app
        self.timeout_seconds = timeout_seconds
        self.unlimited = frozenset(unlimited)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.unlimited:
            return await self.app(scope, receive, send)
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_seconds) as limit:
                await self.app(scope, receive, send_noted)
        except TimeoutError:
            if not limit.expired():
                raise
            if started:  # and the client does not read on
                return None
            await refuse(TooSlowError(self.timeout_seconds), scope, receive, send)
        except asyncio.CancelledError:  # by the server, which stops and will wait no longer
            if started:
                raise
            await refuse(StoppingError(), scope, receive, send)


class KnownEndpoints:
    """Show middleware that keeps something for each path no more paths than the service has.

    BentoML's metrics have the path of every request in their labels. Whoever asked for one path after the
    other could fill memory with those that are none.
    """

    def __init__(self, app: ASGIApp, *, around: Middleware, known: Collection[str]) -> None:
        """Put middleware around an application.

        Args:
            app: The application, which sees every path as it is.
            around: The middleware, which sees "other" for those that are not known.
            known: Paths.
        """

        async def with_its_path(scope: Scope, receive: Receive, send: Send) -> None:
            if PATH_BEFORE in scope:
                scope = {**scope, "path": scope[PATH_BEFORE]}
            await app(scope, receive, send)

        self.app = around.cls(with_its_path, *around.args, **around.kwargs)
        self.known = frozenset(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope and scope["path"] not in self.known:
            scope = {**scope, "path": "other", PATH_BEFORE: scope["path"]}
        await self.app(scope, receive, send)


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problem_response(document_of(problem))(scope, receive, send)


class AccessLog:
    """Write a line for every answer: who asked for what, with which key, what came out, how long it took."""

    def __init__(self, app: ASGIApp, *, silent: Collection[str]) -> None:
        self.app = app
        self.silent = frozenset(silent)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.silent:
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        status = 0
        sent = 0

        async def send_noted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                host, port = scope.get("client") or ("-", 0)
                facts = {
                    "client": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                    "method": scope["method"],
                    "path": scope["raw_path"][:MAX_NAME].decode("latin-1"),  # in which no line can end
                    "status": status,
                    "bytes": sent,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                    "key": scope.get(KEY_NAME, "-"),
                }
                access.info(LINE, *facts.values(), request_id(), extra=facts)

        return await self.app(scope, receive, send_noted)
