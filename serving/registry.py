"""The models that the service answers for, each loaded or with the reason why it is not."""

from collections.abc import Mapping

from serving.commands import TRAINING_COMMANDS
from serving.errors import UnknownModelError
from serving.schemas import DriftReferenceInfo, ModelInfo, ModelsResponse
from vision.errors import ModelNotLoadedError
from vision.models.classifier import Classifier, UnavailableModel


class Registry:
    """Models by name."""

    def __init__(self, models: Mapping[str, Classifier | UnavailableModel]) -> None:
        self.models = dict(models)

    @property
    def why_not_ready(self) -> str | None:
        """What keeps the models from being asked, if anything does."""
        if not self.models:
            return f"The model store holds no model. Run `{TRAINING_COMMANDS['mnist']}` and start again."
        reasons = [model.reason for model in self.models.values() if isinstance(model, UnavailableModel)]
        return " ".join(reasons) or None

    @property
    def loaded(self) -> list[Classifier]:
        """The models that can be asked."""
        return [model for model in self.models.values() if isinstance(model, Classifier)]

    def get(self, name: str) -> Classifier:
        """Return a loaded model.

        Raises:
            UnknownModelError: There is no model of that name.
            ModelNotLoadedError: The model is not in the store, or cannot be used.
        """
        model = self.models.get(name)
        if isinstance(model, Classifier):
            return model
        if model is not None:
            raise ModelNotLoadedError(model.reason)
        if name in TRAINING_COMMANDS:
            others = ", ".join(f"model={one.name}" for one in self.loaded)
            raise ModelNotLoadedError(
                f"The model store holds no {name!r}. Run `{TRAINING_COMMANDS[name]}` and start again"
                + (f", or send {others}." if others else ".")
            )
        raise UnknownModelError(f"There is no model {name!r}. There is: {', '.join(TRAINING_COMMANDS)}.")

    def describe(self) -> ModelsResponse:
        """Return what is known of every model."""
        return ModelsResponse(models=[describe(model) for model in self.models.values()])


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
