"""API keys: who may use the service, and by which name the log knows them."""

import base64
import binascii
import hmac
from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import UnauthorizedError
from serving.problems import document_of, problem_response
from serving.settings import digest

KEY_NAME = "driftbento.key"  # in the scope of a request that has shown a key
HOW = "Send it as 'Authorization: Bearer KEY', or as the password of Basic authentication with any user name."


class ApiKeys:
    """Answer 401 to a request without a key, before its body is read; note the name of the key of others."""

    def __init__(self, app: ASGIApp, *, keys: Mapping[str, bytes], public: Collection[str]) -> None:
        self.app = app
        self.keys = dict(keys)  # SHA-256 of each key, by its name
        self.public = frozenset(public)  # paths that need no key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        authorization = dict(scope["headers"]).get(b"authorization")
        name = self.name_of(authorization)
        if name is not None:
            scope[KEY_NAME] = name
        elif scope["path"] not in self.public:
            wrong = "This needs a key." if authorization is None else "No key of this service was sent."
            document = document_of(UnauthorizedError(f"{wrong} {HOW}"))
            return await problem_response(document)(scope, receive, send)
        return await self.app(scope, receive, send)

    def name_of(self, authorization: bytes | None) -> str | None:
        """Return the name of the key in an Authorization header, None if it is not a key of this service.

        All keys are compared, each in constant time, so that the time it takes tells nothing about a key.
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
