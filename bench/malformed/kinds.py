"""What a kind of malformed request is, and how such requests are put together."""

import io
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image

from bench.wire import Answer

FORM_TYPE = "multipart/form-data; boundary=x"
ENDPOINTS = ("/classify", "/drift")

Make = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Kind:
    """A way in which a request can be wrong.

    Attributes:
        name: What tables call it.
        make: Gives such a request as it goes over the wire, another for another state of the generator.
        status: What it is answered with.
        says: Words that tell the fault, in capitals or not; the answer's detail holds one of them.
        is_slow: Whether the answer comes only once the service has waited for the rest in vain.
    """

    name: str
    make: Make
    status: int
    says: tuple[str, ...]
    is_slow: bool = False

    @property
    def family(self) -> str:
        """What it is wrong with: the name of the module that it is from."""
        return self.make.__module__.rpartition(".")[2]

    def complaint(self, answer: Answer) -> str:
        """Say what is wrong with the answer to such a request, or nothing."""
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
    """Enter a function that makes requests into the table of kinds, under its own name."""

    def enter(make: Make) -> Make:
        KINDS.append(Kind(make.__name__.replace("_", " "), make, status, says, is_slow))
        return make

    return enter


def request(method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """Return a request as it goes over the wire; its length is among the headers that it is given."""
    lines = [f"{method} {target} HTTP/1.1", "Host: service", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def post(path: str, body: bytes, content_type: str | None = FORM_TYPE, *headers: tuple[str, str]) -> bytes:
    typed = [("Content-Type", content_type)] if content_type is not None else []
    return request("POST", path, [*typed, ("Content-Length", str(len(body))), *headers], body)


def form(*parts: bytes) -> bytes:
    """Return the body of a form that is well formed as long as its parts are."""
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def part(disposition: str, data: bytes, content_type: str | None = None) -> bytes:
    typed = f"\r\nContent-Type: {content_type}" if content_type is not None else ""
    return f"Content-Disposition: form-data; {disposition}{typed}\r\n\r\n".encode() + data


def field(name: str, value: bytes) -> bytes:
    return part(f'name="{name}"', value)


def file(data: bytes, *, filename: str = "a.png", content_type: str = "image/png") -> bytes:
    return part(f'name="images"; filename="{filename}"', data, content_type)


def encoded(kind: str, size: tuple[int, int] = (28, 28)) -> bytes:
    """Return an image file of noise."""
    stream = io.BytesIO()
    noise = random.Random(0).randbytes(size[0] * size[1])
    Image.frombytes("L", size, noise).save(stream, kind)
    return stream.getvalue()


PNG = encoded("PNG")
