"""The access log: a line for every answer."""

import logging
import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.middleware.api_keys import KEY_NAME
from serving.middleware.request_id import request_id
from vision.errors import MAX_NAME

logger = logging.getLogger("bentoml.access")  # BentoML's own settings switch it on and off
LINE = '%s "%s %s" %d, %d bytes, %.1f ms, key %s, request %s'


class AccessLog:
    """Write a line for every answer: who asked for what, with which key, what came out, how long it took.

    Requests for the paths in `silent` are not logged.
    """

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
                write_line(scope, status, sent, time.perf_counter() - started)

        return await self.app(scope, receive, send_noted)


def write_line(scope: Scope, status: int, n_bytes: int, seconds: float) -> None:
    host, port = scope.get("client") or ("-", 0)
    facts = {
        "client": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "method": scope["method"],
        "path": scope["raw_path"][:MAX_NAME].decode("latin-1"),  # still encoded, so that no line ends in it
        "status": status,
        "bytes": n_bytes,
        "milliseconds": round(seconds * 1000, 1),
        "key": scope.get(KEY_NAME, "-"),
    }
    logger.info(LINE, *facts.values(), request_id(), extra=facts)
