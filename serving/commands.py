"""The models that the service can answer for, and the commands that train them."""

from collections.abc import Mapping

TRAINING_COMMANDS: Mapping[str, str] = {"mnist": "python -m train mnist", "resnet": "python -m train resnet"}
REFERENCE_COMMANDS = {**TRAINING_COMMANDS, "resnet": "python -m train resnet --reference FOLDER"}
