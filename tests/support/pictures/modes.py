"""The same digits in every mode and format that a file can have."""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageOps

from tests.support.pictures.scenes import Digit, Draw, Scene, covered, picture

PLAIN = Scene()
PIXELS_28 = Scene((28, 28), 0.72, place=(0.5, 0.5))


def file(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(image: Image.Image) -> bytes:
    return file(image, "PNG")


def drawn(scene: Scene) -> Draw:
    return lambda digit, rng: png(picture(scene, digit, rng))


def tinted(paper: tuple, ink: tuple, scene: Scene = PLAIN) -> Draw:
    """Ink of one colour on paper of another."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        cover = covered(scene, digit, rng)[..., np.newaxis]
        return png(Image.fromarray((np.array(paper) * (1 - cover) + np.array(ink) * cover).astype(np.uint8)))

    return draw


def on_nothing(ink: tuple, scene: Scene = PLAIN, mode: str = "RGBA") -> Draw:
    """Ink on a transparent picture, as a canvas in a browser saves it."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        image = Image.new("RGB", scene.size, ink)
        image.putalpha(Image.fromarray((covered(scene, digit, rng) * 255).astype(np.uint8)))
        return png(image.convert(mode))

    return draw


def deep(white: float, kind: type, form: str) -> Draw:
    """Grey levels of another range."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        paper = 1 - covered(PLAIN, digit, rng)
        levels = np.maximum(paper + rng.normal(0, 0.005, paper.shape), 0)
        if issubclass(kind, np.integer):
            levels = np.minimum(levels, 1)
        return file(Image.fromarray((levels * white).astype(kind)), form)

    return draw


def saved(form: str, mode: str = "L", scene: Scene = PLAIN, **options) -> Draw:
    return lambda digit, rng: file(picture(scene, digit, rng).convert(mode), form, **options)


def turned(digit: Digit, rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file(picture(PLAIN, digit, rng).rotate(90, expand=True), "JPEG", quality=85, exif=exif)


def with_palette(digit: Digit, rng: np.random.Generator) -> bytes:
    return png(picture(PLAIN, digit, rng).convert("P", palette=Image.Palette.ADAPTIVE, colors=16))


def with_transparent_colour(digit: Digit, rng: np.random.Generator) -> bytes:
    image = picture(PLAIN, digit, rng).point(lambda level: 255 if level > 127 else 0)
    return file(image, "PNG", transparency=255)


def lightness(digit: Digit, rng: np.random.Generator) -> bytes:
    grey = picture(PLAIN, digit, rng)
    half = Image.new("L", grey.size, 128)
    return file(Image.merge("LAB", [grey, half, half]), "TIFF")


def faded(digit: Digit, rng: np.random.Generator) -> bytes:
    """Half transparent ink of two colours on nothing."""
    cover = covered(PLAIN, digit, rng)
    rows = np.linspace(0, 1, len(cover))[:, np.newaxis, np.newaxis]
    colours = np.array([30, 60, 200]) * rows + np.array([200, 40, 90]) * (1 - rows)
    whole = np.broadcast_to(colours, (*cover.shape, 3))
    return png(Image.fromarray(np.dstack([whole, cover * 160]).astype(np.uint8)))


def kinds() -> Mapping[str, Draw]:
    return {
        "black and white": saved("PNG", "1", Scene(pen=14)),
        "black and white, dithered photograph": saved("PNG", "1", Scene(pen=14, paper=225, ink=40, light=40)),
        "blue on yellow": tinted((250, 240, 120), (20, 30, 150)),
        "red on white": tinted((255, 255, 255), (220, 20, 30)),
        "yellow on white": tinted((255, 255, 255), (250, 220, 40)),
        "white on red": tinted((190, 20, 30), (255, 255, 255)),
        "red on green of the same brightness": tinted((0, 130, 0), (255, 0, 0)),
        "black on transparent": on_nothing((0, 0, 0)),
        "white on transparent": on_nothing((255, 255, 255)),
        "blue on transparent": on_nothing((20, 20, 120)),
        "grey on transparent, LA": on_nothing((128, 128, 128), mode="LA"),
        "black on transparent, thin pen": on_nothing((0, 0, 0), Scene(pen=4)),
        "black on transparent, 12 % of 1000": on_nothing((0, 0, 0), Scene((1000, 1000), 0.12)),
        "two colours, half transparent, on nothing": faded,
        "palette": with_palette,
        "a palette's paper transparent": with_transparent_colour,
        "CMYK JPEG": saved("JPEG", "CMYK", quality=85),
        "JPEG of quality 15": saved("JPEG", "L", quality=15),
        "JPEG turned by EXIF": turned,
        "WebP": saved("WEBP", "RGB", quality=60),
        "GIF": saved("GIF", "P"),
        "BMP": saved("BMP", "RGB"),
        "16 bits": deep(65535, np.uint16, "PNG"),
        "10 bits in a TIFF of 16": deep(1023, np.uint16, "TIFF"),
        "12 bits in a PNG of 16": deep(4095, np.uint16, "PNG"),
        "8 bits in a TIFF of 16": deep(255, np.uint16, "TIFF"),
        "floats up to 1": deep(0.98, np.float32, "TIFF"),
        "floats that overshoot 1 by 2 %": deep(1.02, np.float32, "TIFF"),
        "floats up to 255": deep(255, np.float32, "TIFF"),
        "floats up to 5": deep(5, np.float32, "TIFF"),
        "LAB TIFF": lightness,
    }


def as_mnist(change: Callable[[Image.Image], Image.Image]) -> Draw:
    return lambda digit, _: png(change(Image.fromarray(digit)))


def ink_alone(level: int) -> Callable[[Image.Image], Image.Image]:
    def change(digit: Image.Image) -> Image.Image:
        image = Image.new("L", digit.size, level)
        image.putalpha(digit)
        return image

    return change


def small_kinds() -> Mapping[str, Draw]:
    return {
        "28 × 28, light on dark": as_mnist(lambda digit: digit),
        "28 × 28, dark on light": as_mnist(ImageOps.invert),
        "28 × 28, dark grey on light grey": as_mnist(
            lambda digit: ImageOps.invert(digit).point(lambda level: 60 + level * 0.55)
        ),
        "28 × 28, light on dark, RGBA": as_mnist(lambda digit: digit.convert("RGBA")),
        "28 × 28, black on transparent": as_mnist(ink_alone(0)),
        "28 × 28, white on transparent": as_mnist(ink_alone(255)),
        "28 × 28, dark on light, photographed": lambda digit, rng: png(
            picture(Scene((28, 28), 0.72, paper=200, ink=40, place=(0.5, 0.5), noise=6), digit, rng)
        ),
    }
