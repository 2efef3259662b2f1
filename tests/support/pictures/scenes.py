"""A digit on paper: its size, pen, tones and place, the light on it, and the noise of the camera."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from train.pens import Board, drawn_ink, on_board
from train.pens import Ink as Array

Digit = npt.NDArray[np.uint8]
Draw = Callable[[Digit, np.random.Generator], bytes]  # a file of a picture of the digit


@dataclass(frozen=True)
class Scene:
    """How one digit is drawn and taken.

    Attributes:
        size: Width and height of the picture.
        share: Long side of the digit, as a share of the short side of the picture.
        pen: Width in pixels, or None for the ink that the digit has.
        paper: Its grey level.
        ink: Grey level of the ink.
        place: Where the digit lies in the room that there is, as shares of it; None for anywhere.
        clear: Share of that room that is left free on each side.
        tilt: Degrees.
        light: Grey levels by which the light falls off across the sheet.
        vignette: Share of the light that the corners lose.
        blur: Standard deviation in pixels.
        noise: Standard deviation in grey levels.
    """

    size: tuple[int, int] = (280, 280)
    share: float = 0.6
    pen: float | None = None
    paper: float = 255
    ink: float = 0
    place: tuple[float, float] | None = None
    clear: float = 0
    tilt: float = 0
    light: float = 0
    vignette: float = 0
    blur: float = 0
    noise: float = 0

    @property
    def inverted(self) -> "Scene":
        return replace(self, paper=255 - self.paper, ink=255 - self.ink)


@lru_cache(maxsize=256)
def board_of(pixels: bytes) -> Board:
    """Return a digit of 28 × 28 on the drawing board, which many kinds of pictures share."""
    return on_board(np.frombuffer(pixels, np.uint8).reshape(28, 28))


def ink_of_digit(digit: Digit, *, height: float, pen: float | None) -> Array:
    return drawn_ink(board_of(digit.tobytes()), height, pen)


def covered(scene: Scene, digit: Digit, rng: np.random.Generator) -> Array:
    """Return how much of each pixel of a picture is covered by ink, shape (height, width)."""
    width, height = scene.size
    ink = ink_of_digit(digit, height=scene.share * min(width, height), pen=scene.pen)
    if scene.tilt:
        ink = ndimage.rotate(ink, scene.tilt, order=1)
    ink = ink[:height, :width]
    across, down = rng.uniform(scene.clear, 1 - scene.clear, 2) if scene.place is None else scene.place
    top, left = round(down * (height - ink.shape[0])), round(across * (width - ink.shape[1]))
    whole = np.zeros((height, width), np.float32)
    whole[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return whole


def lit(scene: Scene, rng: np.random.Generator) -> Array | float:
    """Return by what the light on a sheet multiplies its grey levels."""
    if not (scene.light or scene.vignette):
        return 1.0
    width, height = scene.size
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (down * np.sin(angle) + across * np.cos(angle)) / 2 - 0.5
    return (1 + scene.light / 255 * slope) * (1 - scene.vignette * (down**2 + across**2) / 2)


def painted(scene: Scene, cover: Array, rng: np.random.Generator) -> Array:
    """Return the grey levels of a sheet with some ink on it."""
    return np.asarray((scene.paper + (scene.ink - scene.paper) * cover) * lit(scene, rng), np.float32)


def taken(scene: Scene, grey: Array, rng: np.random.Generator) -> Image.Image:
    """Return a picture of a sheet, blurred and noisy as the scene says."""
    if scene.blur:
        grey = ndimage.gaussian_filter(grey, scene.blur)
    if scene.noise:
        grey = grey + rng.normal(0, scene.noise, grey.shape)
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def picture(scene: Scene, digit: Digit, rng: np.random.Generator) -> Image.Image:
    """Return a grey picture of a digit."""
    return taken(scene, painted(scene, covered(scene, digit, rng), rng), rng)


def warped(image: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """Return a picture as seen from the side, its corners moved inwards by up to a share of its sides."""
    width, height = image.size
    moved = rng.uniform(0, amount, (4, 2)) * (width, height)
    (a, b), (c, d), (e, f), (g, h) = moved
    corners = (-a, -b, -c, height + d, width + e, height + f, width + g, -h)
    return image.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
