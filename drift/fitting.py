"""From held-out samples to a reference with its certificate: which sample is used for what, and the fit."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from drift.calibration import N_BATCHES, SIZES, Blur, certify, measurable
from drift.errors import UnreadableSamplesError
from drift.kernels import CollectionName
from drift.mmd import DEFAULT_KERNEL
from drift.reference import ALL_KERNELS, MAX_BATCH, N_PERMUTATIONS, Reference
from drift.samples import Samples

FEWEST_FOR_LENGTHSCALE = 20  # of fewer, the median distance says little


@dataclass(frozen=True)
class Recipe:
    """How a reference is fitted.

    Attributes:
        kernels: Of the tests to come.
        max_batch: The largest batch to be tested.
        n_permutations: Permutations of a test.
        lengthscale_share: Share of the samples that only give the lengthscale.
        certificate_share: Share of the samples on which false alarms are measured; 0 for no certificate.
        n_batches: Batches of the certificate, of each size.
        seed: Of everything random.
    """

    kernels: Sequence[CollectionName] = ALL_KERNELS
    max_batch: int = MAX_BATCH
    n_permutations: int = N_PERMUTATIONS
    lengthscale_share: float = 0.1
    certificate_share: float = 0.4
    n_batches: int = N_BATCHES
    seed: int = 0


def fit_certified(
    samples: Samples,
    recipe: Recipe,
    *,
    blur: Callable[[Tensor], Blur | None] | None = None,
    source: str = "",
    progress: bool = False,
) -> Reference:
    """Fit a reference on some samples, and certify it on others.

    Args:
        samples: None of them seen in training, N of them.
        recipe: How.
        blur: From indices of samples, shape (n,), to what `certify` takes as their blur.
        source: The checksum of the model whose features these are.
        progress: Whether to show progress bars.

    Raises:
        UnreadableSamplesError: There are too few samples.
        DriftError: As `Reference.fit` and `certify`.
    """
    lengthscale, certificate, rest = deal(samples.features, recipe)
    reference = Reference.fit(
        samples.features[rest],
        None if samples.probabilities is None else samples.probabilities[rest],
        lengthscale_sample=samples.features[lengthscale],
        kernels=recipe.kernels,
        max_batch=recipe.max_batch,
        n_permutations=recipe.n_permutations,
        seed=recipe.seed,
        progress=progress,
    )
    measured = None
    if len(certificate):
        measured = certify(
            reference,
            samples.features[certificate],
            blur=blur(certificate) if blur else None,
            kernel=usual_kernel(recipe.kernels),
            n_batches=recipe.n_batches,
            seed=recipe.seed,
            progress=progress,
        )
    return replace(reference, certificate=measured, source=source)


def deal(features: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Deal samples out at random: to the lengthscale, the certificate, and the reference.

    Copies of one sample stay together: one of them in the reference and another in the certificate would make
    false alarms look rarer than they are.

    Raises:
        UnreadableSamplesError: There are too few.
        BatchTooSmallError: There are too few for the certificate.
    """
    size = len(features)
    _, copies = features.unique(dim=0, return_inverse=True)  # which of the different samples each one is
    places = torch.randperm(int(copies.max()) + 1, generator=torch.Generator().manual_seed(recipe.seed))
    order = places[copies].argsort(stable=True)
    ends = (places[copies][order].diff() > 0).nonzero().flatten() + 1  # where one sample's copies end
    lengthscale = max(FEWEST_FOR_LENGTHSCALE, round(recipe.lengthscale_share * size))
    certificate = math.ceil(recipe.certificate_share * size)
    cuts = [int(ends[ends >= cut][:1].sum()) for cut in (lengthscale, lengthscale + certificate)]
    if not 0 < cuts[0] <= cuts[1] < size - 1:
        raise UnreadableSamplesError(
            f"{size} samples are too few: {lengthscale} give the lengthscale, {certificate} the certificate, "
            "and at least 2 must be left for the reference. Give more, or smaller shares."
        )
    if certificate:
        measurable(SIZES, cuts[1] - cuts[0], recipe.max_batch)
    first, second, rest = order.tensor_split(cuts)
    return first, second, rest


def usual_kernel(names: Iterable[CollectionName]) -> CollectionName:
    """Return the default kernel where it is among those that a reference has, else the first of them."""
    return DEFAULT_KERNEL if DEFAULT_KERNEL in names else next(iter(names))
