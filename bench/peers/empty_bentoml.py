"""A BentoML service that does nothing, to measure BentoML's own time per request."""

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def read(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({})


@bentoml.service(name="empty")
@bentoml.asgi_app(Starlette(routes=[Route("/empty", read, methods=["POST"])]))
class Empty:
    """Reads requests and does nothing with them."""
