"""What can keep a model from being made.

TrainingError
├── TooFewDigitsError           more samples than there are held-out digits
├── DatasetUnavailableError     a data set that is neither on disk nor within reach
├── WeightsUnavailableError     weights that cannot be had, or are not those of the architecture
├── BrokenModelError            a model whose answers are not finite
├── NoRoomError                 a disk without room for the model
└── ArchiveError                an archive for TorchServe that cannot be written
"""


class TrainingError(RuntimeError):
    """A model that cannot be made; its arguments are sentences: what was wrong, and what would be right."""

    def __str__(self) -> str:
        return " ".join(self.args)


class TooFewDigitsError(TrainingError):
    """More samples were asked for than there are held-out digits."""


class DatasetUnavailableError(TrainingError):
    """The data set that was asked for is neither on disk nor within reach."""


class WeightsUnavailableError(TrainingError):
    """The weights that were asked for cannot be had, or are not those of the architecture."""


class BrokenModelError(TrainingError):
    """The model's answers are not finite."""


class NoRoomError(TrainingError):
    """A disk has no room for the model."""


class ArchiveError(TrainingError):
    """No archive could be made."""
