"""The conditions of the study: held-out images without drift, corrupted, or replaced by foreign ones."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from drift.progress import followed
from vision.corruptions import (
    brightness,
    contrast,
    gaussian_blur,
    gaussian_noise,
    impulse_noise,
    rotation,
    translation,
)

NO_DRIFT = "no drift"
BLUR = "Gaussian blur"
KNOCK_OUT = "Class knock-out"

BLURS = (0.5, 1.0, 1.5, 2.0, 3.0)  # standard deviations, in pixels of an image as high as a digit's
DIGIT_HEIGHT = 28
KNOCKED_OUT = {"half": 0.5, "all": 1.0}  # share of the class that is left out
CHUNK = 256  # images that are corrupted at a time: noise in float takes four times their memory and more

Predict = Callable[[Tensor], tuple[Tensor, Tensor]]
Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]
Draw = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for N images.

    Attributes:
        probabilities: Softmax outputs, shape (N, K), float32.
        features: Penultimate-layer features, shape (N, D), float32.
    """

    probabilities: Tensor
    features: Tensor

    @classmethod
    def of(cls, predict: Predict, images: Tensor) -> "Outputs":
        """Return the outputs of a model for images as it takes them, shape (N, C, H, W), uint8."""
        return cls(*predict(images))

    def take(self, rows: Tensor | slice) -> "Outputs":
        return Outputs(self.probabilities[rows], self.features[rows])


@dataclass(frozen=True)
class Foreign:
    """Images of something else than the model was trained on.

    Attributes:
        name: Name of the set, such as of its data set.
        images: As the model takes them, shape (N, C, H, W), uint8.
    """

    name: str
    images: Tensor


@dataclass(frozen=True)
class Condition:
    """One way in which the images of a batch differ from those of the reference, or none.

    Attributes:
        name: Name of the condition: that of its family, with the strength.
        family: Name of the corruption, or of another kind of drift.
        level: Strength, as a place on the family's axis; None where it has none.
        axis: Label of that axis, with its unit; None where there is none.
        images: All images that a batch may be made of, shape (N, C, H, W), uint8.
        outputs: Outputs of the model for them.
        draw: Takes the rows of the held-out images that are not in the reference, shape (k,), int64, in
            random order, and a generator; returns rows of `images`, in random order, of which a batch of m
            takes the first m.
    """

    name: str
    family: str
    level: float | None
    axis: str | None
    images: Tensor
    outputs: Outputs
    draw: Draw


@dataclass(frozen=True)
class Corruption:
    """A corruption in several strengths.

    Attributes:
        family: Name of the corruption.
        strength: Format of a level in a condition's name.
        axis: Label of the axis on which the levels lie, with its unit.
        levels: From slight to strong.
        corrupt: Takes images, a level and a generator; returns corrupted images of the same shape.
    """

    family: str
    strength: str
    axis: str
    levels: Sequence[float]
    corrupt: Corrupt


def every_condition(
    predict: Predict,
    images: Tensor,
    labels: Tensor | None,
    foreign: Sequence[Foreign],
    *,
    seed: int,
    families: Collection[str] | None = None,
    progress: bool = False,
) -> list[Condition]:
    """Return every condition, the first of them no drift.

    Args:
        predict: The model: takes images, returns softmax outputs and features.
        images: Held-out images as the model takes them, shape (N, C, H, W), uint8, C is 1 or 3.
        labels: Their classes, shape (N,), int64; None for the classes that the model predicts.
        foreign: Sets of images of something else, each a condition of its own.
        seed: Of noise, angles and steps, which are the same in every strength but for their size.
        families: The families that are wanted of the corruptions and KNOCK_OUT; None for all of them.
        progress: Whether to show a progress bar.
    """
    sharp = Outputs.of(predict, images)
    classes = sharp.probabilities.argmax(dim=1) if labels is None else labels
    most_frequent = int(classes.bincount().argmax())
    steps: list[Callable[[], Condition]] = [
        *(
            partial(corrupted_condition, predict, images, corruption, level, seed)
            for corruption in corruptions(images.shape[-2])
            for level in corruption.levels
            if families is None or corruption.family in families
        ),
        *(
            partial(knock_out_condition, images, sharp, classes, most_frequent, part)
            for part in KNOCKED_OUT
            if families is None or KNOCK_OUT in families
        ),
        *(partial(foreign_condition, predict, one) for one in foreign),
    ]
    without_drift = Condition(NO_DRIFT, NO_DRIFT, None, None, images, sharp, unchanged)
    return [without_drift, *(step() for step in followed(steps, "conditions", len(steps), progress=progress))]


