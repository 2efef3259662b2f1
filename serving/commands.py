"""The models that the service can answer for, and what to do where one is missing or damaged."""

from collections.abc import Mapping

TRAINING_COMMANDS: Mapping[str, str] = {"mnist": "python -m train mnist", "resnet": "python -m train resnet"}
REFERENCE_COMMANDS = {**TRAINING_COMMANDS, "resnet": "python -m train resnet --reference FOLDER"}
MEND = "Copy the model into the store again, or train it again, and restart the service."
