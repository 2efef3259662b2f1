"""The status and the problem document (RFC 9457) of every error."""

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving import errors
from serving.metrics import metrics
from serving.middleware.request_id import request_id
from vision import errors as vision_errors
from vision.errors import Problem

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:driftbento:problem:"

STATUSES: Mapping[type[Problem], HTTPStatus] = {
    vision_errors.AmbiguousFilesError: HTTPStatus.BAD_REQUEST,
    errors.MalformedRequestError: HTTPStatus.BAD_REQUEST,
    errors.UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    errors.UnknownModelError: HTTPStatus.NOT_FOUND,
    errors.SlowClientError: HTTPStatus.REQUEST_TIMEOUT,
    errors.NoDriftReferenceError: HTTPStatus.CONFLICT,
    vision_errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    vision_errors.UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    vision_errors.UndecodableImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    vision_errors.NoDigitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    vision_errors.NoContentError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UntestableBatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.OverloadedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.HeadersTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Problem: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.OutOfMemoryError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoppingError: HTTPStatus.SERVICE_UNAVAILABLE,
    vision_errors.ModelNotLoadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooSlowError: HTTPStatus.GATEWAY_TIMEOUT,
}

AGAIN = ("Retry-After", "1")
HEADERS_OF_STATUS = {
    HTTPStatus.TOO_MANY_REQUESTS: [AGAIN],
    HTTPStatus.UNAUTHORIZED: [
        ("WWW-Authenticate", 'Bearer realm="driftbento"'),
        ("WWW-Authenticate", 'Basic realm="driftbento", charset="UTF-8"'),
    ],
}
HEADERS_OF_TYPE = {TYPE_PREFIX + errors.OutOfMemoryError.kind: [AGAIN]}

# Messages of torch and of Python's threads when memory runs out; neither has a type for it.
OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "can't start new thread")


def document_of(problem: Problem) -> dict[str, Any]:
    """Return the problem document of an error."""
    status, kind = STATUSES[type(problem)], problem.kind
    return problem_document(status, problem.detail, kind=kind, title=problem.title) | problem.extensions


def problem_document(status: int, detail: str, *, kind: str = "", title: str = "") -> dict[str, Any]:
    """Return a problem document, of type `about:blank` if no kind is given."""
    return {
        "type": TYPE_PREFIX + kind if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }


def problem_response(document: Mapping[str, Any]) -> Response:
    """Return a problem document as the response to a request, with the request's id, and count it."""
    metrics().count_refusal(document)
    members = dict(document)
    if request_id():
        members["request_id"] = request_id()
    # In ASCII, since a file's name may hold characters that UTF-8 cannot encode.
    response = Response(json.dumps(members), document["status"], media_type=MEDIA_TYPE)
    headers = [*HEADERS_OF_STATUS.get(document["status"], ()), *HEADERS_OF_TYPE.get(document["type"], ())]
    for name, value in headers:
        response.headers.append(name, value)
    return response


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Turn a problem that an endpoint raised into its response."""
    assert isinstance(problem, Problem)
    return problem_response(document_of(problem))


async def answer_out_of_memory(_request: Request, _error: Exception) -> Response:
    """Answer a request whose MemoryError nothing else has caught."""
    return problem_response(document_of(errors.OutOfMemoryError()))


async def answer_disconnect(_request: Request, _disconnect: Exception) -> Response:
    """Count a request whose client left in the middle as malformed; nobody reads the answer."""
    left = errors.MalformedRequestError("The connection closed before the request's end.")
    return problem_response(document_of(left))


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn every way of running out of memory into one error.

    Raises:
        OutOfMemoryError: There is not enough memory.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("A request found not enough memory: %r", error)
        raise errors.OutOfMemoryError from None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that memory ran out."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error) for words in OUT_OF_MEMORY) or is_out_of_memory(error.__cause__)
