"""The statuses of the handler's errors. TorchServe allows the module of a handler no second class."""

from collections.abc import Mapping
from http import HTTPStatus

from vision import errors
from vision.errors import Problem


class InvalidTopKError(Problem):
    """The top_k of a request is not a number of classes."""

    kind, title = "malformed-request", "The request is malformed"


# As in serving/problems.py, which an archive does not hold.
STATUSES: Mapping[type[Problem], HTTPStatus] = {
    InvalidTopKError: HTTPStatus.BAD_REQUEST,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UndecodableImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NoDigitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NoContentError: HTTPStatus.UNPROCESSABLE_ENTITY,
}
