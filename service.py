"""The BentoML service: its models, and when it is ready.

Its endpoints are in serving/app.py, and what they need of BentoML in bento/service_class.py. BentoML loads
this file in the process that starts the workers too; what needs torch is imported where only workers come.
"""

import gc
import logging
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from bentoml._internal.log import SERVER_LOGGING_CONFIG  # BentoML's configuration has no public name
from starlette.exceptions import HTTPException

from bento.image import image
from bento.service_class import DriftService
from serving.logs import write_json
from serving.process.readiness import ReadinessFile
from serving.registry import UnavailableModel
from serving.settings import is_log_json, settings
from vision.errors import ModelNotLoadedError
from vision.libc import end_with_parent

if TYPE_CHECKING:
    from vision.models.classifier import Classifier

# BentoML looks for modules beside this file only until it has loaded it, and some are imported later.
sys.path.append(str(Path(__file__).parent))
logger = logging.getLogger("bentoml.driftbento")
if is_log_json():
    write_json(SERVER_LOGGING_CONFIG)


@bentoml.service(
    name="driftbento",
    service_class=DriftService,
    image=image(),
    workers=settings().workers,
    traffic={"timeout": settings().timeout_seconds},
)
class DriftBento:
    """Classifies images, and says when the images it is sent are no longer those it was trained on."""

    def __init__(self) -> None:
        self.readiness = ReadinessFile.inherit(bentoml.server_context.worker_index)
        if self.readiness:
            end_with_parent(self.readiness.starter)
        import torch

        from serving.endpoints.models import describe_models
        from serving.metrics import metrics

        torch.set_num_threads(settings().torch_threads)  # before anything is timed or compiled
        this = this_service()
        damaged = {name: UnavailableModel(name, "", reason) for name, reason in this.damaged.items()}
        self.registry = this.registry
        self.registry.replace(damaged | {model.tag.name: load(str(model.tag)) for model in this.models})
        metrics().describe(describe_models(self.registry).models)
        # What is loaded stays. To look through it for garbage takes 150 ms, in which nobody is answered.
        gc.collect()
        gc.freeze()
        if self.readiness:
            self.readiness.join(self.registry.why_not_ready)

    @bentoml.on_deployment  # type: ignore[untyped-decorator] # BentoML is not typed
    @staticmethod
    def supervise_workers() -> None:
        """Hear from BentoML, in the process that starts the workers, that it is about to."""
        from bento.supervisor import supervise  # workers have no use for it

        supervise(this_service().found())

    async def __is_ready__(self) -> bool:
        """Say whether every worker has loaded every model.

        Raises:
            HTTPException: Not yet, or no more; it says what is missing.
        """
        reason = self.registry.why_not_ready or (self.readiness and self.readiness.why_not_ready)
        if reason:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return True


def this_service() -> DriftService:
    """Return the service that the decorator has made of the class."""
    return DriftBento  # type: ignore[return-value]


def load(tag: str) -> "Classifier | UnavailableModel":
    """Load a version of a model, or say why that cannot be done."""
    from bento.catalogue import load as load_from_store

    name, _, version = tag.partition(":")
    try:
        classifier = load_from_store(tag, precision=settings().precision)
    except ModelNotLoadedError as error:
        logger.warning("%s is not served. %s", tag, error.detail)
        return UnavailableModel(name, version, error.detail)
    logger.info(
        "Serving %s, %s classes, in %s", classifier.tag, len(classifier.labels), classifier.engine.precision
    )
    return classifier
