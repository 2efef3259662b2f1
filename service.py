"""The BentoML service: every endpoint, and how it is wired.

The endpoints are Starlette routes that BentoML mounts. Its own request handling answers 500 to a damaged
upload and fetches whatever address is sent in a file's place; reading the form here gives every fault an
answer of its own.
"""

import gc
import logging
import shutil
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import attrs
import bentoml
import torch
from _bentoml_impl.server.app import ContextMiddleware  # BentoML's middleware has no public names
from _bentoml_sdk import Service  # the class that `bentoml.service` makes; it has no public name
from bentoml._internal.configuration.containers import BentoMLContainer  # nor has its configuration
from bentoml._internal.log import SERVER_LOGGING_CONFIG
from bentoml._internal.server.http.access import AccessLogMiddleware
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
from bentoml._internal.service.openapi.specification import PathItem  # nor has this one
from bentoml.exceptions import BentoMLException
from bentoml.images import Image
from bentoml.models import BentoModel
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving import openapi, page
from serving.admission import HeldAnswers, Room
from serving.connections import limit_connections
from serving.dispatch import Dispatcher
from serving.errors import ModelNotLoadedError, Problem
from serving.guards import HEALTH, guards, public_paths
from serving.headers import AnswerHeaders
from serving.intake import Intake
from serving.logs import write_json
from serving.metrics import metrics
from serving.middleware import BodyLimit, ProblemDocuments
from serving.models import MEND, Classifier, UnavailableModel, load_classifier
from serving.registry import TRAINING_COMMANDS, Registry
from serving.responses import answer_disconnect, answer_out_of_memory, answer_problem
from serving.schemas import ClassifyForm, DriftForm
from serving.settings import settings
from serving.traffic import AccessLog, KnownEndpoints, Traffic
from serving.workers import Roll, end_with_parent

logger = logging.getLogger("bentoml.driftbento")
if settings().log_format == "json":
    write_json(SERVER_LOGGING_CONFIG)
limit_connections()


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
    return response(request.app.state.registry.describe())


async def get_document(_: Request) -> Response:
    """Describe the API as OpenAPI does."""
    return Response(document(), media_type="application/json")


@cache
def document() -> bytes:
    """Return the description of the API. To make it takes 45 ms, in which nobody else is answered."""
    described = DriftBento.openapi_spec  # type: ignore[attr-defined] # by now the decorator has made it a Service
    return bytes(JSONResponse(described.asdict()).body)


async def get_page(_: Request) -> Response:
    """Show the API in a browser."""
    return HTMLResponse(page.PAGE, headers=page.HEADERS)


# The recipe of the container: no distribution of BentoML's list, which would install a compiler and git, and
# a lock that is already one. TORCH_BACKEND, a build argument, says which of PyTorch's builds uv takes.
RECIPE = Path(__file__).with_name("deploy") / "image"
USE_TORCH_BACKEND = r"""[ -z "$TORCH_BACKEND" ] || { mkdir -p /etc/uv && \
    printf '[pip]\ntorch-backend = "%s"\n' "$TORCH_BACKEND" >/etc/uv/uv.toml; }"""
USE_RECIPES_UV = "install -m 755 env/docker/uv /usr/local/bin/uv"
# BentoML's template has no place for these instructions, so they follow a command. Any user may look into the
# home, and what BentoML writes when it starts goes where any user may write, be the rest read-only or not.
# The day on which the user was made is not kept: the same commit makes the same image on any day.
FOR_ANY_USER = """chmod 755 /home/bentoml && sed -i 's/^\\(bentoml:[^:]*\\):[0-9]*:/\\1:1:/' /etc/shadow
ENV BENTOML_HOME=/tmp/bentoml
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["python", "env/docker/healthcheck.py"]"""


class SlimImage(Image):  # type: ignore[misc] # BentoML is not typed
    """A recipe that is only for bentos with a model: without one, a container would never be ready."""

    def freeze(self, bento_fs: Path, *arguments: Any, **options: Any) -> Any:
        if not DriftBento.models:  # type: ignore[attr-defined] # by now the decorator has made it a Service
            commands = " or ".join(f"`{command}`" for command in TRAINING_COMMANDS.values())
            raise BentoMLException(
                f"The model store holds no model to put into the bento. Run {commands} first."
            )
        frozen = super().freeze(bento_fs, *arguments, **options)
        shutil.copytree(
            RECIPE,
            bento_fs / "env" / "docker",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for path in bento_fs.rglob("*"):  # which a checkout may keep for its owner alone
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        return frozen


IMAGE = SlimImage(
    base_image="python:3.11-slim-bookworm",
    distro="none",
    commands=[USE_TORCH_BACKEND, USE_RECIPES_UV],
    post_commands=[FOR_ANY_USER],
    lock_python_packages=False,
    python_requirements=Path(__file__).with_name("requirements.txt").read_text(),
)

room = Room(settings().max_held_bytes)
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
        Middleware(HeldAnswers, room=room),
    ],
    exception_handlers={
        Problem: answer_problem,
        MemoryError: answer_out_of_memory,
        ClientDisconnect: answer_disconnect,
    },
)


def newest(name: str) -> BentoModel | UnavailableModel | None:
    """Return the newest version of a model, or say why it cannot be looked up, or that there is none."""
    model = BentoModel(f"{name}:latest")
    try:
        return model if look_up(model) else None
    except ModelNotLoadedError as error:
        return UnavailableModel(name, "", error.detail)


