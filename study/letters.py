"""Pictures of the letters A to J: foreign images that need no download."""

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LETTERS = "ABCDEFGHIJ"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

SIDE = 256  # pixels; the letters that are drawn stay within the 224 in the middle that ImageNet's models see
WHITE = 255
EM = (0.5, 0.75)  # size of the font, share of the picture's side; capitals are two thirds as high
TURN = 10.0  # degrees, the largest rotation
OFFSET = 0.05  # of the picture's side, the largest step in either direction

Prepare = Callable[[Image.Image], npt.NDArray[np.uint8]]


def letters(prepare: Prepare, *, count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Return pictures of the letters A to J in many fonts, and the names of the fonts.

    Fonts and letters are as evenly mixed as the count allows; sizes, angles and places are drawn.

    Args:
        prepare: Makes a picture into what the model takes, shape (C, H, W), uint8.
        count: How many pictures.
        seed: Of everything.

    Returns:
        Prepared pictures, shape (count, C, H, W), uint8, in random order, and sorted names.

    Source:
        Bulatov, notMNIST (2011): the letters A to J of many fonts, as a harder MNIST. Drawn anew, since it
        would have to be downloaded.
    """
    rng = np.random.default_rng(seed)
    pairs = list(itertools.product(text_fonts(), LETTERS))
    rounds = -(-count // len(pairs))
    order = np.concatenate([rng.permutation(len(pairs)) for _ in range(rounds)])[:count]
    chosen = [pairs[index] for index in order]
    pictures = [prepare(draw(font, letter, rng)) for font, letter in chosen]
    return torch.from_numpy(np.stack(pictures)), sorted({font.stem for font, _ in chosen})


def text_fonts() -> list[Path]:
    """Return the TrueType fonts of matplotlib that are made for text, in the order of their names.

    They have a glyph for every letter of the alphabet, named by the letter. The others would draw a box
    (DejaVu Sans Display, STIX's sizes and symbols, the last resort) or some symbol (Computer Modern's symbols
    and extensions).
    """
    fonts = sorted(Path(mpl.get_data_path(), "fonts", "ttf").glob("*.ttf"))
    return [font for font in fonts if is_of_text(FT2Font(str(font)))]


def is_of_text(font: FT2Font) -> bool:
    return all(font.get_glyph_name(font.get_char_index(ord(letter))) == letter for letter in ALPHABET)


def draw(font: Path, letter: str, rng: np.random.Generator) -> Image.Image:
    """Return a square picture of a letter, light on dark, its size, angle and place drawn."""
    drawn_with = ImageFont.truetype(str(font), size=round(SIDE * rng.uniform(*EM)))
    left, top, right, bottom = drawn_with.getbbox(letter)
    corner = (SIDE - left - right) / 2, (SIDE - top - bottom) / 2  # puts the ink in the middle
    picture = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(picture).text(corner, letter, fill=WHITE, font=drawn_with)
    right_step, down_step = (round(step) for step in rng.uniform(-OFFSET, OFFSET, size=2) * SIDE)
    angle = rng.uniform(-TURN, TURN)
    return picture.rotate(angle, Image.Resampling.BICUBIC, translate=(right_step, down_step))
