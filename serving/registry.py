"""The models that the service answers for, each loaded or with the reason why it is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.errors import UnknownModelError
from vision.errors import ModelNotLoadedError

if TYPE_CHECKING:  # the process that starts the workers has a registry too, and no use for torch
    from vision.models.classifier import Classifier

# What to advise whoever asks for a model that is missing and that this project can train.
TRAINING_COMMANDS: Mapping[str, str] = {"mnist": "python -m train mnist", "resnet": "python -m train resnet"}
REFERENCE_COMMANDS = {**TRAINING_COMMANDS, "resnet": "python -m train resnet --reference FOLDER"}


@dataclass(frozen=True)
class UnavailableModel:
    """A model that should be there and cannot be used."""

    name: str
    version: str  # empty when there is none in the model store
    reason: str  # what is wrong, and what would mend it


class Registry:
    """Models by name. It has none until it is given some."""

    def __init__(self, models: Mapping[str, "Classifier | UnavailableModel"] | None = None) -> None:
        self.models = dict(models or {})

    def replace(self, models: Mapping[str, "Classifier | UnavailableModel"]) -> None:
        """Answer for these models from now on."""
        self.models = dict(models)

    @property
    def why_not_ready(self) -> str | None:
        """What keeps the models from being asked, if anything does."""
        if not self.models:
            return f"The model store holds no model. Run `{TRAINING_COMMANDS['mnist']}` and start again."
        reasons = [model.reason for model in self.models.values() if isinstance(model, UnavailableModel)]
        return " ".join(reasons) or None

    @property
    def loaded(self) -> "list[Classifier]":
        """The models that can be asked."""
        return [model for model in self.models.values() if not isinstance(model, UnavailableModel)]

    def get(self, name: str) -> "Classifier":
        """Return a loaded model.

        Raises:
            UnknownModelError: There is no model of that name.
            ModelNotLoadedError: The model is not in the store, or cannot be used.
        """
        model = self.models.get(name)
        if isinstance(model, UnavailableModel):
            raise ModelNotLoadedError(model.reason)
        if model is not None:
            return model
        if name in TRAINING_COMMANDS:
            others = ", ".join(f"model={one.name}" for one in self.loaded)
            raise ModelNotLoadedError(
                f"The model store holds no {name!r}. Run `{TRAINING_COMMANDS[name]}` and start again"
                + (f", or send {others}." if others else ".")
            )
        known = ", ".join({**TRAINING_COMMANDS, **self.models})
        raise UnknownModelError(f"There is no model {name!r}. There is: {known}.")
