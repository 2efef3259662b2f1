"""Problems as responses: the part of them that needs a web framework, which not all who raise them have."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.errors import MEDIA_TYPE, TYPE_PREFIX, MalformedRequestError, OutOfMemoryError, Problem
from serving.headers import request_id
from serving.metrics import metrics

AGAIN = ("Retry-After", "1")
HEADERS_OF_STATUS = {
    HTTPStatus.TOO_MANY_REQUESTS: [AGAIN],
    HTTPStatus.UNAUTHORIZED: [
        ("WWW-Authenticate", 'Bearer realm="driftbento"'),
        ("WWW-Authenticate", 'Basic realm="driftbento", charset="UTF-8"'),
    ],
}
HEADERS_OF_TYPE = {TYPE_PREFIX + OutOfMemoryError.kind: [AGAIN]}


def problem_response(document: Mapping[str, Any]) -> Response:
    """Return a problem document as the response to a request, with the request's id, and count it."""
    metrics().count_refusal(document)
    members = dict(document)
    if request_id():
        members["request_id"] = request_id()
    # In ASCII, since what a file says of itself need not be text that can be encoded.
    response = Response(json.dumps(members), document["status"], media_type=MEDIA_TYPE)
    of_status, of_type = (
        HEADERS_OF_STATUS.get(document["status"], ()),
        HEADERS_OF_TYPE.get(document["type"], ()),
    )
    for name, value in (*of_status, *of_type):
        response.headers.append(name, value)
    return response


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Turn a problem that an endpoint raised into its response."""
    assert isinstance(problem, Problem)
    return problem_response(problem.document())


async def answer_out_of_memory(_request: Request, _error: Exception) -> Response:
    """Answer a request for which there was not enough memory, in whatever is not looked after already."""
    return problem_response(OutOfMemoryError().document())


async def answer_disconnect(_request: Request, _disconnect: Exception) -> Response:
    """Count a client that left in the middle of its request as its own doing; nobody hears the answer."""
    return problem_response(
        MalformedRequestError("The connection closed before the request's end.").document()
    )
