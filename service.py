"""The BentoML service: what serves, what it is served with, and the image that both go into.

The endpoints are in serving/app.py. BentoML loads this file in the process that starts the workers
too. That has no use for torch and what needs it, which take seconds to import and hundreds of megabytes; so
these are imported where only workers come.
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import bentoml
from _bentoml_sdk import Service  # the class that `bentoml.service` makes; it has no public name
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.log import SERVER_LOGGING_CONFIG  # nor has its configuration
from bentoml.exceptions import BentoMLException
from bentoml.images import Image
from bentoml.models import BentoModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from serving import __version__
from serving.commands import TRAINING_COMMANDS
from serving.logs import write_json
from serving.process.metric_files import FOLDER_VARIABLE, make_folder
from serving.process.readiness import ReadinessFile
from serving.settings import is_log_json, settings
from vision.errors import MEND, ModelNotLoadedError
from vision.libc import end_with_parent

if TYPE_CHECKING:
    from vision.models.classifier import Classifier, UnavailableModel

# BentoML looks for modules beside this file only until it has loaded it, and some are imported later.
sys.path.append(str(Path(__file__).parent))
logger = logging.getLogger("bentoml.driftbento")
if is_log_json():
    write_json(SERVER_LOGGING_CONFIG)

# In the environment of workers: what the process that started them has found in the store.
FOUND = "DRIFTBENTO_MODELS"

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
# What scripts/image builds instead of the end of BentoML's template. Models come before code: a registry is
# sent all layers from a change on. Only of a user by number can Kubernetes tell that it is not root.
LAYERED = """
FROM base-container AS driftbento
COPY --chown=bentoml:bentoml models ./models/
COPY --chown=bentoml:bentoml src ./src/
COPY --chown=bentoml:bentoml apis ./apis/
COPY --chown=bentoml:bentoml README.md bento.yaml ./
EXPOSE 3000
USER 1034
ENTRYPOINT ["bash", "/home/bentoml/bento/env/docker/entrypoint.sh"]
FROM base-container"""


class SlimImage(Image):  # type: ignore[misc] # BentoML is not typed
    """A recipe that is only for bentos with a model: without one, a container would never be ready."""

    def freeze(self, bento_fs: Path, *arguments: Any, **options: Any) -> Any:
        if not DriftBento.models:  # type: ignore[attr-defined] # by now the decorator has made it a Service
            commands = " or ".join(f"`{command}`" for command in TRAINING_COMMANDS.values())
            raise BentoMLException(
                f"The model store holds no model to put into the bento. Run {commands} first."
            )
        frozen = super().freeze(bento_fs, *arguments, **options)
        docker = bento_fs / "env" / "docker"
        (docker / "entrypoint.sh").rename(docker / "bentoml.sh")  # the recipe's own entrypoint.sh calls it
        shutil.copytree(RECIPE, docker, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        for path in bento_fs.rglob("*"):  # which a checkout may keep for its owner alone
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        return frozen


IMAGE = SlimImage(
    base_image="python:3.11-slim-bookworm",
    distro="none",
    commands=[USE_TORCH_BACKEND, USE_RECIPES_UV],
    post_commands=[FOR_ANY_USER + LAYERED],
    lock_python_packages=False,
    python_requirements=Path(__file__).with_name("requirements.txt").read_text(),
)


def found_models() -> tuple[list[BentoModel], dict[str, str]]:
    """Return the newest version of each model of the store, and why others cannot be looked up, by name.

    A worker gets what the process that started it has found. Else one that replaces another would serve what
    has come into the store since.
    """
    if FOUND in os.environ:
        tags, reasons = json.loads(os.environ[FOUND])
        return [BentoModel(tag) for tag in tags], reasons
    models, reasons = list[BentoModel](), dict[str, str]()
    for name in TRAINING_COMMANDS:
        try:
            if stored := look_up(BentoModel(f"{name}:latest")):
                models.append(BentoModel(stored.tag))
        except ModelNotLoadedError as error:
            reasons[name] = error.detail
    return models, reasons


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
        self.models, self.damaged = found_models()

    def inject_config(self) -> None:
        super().inject_config()
        if FOLDER_VARIABLE not in os.environ:  # as it is in workers
            home = Path(BentoMLContainer.bentoml_home.get())
            BentoMLContainer.prometheus_multiproc_dir.set(make_folder(home))

    def to_asgi(self, is_main: bool = True) -> Any:
        from serving.app import endpoints
        from serving.middleware.problem_documents import ProblemDocuments
        from serving.middleware.request_id import ResponseHeaders
        from serving.process.connection import limit_connections

        limit_connections()
        endpoints.state.document = document
        self.mount_asgi_app(endpoints)
        app = super().to_asgi(is_main=is_main)
        app.router.redirect_slashes = False  # as of the endpoints
        app.user_middleware = leaner(app.user_middleware)
        return ResponseHeaders(ProblemDocuments(app))

    def schema(self) -> dict[str, Any]:
        from bento.routes import routes

        return dict(super().schema()) | {"routes": routes()}

    @property
    def openapi_spec(self) -> Any:
        from bentoml._internal.service.openapi.specification import PathItem

        from serving import openapi
        from serving.guards import public_paths

        described = super().openapi_spec
        with_keys = settings().api_keys is not None
        paths = openapi.paths()
        if with_keys:
            paths = openapi.behind_keys(paths, public=public_paths(settings()))
        return attrs.evolve(
            described,
            openapi=openapi.VERSION,
            info=attrs.evolve(
                described.info,
                description=openapi.DESCRIPTION,
                version=self.bento.tag.version if self.bento else __version__,
                contact=None,
            ),
            paths={path: PathItem(**item) for path, item in paths.items()},
            tags=None,
            components=openapi.components(with_keys=with_keys),
        )

    def on_load_bento(self, bento: Any) -> None:
        super().on_load_bento(bento)
        # Whatever else the store holds, a bento serves the versions that it was built with.
        self.models = [BentoModel(info.tag) for info in bento.info.all_models]


@bentoml.service(
    name="driftbento",
    service_class=ProblemDocumentService,
    image=IMAGE,
    workers=settings().workers,
    traffic={"timeout": settings().timeout_seconds},
)
class DriftBento:
    """Classifies images, and says when the images it is sent are no longer those it was trained on."""

    def __init__(self) -> None:
        self.roll = ReadinessFile.inherit(bentoml.server_context.worker_index)
        if self.roll:
            end_with_parent(self.roll.starter)
        import torch

        from serving.app import answer_for
        from serving.registry import Registry
        from vision.models.classifier import UnavailableModel

        torch.set_num_threads(settings().torch_threads)  # before anything is timed or compiled
        found: ProblemDocumentService = DriftBento  # type: ignore[assignment] # the decorator has made it one
        damaged = {name: UnavailableModel(name, "", reason) for name, reason in found.damaged.items()}
        self.registry = Registry(damaged | {model.tag.name: load(model) for model in found.models})
        answer_for(self.registry)
        if self.roll:
            self.roll.join(self.registry.why_not_ready)

    @bentoml.on_deployment  # type: ignore[untyped-decorator] # BentoML is not typed
    @staticmethod
    def supervise_workers() -> None:
        """Hear from BentoML, in the process that starts the workers, that it is about to."""
        from bento.supervisor import supervise  # which workers have no use for

        found: ProblemDocumentService = DriftBento  # type: ignore[assignment] # as above
        supervise({FOUND: json.dumps([[str(model.tag) for model in found.models], found.damaged])})

    async def __is_ready__(self) -> bool:
        reason = self.registry.why_not_ready or (self.roll and self.roll.why_not_ready)
        if reason:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return True


@cache
def document() -> bytes:
    """Return the description of the API. To make it takes 45 ms, in which nobody else is answered."""
    described = DriftBento.openapi_spec  # type: ignore[attr-defined] # a Service by now, as above
    return bytes(JSONResponse(described.asdict()).body)


def leaner(middleware: Sequence[Any]) -> list[Any]:
    """Replace what BentoML puts around every request by what does the same in less time.

    Its metrics stay, and its tracing where an exporter is configured, and whatever an operator adds. Its
    context is for endpoints of another kind than those here.
    """
    from _bentoml_impl.server.app import ContextMiddleware  # BentoML's middleware has no public names
    from bentoml._internal.server.http.access import AccessLogMiddleware
    from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
    from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    from serving import openapi
    from serving.guards import HEALTH, guards
    from serving.middleware.access_log import AccessLog
    from serving.middleware.known_paths import KnownPaths
    from serving.middleware.timeout import Timeout

    pages = ("/", "/docs.json")
    replaced: set[Any] = {AccessLogMiddleware, ContextMiddleware, MaxConcurrencyMiddleware, TimeoutMiddleware}
    if not BentoMLContainer.tracing.exporter_type.get():
        replaced.add(OpenTelemetryMiddleware)
    limits = Middleware(
        Timeout,
        timeout_seconds=settings().timeout_seconds,
        unlimited=HEALTH,
    )
    kept = [
        Middleware(KnownPaths, around=one, known=[*openapi.paths(), *pages])
        if one.cls is RunnerTrafficMetricsMiddleware
        else one
        for one in middleware
        if one.cls not in replaced
    ]
    if AccessLogMiddleware in {one.cls for one in middleware}:
        kept.append(Middleware(AccessLog, silent=HEALTH))
    return [*kept, *guards(settings()), limits]


def load(model: BentoModel) -> "Classifier | UnavailableModel":
    """Load a model from the store, or say why that cannot be done."""
    from vision.models.classifier import UnavailableModel, load_classifier

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
