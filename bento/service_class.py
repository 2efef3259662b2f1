"""A BentoML service that is this project's application within BentoML's own.

BentoML answers /livez, /readyz, /metrics and /schema.json. Everything else, and what surrounds all of it, is
serving/app.py. BentoML makes a service in the process that starts the workers too, where torch would cost
seconds and hundreds of megabytes, so that what needs it is imported where only workers come.
"""

import json
import logging
import os
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import attrs
from _bentoml_sdk import Service  # the class that `bentoml.service` makes; it has no public name
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.models import BentoModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from bento import store
from serving import __version__
from serving.process.metric_files import FOLDER_VARIABLE, make_folder
from serving.registry import Registry
from serving.settings import settings
from vision.errors import MEND

logger = logging.getLogger("bentoml.driftbento")

# In the environment of workers: what the process that started them has found in the store.
FOUND = "DRIFTBENTO_MODELS"


class DriftService(Service[Any]):  # type: ignore[misc] # BentoML is not typed
    """The service as BentoML runs it.

    Attributes:
        models: The versions that are served.
        damaged: Why others of the store cannot be looked up, by name.
    """

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.models, self.damaged = found_models()

    @cached_property
    def registry(self) -> Registry:
        """The models that the application answers for, which it has none of until they are loaded."""
        return Registry()

    def found(self) -> dict[str, str]:
        """Return the environment by which workers serve what this process has found."""
        return {FOUND: json.dumps([[str(model.tag) for model in self.models], self.damaged])}

    def inject_config(self) -> None:
        super().inject_config()
        if FOLDER_VARIABLE not in os.environ:  # as it is in workers
            home = Path(BentoMLContainer.bentoml_home.get())
            BentoMLContainer.prometheus_multiproc_dir.set(make_folder(home))

    def to_asgi(self, is_main: bool = True) -> Starlette:
        from serving.app import create_app, middleware
        from serving.process.connection import limit_connections

        limit_connections()
        app = create_app(settings(), self.registry)
        # To make the description of the API takes 45 ms, in which nobody else is answered.
        app.state.document = cache(lambda: JSONResponse(self.openapi_spec.asdict()).body)
        self.mount_asgi_app(app)
        outer: Starlette = super().to_asgi(is_main=is_main)
        outer.router.redirect_slashes = False  # as of the application
        outer.user_middleware = middleware(settings(), **kept(outer.user_middleware))
        return outer

    def schema(self) -> dict[str, Any]:
        from bento.routes import routes

        return dict(super().schema()) | {"routes": routes()}

    @property
    def openapi_spec(self) -> Any:
        from bentoml._internal.service.openapi.specification import PathItem

        from serving import openapi
        from serving.app import public_paths

        described = super().openapi_spec
        public = None if settings().api_keys is None else public_paths(settings())
        return attrs.evolve(
            described,
            openapi=openapi.VERSION,
            info=attrs.evolve(
                described.info,
                description=openapi.DESCRIPTION,
                version=self.bento.tag.version if self.bento else __version__,
                contact=None,
            ),
            paths={path: PathItem(**item) for path, item in openapi.paths(public).items()},
            tags=None,
            components=openapi.components(with_keys=public is not None),
        )

    def on_load_bento(self, bento: Any) -> None:
        super().on_load_bento(bento)
        # Whatever else the store holds, a bento serves the versions that it was built with.
        self.models = [BentoModel(info.tag) for info in bento.info.all_models]


def found_models() -> tuple[list[BentoModel], dict[str, str]]:
    """Return the newest version of each model of the store, and why others cannot be looked up, by name.

    A worker gets what the process that started it has found. Else one that replaces another would serve what
    has come into the store since.
    """
    if FOUND in os.environ:
        tags, reasons = json.loads(os.environ[FOUND])
        return [BentoModel(tag) for tag in tags], reasons
    found, damaged = store.newest()
    for error in damaged.values():
        logger.error("%s", error, exc_info=error)
    reasons = {name: f"{error} {MEND}" for name, error in damaged.items()}
    return [BentoModel(model.tag) for model in found], reasons


def kept(middleware: Sequence[Middleware]) -> dict[str, Any]:
    """Return what stays of BentoML's middleware, as `serving.app.middleware` takes it.

    Its access log, time limit, limit on concurrency and context are replaced by what does the same in less
    time, and its tracing stays where an exporter is configured. What an operator has added stays.
    """
    from _bentoml_impl.server.app import ContextMiddleware  # BentoML's middleware has no public names
    from bentoml._internal.server.http.access import AccessLogMiddleware
    from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
    from bentoml._internal.server.http.traffic import MaxConcurrencyMiddleware, TimeoutMiddleware
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    replaced: set[Any] = {AccessLogMiddleware, ContextMiddleware, MaxConcurrencyMiddleware, TimeoutMiddleware}
    if not BentoMLContainer.tracing.exporter_type.get():
        replaced.add(OpenTelemetryMiddleware)
    by_class: dict[Any, Middleware] = {one.cls: one for one in middleware}
    return {
        "metrics": by_class.pop(RunnerTrafficMetricsMiddleware, None),
        "others": [one for kind, one in by_class.items() if kind not in replaced],
        "access_log": AccessLogMiddleware in by_class,
    }
