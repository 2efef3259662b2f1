"""Kinds of malformed requests, and functions that put requests together byte by byte."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image

from bench.bodies import encoded
from bench.wire import Answer

FORM_TYPE = "multipart/form-data; boundary=x"
ENDPOINTS = ("/classify", "/drift")

Make = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Kind:
    """A way in which a request can be wrong.

    Attributes:
        name: Its name in tables.
        make: Returns the bytes of such a request, which depend on the generator.
        status: The status of the right answer.
        says: The detail of the right answer contains one of these, in capitals or not.
        is_slow: Whether the service answers only once it has waited in vain for the rest of the request.
    """

    name: str
    make: Make
    status: int
    says: tuple[str, ...]
    is_slow: bool = False

    @property
    def family(self) -> str:
        """The name of the module that makes it."""
        return self.make.__module__.rpartition(".")[2]

    def complaint(self, answer: Answer) -> str:
        """Return what is wrong with the answer to such a request; empty if nothing is."""
        media_type, document = answer.headers.get("content-type"), {}
        if media_type == "application/problem+json":
            document = answer.json()
        detail = str(document.get("detail", ""))
        is_right = (
            answer.status == document.get("status") == self.status
            and {"type", "title"} <= document.keys()
            and any(words.lower() in detail.lower() for words in self.says)
        )
        if is_right:
            return ""
        due = f"{self.status} with {' or '.join(self.says)!r}"
        return f"{self.name}: {due} was due, not {answer.status}, {media_type}, {detail!r}"


KINDS: list[Kind] = []


def malformed(status: int, *says: str, is_slow: bool = False) -> Callable[[Make], Make]:
    """Return a decorator that adds a function to KINDS, under its own name."""

    def add(make: Make) -> Make:
        KINDS.append(Kind(make.__name__.replace("_", " "), make, status, says, is_slow))
        return make

    return add


def request(method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """Return the bytes of a request; Content-Length has to be among the headers."""
    lines = [f"{method} {target} HTTP/1.1", "Host: service", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def post(path: str, body: bytes, content_type: str | None = FORM_TYPE, *headers: tuple[str, str]) -> bytes:
    """Return the bytes of a POST request with its length."""
    typed = [("Content-Type", content_type)] if content_type is not None else []
    return request("POST", path, [*typed, ("Content-Length", str(len(body))), *headers], body)


def form(*parts: bytes) -> bytes:
    """Return the body of a multipart form, well formed if its parts are."""
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def part(disposition: str, data: bytes, content_type: str | None = None) -> bytes:
    """Return a part of a form."""
    typed = f"\r\nContent-Type: {content_type}" if content_type is not None else ""
    return f"Content-Disposition: form-data; {disposition}{typed}\r\n\r\n".encode() + data


def field(name: str, value: bytes) -> bytes:
    """Return a part that is a text field."""
    return part(f'name="{name}"', value)


def file(data: bytes, *, filename: str = "a.png", content_type: str = "image/png") -> bytes:
    """Return a part that is an image file."""
    return part(f'name="images"; filename="{filename}"', data, content_type)


def noise_image(file_format: str, size: tuple[int, int] = (28, 28)) -> bytes:
    """Return an image file of noise."""
    noise = random.Random(0).randbytes(size[0] * size[1])
    return encoded(Image.frombytes("L", size, noise), file_format)


PNG = noise_image("PNG")
