"""Bodies of requests: image files, and the multipart forms that hold them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Body:
    """The body of a request and its Content-Type, with the boundary of a multipart form."""

    content_type: str
    content: bytes


def form(files: Sequence[tuple[str, tuple[str, bytes, str]]], fields: Mapping[str, str]) -> Body:
    """Return a multipart form.

    Args:
        files: Of each file the field, and its name, content and media type, as httpx takes them.
        fields: The other fields.
    """
    request = httpx.Request("POST", "http://localhost", files=files, data=fields)
    return Body(request.headers["content-type"], request.read())


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    """Return an image file, with the options of Pillow's writer for its format."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png(image: np.ndarray) -> bytes:
    """Return a PNG file of an array (H, W), uint8."""
    return encoded(Image.fromarray(image), "PNG")