def look_up(model: BentoModel) -> Any:
    """Return what the store says of a model, None where it has none.

    Raises:
        ModelNotLoadedError: The store is damaged.
    """
    try:
        return model.stored
    except Exception as error:
        logger.exception("%s could not be looked up in the model store", model.tag)
        raise ModelNotLoadedError(
            f"model.yaml of {model.tag.name}, or the file that names its latest version, is missing or "
            f"damaged. {MEND}"
        ) from error


class ProblemDocumentService(Service[Any]):  # type: ignore[misc] # BentoML is not typed
    """A BentoML service whose errors are problem documents, and that describes the mounted endpoints too."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.models = [found for found in map(newest, TRAINING_COMMANDS) if isinstance(found, BentoModel)]

    def to_asgi(self, is_main: bool = True) -> Any:
        app = super().to_asgi(is_main=is_main)
        app.user_middleware = leaner(app.user_middleware)
        return AnswerHeaders(ProblemDocuments(app))

    @property
    def openapi_spec(self) -> Any:
        document = super().openapi_spec
        with_keys = settings().api_keys is not None
        paths = (
            openapi.behind_keys(openapi.paths(), public=public_paths(settings()))
            if with_keys
            else openapi.paths()
        )
        return attrs.evolve(
            document,
            openapi=openapi.VERSION,
            info=attrs.evolve(document.info, description=openapi.DESCRIPTION, contact=None),
            paths={path: PathItem(**item) for path, item in paths.items()},
            tags=None,
            components=openapi.components(with_keys=with_keys),
        )

    def on_load_bento(self, bento: Any) -> None:
        super().on_load_bento(bento)
        # BentoML looks `latest` up again when it serves; a bento serves the versions that it was built with.
        self.models = [BentoModel(info.tag) for info in bento.info.all_models]


@bentoml.service(
    name="driftbento",
    service_class=ProblemDocumentService,
    image=IMAGE,
    workers=settings().workers,
    traffic={"timeout": settings().timeout_seconds},
)
@bentoml.asgi_app(endpoints)
class DriftBento:
    """Classifies images, and says when the images it is sent are no longer those it was trained on."""

    def __init__(self) -> None:
        self.roll = Roll.inherit(bentoml.server_context.worker_index)
        if self.roll:
            end_with_parent(self.roll.starter)
        torch.set_num_threads(settings().torch_threads)
        models = DriftBento.models  # type: ignore[attr-defined] # by now the decorator has made it a Service
        damaged = {
            found.name: found
            for found in map(newest, TRAINING_COMMANDS)
            if isinstance(found, UnavailableModel)
        }
        self.registry = Registry(damaged | {model.tag.name: load(model) for model in models})
        endpoints.state.registry = self.registry
        dispatcher, limits = Dispatcher(self.registry, settings()), settings()
        endpoints.state.classify = Intake(
            "/classify", ClassifyForm, dispatcher.classify, room=room, limits=limits
        )
        endpoints.state.drift = Intake("/drift", DriftForm, dispatcher.score_drift, room=room, limits=limits)
        metrics().describe(self.registry.describe().models)
        # What is loaded stays. To look through it for garbage takes 150 ms, in which nobody is answered.
        gc.collect()
        gc.freeze()

        if self.roll and not self.registry.why_not_ready:
            self.roll.sign()

    @bentoml.on_deployment  # type: ignore[untyped-decorator] # BentoML is not typed
    @staticmethod
    def supervise_workers() -> None:
        """Hear from BentoML, in the process that starts the workers, that it is about to."""
        from serving.supervision import supervise  # which workers have no use for

        supervise()

    async def __is_ready__(self) -> bool:
        reason = self.registry.why_not_ready or (self.roll and self.roll.why_not_ready)
        if reason:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return True


def leaner(middleware: Sequence[Any]) -> list[Any]:
    """Replace what BentoML puts around every request by what does the same in less time.

    Its metrics stay, and its tracing where an exporter is configured, and whatever an operator adds. Its
    context is for endpoints of another kind than those here.
    """
    pages = ("/", "/docs.json")
    replaced: set[Any] = {AccessLogMiddleware, ContextMiddleware, MaxConcurrencyMiddleware, TimeoutMiddleware}
    if not BentoMLContainer.tracing.exporter_type.get():
        replaced.add(OpenTelemetryMiddleware)
    limits = Middleware(
        Traffic,
        timeout_seconds=settings().timeout_seconds,
        unlimited=HEALTH,
    )
    kept = [
        Middleware(KnownEndpoints, around=one, known=[*openapi.paths(), *pages])
        if one.cls is RunnerTrafficMetricsMiddleware
        else one
        for one in middleware
        if one.cls not in replaced
    ]
    if AccessLogMiddleware in {one.cls for one in middleware}:
        kept.append(Middleware(AccessLog, silent=HEALTH))
    return [*kept, *guards(settings()), limits]


def load(model: BentoModel) -> Classifier | UnavailableModel:
    """Load a model from the store, or say why that cannot be done."""
    version = str(model.tag.version)
    try:
        stored = look_up(model)
        if stored is None:
            raise ModelNotLoadedError(f"{model.tag} is not in the model store.")
        version = str(stored.tag.version)
        classifier = load_classifier(
            Path(stored.path), stored.tag.name, version, stored.info.metadata, precision=settings().precision
        )
    except ModelNotLoadedError as error:
        logger.warning("%s:%s is not served. %s", model.tag.name, version, error.detail)
        return UnavailableModel(model.tag.name, version, error.detail)
    logger.info(
        "Serving %s, %s classes, in %s", classifier.tag, len(classifier.labels), classifier.engine.precision
    )
    return classifier
