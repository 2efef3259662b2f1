"""Validation of the form fields beside the images, with messages of our own."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.errors import MalformedRequestError
from serving.schemas import Form
from vision.errors import MAX_ECHO

FILES_FIELD = "images"
TYPES = {"integer": "a whole number", "number": "a number", "string": "text"}  # by JSON Schema's names
BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "maxLength": "at most {} characters long",
}

FormType = TypeVar("FormType", bound=Form)


def validated(fields: Mapping[str, str], form_type: type[FormType]) -> FormType:
    """Return fields as a form.

    Raises:
        MalformedRequestError: One is unknown or out of range.
    """
    try:
        return form_type.model_validate(fields)
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one for one in error.errors()}
    details = {name: describe_invalid(name, one, form_type) for name, one in wrong.items()}
    raise MalformedRequestError(
        next(iter(details.values())),
        errors=[{"field": name[:MAX_ECHO], "detail": detail} for name, detail in details.items()],
    )


def describe_invalid(name: str, error: ErrorDetails, form_type: type[Form]) -> str:
    if error["type"] == "extra_forbidden":
        known = ", ".join((FILES_FIELD, *form_type.model_fields))
        return f"There is no field {name[:MAX_ECHO]!r}. There are: {known}."
    schema = form_type.model_json_schema()["properties"][name]
    return f"{name} must be {described(schema)} (it was {str(error['input'])[:MAX_ECHO]!r})."


def described(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON Schema allows."""
    (schema, *_) = schema.get("anyOf", [schema])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    bounds = [words.format(schema[bound]) for bound, words in BOUNDS.items() if bound in schema]
    return ", ".join([TYPES[schema["type"]], *bounds])
