"""The endpoints, as the web application that BentoML mounts.

They are Starlette routes. BentoML's own request handling answers 500 to a damaged upload and fetches whatever
address is sent in a file's place; reading the form here gives every fault an answer of its own.
"""

import gc

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from serving.endpoints import page
from serving.execution.scheduler import Scheduler
from serving.metrics import metrics
from serving.middleware.body_limit import BodyLimit
from serving.middleware.response_memory import ResponseMemory
from serving.problems import answer_disconnect, answer_out_of_memory, answer_problem
from serving.registry import Registry
from serving.requests.admission import MemoryBudget
from serving.requests.pipeline import RequestPipeline, check_query
from serving.schemas import ClassifyForm, DriftForm
from serving.settings import settings
from vision.errors import Problem


async def post_classify(request: Request) -> Response:
    """Say what is in each image."""
    return response(await request.app.state.classify(request))


async def post_drift(request: Request) -> Response:
    """Say whether the images still come from the distribution that the model was trained on."""
    return response(await request.app.state.drift(request))


def response(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), media_type="application/json")


async def get_models(request: Request) -> Response:
    """Say which models are loaded, and what is known of them."""
    check_query(request)
    return response(request.app.state.registry.describe())


async def get_document(request: Request) -> Response:
    """Describe the API as OpenAPI does."""
    return Response(request.app.state.document(), media_type="application/json")


async def get_page(_: Request) -> Response:
    """Show the API in a browser."""
    return HTMLResponse(page.PAGE, headers=page.HEADERS)


budget = MemoryBudget(settings().max_held_bytes)
endpoints = Starlette(
    routes=[
        Route("/classify", post_classify, methods=["POST"]),
        Route("/drift", post_drift, methods=["POST"]),
        Route("/models", get_models, methods=["GET"]),
        Route("/docs.json", get_document, methods=["GET"]),
        Route("/", get_page, methods=["GET"]),
    ],
    middleware=[
        Middleware(
            BodyLimit,
            max_bytes=settings().max_body_bytes,
            pause_seconds=settings().read_timeout_seconds,
        ),
        Middleware(ResponseMemory, budget=budget),
    ],
    exception_handlers={
        Problem: answer_problem,
        MemoryError: answer_out_of_memory,
        ClientDisconnect: answer_disconnect,
    },
)
endpoints.router.redirect_slashes = False  # to whatever host the client has named


def answer_for(registry: Registry) -> None:
    """Have the endpoints answer for these models from now on."""
    scheduler, limits = Scheduler(registry, settings()), settings()
    endpoints.state.registry = registry
    endpoints.state.classify = RequestPipeline(
        "/classify", ClassifyForm, scheduler.classify, budget=budget, limits=limits
    )
    endpoints.state.drift = RequestPipeline(
        "/drift", DriftForm, scheduler.score_drift, budget=budget, limits=limits
    )
    metrics().describe(registry.describe().models)
    # What is loaded stays. To look through it for garbage takes 150 ms, in which nobody is answered.
    gc.collect()
    gc.freeze()
