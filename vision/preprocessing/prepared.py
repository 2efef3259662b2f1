"""A picture prepared for a model, with a warning where its answer will be doubtful."""

from dataclasses import dataclass
from enum import StrEnum

from vision.images.decode import Pixels


class WarningKind(StrEnum):
    """Why a prepared picture is unlike those that its model was trained on."""

    SEVERAL_DIGITS = "several-digits"
    CLUTTERED = "cluttered"
    NO_STROKES = "no-strokes"

    @property
    def detail(self) -> str:
        """What the warning is of, and what to send instead."""
        return DETAILS[self]


DETAILS = {
    "several-digits": "The image shows several things of a digit's size. Send one digit at a time.",
    "cluttered": "The image is full of things, like a photograph. Send a digit alone, on plain paper.",
    "no-strokes": "What the image shows is too thick to be drawn with a pen. Send a digit.",
}


@dataclass(frozen=True)
class Prepared:
    """A picture as a model takes it.

    Attributes:
        pixels: Shape (C, H, W), uint8.
        warning: Why an answer will be doubtful, if it will.
    """

    pixels: Pixels
    warning: WarningKind | None = None
