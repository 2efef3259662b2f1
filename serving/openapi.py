"""The OpenAPI description of the endpoints, made from their schemas."""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import errors, schemas
from serving.problems import HEADERS_OF_STATUS, MEDIA_TYPE, STATUSES
from vision import errors as vision_errors

VERSION = "3.1.0"  # the first whose schemas are JSON Schema, with null
DESCRIPTION = (
    "Says what is in images, and whether the images it is sent still come from the distribution that its "
    "model was trained on. Every error is a problem document (RFC 9457) that says what was wrong and "
    "what would be right."
)
REFERENCE = "#/components/schemas/{model}"
ANSWERS = (schemas.ClassifyResponse, schemas.DriftResponse, schemas.ModelsResponse, schemas.ProblemDocument)

IMAGES = "One file for each image."
IMAGES_OR_ARCHIVE = "One file for each image, or a single .npy, .npz or .zip that holds them all."

Problems = Sequence[type[vision_errors.Problem]]

# Every endpoint can give these: they come up before a request is routed, or from a defect.
EVERYWHERE: Problems = (
    errors.MalformedRequestError,
    errors.SlowClientError,
    errors.HeadersTooLargeError,
    vision_errors.Problem,
)
LIMITED: Problems = (*EVERYWHERE, vision_errors.TooLargeError, errors.StoppingError, errors.TooSlowError)
UPLOAD_PROBLEMS: Problems = (
    *LIMITED,
    errors.OverloadedError,
    errors.UnknownModelError,
    vision_errors.UnsupportedTypeError,
    vision_errors.UndecodableImageError,
    vision_errors.NoDigitError,
    vision_errors.NoContentError,
    vision_errors.ModelNotLoadedError,
    errors.OutOfMemoryError,
)
DRIFT_PROBLEMS: Problems = (*UPLOAD_PROBLEMS, errors.NoDriftReferenceError, errors.UntestableBatchError)
READINESS_PROBLEMS: Problems = (*EVERYWHERE, vision_errors.ModelNotLoadedError)

HEADERS = {
    "X-Request-ID": "That of the request, if it is 1 to 128 letters, digits and _.:-, and else a new one.",
    "Retry-After": "Seconds after which to send the request again.",
    "WWW-Authenticate": "How to send a key.",
}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key."},
    "basic": {"type": "http", "scheme": "basic", "description": "A key as the password, with any user name."},
}


def components(*, with_keys: bool) -> dict[str, Any]:
    """Return the schemas and headers of all answers and, with keys, how to send one."""
    _, schema = models_json_schema([(answer, "serialization") for answer in ANSWERS], ref_template=REFERENCE)
    described = {
        name: {"description": meaning, "required": True, "schema": {"type": "string"}}
        for name, meaning in HEADERS.items()
    }
    defined = {"schemas": schema["$defs"], "headers": described}
    return defined | {"securitySchemes": SCHEMES} if with_keys else defined


def paths(public: Collection[str] | None = None) -> dict[str, Any]:
    """Return the path item of every endpoint; all but public paths need a key, unless `public` is None."""
    items = {
        "/classify": post(
            "classify",
            "Say what is in each image",
            multipart(schemas.ClassifyForm, IMAGES),
            answers(json_of(schemas.ClassifyResponse), UPLOAD_PROBLEMS),
        ),
        "/drift": post(
            "drift",
            "Say whether the images still come from the distribution the model was trained on",
            multipart(schemas.DriftForm, IMAGES_OR_ARCHIVE),
            answers(json_of(schemas.DriftResponse), DRIFT_PROBLEMS),
        ),
        "/models": get(
            "models",
            "Say which models are loaded, and what is known of them",
            answers(json_of(schemas.ModelsResponse), LIMITED),
        ),
        "/livez": get("livez", "Say that somebody answers", answers(TEXT, EVERYWHERE)),
        "/healthz": get("healthz", "Say that somebody answers, as /livez does", answers(TEXT, EVERYWHERE)),
        "/readyz": get(
            "readyz", "Say whether every worker has loaded every model", answers(TEXT, READINESS_PROBLEMS)
        ),
        "/metrics": get("metrics", "Give the metrics as Prometheus reads them", answers(TEXT, EVERYWHERE)),
    }
    for path in set() if public is None else items.keys() - public:
        for operation in items[path].values():
            responses = operation["responses"] | problem_answers([errors.UnauthorizedError])
            operation["responses"] = dict(sorted(responses.items()))
            operation["security"] = [{scheme: []} for scheme in SCHEMES]
    return items


def post(name: str, summary: str, body: dict[str, Any], responses: dict[str, Any]) -> dict[str, Any]:
    operation = {"summary": summary, "operationId": name, "tags": ["Images"]}
    return {"post": operation | {"requestBody": body, "responses": responses}}


def get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "operationId": name, "tags": ["The service"], "responses": responses}}


def multipart(form: type[schemas.Form], images: str) -> dict[str, Any]:
    schema = form.model_json_schema(ref_template=REFERENCE)
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {
        "images": {"type": "array", "items": file, "minItems": 1, "description": images}
    } | schema["properties"]
    schema["required"] = ["images"]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


TEXT = {"text/plain": {"schema": {"type": "string"}}}


def json_of(model: type[BaseModel], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}


def answers(content: dict[str, Any], problems: Problems) -> dict[str, Any]:
    good = {"description": HTTPStatus.OK.phrase, "headers": headers("X-Request-ID"), "content": content}
    return {"200": good} | problem_answers(problems)


def problem_answers(problems: Problems) -> dict[str, Any]:
    documented = {}
    for status in sorted({STATUSES[problem] for problem in problems}):
        titles = " or ".join(problem.title for problem in problems if STATUSES[problem] == status)
        documented[str(int(status))] = {
            "description": titles,
            "headers": headers("X-Request-ID", *dict(HEADERS_OF_STATUS.get(status, ()))),
            "content": json_of(schemas.ProblemDocument, MEDIA_TYPE),
        }
    return documented


def headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
