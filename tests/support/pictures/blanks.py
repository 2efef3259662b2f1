"""Pictures with no digit on them, and pictures of something else or of several digits."""

import io
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tests.support.pictures import wear
from tests.support.pictures.modes import file, png
from tests.support.pictures.scenes import Digit, Draw, Scene, ink_of_digit, painted, taken

PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "camera",
    "brick",
    "grass",
    "gravel",
    "coins",
    "page",
)


def blank(mode: str, colour, size: tuple[int, int] = (280, 280), form: str = "PNG") -> Draw:
    return lambda *_: file(Image.new(mode, size, colour), form)


def sheet(scene: Scene, change: Callable | None = None) -> Draw:
    """A photograph of a sheet on which nothing is."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        grey = painted(scene, np.zeros(scene.size[::-1], np.float32), rng)
        return file(taken(scene, change(grey, rng) if change else grey, rng), "JPEG", quality=85)

    return draw


def empty() -> Mapping[str, Draw]:
    return {
        "white": blank("L", 255),
        "black": blank("L", 0),
        "grey": blank("RGB", (128, 128, 128)),
        "transparent": blank("RGBA", (0, 0, 0, 0)),
        "transparent, white below": blank("RGBA", (255, 255, 255, 0)),
        "half transparent": blank("RGBA", (40, 80, 120, 128)),
        "1 × 1": blank("L", 0, (1, 1)),
        "28 × 28, white": blank("L", 255, (28, 28)),
        "28 × 28, black": blank("L", 0, (28, 28)),
        "28 × 28, transparent": blank("LA", (0, 0), (28, 28)),
        "28 × 28, noise of 2": sheet(Scene((28, 28), paper=230, noise=2)),
        "16 bits, black": blank("I;16", 0),
        "an empty sheet, photographed": sheet(Scene(paper=215, light=60, blur=1, noise=5)),
        "an empty sheet in bad light": sheet(Scene(paper=200, light=140, vignette=0.3, blur=1, noise=10)),
        "an empty sheet, noise of 30": sheet(Scene((400, 300), paper=200, noise=30)),
        "an empty blackboard": sheet(Scene(paper=50, light=40, noise=6)),
        "an empty sheet of 1240 × 1754": sheet(Scene((1240, 1754), paper=215, light=60, noise=8)),
        "brown paper, empty": sheet(Scene(paper=150), wear.grain),
        "a gradient": sheet(Scene(light=250)),
    }


@cache
def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def piece_of_photograph(digit: Digit, rng: np.random.Generator) -> bytes:
    whole = photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    width, height = (round(side * rng.uniform(0.5, 1)) for side in whole.size)
    left, top = rng.integers(whole.width - width + 1), rng.integers(whole.height - height + 1)
    return file(whole.crop((left, top, left + width, top + height)), "JPEG", quality=85)


def several(count: int, scene: Scene) -> Draw:
    """Some copies of a digit side by side."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        width, height = scene.size
        ink = ink_of_digit(digit, height=scene.share * height, pen=scene.pen)
        gap = round(0.25 * ink.shape[0])
        row = np.hstack([np.pad(ink, ((0, 0), (0, gap))) for _ in range(count)])[:, :-gap]
        down, across = (height - row.shape[0]) // 2, max(0, (width - row.shape[1]) // 2)
        cover = np.zeros((height, max(width, row.shape[1])), np.float32)
        cover[down : down + row.shape[0], across : across + row.shape[1]] = row
        return png(taken(scene, painted(scene, cover, rng), rng))

    return draw


def cut_off(scene: Scene) -> Draw:
    """Two digits, of which the picture's edge cuts off the right one."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        whole = Image.open(io.BytesIO(several(2, scene)(digit, rng)))
        ink = np.flatnonzero((np.asarray(whole) != scene.paper).any(axis=0))
        return png(whole.crop((0, 0, ink[0] + round(rng.uniform(0.82, 0.95) * np.ptp(ink)), whole.height)))

    return draw


def two_on_desk(digit: Digit, rng: np.random.Generator) -> bytes:
    sheet = Image.open(io.BytesIO(several(2, Scene((400, 200), 0.6, pen=14))(digit, rng)))
    desk = Image.new("L", (500, 300), 40)
    desk.paste(sheet, (50, 50))
    return png(taken(Scene(noise=3), np.asarray(desk, np.float32), rng))


def word(digit: Digit, rng: np.random.Generator) -> bytes:
    text = ("Hello", "seven", "No. 12", "42", "2024", "a b c")[rng.integers(6)]
    image = Image.new("L", (320, 140), 255)
    ImageDraw.Draw(image).text((30, 30), text, fill=0, font=ImageFont.load_default(64))
    return png(image)


def noise(digit: Digit, rng: np.random.Generator) -> bytes:
    cloud = ndimage.gaussian_filter(rng.normal(size=(280, 280)), 8)
    return png(Image.fromarray(np.clip(128 + 60 * cloud / cloud.std(), 0, 255).astype(np.uint8)))


def unlike() -> Mapping[str, Draw]:
    return {
        "two digits": several(2, Scene((400, 200), 0.6, pen=14)),
        "two digits, light on dark": several(2, Scene((400, 200), 0.6, pen=14).inverted),
        "three digits": several(3, Scene((560, 200), 0.55)),
        "a digit beside one that is cut off": cut_off(Scene((400, 200), 0.6, pen=14)),
        "two digits on a desk": two_on_desk,
        "a word": word,
        "a photograph": piece_of_photograph,
        "clouds": noise,
    }
