"""The paths that metrics may have in their labels."""

from collections.abc import Collection

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

ORIGINAL_PATH = "driftbento.path"  # in the scope of a request whose path is hidden


class KnownPaths:
    """Show the paths of this service to a middleware, and "other" for all the rest.

    BentoML's metrics have the path of every request in their labels, and keep each for ever. A client that
    asks for one unknown path after the other would fill the memory.
    """

    def __init__(self, app: ASGIApp, *, around: Middleware, known: Collection[str]) -> None:
        """Put the middleware `around` an application, which itself sees every path as it is."""

        async def with_its_path(scope: Scope, receive: Receive, send: Send) -> None:
            if ORIGINAL_PATH in scope:
                scope = {**scope, "path": scope[ORIGINAL_PATH]}
            await app(scope, receive, send)

        self.app = around.cls(with_its_path, *around.args, **around.kwargs)
        self.known = frozenset(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope and scope["path"] not in self.known:
            scope = {**scope, "path": "other", ORIGINAL_PATH: scope["path"]}
        await self.app(scope, receive, send)
