"""What the benchmarks of the service send: image files, and the forms that carry them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 224  # of a photograph, as many a thumbnail service delivers
QUALITY = 90


@dataclass(frozen=True)
class Body:
    """The body of a request, and its type, with the boundary where it has parts."""

    content_type: str
    content: bytes


def form(files: Sequence[tuple[str, tuple[str, bytes, str]]], fields: Mapping[str, str]) -> Body:
    """Return a form: files as httpx takes them, each with its name, content and type, and other fields."""
    request = httpx.Request("POST", "http://localhost", files=files, data=fields)
    return Body(request.headers["content-type"], request.read())


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def photographs(count: int) -> list[bytes]:
    """Return JPEG files, each of another part of scikit-learn's two photographs."""
    generator = np.random.default_rng(0)
    files = []
    for index in range(count):
        picture = Image.fromarray(load_sample_images().images[index % 2])
        side = int(generator.integers(SIDE, picture.height))
        left, top = (int(generator.integers(length - side)) for length in picture.size)
        stream = io.BytesIO()
        picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)).save(
            stream, "JPEG", quality=QUALITY
        )
        files.append(stream.getvalue())
    return files
