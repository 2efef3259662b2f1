"""What every answer carries: the id of its request, and what keeps browsers from making more of it."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from random import Random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import MalformedRequestError

RawHeaders = Iterable[tuple[bytes, bytes]]

REQUEST_ID = "X-Request-ID"
WELL_FORMED = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
HOST = re.compile(
    rb"(\[[0-9A-Za-z:._~!$&'()*+,;=%-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?"
)  # RFC 3986, 3.2
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

STARTS = ("http.response.start", "websocket.http.response.start")
RAW_REQUEST_ID = REQUEST_ID.lower().encode()
ids = Random()  # noqa: S311 - they are no secrets, and the system's own numbers would cost Python's lock each time
current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """Return the id of the request that is being answered, or nothing outside of one."""
    return current.get()


def request_id_of(headers: RawHeaders) -> str:
    """Return the id that a request has brought with it, or a new one where it has none that can be kept."""
    for name, value in headers:
        if name == RAW_REQUEST_ID and WELL_FORMED.fullmatch(value):
            return value.decode("ascii")
    return f"{ids.getrandbits(128):032x}"


def check_host(headers: RawHeaders, version: str) -> None:
    """Refuse a request that does not say whom it is for (RFC 9112, 3.2).

    Raises:
        MalformedRequestError: It has more than one Host header, or one that is no host, or none and is not of
            HTTP/1.0.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version != "1.0"):
        raise MalformedRequestError(f"The request has {len(hosts) or 'no'} Host headers. Send one.")
    if hosts and not HOST.fullmatch(hosts[0].strip(b" \t")):
        raise MalformedRequestError(
            "The Host header names no host. Send a name or address, and perhaps a port."
        )


def answer_headers(headers: RawHeaders, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that every answer has, where it has not set them itself."""
    said = list(headers)
    names = {name.lower() for name, _ in said}
    return [
        *said,
        *(header for header in SAFE if header[0] not in names),
        (RAW_REQUEST_ID, request_id.encode("ascii")),
    ]


class AnswerHeaders:
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
