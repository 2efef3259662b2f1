"""Every error that a caller can meet, as the problem document that says so (RFC 9457).

Problem
├── MalformedRequestError       400  not multipart, an unknown field, a value out of range
├── UnauthorizedError           401  no key, or one that is not known
├── UnknownModelError           404  no such model
├── SlowClientError             408  headers or a body that do not come
├── NoDriftReferenceError       409  the model has nothing to measure drift against
├── TooLargeError               413  body, number of images, or pixels
├── UnsupportedTypeError        415  not multipart/form-data, or a file that does not claim to be an image
├── UndecodableImageError       422  bytes that are no image
├── NoDigitError                422  an image on which no digit is
├── NoContentError              422  an image whose middle has one colour, where a photograph is expected
├── UntestableBatchError        422  too few images, features that are not finite
├── OverloadedError             429  more requests at a time than the service takes
├── HeadersTooLargeError        431  more, or longer, headers than the service reads
├── ModelNotLoadedError         503  a model that is not in the store, or that failed its golden check
├── OutOfMemoryError            503  a request for which there is not enough memory at the moment
├── StoppingError               503  a request that is not done when the service stops
└── TooSlowError                504  a request that takes longer than it may
"""

from http import HTTPStatus
from typing import Any, ClassVar

MEDIA_TYPE = "application/problem+json"
MAX_ECHO = 100  # characters of what was sent, or said of it, that an answer repeats
MAX_NAME = 1000  # characters of a file's name, which answers repeat, and of a path in the log
TYPE_PREFIX = "urn:driftbento:problem:"


class Problem(Exception):
    """An error with a status, a title, and a detail that says what was wrong and what would be right."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service has a defect"

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions

    def document(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        return problem_document(self.status, self.detail, kind=self.kind, title=self.title) | self.extensions


class MalformedRequestError(Problem):
    status, kind, title = HTTPStatus.BAD_REQUEST, "malformed-request", "The request is malformed"


class UnauthorizedError(Problem):
    status, kind, title = HTTPStatus.UNAUTHORIZED, "unauthorized", "The request has no valid key"


class UnknownModelError(Problem):
    status, kind, title = HTTPStatus.NOT_FOUND, "unknown-model", "There is no such model"


class SlowClientError(Problem):
    status, kind, title = HTTPStatus.REQUEST_TIMEOUT, "too-slow-client", "The client is too slow"


class NoDriftReferenceError(Problem):
    status, kind, title = HTTPStatus.CONFLICT, "no-drift-reference", "The model has no drift reference"


class TooLargeError(Problem):
    status, kind, title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request is too large"


class UnsupportedTypeError(Problem):
    status, kind, title = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "This type is not supported"


class UndecodableImageError(Problem):
    status, kind, title = HTTPStatus.UNPROCESSABLE_ENTITY, "undecodable-image", "The image cannot be decoded"


class NoDigitError(Problem):
    status, kind, title = HTTPStatus.UNPROCESSABLE_ENTITY, "no-digit", "There is no digit on the image"


class NoContentError(Problem):
    status, kind, title = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "no-content",
        "The image shows nothing",
    )


class UntestableBatchError(Problem):
    status, kind, title = HTTPStatus.UNPROCESSABLE_ENTITY, "untestable-batch", "No drift test can be made"


class OverloadedError(Problem):
    status, kind, title = HTTPStatus.TOO_MANY_REQUESTS, "overloaded", "There are too many requests"


class HeadersTooLargeError(Problem):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    kind, title = "headers-too-large", "The headers are too large"


class ModelNotLoadedError(Problem):
    status, kind, title = HTTPStatus.SERVICE_UNAVAILABLE, "model-not-loaded", "The model is not loaded"


class OutOfMemoryError(Problem):
    status, kind, title = HTTPStatus.SERVICE_UNAVAILABLE, "out-of-memory", "There is not enough memory"

    def __init__(self) -> None:
        super().__init__(
            "The service has not enough memory for this request at the moment. Send it again later, or fewer "
            "or smaller images at a time."
        )


class StoppingError(Problem):
    status, kind, title = HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The service is stopping"

    def __init__(self) -> None:
        super().__init__("The service stopped before the request was answered. Send it again.")


class TooSlowError(Problem):
    status, kind, title = HTTPStatus.GATEWAY_TIMEOUT, "too-slow", "The request took too long"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request was not answered within {seconds:g} seconds, the most it may take. Send fewer "
            "images at a time."
        )


def problem_document(status: int, detail: str, *, kind: str = "", title: str = "") -> dict[str, Any]:
    """Return a problem document; without a kind, one whose status says it all (type `about:blank`)."""
    return {
        "type": TYPE_PREFIX + kind if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }


def echo(said: object) -> str:
    """Return as much of what was sent, or of an error that it caused, as an answer repeats, in ASCII."""
    return str(said).encode("ascii", "backslashreplace").decode()[:MAX_ECHO]
