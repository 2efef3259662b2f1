"""A picture as a model takes it, and what is odd about it."""

from dataclasses import dataclass
from enum import StrEnum

from vision.images.decode import Pixels


class Oddity(StrEnum):
    """Why a picture is unlike those that its model was trained on, though it can be prepared."""

    SEVERAL_DIGITS = "several-digits"
    CLUTTERED = "cluttered"
    NO_STROKES = "no-strokes"

    @property
    def detail(self) -> str:
        """What is odd, and what to send instead."""
        return DETAILS[self]


DETAILS = {
    Oddity.SEVERAL_DIGITS: "The image shows several things of a digit's size. Send one digit at a time.",
    Oddity.CLUTTERED: "The image is full of things, like a photograph. Send a digit alone, on plain paper.",
    Oddity.NO_STROKES: "What the image shows is too thick to be drawn with a pen. Send a digit.",
}


@dataclass(frozen=True)
class Prepared:
    """A picture as a model takes it.

    Attributes:
        pixels: Shape (C, H, W), uint8.
        oddity: What makes an answer doubtful, if anything does.
    """

    pixels: Pixels
    oddity: Oddity | None = None
