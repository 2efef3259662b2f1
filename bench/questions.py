"""Requests with known answers, which the service gave before it was put under load."""

import io
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.bodies import form, png
from bench.malformed.kinds import post, request
from bench.wire import Answer, Wire
from train.data import load_mnist

DIGITS = 64  # digits from which the clearly written are taken
BATCH = 32  # images of a drift test, and of a request that classifies many
SURE = 0.9  # probability from which a digit has the same label whatever is classified beside it
BUSY = 429  # status that a service with too much to do may answer with instead


class UnfitServiceError(Exception):
    """The service cannot be tried: its answers to clear cases are wrong."""


@dataclass(frozen=True)
class Question:
    """A request with its right answer.

    Attributes:
        name: Its name in tables.
        sent: The bytes of the request.
        essence: Returns the part of an answer that has to stay the same.
        known: That part of the right answer.
    """

    name: str
    sent: bytes
    essence: Callable[[Any], object]
    known: Any

    @property
    def endpoint(self) -> str:
        """The path of the request."""
        return self.sent.split(b" ", 2)[1].decode()

    def complaint(self, answer: Answer) -> str:
        """Return what is wrong with an answer; empty if nothing is."""
        if answer.status == BUSY:
            return ""
        if answer.status != 200:
            return f"{self.name}: {answer.status} {answer.body[:200]!r}"
        try:
            found = self.essence(answer)
        except (KeyError, ValueError) as error:
            return f"{self.name}: not what the endpoint answers, {error!r}"
        return "" if found == self.known else f"{self.name}: {self.known} was due, not {found}"


def labels(answer: Answer) -> list[str]:
    return [result["label"] for result in answer.json()["results"]]


def verdict(answer: Answer) -> tuple[bool, float]:
    return answer.json()["is_drift"], answer.json()["p_value"]


def models(answer: Answer) -> list[tuple[str, str, bool]]:
    return [(model["name"], model["version"], model["ready"]) for model in answer.json()["models"]]


def has_metrics(answer: Answer) -> bool:
    return b"bentoml_service_request_total" in answer.body


def questions(wire: Wire, seed: int) -> Sequence[Question]:
    """Return requests with the answers that the service gives them now, while it has nothing else to do.

    Raises:
        UnfitServiceError: It does not recognise clear digits, or finds no drift in noise.
    """
    digits = sure_digits(wire)
    generator = random.Random(seed)
    many = generator.sample(digits, BATCH)
    batch = [image for image, _ in digits[:BATCH]]
    noisy = ask(wire, "drift of noise", noise(seed), verdict)
    if noisy.known[0] is not True:
        raise UnfitServiceError("The service finds no drift in noise.")
    return [
        *(ask(wire, "classify one", upload("/classify", [image]), labels) for image, _ in digits[:16]),
        ask(wire, "classify many", upload("/classify", [image for image, _ in many]), labels),
        ask(wire, "drift of digits", upload("/drift", batch), verdict),
        noisy,
        ask(wire, "models", request("GET", "/models"), models),
        ask(wire, "metrics", request("GET", "/metrics"), has_metrics),
    ]


def sure_digits(wire: Wire) -> list[tuple[np.ndarray, str]]:
    """Return digits that the service recognises with a high probability, and their labels.

    Raises:
        UnfitServiceError: There are too few.
    """
    with tempfile.TemporaryDirectory() as folder:
        digits = load_mnist("embedded", Path(folder)).held_out
    images, truth = digits.images[:DIGITS].numpy(), digits.labels[:DIGITS].tolist()
    answer = wire.ask(upload("/classify", list(images)))
    if answer.status != 200:
        raise UnfitServiceError(f"The service answers {answer.status} to digits.")
    results = answer.json()["results"]
    sure = [
        (image, result["label"])
        for image, label, result in zip(images, truth, results, strict=True)
        if result["class_id"] == label and result["probability"] > SURE
    ]
    if len(sure) < BATCH:
        raise UnfitServiceError(f"The service knows {len(sure)} of {DIGITS} digits.")
    return sure


def ask(wire: Wire, name: str, sent: bytes, essence: Callable[[Any], object]) -> Question:
    """Send a request, and return it with its answer.

    Raises:
        UnfitServiceError: The answer is not a 200.
    """
    answer = wire.ask(sent)
    if answer.status != 200:
        raise UnfitServiceError(f"The service answers {answer.status} to {name}.")
    return Question(name, sent, essence, essence(answer))


def upload(path: str, images: Sequence[np.ndarray], fields: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a request with PNG files of images (H, W), uint8."""
    files = [("images", (f"{number}.png", png(image), "image/png")) for number, image in enumerate(images)]
    body = form(files, fields or {})
    return post(path, body.content, body.content_type)


def noise(seed: int) -> bytes:
    """Return a request to /drift with a batch of noise."""
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(seed).integers(0, 256, (BATCH, 28, 28), dtype=np.uint8))
    body = form([("images", ("noise.npy", stream.getvalue(), "application/octet-stream"))], {})
    return post("/drift", body.content, body.content_type)
