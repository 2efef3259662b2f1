"""The result of a permutation test, and one p-value of several kernels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from drift.errors import UnreachableAlphaError
from drift.two_sample.kernels import Kernel


@dataclass(frozen=True)
class KernelResult:
    """The result of one kernel.

    Attributes:
        kernel: The kernel, with its lengthscale.
        score: Unbiased MMD²; zero on average when nothing has drifted, so it can be slightly negative.
        p_value: Share of permutations (the observed one included) whose score is at least the observed score.
    """

    kernel: Kernel
    score: float
    p_value: float


@dataclass(frozen=True)
class TwoSampleResult:
    """The outcome of a two-sample test.

    Attributes:
        score: Score of the first kernel, which in the aggregate is the plain Gaussian.
        p_value: Of all kernels together, corrected for their number.
        n_permutations: Permutations drawn; the smallest possible p-value is 1 / (n_permutations + 1).
        strongest: The kernel with the smallest p-value, and among equals with the largest score.
        kernels: The result of each kernel.
    """

    score: float
    p_value: float
    n_permutations: int
    strongest: Kernel
    kernels: tuple[KernelResult, ...]

    def is_drift(self, alpha: float) -> bool:
        """Return whether the test rejects at significance level alpha.

        Raises:
            UnreachableAlphaError: alpha is below the smallest p-value, so the answer could only ever be no.
        """
        check_alpha(alpha, self.n_permutations)
        return self.p_value <= alpha


def check_alpha(alpha: float, n_permutations: int) -> None:
    """Check that n_permutations permutations can reach a significance level.

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


def combine(kernels: Sequence[Kernel], scores: Sequence[float], statistics: Tensor) -> TwoSampleResult:
    """Return the result of one or several kernels.

    The score is that of the first kernel, whatever the others find: the largest of several would be positive
    without drift, and no longer comparable between batches.

    Args:
        kernels: L kernels.
        scores: The score of each.
        statistics: T of the batch and of each permutation, for each kernel, shape (L, 1 + B), int64.
    """
    at_least = count_at_least(statistics)
    total = statistics.shape[1]
    results = tuple(
        KernelResult(kernel, score, reached / total)
        for kernel, score, reached in zip(kernels, scores, at_least[:, 0].tolist(), strict=True)
    )
    strongest = min(results, key=lambda result: (result.p_value, -result.score))
    return TwoSampleResult(scores[0], combined_p_value(at_least), total - 1, strongest.kernel, results)


def count_at_least(statistics: Tensor) -> Tensor:
    """Return how many of its kernel's statistics reach each statistic, itself included, (..., L, 1 + B)."""
    return statistics.shape[-1] - torch.searchsorted(statistics.sort().values, statistics)


def combined_p_value(at_least: Tensor) -> float:
    """Return one p-value of all kernels, from the counts of `count_at_least`.

    Each kernel ranks the batch among its permutations. Its best rank is compared with the best ranks of the
    permutations, which are found in the same way; where these tie, as with several kernels they often do, the
    sum of the ranks decides.
    """
    ranks = at_least.min(dim=0).values * (at_least.numel() + 1) + at_least.sum(dim=0)
    return (ranks <= ranks[0]).sum().item() / at_least.shape[1]
