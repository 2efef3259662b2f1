"""Fitting a reference with its certificate, each on held-out samples of its own."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from drift.certify import N_BATCHES, SIZES, Blur, certify, measurable
from drift.errors import UnknownKernelError, UnreadableSamplesError
from drift.reference import ALL_KERNELS, MAX_BATCH, N_PERMUTATIONS, Reference
from drift.samples import Samples
from drift.two_sample.kernels import CollectionName
from drift.two_sample.mmd import DEFAULT_KERNEL

FEWEST_FOR_LENGTHSCALE = 20  # the median distance of fewer says little
FEWEST_FOR_CERTIFICATE = 2 * min(SIZES)
FEWEST_FOR_REFERENCE = 2
MANY = 10_000  # samples, enough for any shares that are possible at all
# Copies of one sample that may be an accident, such as of a folder. If a fifth of 1,000 samples is black,
# batches of 256 raise false alarms in 86 % with all black ones in one part, in 5 % with them dealt out.
# But five copies of every sample, dealt out, get a certificate of 6 %, where new samples alarm in 54 %.
MOST_COPIES = 5


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
    blur: Callable[[Tensor], Blur] | None = None,
    source: str = "",
    progress: bool = False,
) -> Reference:
    """Fit a reference on some samples, and certify it on others.

    Args:
        samples: None of them seen in training, N of them.
        recipe: How the reference is fitted.
        blur: From indices of samples, shape (n,), to what `certify` takes as their blur.
        source: The checksum of the model whose features these are.
        progress: Whether to show progress bars.

    Raises:
        UnreadableSamplesError: There are too few samples, or nearly all of them are the same.
        DriftError: As `Reference.fit` and `certify`.
    """
    lengthscale, certificate, rest = split_samples(samples.features, recipe)
    try:
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
    except UnknownKernelError as error:  # The lengthscale is zero.
        raise UnreadableSamplesError(f"{error} {describe_copies(samples)}") from error
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


def split_samples(features: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Deal samples out at random: to the lengthscale, the certificate, and the reference.

    A few copies of one sample stay together: one of them in the reference and another in the certificate
    would make false alarms look rarer than they are. Many are no accident but what the model often sees, such
    as a black frame, and belong in every part.

    Raises:
        UnreadableSamplesError: There are too few.
        BatchTooSmallError: The reference is for batches too small for a certificate.
    """
    size = len(features)
    _, kinds, counts = features.unique(dim=0, return_inverse=True, return_counts=True)
    one_by_one = counts[kinds] > MOST_COPIES
    _, groups = torch.where(one_by_one, len(counts) + torch.arange(size), kinds).unique(return_inverse=True)
    places = torch.randperm(int(groups.max()) + 1, generator=torch.Generator().manual_seed(recipe.seed))
    order = places[groups].argsort(stable=True)
    ends = (places[groups][order].diff() > 0).nonzero().flatten() + 1  # places at which groups end
    lengthscale, certificate, _ = shares_of(size, recipe)
    cuts = [int(ends[ends >= cut][:1].sum()) for cut in (lengthscale, lengthscale + certificate)]
    if not (is_enough(size, recipe) and 0 < cuts[0] <= cuts[1] <= size - FEWEST_FOR_REFERENCE):
        raise UnreadableSamplesError(too_few(size, recipe))
    if certificate:
        measurable(SIZES, cuts[1] - cuts[0], recipe.max_batch)
    first, second, rest = order.tensor_split(cuts)
    return first, second, rest


def shares_of(size: int, recipe: Recipe) -> tuple[int, int, int]:
    """Return how many of some samples give the lengthscale and the certificate, and how many are left."""
    lengthscale = max(FEWEST_FOR_LENGTHSCALE, round(recipe.lengthscale_share * size))
    certificate = math.ceil(recipe.certificate_share * size)
    return lengthscale, certificate, size - lengthscale - certificate


def is_enough(size: int, recipe: Recipe) -> bool:
    _, certificate, rest = shares_of(size, recipe)
    return rest >= FEWEST_FOR_REFERENCE and (not certificate or certificate >= FEWEST_FOR_CERTIFICATE)


def too_few(size: int, recipe: Recipe) -> str:
    """Return a message that says how samples would be shared out, and how many would be enough."""
    lengthscale, certificate, rest = shares_of(size, recipe)
    enough = next((more for more in range(size + 1, MANY) if is_enough(more, recipe)), None)
    fewest = f"{FEWEST_FOR_LENGTHSCALE}, {FEWEST_FOR_CERTIFICATE if certificate else 0}"
    return (
        f"{size} samples are too few: {lengthscale} would give the lengthscale and {certificate} the "
        f"certificate, and {max(0, rest)} would be left for the reference; they take at least {fewest} and "
        f"{FEWEST_FOR_REFERENCE}. "
        + (f"Give at least {enough}, or other shares." if enough else "Take smaller shares, too.")
    )


def mention_copies(samples: Samples) -> None:
    """Say on standard error how many samples are the same as others, where any are."""
    if copies := describe_copies(samples):
        print(f"{copies} Remove what was copied by accident: it is no new sample.", file=sys.stderr)


def describe_copies(samples: Samples) -> str:
    """Return a sentence on how many samples equal others, and which; an empty one where none does."""
    _, kinds, counts = samples.features.unique(dim=0, return_inverse=True, return_counts=True)
    copied = int(counts[counts > 1].sum())
    if not copied:
        return ""
    most, kind = counts.max(dim=0)
    name = samples.names[int((kinds == kind).nonzero()[0])]
    return (
        f"{copied:,} of the {len(samples.names):,} samples are the same to the model as others; "
        f"{int(most):,} are {name}."
    )


def usual_kernel(names: Iterable[CollectionName]) -> CollectionName:
    """Return the default kernel where it is among those that a reference has, else the first of them."""
    return DEFAULT_KERNEL if DEFAULT_KERNEL in names else next(iter(names))
