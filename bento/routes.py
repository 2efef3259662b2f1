"""The endpoints in the words of BentoML's own clients, which read in /schema.json what they can call."""

from functools import cache
from typing import Any

from pydantic import BaseModel

from serving.schemas import ClassifyForm, ClassifyResponse, DriftForm, DriftResponse, Form

PICTURE = {"type": "file", "format": "image", "content_type": "image/*"}
PICTURE_OR_ARCHIVE = {"type": "file"}


@cache
def routes() -> list[dict[str, Any]]:
    """Return what BentoML says of an endpoint that it has made itself, of each that takes images."""
    return [
        route("classify", "Say what is in each image.", PICTURE, ClassifyForm, ClassifyResponse),
        route(
            "drift",
            "Say whether the images still come from the distribution that the model was trained on.",
            PICTURE_OR_ARCHIVE,
            DriftForm,
            DriftResponse,
        ),
    ]


def route(
    name: str, meaning: str, file: dict[str, Any], form: type[Form], answer: type[BaseModel]
) -> dict[str, Any]:
    taken = form.model_json_schema()
    images = {"type": "array", "title": "Images", "items": file, "minItems": 1}
    return {
        "name": name,
        "route": f"/{name}",
        "description": meaning,
        "doc": meaning,  # where the clients look for it
        "batchable": False,
        "input": taken | {"properties": {"images": images} | taken["properties"], "required": ["images"]},
        "output": answer.model_json_schema(mode="serialization"),
        "is_task": False,
    }