def corruptions(height: int) -> list[Corruption]:
    """Return every corruption of images of a height in pixels.

    The slight ones are hard to find on MNIST (in batches of 16 images hardly ever), the strong ones easy.
    """
    sigmas = [sigma * height / DIGIT_HEIGHT for sigma in BLURS]
    return [
        Corruption(BLUR, "σ = {:g}", "Standard deviation of the blur (pixels)", sigmas, blur),
        Corruption(
            "Gaussian noise",
            "σ = {:g}",
            "Standard deviation of the noise (of 255)",
            (10.0, 50.0),
            gaussian_noise,
        ),
        Corruption(
            "Impulse noise", "{:g} %", "Values that are struck (%)", (1.0, 10.0), impulse_noise_by_percent
        ),
        Corruption("Brightness", "× {:g}", "Factor of the brightness", (0.9, 0.5), change_brightness),
        Corruption("Contrast", "× {:g}", "Factor of the contrast", (0.9, 0.5), change_contrast),
        Corruption("Rotation", "± {:g}°", "Largest angle (degrees)", (10.0, 60.0), rotation),
        Corruption(
            "Translation",
            "± {:g} %",
            "Largest step (% of height and width)",
            (10.0, 30.0),
            translation_by_percent,
        ),
    ]


def blur(images: Tensor, sigma: float, _: torch.Generator) -> Tensor:
    return gaussian_blur(images, sigma)


def change_brightness(images: Tensor, factor: float, _: torch.Generator) -> Tensor:
    return brightness(images, factor)


def change_contrast(images: Tensor, factor: float, _: torch.Generator) -> Tensor:
    return contrast(images, factor)


def impulse_noise_by_percent(images: Tensor, percent: float, generator: torch.Generator) -> Tensor:
    return impulse_noise(images, percent / 100, generator)


def translation_by_percent(images: Tensor, percent: float, generator: torch.Generator) -> Tensor:
    return translation(images, percent / 100, generator)


def corrupted_condition(
    predict: Predict, images: Tensor, corruption: Corruption, level: float, seed: int
) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    pool = torch.cat([corruption.corrupt(part, level, generator) for part in images.split(CHUNK)])
    name = f"{corruption.family}, {corruption.strength.format(level)}"
    outputs = Outputs.of(predict, pool)
    return Condition(name, corruption.family, level, corruption.axis, pool, outputs, unchanged)


def knock_out_condition(images: Tensor, sharp: Outputs, classes: Tensor, label: int, part: str) -> Condition:
    share = KNOCKED_OUT[part]
    name = f"{KNOCK_OUT}, {part} of class {label}"
    draw = partial(knock_out, classes, label, share)
    return Condition(name, KNOCK_OUT, share, "Share of the class left out", images, sharp, draw)


def foreign_condition(predict: Predict, foreign: Foreign) -> Condition:
    outputs = Outputs.of(predict, foreign.images)
    draw = partial(shuffled, len(foreign.images))
    return Condition(foreign.name, foreign.name, None, None, foreign.images, outputs, draw)


def unchanged(rest: Tensor, _: torch.Generator) -> Tensor:
    return rest


def knock_out(classes: Tensor, label: int, share: float, rest: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows without a share of one class.

    The rows that go are drawn at random: without the first ones of the class, small batches, which are taken
    from the beginning, would lose more of it than large ones.

    Args:
        classes: Of every held-out image, shape (N,), int64.
        label: The class.
        share: Of its rows that go, 0 to 1.
        rest: Rows, shape (k,), int64, in random order, which is kept.
        generator: Of the drawing.
    """
    of_class = rest[classes[rest] == label]
    gone = of_class[torch.randperm(len(of_class), generator=generator)[: round(share * len(of_class))]]
    return rest[~torch.isin(rest, gone)]


def shuffled(count: int, _: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)
