"""Photographs are prepared as by torchvision's own transform."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import pil_to_tensor

from vision.errors import NoContentError
from vision.images.decode import decode_image
from vision.images.limits import ImageLimits
from vision.preprocessing.imagenet import crop_photograph, prepare_photograph
from vision.preprocessing.registry import preparation_of

SIZES = {"resize_size": 256, "crop_size": 224}
DOWNSCALE = preparation_of({"preprocessing": "photograph"} | SIZES).downscale


def as_torchvision_sees(image: Image.Image, *, resize_size: int, crop_size: int) -> np.ndarray:
    """Torchvision's transform with a normalisation that leaves pixels as they are."""
    transform = ImageClassification(
        crop_size=crop_size, resize_size=resize_size, mean=(0, 0, 0), std=(1, 1, 1)
    )
    return (transform(image) * 255).round().to(torch.uint8).numpy()


def test_of_a_picture_no_more_is_kept_than_what_is_cut_out():
    pixels = crop_photograph(Image.new("L", (2048, 256)), **SIZES)

    assert pixels.base is None
    assert pixels.flags.c_contiguous


def assert_alike(seen: np.ndarray, expected: np.ndarray) -> None:
    """Pillow and PyTorch round a pixel in a hundred differently, by one grey level."""
    difference = np.abs(seen.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(
    "size",
    [(640, 427), (427, 640), (224, 224), (256, 256), (301, 299), (50, 40), (700, 90), (3, 5)],
    ids=str,
)
@pytest.mark.parametrize("sizes", [SIZES, {"resize_size": 232, "crop_size": 224}], ids=["256", "232"])
def test_the_pixels_are_those_of_torchvisions_transform(photographs, size, sizes):
    image = photographs[0].resize(size)

    assert_alike(crop_photograph(image, **sizes), as_torchvision_sees(image, **sizes))


def test_every_photograph_is_seen_as_torchvision_sees_it(photographs):
    for image in photographs:
        assert_alike(crop_photograph(image, **SIZES), as_torchvision_sees(image, **SIZES))


@pytest.mark.parametrize(
    "mode", ["L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "1", "I", "F", "I;16"]
)
def test_a_picture_of_any_mode_becomes_one_in_colour(photographs, mode):
    grey = photographs[0].convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode in {"LA", "PA", "RGBA"}:
        image = photographs[0].convert("RGBA").convert(mode)
    elif mode == "LAB":
        image = Image.merge("LAB", [grey] * 3)
    else:
        image = photographs[0].convert(mode)

    pixels = crop_photograph(image, **SIZES)

    assert pixels.shape == (3, 224, 224)
    assert pixels.std() > 20


@pytest.mark.parametrize("size", [(1, 40_000_000), (40_000_000, 1)], ids=["tall", "wide"])
def test_of_a_picture_that_is_a_line_only_the_middle_is_made_large(size):
    line = Image.new("L", size, 7)
    line.paste(200, (size[0] // 2 - 2, size[1] // 2 - 2, size[0] // 2 + 3, size[1] // 2 + 3))

    pixels = crop_photograph(line, **SIZES)

    assert (pixels == 200).all()


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (300, 300), (10, 20, 30, 0))

    assert (crop_photograph(clear, **SIZES) == 255).all()


@pytest.mark.parametrize("colour", [(0, 0, 0, 255), (200, 30, 90, 255), (10, 20, 30, 0)], ids=str)
def test_a_picture_of_one_colour_has_no_content(colour):
    with pytest.raises(NoContentError, match="Send one that shows something there"):
        prepare_photograph(Image.new("RGBA", (300, 300), colour), **SIZES)


def test_of_a_transparent_picture_with_one_visible_line_only_the_middle_is_made_large():
    clear = Image.new("RGBA", (1023, 20_000))
    clear.paste((255, 0, 0, 255), (3, 0, 4, 20_000))

    assert crop_photograph(clear, **SIZES).shape == (3, 224, 224)


def test_a_transparent_margin_makes_no_difference(photographs):
    wide = Image.new("RGBA", (photographs[0].width + 200, photographs[0].height + 100))
    wide.paste(photographs[0], (150, 30))

    assert np.array_equal(crop_photograph(wide, **SIZES), crop_photograph(photographs[0], **SIZES))


@pytest.mark.parametrize(
    ("white", "kind"),
    [(1023, np.uint16), (4095, np.uint16), (1.02, np.float32)],
    ids=["10 bits", "12 bits", "floats beyond 1"],
)
def test_a_deep_photograph_looks_like_its_shallow_self(photographs, white, kind):
    grey = np.asarray(photographs[0].convert("L"), dtype=np.float64)
    deep = Image.fromarray((grey / grey.max() * white).astype(kind))

    difference = prepare_photograph(deep, **SIZES).pixels - crop_photograph(
        Image.fromarray(np.rint(grey / grey.max() * 255).astype(np.uint8)), **SIZES
    ).astype(float)

    assert np.abs(difference).max() <= 1 + 255 * 0.02


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_large_jpeg_decoded_at_a_fraction_of_its_size_looks_the_same(photographs, scale):
    stream = io.BytesIO()
    photographs[0].resize((512 * scale, 512 * scale)).save(stream, "JPEG", quality=90)
    data = stream.getvalue()

    whole = decode_image(data, ImageLimits(max_pixels=10**8))
    draft = decode_image(data, ImageLimits(max_pixels=10**8), downscale=DOWNSCALE)

    assert whole.size == (512 * scale, 512 * scale)
    assert draft.size == (512, 512)
    difference = crop_photograph(draft, **SIZES).astype(int) - crop_photograph(whole, **SIZES)
    assert np.abs(difference).mean() < 2  # of 255 grey levels


def test_a_jpeg_that_is_not_large_is_decoded_in_full(photographs):
    stream = io.BytesIO()
    photographs[0].resize((700, 1000)).save(stream, "JPEG")

    assert decode_image(stream.getvalue(), ImageLimits(max_pixels=10**8), downscale=DOWNSCALE).size == (
        700,
        1000,
    )


def test_pil_to_tensor_agrees_on_the_order_of_the_channels(photographs):
    middle = photographs[0].resize((224, 224))

    seen = crop_photograph(middle, resize_size=224, crop_size=224)

    np.testing.assert_array_equal(seen, pil_to_tensor(middle).numpy())
