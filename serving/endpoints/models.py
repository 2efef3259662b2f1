"""The answer of GET /models: which models there are, and what is known of each."""

from serving.registry import Registry, UnavailableModel
from serving.schemas import DriftReferenceInfo, ModelInfo, ModelsResponse
from vision.models.classifier import Classifier


def describe_models(registry: Registry) -> ModelsResponse:
    """Return what is known of every model."""
    return ModelsResponse(models=[describe(model) for model in registry.models.values()])


def describe(model: Classifier | UnavailableModel) -> ModelInfo:
    if isinstance(model, UnavailableModel):
        return ModelInfo(
            name=model.name,
            version=model.version,
            ready=False,
            reason=model.reason,
            trained=None,
            precision=None,
            classes=[],
            drift_reference=None,
            metadata={},
        )
    reference = model.reference and DriftReferenceInfo(
        n_reference=len(model.reference),
        n_features=model.reference.features.shape[1],
        lengthscale=model.reference.lengthscale,
        kernels=list(model.reference.kernels),
        n_permutations=model.reference.bank.n_permutations,
        max_batch=model.reference.max_batch,
        certificate=model.reference.certificate,
    )
    return ModelInfo(
        name=model.name,
        version=model.version,
        ready=True,
        trained=model.trained,
        precision=model.engine.precision,
        classes=list(model.labels),
        drift_reference=reference,
        metadata=dict(model.metadata),
    )
