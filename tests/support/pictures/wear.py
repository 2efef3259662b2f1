"""Bad light, noise, worn pens and other things that a person reads through."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tests.support.pictures.modes import drawn, file, png
from tests.support.pictures.scenes import Array, Digit, Draw, Scene, covered, painted, picture, taken


def inked(scene: Scene, change: Callable[[Array, np.random.Generator], Array]) -> Draw:
    """A digit whose ink is changed before the picture is taken."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        cover = change(covered(scene, digit, rng), rng)
        return png(taken(scene, painted(scene, cover, rng), rng))

    return draw


def photographed(scene: Scene, change: Callable[[Array, np.random.Generator], Array]) -> Draw:
    """A digit on a sheet that is changed as a whole."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        return png(taken(scene, change(painted(scene, covered(scene, digit, rng), rng), rng), rng))

    return draw


def specks(grey: Array, rng: np.random.Generator) -> Array:
    chance = rng.uniform(size=grey.shape)
    return np.where(chance < 0.01, 0, np.where(chance > 0.99, 255, grey))


def hard_shadow(grey: Array, rng: np.random.Generator) -> Array:
    height, width = grey.shape
    down, across = np.mgrid[:height, :width]
    edge = rng.uniform(0.3, 0.7) * width + rng.uniform(-0.5, 0.5) * (down - height / 2)
    return grey * (1 - 0.4 * ndimage.gaussian_filter((across < edge).astype(np.float32), 2))


def grain(grey: Array, rng: np.random.Generator) -> Array:
    """Brown paper, or a wall: dark and light spots of a few pixels."""
    spots = ndimage.gaussian_filter(rng.normal(size=grey.shape), 2)
    return grey + 12 * spots / spots.std()


def creased(grey: Array, rng: np.random.Generator) -> Array:
    width = grey.shape[1]
    for place in (0.33, 0.67):
        at = round((place + rng.uniform(-0.05, 0.05)) * width)
        grey[:, at - 1 : at + 1] -= 45
        grey[:, at + 1 : at + 3] += 15
    return grey


def screen(grey: Array, rng: np.random.Generator) -> Array:
    """A screen photographed: stripes of its lines against those of the camera."""
    down, across = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return grey + 14 * np.sin(down / 2.1 + across / 7) + 8 * np.sin(across / 1.9)


def moved(grey: Array, rng: np.random.Generator) -> Array:
    return ndimage.uniform_filter1d(grey, 13, axis=int(rng.integers(2)))


def chalk(cover: Array, rng: np.random.Generator) -> Array:
    return cover * (ndimage.gaussian_filter(rng.normal(size=cover.shape), 0.8) > -0.25)


def dashed(cover: Array, rng: np.random.Generator) -> Array:
    """Ink that a pen running dry has left out in places."""
    spots = ndimage.gaussian_filter(rng.normal(size=cover.shape), 6)
    return cover * (spots > np.quantile(spots, 0.15))


def hollow(cover: Array, rng: np.random.Generator) -> Array:
    """The outline alone."""
    return np.clip(ndimage.morphological_gradient(cover, 3) * 1.5, 0, 1)


def underlined(cover: Array, rng: np.random.Generator) -> Array:
    rows, columns = np.nonzero(cover > 0.5)
    height = np.ptp(rows) + 1
    image = Image.fromarray(cover)
    line = rows.max() + 0.18 * height
    ImageDraw.Draw(image).line((columns.min() - 8, line, columns.max() + 8, line), fill=1, width=8)
    return np.asarray(image)


def followed_by_point(cover: Array, rng: np.random.Generator) -> Array:
    rows, columns = np.nonzero(cover > 0.5)
    image = Image.fromarray(cover)
    x, y = min(columns.max() + 14, cover.shape[1] - 12), rows.max() - 8
    ImageDraw.Draw(image).ellipse((x, y, x + 11, y + 11), fill=1)
    return np.asarray(image)


def compressed(digit: Digit, rng: np.random.Generator) -> bytes:
    return file(picture(Scene(pen=10, noise=4), digit, rng).resize((140, 140)), "JPEG", quality=8)


def kinds() -> Mapping[str, Draw]:
    paper = Scene(paper=225, ink=45, pen=12)
    narrow = replace(paper, share=0.5, place=(0.5, 0.45))
    return {
        "noise of 5": drawn(replace(paper, noise=5)),
        "noise of 15": drawn(replace(paper, noise=15)),
        "noise of 30": drawn(replace(paper, noise=30)),
        "noise of 30, light on dark": drawn(replace(paper, noise=30).inverted),
        "noise of 15, 14 % of 1000": drawn(Scene((1000, 1000), 0.14, paper=225, ink=45, noise=15)),
        "specks of black and white": photographed(paper, specks),
        "uneven light": drawn(replace(paper, light=150, noise=4)),
        "dark corners": drawn(replace(paper, vignette=0.6, noise=4, share=0.4, place=(0.5, 0.5))),
        "a hard shadow": photographed(replace(paper, noise=3), hard_shadow),
        "pencil: faint and thin": drawn(Scene(pen=4, paper=225, ink=165, noise=4)),
        "faint: ten grey levels": drawn(Scene(pen=12, paper=200, ink=185, noise=1)),
        "out of focus": drawn(replace(paper, blur=5)),
        "moved while taken": photographed(paper, moved),
        "tilted by 15°": drawn(replace(paper, tilt=15)),
        "tilted by -15°": drawn(replace(paper, tilt=-15)),
        "brown paper": photographed(Scene(paper=150, ink=40, pen=12), grain),
        "creased paper": photographed(narrow, creased),
        "a screen, photographed": photographed(Scene(paper=215, ink=40, pen=14), screen),
        "chalk on a blackboard": inked(Scene(paper=60, ink=200, pen=12, noise=5), chalk),
        "a pen running dry": inked(paper, dashed),
        "hollow": inked(Scene(share=0.7, pen=30), hollow),
        "underlined": inked(narrow, underlined),
        "followed by a point": inked(narrow, followed_by_point),
        "small JPEG of quality 8": compressed,
    }
