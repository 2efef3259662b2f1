"""The letters: pictures of what they should be, in every font."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from torch import Tensor

from study.letters import LETTERS, letters, text_fonts
from vision.preprocessing.mnist import to_mnist

COUNT = 60


def as_it_is(image: Image.Image) -> np.ndarray:
    return np.asarray(image)[np.newaxis]


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, list[str]]:
    """Letters as they are drawn, (COUNT, 1, 256, 256), and their fonts."""
    return letters(as_it_is, count=COUNT, seed=0)


@pytest.fixture(scope="module")
def prepared() -> Tensor:
    """Letters as the digit classifier takes them, (COUNT, 1, 28, 28)."""
    return letters(lambda image: to_mnist(image).pixels, count=COUNT, seed=0)[0]


def test_no_two_pictures_are_alike(drawn):
    pictures, _ = drawn

    assert pictures.dtype == torch.uint8
    assert len(pictures) == len(pictures.flatten(1).unique(dim=0)) == COUNT


def test_the_letters_are_light_on_dark_and_whole(drawn):
    pictures, _ = drawn
    border = torch.cat([pictures[..., [0, -1], :].flatten(1), pictures[..., [0, -1]].flatten(1)], dim=1)
    ink = (pictures > 127).double().mean(dim=(1, 2, 3))

    assert border.max() == 0
    assert ink.min() > 0.005
    assert ink.max() < 0.4


def test_the_letters_stay_within_what_a_central_crop_leaves(drawn):
    pictures, _ = drawn
    inside = pictures.clone()
    inside[..., 16:-16, 16:-16] = 0

    assert inside.max() == 0


def test_they_come_from_several_families_of_fonts(drawn):
    _, fonts = drawn

    assert fonts == sorted(set(fonts))
    for family in ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cm"):
        assert any(font.startswith(family) for font in fonts)


def test_fonts_and_letters_are_evenly_mixed():
    drawn, fonts = letters(lambda _: np.zeros((1, 1, 1), np.uint8), count=10 * len(text_fonts()), seed=0)

    assert len(drawn) == 10 * len(fonts)
    assert set(fonts) == {font.stem for font in text_fonts()}


def test_the_fonts_are_those_made_for_text():
    names = {font.stem for font in text_fonts()}

    assert {"DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmtt10"} <= names
    assert not names & {"DejaVuSansDisplay", "LastResortHE-Regular", "STIXSizOneSymReg", "cmex10", "cmsy10"}


@pytest.mark.parametrize("font", text_fonts(), ids=lambda font: font.stem)
def test_every_letter_of_a_font_has_a_shape_of_its_own_that_is_not_the_missing_glyph(font):
    drawn_with = ImageFont.truetype(str(font), 40)

    shapes = {(mask.size, bytes(mask)) for mask in map(drawn_with.getmask, [*LETTERS, "\uffff"])}

    assert len(shapes) == len(LETTERS) + 1


def test_the_digit_classifier_gets_them_as_large_and_as_central_as_digits(prepared):
    assert prepared.shape == (COUNT, 1, 28, 28)
    for picture in prepared.squeeze(1):
        rows, columns = (picture > 30).nonzero(as_tuple=True)
        assert 18 <= max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 <= 20
        weights = picture.double() / picture.sum()
        centre = (weights.sum(dim=1) * torch.arange(28)).sum(), (weights.sum(dim=0) * torch.arange(28)).sum()
        assert max(abs(place - 13.5) for place in centre) < 1.6


def test_the_same_seed_draws_the_same_and_another_draws_others(drawn):
    again, _ = letters(as_it_is, count=COUNT, seed=0)
    other, _ = letters(as_it_is, count=COUNT, seed=1)

    assert again.equal(drawn[0])
    assert not other.equal(drawn[0])
