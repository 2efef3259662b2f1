"""Maximum mean discrepancy between a reference and a batch, with an exact permutation p-value.

With the kernel matrix K over reference and batch (its diagonal zero), z marking the rows of the batch,
r = K1, S = 1ᵀK1, q = zᵀKz and s = zᵀr, the unbiased statistic is

    MMD² = (S - 2s + q) / (n(n-1)) + q / (m(m-1)) - 2(s - q) / (nm)

so a permutation, which only changes z, needs q and s alone, and its MMD² grows with

    T = (n + m - 2) q - 2(m - 1) s

which is a whole number, as kernel values are: permutations are compared without any rounding.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from drift.errors import (
    BatchTooLargeError,
    BatchTooSmallError,
    FeatureShapeError,
    FeatureTypeError,
    NonFiniteFeaturesError,
)
from drift.reference import Reference
from drift.two_sample.kernels import UNIT, CollectionName, Kernel, Points
from drift.two_sample.permutations import KernelSums, Permutations
from drift.two_sample.results import TwoSampleResult, combine

DEFAULT_KERNEL: CollectionName = "aggregate"
# Shares of the batch in the pooled sample: below the first, pairs are looked up one by one; above the second,
# the matrix product of every pair is faster than the one that leaves out those that are not needed.
FEW, MANY = 1 / 40, 1 / 8
CHUNK = 250  # permutations of a large batch at a time, so that their memory stays small


def mmd_permutation_test(
    reference: Reference,
    batch: Tensor,
    *,
    kernel: CollectionName = DEFAULT_KERNEL,
    n_permutations: int | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> TwoSampleResult:
    """Test whether a batch of features comes from the reference distribution.

    The same reference, batch and number of permutations give the same result, on every machine.

    Args:
        reference: Fitted reference of n samples in d dimensions.
        batch: Features to test, shape (m, d), 2 ≤ m ≤ reference.max_batch.
        kernel: Which kernel; `aggregate` looks through several of several lengthscales at once.
        n_permutations: How many of the permutations that the reference holds to take; None for all.
        checkpoint: Called before each kernel, which takes up to about a second; what it raises ends the test.

    Raises:
        BatchTooSmallError: m < 2.
        BatchTooLargeError: m > reference.max_batch.
        FeatureShapeError: The batch is not (m, d).
        FeatureTypeError: Its values are not floating-point numbers.
        NonFiniteFeaturesError: A feature is NaN or infinite.
        TooManyPermutationsError: The reference does not hold n_permutations.
        UnknownKernelError: The reference was fitted without this kernel.

    Source:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012); Phipson & Smyth, SAGMB 9 (2010).
        Aggregation: Schrab et al., MMD Aggregated Two-Sample Test, JMLR 24 (2023), with equal weights.
    """
    kernels = reference.collection(kernel)
    count = reference.check_count(n_permutations)
    points = as_points(reference, batch)
    permutations = reference.permutations(len(points), count)
    chosen = permutations.chosen
    scores, statistics = [], []
    for member, across, within in kernel_values(kernels, reference, points):
        checkpoint()
        sums = reference.sums[member]
        crossing, touching = crossing_sums(permutations, across)
        from_reference = across.sum(dim=0)
        scores.append(unbiased_mmd(sums, from_reference, within))
        row_sums = from_reference + within.sum(dim=1)  # r of the batch, (m,)
        in_batch = ((chosen @ within) * chosen).sum(dim=1)
        in_reference, with_reference = permutations.of_reference(sums)
        q = torch.cat([within.sum()[None], in_reference + 2 * crossing + in_batch])  # (1 + B,)
        s = torch.cat([row_sums.sum()[None], with_reference + touching + chosen @ row_sums])
        statistics.append(statistic(q, s, len(reference), len(points)))
    return combine(kernels, scores, torch.stack(statistics))


def mmd_score(reference: Reference, batch: Tensor, *, kernel: CollectionName = DEFAULT_KERNEL) -> float:
    """Return the score of a batch without its p-value, the same that `mmd_permutation_test` gives.

    Args:
        reference: Fitted reference of n samples in d dimensions.
        batch: Features, shape (m, d), m at least 2.
        kernel: Which kernel.

    Raises:
        DriftError: As `mmd_permutation_test`.
    """
    first = reference.collection(kernel)[:1]
    ((member, across, within),) = kernel_values(first, reference, as_points(reference, batch))
    return unbiased_mmd(reference.sums[member], across.sum(dim=0), within)


def kernel_values(
    kernels: Sequence[Kernel], reference: Reference, points: Points
) -> Iterator[tuple[Kernel, Tensor, Tensor]]:
    """Yield each kernel, its values across reference and batch, (n, m), and within the batch, (m, m).

    All are in units of 2⁻²⁰; the diagonal within is zero.
    """
    across = reference.points.squared_distances(points)
    within = points.squared_distances(points)
    for kernel in kernels:
        last = kernel is kernels[-1]
        yield kernel, kernel(across, overwrite=last), kernel(within, overwrite=last).fill_diagonal_(0)


def crossing_sums(permutations: Permutations, across: Tensor) -> tuple[Tensor, Tensor]:
    """Return kernel sums over each permutation's part of the reference and of the batch.

    All three ways to compute them give the same whole numbers; they differ in how long they take.

    Args:
        permutations: Permutations for a batch of m.
        across: Kernel values of reference and batch, shape (n, m).

    Returns:
        Sums with the permutation's part of the batch, and with the whole batch, both of shape (B,).
    """
    n, m = across.shape
    chosen, prefix = permutations.chosen, permutations.prefix
    if m > MANY * (n + m):
        return sum_products(permutations, across), prefix @ across.sum(dim=1)
    if m < FEW * (n + m):
        return sum_pairs(permutations, across), prefix @ across.sum(dim=1)
    from_reference = prefix @ across  # (B, m)
    return (from_reference * chosen).sum(dim=1), from_reference.sum(dim=1)


def sum_products(permutations: Permutations, across: Tensor) -> Tensor:
    sums = []
    for orders, kept, chosen in zip(
        permutations.orders.split(CHUNK),
        permutations.kept.split(CHUNK),
        permutations.chosen.split(CHUNK),
        strict=True,
    ):
        from_batch = chosen @ across.T  # (CHUNK, n)
        sums.append((from_batch.gather(1, orders.long()) * kept).sum(dim=1))
    return torch.cat(sums)


def sum_pairs(permutations: Permutations, across: Tensor) -> Tensor:
    which, rows = permutations.chosen.nonzero(as_tuple=True)  # (P,) permutations, and a chosen row of each
    pairs = permutations.orders[which].long() * across.shape[1] + rows[:, None]  # (P, min(m, J))
    values = (across.reshape(-1)[pairs] * permutations.kept[which]).sum(dim=1)
    return torch.zeros(len(permutations.chosen), dtype=torch.float64).index_add_(0, which, values)


def statistic(q: Tensor, s: Tensor, n: int, m: int) -> Tensor:
    """Return T of a reference of n and a batch of m, of the sums q and s, which are whole numbers."""
    return (n + m - 2) * q.long() - 2 * (m - 1) * s.long()


def unbiased_mmd(sums: KernelSums, from_reference: Tensor, within: Tensor) -> float:
    """Return the unbiased MMD², from sums in units of 2⁻²⁰."""
    n, m = len(sums.row_sums), len(within)
    in_reference, in_batch = sums.row_sums.sum().item(), within.sum().item()
    crossing = from_reference.sum().item()
    return (in_reference / (n * (n - 1)) + in_batch / (m * (m - 1)) - 2 * crossing / (n * m)) / UNIT


def witness(reference: Reference, batch: Tensor, *, kernel: Kernel | None = None) -> Tensor:
    """Return how much each sample of the batch drives the score, shape (m,), float64.

    It is the sample's mean kernel value to the rest of the batch less that to the reference: positive where
    the batch is denser than the reference, and the larger, the more the sample belongs to what is new.

    Args:
        reference: Fitted reference of n samples in d dimensions.
        batch: Features, shape (m, d), m at least 2.
        kernel: A kernel that the reference was fitted with, such as the strongest of a test; None for the
            Gaussian one.

    Raises:
        DriftError: As `mmd_permutation_test`.

    Source:
        The witness function of Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), section 2.3.
    """
    points = as_points(reference, batch)
    n, m = len(reference), len(points)
    chosen = kernel or reference.collection("gaussian")[0]
    ((_, across, within),) = kernel_values([chosen], reference, points)
    return (within.sum(dim=1) / (m - 1) - across.sum(dim=0) / n) / UNIT


def as_points(reference: Reference, batch: Tensor) -> Points:
    """Return a batch as points around the reference's centre, with the errors of `mmd_permutation_test`."""
    check_features(reference, batch)
    m = len(batch)
    if m < 2:
        raise BatchTooSmallError(f"A drift test needs a batch of at least 2 samples; this one has {m}.")
    if m > reference.max_batch:
        raise BatchTooLargeError(
            f"The reference was fitted for batches of at most {reference.max_batch} samples; this one has "
            f"{m}. Send it in parts, or fit a reference with a larger max_batch."
        )
    return Points.of(batch.float(), reference.centre)


def check_features(reference: Reference, features: Tensor) -> None:
    """Check that features can be compared with the reference's, with the errors of `mmd_permutation_test`."""
    width = reference.features.shape[1]
    if features.ndim != 2 or features.shape[1] != width:
        raise FeatureShapeError(f"The batch must be (m, {width}) features; it is {tuple(features.shape)}.")
    if not features.is_floating_point():
        raise FeatureTypeError(
            f"The batch's features are {features.dtype}; they must be floating-point numbers."
        )
    if not features.float().isfinite().all():
        raise NonFiniteFeaturesError("The batch holds NaN or infinite features: no distance to them exists.")
