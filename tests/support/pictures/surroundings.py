"""What is in the picture beside the sheet and its digit: desks, frames, cells, cards, fingers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from tests.support.pictures.modes import png
from tests.support.pictures.scenes import Array, Digit, Draw, Scene, covered, painted, taken, warped

SHEET = Scene((240, 240), 0.55, paper=235, ink=30, clear=0.1)


def on_desk(scene: Scene, desk: float, margin: float, *, tilt: float = 0, skew: float = 0) -> Draw:
    """A sheet on a desk of some grey level, with a margin as a share of the picture's side."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        sheet = painted(scene, covered(scene, digit, rng), rng)
        around = [round(margin * side / (1 - 2 * margin)) for side in sheet.shape]
        shift = [rng.integers(-side // 2, side // 2 + 1) for side in around]
        pads = [(side - moved, side + moved) for side, moved in zip(around, shift, strict=True)]
        image = Image.fromarray(np.pad(sheet, pads, constant_values=-1))
        image = image.rotate(rng.uniform(-tilt, tilt), Image.Resampling.NEAREST, fillcolor=-1)
        grey = np.asarray(warped(image, rng, skew) if skew else image)
        whole = np.where(grey < 0, desk, grey).astype(np.float32)
        return png(taken(Scene(blur=0.7, noise=3), whole, rng))

    return draw


def lined(
    scene: Scene, lines: Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator], None], level: float
) -> Draw:
    """A digit and lines that are no part of it, of some grey level."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        cover = covered(scene, digit, rng)
        image = Image.new("L", scene.size, 0)
        lines(ImageDraw.Draw(image), *scene.size, rng)
        grey = painted(scene, cover, rng)
        drawn = np.asarray(image, np.float32) / 255
        return png(taken(scene, np.where(cover > 0.5, grey, grey * (1 - drawn) + level * drawn), rng))

    return draw


def frame(width: int, inset: int = 0) -> Callable:
    def lines(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
        draw.rectangle((inset, inset, across - 1 - inset, down - 1 - inset), outline=255, width=width)

    return lines


def table_cell(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    """The lines of a table around a cell that was cut out with some of its neighbours."""
    left, top = rng.integers(4, 24, 2)
    for x in (left, across - left):
        draw.line((x, 0, x, down), fill=255, width=3)
    for y in (top, down - top):
        draw.line((0, y, across, y), fill=255, width=3)


def two_lines(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    draw.line((3, 0, 3, down), fill=255, width=4)
    draw.line((0, down - 6, across, down - 6), fill=255, width=4)


def ruled(step: int) -> Callable:
    def lines(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
        for y in range(int(rng.integers(step)), down, step):
            draw.line((0, y, across, y), fill=255)

    return lines


def squared(step: int) -> Callable:
    def lines(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
        ruled(step)(draw, across, down, rng)
        for x in range(int(rng.integers(step)), across, step):
            draw.line((x, 0, x, down), fill=255)

    return lines


def finger(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 0.8) * across
    draw.ellipse((x, down * 0.9, x + 0.2 * across, down * 1.3), fill=255)


def toolbar(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, across, down * 0.1), fill=255)


def punched(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    """Two holes along the left edge, through which a dark desk is seen."""
    radius, x = 0.02 * down, 0.07 * across
    for y in (0.35 * down, 0.65 * down):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def margin_line(draw: ImageDraw.ImageDraw, across: int, down: int, rng: np.random.Generator) -> None:
    """A line down the whole sheet, as in exercise books."""
    x = rng.uniform(0.15, 0.25) * across
    draw.line((x, 0, x, down), fill=255, width=2)


def card(scene: Scene, margin: int, *, round_corners: int = 0) -> Draw:
    """A sheet with a digit, and nothing around it."""

    def draw(digit: Digit, rng: np.random.Generator) -> bytes:
        sheet = taken(scene, painted(scene, covered(scene, digit, rng), rng), rng)
        whole = Image.new("LA", [side + 2 * margin for side in sheet.size])
        mask = Image.new("L", sheet.size)
        ImageDraw.Draw(mask).rounded_rectangle(
            (0, 0, sheet.width - 1, sheet.height - 1), round_corners, fill=255
        )
        sheet.putalpha(mask)
        whole.paste(sheet, (margin, margin))
        return png(whole)

    return draw


def outlined(digit: Digit, rng: np.random.Generator) -> bytes:
    """White ink with a dark edge on nothing, as a sticker."""
    scene = Scene(share=0.6, pen=24, place=(0.5, 0.5))
    inner = covered(scene, digit, rng)
    outer: Array = covered(replace(scene, pen=34), digit, rng)
    ink = np.zeros_like(outer)
    ink[...] = 20
    ink += 235 * inner
    return png(Image.fromarray(np.dstack([ink, outer * 255]).astype(np.uint8), "LA"))


def kinds() -> Mapping[str, Draw]:
    paper = Scene(paper=250, ink=20)
    narrow = Scene(paper=250, ink=20, share=0.5, place=(0.5, 0.5))
    faint = Scene((300, 300), 0.45, pen=9, paper=250, ink=20)
    return {
        "a sheet on a dark desk": on_desk(SHEET, 40, 0.12),
        "a sheet on a dark desk, wide margin": on_desk(SHEET, 40, 0.25),
        "a sheet on a dark desk, askew": on_desk(SHEET, 50, 0.15, tilt=10, skew=0.05),
        "a sheet on a grey desk": on_desk(SHEET, 120, 0.12),
        "a sheet on a dark desk, thin pen": on_desk(replace(SHEET, pen=4), 40, 0.12),
        "a small note on a dark wall": on_desk(SHEET, 60, 0.35, tilt=5),
        "a blackboard on a light wall": on_desk(SHEET.inverted, 220, 0.12),
        "a frame of one pixel": lined(paper, frame(1), 0),
        "a frame of five pixels": lined(narrow, frame(5), 0),
        "a frame, light on dark": lined(paper.inverted, frame(2), 255),
        "a cell's border": lined(narrow, frame(3, 12), 20),
        "a cell's border, light on dark": lined(narrow.inverted, frame(3, 12), 235),
        "a cell cut out of a table": lined(narrow, table_cell, 20),
        "lines at two edges": lined(narrow, two_lines, 20),
        "ruled paper": lined(faint, ruled(30), 180),
        "squared paper": lined(faint, squared(20), 190),
        "a sheet with punched holes": lined(
            Scene((560, 800), 0.3, pen=14, paper=240, ink=30, clear=0.2), punched, 50
        ),
        "a line down the margin": lined(
            Scene((500, 400), 0.45, pen=12, paper=245, ink=40, place=(0.65, 0.5)), margin_line, 120
        ),
        "a finger at the edge": lined(narrow, finger, 110),
        "a toolbar above": lined(Scene(share=0.5, place=(0.5, 0.6)), toolbar, 60),
        "a card with a transparent margin": card(Scene((200, 200)), 40),
        "a dark card with a transparent margin": card(Scene((200, 200)).inverted, 40),
        "a card with round corners, thin pen": card(Scene((200, 260), pen=4), 20, round_corners=30),
        "a sticker: white with a dark edge, on nothing": outlined,
    }
