"""The headers of every answer: the id of its request, and headers that restrict what browsers do with it."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from random import Random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = Iterable[tuple[bytes, bytes]]

REQUEST_ID = "X-Request-ID"
WELL_FORMED = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

STARTS = ("http.response.start", "websocket.http.response.start")
RAW_REQUEST_ID = REQUEST_ID.lower().encode()
ids = Random()  # noqa: S311 - they are no secrets, and the system's own numbers cost Python's lock each time
current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """Return the id of the request that is being answered; outside of a request, an empty text."""
    return current.get()


def request_id_of(headers: RawHeaders) -> str:
    """Return the X-Request-ID of a request, or a new id if it has none that is well formed."""
    for name, value in headers:
        if name == RAW_REQUEST_ID and WELL_FORMED.fullmatch(value):
            return value.decode("ascii")
    return f"{ids.getrandbits(128):032x}"


def answer_headers(headers: RawHeaders, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, and those that every answer has unless it has set them itself."""
    own = list(headers)
    names = {name.lower() for name, _ in own}
    return [
        *own,
        *(header for header in SAFE if header[0] not in names),
        (RAW_REQUEST_ID, request_id.encode("ascii")),
    ]


class ResponseHeaders:
    """Give each request an id, and each answer that id and the headers that every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        given = request_id_of(scope["headers"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] in STARTS:
                message = {**message, "headers": answer_headers(message.get("headers", ()), given)}
            await send(message)

        token = current.set(given)
        try:
            return await self.app(scope, receive, send_with_headers)
        finally:
            current.reset(token)
