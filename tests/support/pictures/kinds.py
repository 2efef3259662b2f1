"""Every kind of picture that the service is tried with, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from tests.support.pictures import blanks, modes, surroundings, wear
from tests.support.pictures.modes import drawn
from tests.support.pictures.scenes import Digit, Draw, Scene, ink_of_digit

Expected = Literal["digit", "no-digit", "warning"]


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        name: What is special about it.
        draw: Makes a file of one, of a digit of shape (28, 28), light on dark.
        expected: What the service is to say of it.
        group: The heading that it stands under.
    """

    name: str
    draw: Draw
    expected: Expected = "digit"
    group: str = ""


def cropped(margin: float) -> Draw:
    """A digit alone, with a margin as a share of its long side."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        ink = ink_of_digit(digit, height=220, pen=None)
        rows, columns = np.nonzero(ink > 0.5)
        ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        return modes.png(Image.fromarray((255 - 255 * np.pad(ink, round(margin * 220))).astype(np.uint8)))

    return draw


def both(name: str, scene: Scene) -> Mapping[str, Draw]:
    return {f"{name}, dark on light": drawn(scene), f"{name}, light on dark": drawn(scene.inverted)}


def sizes() -> Mapping[str, Draw]:
    large, found = (1000, 1000), dict[str, Draw]()
    for share in (8, 10, 12, 14, 16, 30, 60, 95):
        found |= both(f"{share} % of 1000 pixels", Scene(large, share / 100))
    for side in (20, 28 * 2, 40, 100, 560, 2000):
        found |= both(f"{side} × {side} pixels", Scene((side, side), 0.7, place=(0.5, 0.5)))
    found["29 × 29 pixels, dark on light"] = drawn(Scene((29, 29), 0.7, place=(0.5, 0.5)))
    found["3 cm on a sheet of A4, photographed"] = drawn(
        Scene((1240, 1754), 0.14, pen=9, paper=215, ink=50, light=60, blur=1.2, noise=6)
    )
    found["cropped tightly, dark on light"] = drawn(Scene((200, 280), 0.98, place=(0.5, 0.5)))
    for margin in (0, 2, 10):
        found[f"cropped to the ink, {margin} % margin"] = cropped(margin / 100)
    found["a wide strip"] = drawn(Scene((900, 120), 0.7))
    found["a tall strip"] = drawn(Scene((120, 900), 0.7))
    found["in a corner"] = drawn(Scene((400, 400), 0.25, place=(0.03, 0.03)))
    return found


def pens() -> Mapping[str, Draw]:
    found = dict[str, Draw]()
    for pen in (1, 2, 3, 5, 8, 12, 20, 30, 40, 55):
        found |= both(f"pen of {pen} on 280", Scene(share=0.7, pen=pen))
    found["pen of 2, 100 pixels high"] = drawn(Scene(share=0.36, pen=2))
    found["pen of 3 on 1000, 14 %"] = drawn(Scene((1000, 1000), 0.14, pen=3))
    found["pen of 16 on 1000, 12 %"] = drawn(Scene((1000, 1000), 0.12, pen=16))
    return found


GROUPS: Mapping[str, Callable[[], Mapping[str, Draw]]] = {
    "Size in the frame": sizes,
    "Pens": pens,
    "Files and modes": modes.kinds,
    "28 × 28": modes.small_kinds,
    "Surroundings": surroundings.kinds,
    "Light, noise and wear": wear.kinds,
}

KINDS: list[Kind] = [
    *(Kind(name, draw, group=group) for group, kinds in GROUPS.items() for name, draw in kinds().items()),
    *(Kind(name, draw, "no-digit", "Nothing on it") for name, draw in blanks.empty().items()),
    *(Kind(name, draw, "warning", "No digit, or several") for name, draw in blanks.unlike().items()),
]
