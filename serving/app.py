"""The application: every route, and everything that a request passes on its way there.

The endpoints are Starlette routes. BentoML's own request handling answers 500 to a damaged upload and fetches
whatever address is sent in a file's place; reading the form here gives every fault an answer of its own.
"""

from collections.abc import Collection, Sequence

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from serving import openapi
from serving.endpoints import page
from serving.endpoints.models import describe_models
from serving.execution.scheduler import Scheduler
from serving.middleware.access_log import AccessLog
from serving.middleware.api_keys import ApiKeys
from serving.middleware.body_limit import BodyLimit
from serving.middleware.known_paths import KnownPaths
from serving.middleware.problem_documents import ProblemDocuments
from serving.middleware.request_id import REQUEST_ID, ResponseHeaders
from serving.middleware.response_memory import ResponseMemory
from serving.middleware.timeout import Timeout
from serving.problems import answer_disconnect, answer_out_of_memory, answer_problem
from serving.registry import Registry
from serving.requests.admission import MemoryBudget
from serving.requests.pipeline import RequestPipeline, check_query
from serving.schemas import ClassifyForm, DriftForm
from serving.settings import Settings, read_keys, read_origins
from vision.errors import Problem

HEALTH, METRICS = ("/livez", "/readyz", "/healthz"), "/metrics"
PAGES = ("/", "/docs.json")


def create_app(settings: Settings, registry: Registry) -> Starlette:
    """Return this project's own endpoints, which answer for whatever models the registry holds.

    `state.document` is to be set to a function that returns the description of the API.
    """
    budget = MemoryBudget(settings.max_held_bytes)
    scheduler = Scheduler(registry, settings)
    app = Starlette(
        routes=[
            Route("/classify", post_classify, methods=["POST"]),
            Route("/drift", post_drift, methods=["POST"]),
            Route("/models", get_models, methods=["GET"]),
            Route("/docs.json", get_document, methods=["GET"]),
            Route("/", get_page, methods=["GET"]),
        ],
        middleware=inner_middleware(settings, budget),
        exception_handlers={
            Problem: answer_problem,
            MemoryError: answer_out_of_memory,
            ClientDisconnect: answer_disconnect,
        },
    )
    app.router.redirect_slashes = False  # to whatever host the client has named
    app.state.registry = registry
    app.state.classify = RequestPipeline(
        "/classify", ClassifyForm, scheduler.classify, budget=budget, limits=settings
    )
    app.state.drift = RequestPipeline(
        "/drift", DriftForm, scheduler.score_drift, budget=budget, limits=settings
    )
    return app


def middleware(
    settings: Settings, *, metrics: Middleware | None, others: Sequence[Middleware], access_log: bool
) -> list[Middleware]:
    """Return the middleware around BentoML's endpoints and this project's own, outermost first.

    Args:
        settings: The service's settings.
        metrics: BentoML's, which keep a time for each path.
        others: What else there is of BentoML's and the operator's.
        access_log: Whether to log every answer.
    """
    stack = [
        Middleware(ResponseHeaders),  # the request's id, and what browsers may do with the answer
        Middleware(ProblemDocuments),  # makes every error a problem document
    ]
    if metrics:
        stack.append(Middleware(KnownPaths, around=metrics, known=[*openapi.paths(), *PAGES]))
    stack += others
    if access_log:
        stack.append(Middleware(AccessLog, silent=HEALTH))
    if settings.cors_origins is not None:  # before keys: a browser asks whether it may before it sends one
        stack.append(cross_origin(settings.cors_origins))
    if settings.api_keys is not None:
        keys = read_keys(settings.api_keys.get_secret_value())
        stack.append(Middleware(ApiKeys, keys=keys, public=public_paths(settings)))
    stack.append(Middleware(Timeout, timeout_seconds=settings.timeout_seconds, unlimited=HEALTH))
    return stack


def inner_middleware(settings: Settings, budget: MemoryBudget) -> list[Middleware]:
    """Return what a request to this project's own endpoints passes after `middleware`, outermost first."""
    pause = settings.read_timeout_seconds
    return [
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes, pause_seconds=pause),
        Middleware(ResponseMemory, budget=budget),
    ]


def cross_origin(origins: str) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=read_origins(origins),
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", REQUEST_ID),
        expose_headers=(REQUEST_ID,),
    )


def public_paths(settings: Settings) -> Collection[str]:
    """Return the paths that need no key where there are keys."""
    return (*HEALTH, METRICS) if settings.public_metrics else HEALTH


async def post_classify(request: Request) -> Response:
    """Say what is in each image."""
    return response(await request.app.state.classify(request))


async def post_drift(request: Request) -> Response:
    """Say whether the images still come from the distribution that the model was trained on."""
    return response(await request.app.state.drift(request))


async def get_models(request: Request) -> Response:
    """Say which models are loaded, and what is known of them."""
    check_query(request)
    return response(describe_models(request.app.state.registry))


async def get_document(request: Request) -> Response:
    """Describe the API as OpenAPI does."""
    return Response(request.app.state.document(), media_type="application/json")


async def get_page(_: Request) -> Response:
    """Show the API in a browser."""
    return HTMLResponse(page.PAGE, headers=page.HEADERS)


def response(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), media_type="application/json")
