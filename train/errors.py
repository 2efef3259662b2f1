"""What can keep a model from being made.

TrainingError
├── DatasetUnavailableError     a data set that is neither on disk nor within reach
└── WeightsUnavailableError     weights that cannot be had, or are not those of the architecture
"""


class TrainingError(RuntimeError):
    """A model that cannot be made; the words say what was wrong and what would be right."""


class DatasetUnavailableError(TrainingError):
    """The data set that was asked for is neither on disk nor within reach."""


class WeightsUnavailableError(TrainingError):
    """The weights that were asked for cannot be had, or are not those of the architecture."""
