"""Maximum mean discrepancy between a reference and a batch, with an exact permutation p-value.

With the kernel matrix K over reference and batch (its diagonal zero), z marking the rows of the batch,
r = K1, S = 1ᵀK1, q = zᵀKz and s = zᵀr, the unbiased statistic is

    MMD² = (S - 2s + q) / (n(n-1)) + q / (m(m-1)) - 2(s - q) / (nm)

so a permutation, which only changes z, needs q and s alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchdrift.detectors.mmd import GaussianKernel

from drift.errors import BatchTooSmallError, FeatureShapeError, NonFiniteFeaturesError, UnreachableAlphaError
from drift.reference import Reference

Kernel = Callable[[Tensor], Tensor]

# Sums of kernel values are of order one and exact to about 1e-15; a permuted score this close to the observed
# one is the same score, and counts as reaching it.
ROUNDING = 1e-12

CHUNK = 1000  # permutations at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class TwoSampleResult:
    """The outcome of a two-sample test.

    Attributes:
        score: Unbiased MMD²; zero on average when nothing has drifted, so it can be slightly negative.
        p_value: Share of permutations (the observed one included) whose score is at least the observed score.
        n_permutations: Permutations drawn; the smallest possible p-value is 1 / (n_permutations + 1).
    """

    score: float
    p_value: float
    n_permutations: int

    def is_drift(self, alpha: float) -> bool:
        """Say whether the test rejects at significance level alpha.

        Raises:
            UnreachableAlphaError: alpha is below the smallest p-value, so the answer could only ever be no.
        """
        check_alpha(alpha, self.n_permutations)
        return self.p_value <= alpha


def check_alpha(alpha: float, n_permutations: int) -> None:
    """Refuse a significance level that n_permutations permutations cannot reach.

    Raises:
        UnreachableAlphaError: alpha < 1 / (n_permutations + 1).
    """
    smallest = 1 / (n_permutations + 1)
    if alpha < smallest:
        enough = math.ceil(1 / max(alpha, 1e-18)) - 1
        raise UnreachableAlphaError(
            f"alpha {alpha:g} can never be reached: with {n_permutations} permutations the smallest p-value "
            f"is {smallest:g}. Raise alpha, or take at least {enough} permutations."
        )


def mmd_permutation_test(
    reference: Reference, batch: Tensor, *, n_permutations: int = 999, seed: int = 0
) -> TwoSampleResult:
    """Test whether a batch of features comes from the reference distribution.

    The same reference, batch, number of permutations and seed give the same result.

    Args:
        reference: Fitted reference of n samples in d dimensions.
        batch: Features to test, shape (m, d), m at least 2.
        n_permutations: Permutations of the pooled sample; the smallest p-value is 1 / (n_permutations + 1).
        seed: Which permutations.

    Raises:
        BatchTooSmallError: m < 2.
        FeatureShapeError: The batch is not (m, d).
        NonFiniteFeaturesError: A feature is NaN or infinite.
        ValueError: n_permutations < 1.

    Source:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012); Phipson & Smyth, SAGMB 9 (2010).
    """
    check_batch(reference, batch)
    if n_permutations < 1:
        raise ValueError(f"A permutation test takes at least one permutation, not {n_permutations}.")
    n, m = len(reference), len(batch)
    kernel_matrix = pooled_kernel_matrix(reference, batch)  # (n + m, n + m)

    as_observed = torch.cat([torch.zeros(n, 1), torch.ones(m, 1)]).double()
    observed = mmd_of_labellings(kernel_matrix, as_observed, n, m).item()

    reached = 0
    generator = torch.Generator().manual_seed(seed)
    for left in range(n_permutations, 0, -CHUNK):
        permuted = mmd_of_labellings(
            kernel_matrix, random_labellings(n, m, min(CHUNK, left), generator), n, m
        )
        reached += int((permuted >= observed - ROUNDING).sum())
    return TwoSampleResult(observed, (1 + reached) / (1 + n_permutations), n_permutations)


def random_labellings(n: int, m: int, count: int, generator: torch.Generator) -> Tensor:
    """Return ways of calling m of n + m samples the batch, one a column, shape (n + m, count), float64."""
    drawn = torch.rand(n + m, count, generator=generator).topk(m, dim=0, sorted=False).indices  # (m, count)
    return torch.zeros(n + m, count, dtype=torch.float64).scatter_(0, drawn, 1)


def mmd_of_labellings(kernel_matrix: Tensor, is_batch: Tensor, n: int, m: int) -> Tensor:
    """Return the unbiased MMD² for each way of calling m of the n + m samples the batch.

    Args:
        kernel_matrix: Kernel values of the pooled sample, diagonal zero, shape (n + m, n + m), float64.
        is_batch: One column a labelling, m ones in each, shape (n + m, B), float64.
        n: Size of the reference.
        m: Size of the batch.
    """
    row_sums = kernel_matrix.sum(dim=1)
    total = row_sums.sum()
    within = (is_batch * (kernel_matrix @ is_batch)).sum(dim=0)  # q, (B,)
    touching = row_sums @ is_batch  # s, (B,)
    return (
        (total - 2 * touching + within) / (n * (n - 1))
        + within / (m * (m - 1))
        - 2 * (touching - within) / (n * m)
    )


def witness(reference: Reference, batch: Tensor) -> Tensor:
    """Return how much each sample of the batch drives the score, shape (m,), float64.

    It is the sample's mean kernel value to the rest of the batch less that to the reference: positive where
    the batch is denser than the reference, and the larger, the more the sample belongs to what is new.

    Args:
        reference: Fitted reference of n samples in d dimensions.
        batch: Features, shape (m, d), m at least 2.

    Raises:
        DriftError: As `mmd_permutation_test`.

    Source:
        The witness function of Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), section 2.3.
    """
    check_batch(reference, batch)
    n, m = len(reference), len(batch)
    kernel = kernel_of(reference)
    rows = batch.double()
    within = kernel(torch.cdist(rows, rows)).fill_diagonal_(0)  # (m, m)
    across = kernel(torch.cdist(rows, reference.features.double()))  # (m, n)
    return within.sum(dim=1) / (m - 1) - across.sum(dim=1) / n


def pooled_kernel_matrix(reference: Reference, batch: Tensor) -> Tensor:
    """Return the kernel over reference and batch, diagonal zero, shape (n + m, n + m), float64."""
    pooled = torch.cat([reference.features, batch]).double()
    return kernel_of(reference)(torch.cdist(pooled, pooled)).fill_diagonal_(0)


def kernel_of(reference: Reference) -> Kernel:
    kernel: Kernel = GaussianKernel(lengthscale=reference.lengthscale)
    return kernel


def check_batch(reference: Reference, batch: Tensor) -> None:
    """Refuse a batch that no test can be made of.

    Raises:
        DriftError: As `mmd_permutation_test`.
    """
    width = reference.features.shape[1]
    if batch.ndim != 2 or batch.shape[1] != width:
        raise FeatureShapeError(f"The batch must be (m, {width}) features; it is {tuple(batch.shape)}.")
    if len(batch) < 2:
        raise BatchTooSmallError(
            f"A drift test needs a batch of at least 2 samples; this one has {len(batch)}."
        )
    if not batch.isfinite().all():
        raise NonFiniteFeaturesError("The batch holds NaN or infinite features: no distance to them exists.")
