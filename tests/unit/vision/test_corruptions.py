"""Corruptions: what they do to images, on real digits."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from vision.corruptions import (
    brightness,
    contrast,
    gaussian_blur,
    gaussian_noise,
    impulse_noise,
    rotation,
    translation,
)


@pytest.fixture(scope="module")
def digits(held_out) -> Tensor:
    return held_out.images[:40].unsqueeze(1)  # (40, 1, 28, 28)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def detail(images: Tensor) -> float:
    """Return how much neighbouring pixels differ."""
    return images.float().diff(dim=-1).abs().mean().item()


@pytest.fixture(params=["digits", "colours"])
def pictures(request, digits) -> Tensor:
    if request.param == "digits":
        return digits
    seeded = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (8, 3, 37, 50), dtype=torch.uint8, generator=seeded)


def assert_alike(images: Tensor, expected: Tensor) -> None:
    """Expect the same pixels, but for a few that rounding moves by one level."""
    differences = (images.int() - expected.int()).abs()
    assert images.dtype == torch.uint8
    assert differences.max() <= 1
    assert differences.float().mean() < 1e-3


@pytest.mark.parametrize("sigma", [0.3, 1, 2.5, 40])
def test_blur_is_torchvisions(pictures, sigma):
    reach = min(math.ceil(3 * sigma), min(pictures.shape[-2:]) - 1)

    blurred = gaussian_blur(pictures, sigma)

    assert_alike(blurred, tv.gaussian_blur(pictures, [2 * reach + 1] * 2, [sigma] * 2))


@pytest.mark.parametrize("factor", [0.3, 1, 2])
def test_brightness_and_contrast_are_torchvisions(pictures, factor):
    lit, changed = brightness(pictures, factor), contrast(pictures, factor)

    assert_alike(lit, tv.adjust_brightness(pictures, float(factor)))
    assert_alike(changed, tv.adjust_contrast(pictures, factor))


def test_rotation_and_translation_are_torchvisions(pictures):
    seeded = [torch.Generator().manual_seed(2) for _ in range(4)]
    angles = (2 * torch.rand(len(pictures), generator=seeded[0]) - 1) * 40
    size = torch.tensor(pictures.shape[-2:][::-1])
    shares = (2 * torch.rand(len(pictures), 2, generator=seeded[1]) - 1) * 0.2
    steps = (shares * size).round().int()

    turned, moved = rotation(pictures, 40, seeded[2]), translation(pictures, 0.2, seeded[3])

    bilinear = InterpolationMode.BILINEAR
    assert_alike(
        turned,
        torch.stack(
            [
                tv.rotate(one, angle, interpolation=bilinear)
                for one, angle in zip(pictures, angles.tolist(), strict=True)
            ]
        ),
    )
    assert_alike(
        moved,
        torch.stack(
            [tv.affine(one, 0, step, 1, [0, 0]) for one, step in zip(pictures, steps.tolist(), strict=True)]
        ),
    )


def test_the_stronger_the_blur_the_less_detail_is_left(digits):
    left = [detail(digits)] + [detail(gaussian_blur(digits, sigma)) for sigma in (0.5, 1, 2, 4, 40)]

    assert left == sorted(left, reverse=True)


def test_a_slight_blur_keeps_the_ink(digits):
    blurred = gaussian_blur(digits, 1)

    assert blurred.dtype == torch.uint8
    assert blurred.shape == digits.shape
    assert blurred.float().mean().item() == pytest.approx(digits.float().mean().item(), rel=0.01)


def test_blur_makes_a_point_a_bell_of_its_standard_deviation():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.uint8)
    point[0, 0, 20, 20] = 255

    blurred = gaussian_blur(point, 1.5)[0, 0].double()

    steps = torch.arange(41.0) - 20
    spread = [((blurred.sum(dim) * steps**2).sum() / blurred.sum()).item() for dim in (0, 1)]
    assert spread == pytest.approx([1.5**2, 1.5**2], rel=0.1)


def test_noise_has_the_spread_that_was_asked_for(generator):
    grey = torch.full((10, 1, 28, 28), 128, dtype=torch.uint8)

    noisy = gaussian_noise(grey, 10, generator)

    assert noisy.float().std().item() == pytest.approx(10, rel=0.05)
    assert noisy.float().mean().item() == pytest.approx(128, abs=0.5)


def test_noise_ends_at_black_and_white(digits, generator):
    noisy = gaussian_noise(digits, 100, generator)

    assert noisy.min() == 0
    assert noisy.max() == 255


def test_impulse_noise_strikes_its_share_half_black_half_white(generator):
    grey = torch.full((20, 3, 28, 28), 128, dtype=torch.uint8)

    struck = impulse_noise(grey, 0.1, generator)

    assert struck.dtype == torch.uint8
    assert (struck == 0).double().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (struck == 255).double().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (struck == 128).double().mean().item() == pytest.approx(0.9, abs=0.01)


def test_impulse_noise_strikes_each_channel_for_itself(generator):
    struck = impulse_noise(torch.full((20, 3, 28, 28), 128, dtype=torch.uint8), 0.1, generator)

    assert not struck[:, 0].equal(struck[:, 1])


@pytest.mark.parametrize(("share", "values"), [(0.0, {128}), (1.0, {0, 255})], ids=["none", "all"])
def test_impulse_noise_can_strike_nothing_or_everything(share, values, generator):
    grey = torch.full((5, 1, 28, 28), 128, dtype=torch.uint8)

    assert set(impulse_noise(grey, share, generator).unique().tolist()) == values


def test_more_impulse_noise_strikes_the_same_values_and_others():
    grey = torch.full((5, 1, 28, 28), 128, dtype=torch.uint8)

    some, more = (impulse_noise(grey, share, torch.Generator().manual_seed(3)) for share in (0.1, 0.3))

    assert (more[some != 128] == some[some != 128]).all()
    assert (more != 128).sum() > (some != 128).sum()


def test_brightness_is_a_factor_of_every_value():
    steps = torch.tensor([0, 10, 100, 200], dtype=torch.uint8).view(1, 1, 2, 2)

    assert brightness(steps, 0.5).flatten().tolist() == [0, 5, 50, 100]
    assert brightness(steps, 2).flatten().tolist() == [0, 20, 200, 255]


def test_contrast_is_a_factor_of_the_distance_to_the_images_own_mean():
    steps = torch.tensor([[0, 40, 60, 100], [100, 140, 160, 200]], dtype=torch.uint8).view(2, 1, 2, 2)

    assert contrast(steps, 0.5).flatten(1).tolist() == [[25, 45, 55, 75], [125, 145, 155, 175]]
    assert contrast(steps, 3).flatten(1).tolist() == [[0, 20, 80, 200], [0, 120, 180, 255]]


@pytest.mark.parametrize("change", [brightness, contrast])
def test_a_factor_of_one_changes_nothing(digits, change):
    assert change(digits, 1).equal(digits)


def test_rotation_by_nothing_changes_nothing(digits, generator):
    assert rotation(digits, 0, generator).equal(digits)


def test_every_image_turns_by_an_angle_of_its_own_within_the_limit(generator):
    images = torch.zeros(200, 1, 29, 29, dtype=torch.uint8)
    images[:, :, 14, 15:] = 255  # a hand of a clock at three

    turned = rotation(images, 40, generator)

    rows, columns = torch.meshgrid(torch.arange(29.0), torch.arange(29.0), indexing="ij")
    weights = turned.squeeze(1) / turned.sum(dim=(1, 2, 3)).view(-1, 1, 1)
    angles = torch.atan2(
        ((rows - 14) * weights).sum(dim=(1, 2)), ((columns - 14) * weights).sum(dim=(1, 2))
    ).rad2deg()
    assert -41 < angles.min() < -35
    assert 35 < angles.max() < 41


def test_translation_moves_every_image_by_whole_pixels_within_the_limit(generator):
    images = torch.zeros(200, 1, 21, 41, dtype=torch.uint8)
    images[:, :, 10, 20] = 255

    moved = translation(images, 0.2, generator)

    assert (moved.sum(dim=(1, 2, 3)) == 255).all()
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert rows.min() == 6
    assert rows.max() == 14
    assert columns.min() == 12
    assert columns.max() == 28


@pytest.mark.parametrize("corrupt", [gaussian_noise, impulse_noise, rotation, translation])
def test_the_same_seed_corrupts_in_the_same_way(digits, corrupt):
    first, second = (corrupt(digits, 0.3, torch.Generator().manual_seed(7)) for _ in range(2))

    assert first.equal(second)
