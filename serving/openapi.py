"""The endpoints in the words of OpenAPI, made from the schemas that they use."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import errors
from serving.schemas import (
    ClassifyForm,
    ClassifyResponse,
    DriftForm,
    DriftResponse,
    Form,
    ModelsResponse,
    ProblemDocument,
)

VERSION = "3.1.0"  # the first whose schemas are those of JSON Schema, null included
DESCRIPTION = (
    "Says what is in images, and whether the images it is sent still come from the distribution that its "
    "model was trained on. Every error is a problem document (RFC 9457) that says what was wrong and "
    "what would be right."
)
REFERENCE = "#/components/schemas/{model}"
ANSWERS = (ClassifyResponse, DriftResponse, ModelsResponse, ProblemDocument)

IMAGES = "One file for each image."
IMAGES_OR_ARCHIVE = "One file for each image, or a single .npy, .npz or .zip that holds them all."

UPLOAD_PROBLEMS = (
    errors.MalformedRequestError,
    errors.UnknownModelError,
    errors.TooLargeError,
    errors.UnsupportedTypeError,
    errors.UndecodableImageError,
    errors.ModelNotLoadedError,
)
DRIFT_PROBLEMS = (*UPLOAD_PROBLEMS, errors.NoDriftReferenceError, errors.UntestableBatchError)


def components() -> dict[str, Any]:
    """Return the schemas of every answer."""
    _, schema = models_json_schema([(answer, "serialization") for answer in ANSWERS], ref_template=REFERENCE)
    defined: dict[str, Any] = schema["$defs"]
    return defined


def paths() -> dict[str, Any]:
    """Return the path items of /classify, /drift and /models."""
    return {
        "/classify": {
            "post": {
                "summary": "Say what is in each image",
                "operationId": "classify",
                "tags": ["Service APIs"],
                "requestBody": multipart(ClassifyForm, IMAGES),
                "responses": answers(ClassifyResponse, UPLOAD_PROBLEMS),
            }
        },
        "/drift": {
            "post": {
                "summary": "Say whether the images still come from the distribution the model was trained on",
                "operationId": "drift",
                "tags": ["Service APIs"],
                "requestBody": multipart(DriftForm, IMAGES_OR_ARCHIVE),
                "responses": answers(DriftResponse, DRIFT_PROBLEMS),
            }
        },
        "/models": {
            "get": {
                "summary": "Say which models are loaded, and what is known of them",
                "operationId": "models",
                "tags": ["Service APIs"],
                "responses": answers(ModelsResponse, ()),
            }
        },
    }


def multipart(form: type[Form], images: str) -> dict[str, Any]:
    schema = form.model_json_schema(ref_template=REFERENCE)
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {
        "images": {"type": "array", "items": file, "minItems": 1, "description": images}
    } | schema["properties"]
    schema["required"] = ["images"]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def answers(answer: type[BaseModel], problems: tuple[type[errors.Problem], ...]) -> dict[str, Any]:
    documented: dict[str, Any] = {"200": content("application/json", answer, HTTPStatus.OK.phrase)}
    problems += (errors.OverloadedError, errors.TooSlowError)
    for status in sorted({problem.status for problem in problems}):
        titles = " or ".join(problem.title for problem in problems if problem.status == status)
        documented[str(int(status))] = content(errors.MEDIA_TYPE, ProblemDocument, titles)
    return documented


def content(media_type: str, model: type[BaseModel], description: str) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"description": description, "content": {media_type: {"schema": schema}}}
