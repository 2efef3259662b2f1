"""Who may ask: keys, each with a name by which the log knows it, and web pages of other origins."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import UnauthorizedError
from serving.responses import problem_response
from serving.traffic import KEY_NAME

NAME = re.compile(r"[A-Za-z0-9_.-]+")
KEY = re.compile(r"[!-+\--~]{16,}")  # what can be seen of ASCII, but for the comma
ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]+)?")

HOW = "Send it as 'Authorization: Bearer KEY', or as the password of Basic authentication with any user name."


def read_keys(text: str) -> dict[str, bytes]:
    """Return the digest of each key by its name.

    Args:
        text: Names and keys, as name=key,name2=key2.

    Raises:
        ValueError: It is not that. What it says holds no part of a key.
    """
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, key = entry.partition("=")
        if not NAME.fullmatch(name) or not KEY.fullmatch(key):
            raise ValueError(
                f"Entry {place} is not name=key. Write name=key,name2=key2: names of letters, digits and "
                "_.-, keys of at least 16 characters of ASCII without commas and spaces. Or leave it unset; "
                "then everybody may ask."
            )
        if name in keys or digest(key.encode()) in keys.values():
            raise ValueError(f"Entry {place} has the name or the key of one before it. Give each its own.")
        keys[name] = digest(key.encode())
    return keys


def read_origins(text: str) -> list[str]:
    """Return origins of web pages, one of which may be *, for any.

    Raises:
        ValueError: One of them is none.
    """
    origins = text.split(",")
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is no origin. Write them as a browser sends them, https://example.org or "
                "http://localhost:8080, with commas and no spaces between them; or * for all."
            )
    return origins


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Keys:
    """Answer 401 to a request without a key before its body is read; note whose key another has shown."""

    def __init__(self, app: ASGIApp, *, keys: Mapping[str, bytes], public: Collection[str]) -> None:
        """Put keys before an application.

        Args:
            app: The application.
            keys: Digests of the keys by their names.
            public: Paths that need no key.
        """
        self.app = app
        self.keys = dict(keys)
        self.public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        authorization = dict(scope["headers"]).get(b"authorization")
        name = self.name_of(authorization)
        if name is not None:
            scope[KEY_NAME] = name
        elif scope["path"] not in self.public:
            wrong = "This needs a key." if authorization is None else "No key of this service was sent."
            return await problem_response(UnauthorizedError(f"{wrong} {HOW}").document())(
                scope, receive, send
            )
        return await self.app(scope, receive, send)

    def name_of(self, authorization: bytes | None) -> str | None:
        """Return the name of the key that a header shows, if it is one.

        All keys are compared, each in constant time: how long it takes says nothing about any of them.
        """
        found = None
        if authorization is not None and (key := shown_key(authorization)) is not None:
            shown = digest(key)
            for name, known in self.keys.items():
                if hmac.compare_digest(shown, known):
                    found = name
        return found


def shown_key(authorization: bytes) -> bytes | None:
    """Return the key in a header of the Bearer or the Basic scheme."""
    scheme, _, value = authorization.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return value.strip()
        case b"basic":
            try:
                _, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
            except binascii.Error:
                return None
            return password if colon else None
    return None
