"""A BentoML service that does nothing: what it takes for a request is what BentoML takes."""

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
    """Reads what it is sent."""
