"""The contact sheet: one picture with examples of every condition of the study."""

import textwrap
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from torch import Tensor

from study.conditions import Condition

TILE_INCHES = 0.75
MARGIN_INCHES = 0.1  # at either side of the names
NAME_LENGTH = 36  # characters, of which a longer name takes several lines
FONT_SIZE = 10  # points
POINTS_PER_INCH = 72
WHITE = 255
GAP = 1 / 14  # of an image's width, between two images


def contact_sheet(conditions: Sequence[Condition], *, columns: int = 10, seed: int) -> Figure:
    """Return a figure with a row of examples for each condition, its name at the left.

    The examples are the first images of a batch, which is drawn from the same held-out images in the same
    order for every condition: where these are corrupted, a column shows one image in all its states.

    Args:
        conditions: Of images of one shape, (C, H, W), C is 1 or 3; the first is of the held-out images as
            they are.
        columns: Examples of each; a condition that has fewer images leaves the rest of its row empty.
        seed: Of the drawing.
    """
    order = torch.randperm(len(conditions[0].images), generator=torch.Generator().manual_seed(seed))
    strips = [strip(examples(condition, order, columns, seed), columns) for condition in conditions]
    # Between dollars, matplotlib would look for a formula.
    names = [textwrap.fill(condition.name, NAME_LENGTH).replace("$", r"\$") for condition in conditions]
    strip_height, strip_width, _ = strips[0].shape
    # Placed by hand: matplotlib's own layouts cut names off beside a picture that keeps its proportions.
    left, right = max(map(inches, names)) + 2 * MARGIN_INCHES, columns * TILE_INCHES
    height = len(strips) * right * strip_height / strip_width
    figure = Figure(figsize=(left + right, height), dpi=100)
    axes = figure.add_axes((left / (left + right), 0, right / (left + right), 1))
    axes.imshow(torch.cat(strips).numpy())
    middles = [(row + 0.5) * strip_height for row in range(len(strips))]
    axes.set_yticks(middles, names, fontsize=FONT_SIZE)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def inches(text: str) -> float:
    """Return how wide the widest line of a text is."""
    widths = [TextPath((0, 0), line, size=FONT_SIZE).get_extents().width for line in text.splitlines()]
    return float(max(widths)) / POINTS_PER_INCH


def examples(condition: Condition, order: Tensor, count: int, seed: int) -> Tensor:
    rows = condition.draw(order, torch.Generator().manual_seed(seed))
    return condition.images[rows[:count]]


def strip(images: Tensor, columns: int) -> Tensor:
    """Return images (N, C, H, W) side by side, with a gap around them, shape (height, width, 3), uint8."""
    count, _, height, width = images.shape
    gap = max(1, round(width * GAP))
    sheet = torch.full((height + gap, columns, width + gap, 3), WHITE, dtype=torch.uint8)
    sheet[:height, :count, :width] = images.expand(-1, 3, -1, -1).permute(2, 0, 3, 1)
    return sheet.flatten(1, 2)
