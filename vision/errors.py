"""Errors of images and models, worded for whoever sent the image or stored the model.

Problem
├── TooLargeError               more bytes, images or pixels than are allowed
├── UnsupportedTypeError        a file that was sent as something other than an image
├── UndecodableImageError       bytes that are no complete image
├── NoDigitError                an image without a digit
├── NoContentError              an image of one colour where a photograph is expected
├── AmbiguousFilesError         an archive of many images beside other files
└── ModelNotLoadedError         a model that is not in the store, or that failed its golden check

serving/problems.py has the HTTP status of each.
"""

from typing import Any, ClassVar

MAX_ECHO = 100  # characters of a client's input, or of an error about it, that a message repeats
MEND = "Copy the model into the store again, or train it again, and restart the service."
MAX_NAME = 1000  # characters of a file's name in a message, and of a path in the log


class Problem(Exception):
    """An error whose `detail` says what was wrong and what would be right.

    Attributes:
        kind: Name of its class of errors for programs.
        title: Name of its class of errors for people.
        detail: A sentence or two.
        extensions: What else is known, by name.
    """

    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service has a defect"

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions


class TooLargeError(Problem):
    kind, title = "too-large", "The request is too large"


class UnsupportedTypeError(Problem):
    kind, title = "unsupported-type", "This type is not supported"


class UndecodableImageError(Problem):
    kind, title = "undecodable-image", "The image cannot be decoded"


class NoDigitError(Problem):
    kind, title = "no-digit", "There is no digit on the image"


class NoContentError(Problem):
    kind, title = "no-content", "The image shows nothing"


class AmbiguousFilesError(Problem):
    kind, title = "malformed-request", "The request is malformed"


class ModelNotLoadedError(Problem):
    kind, title = "model-not-loaded", "The model is not loaded"


def echo(said: object) -> str:
    """Return the first MAX_ECHO characters of a client's input, or of an error about it, in ASCII."""
    return str(said).encode("ascii", "backslashreplace").decode()[:MAX_ECHO]
