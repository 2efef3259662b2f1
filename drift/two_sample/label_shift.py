"""Label shift: χ² test of whether a model predicts the classes in the shares that it did before."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from drift.errors import BatchTooSmallError, FeatureShapeError, FeatureTypeError

TABLES_AT_A_TIME = 100
TIE = 1e-9  # relative; rounding separates the χ² of equal tables by far less


@dataclass(frozen=True)
class LabelShiftResult:
    """The outcome of a test of predicted classes.

    Attributes:
        score: Pearson's χ² of the table of two samples by classes.
        p_value: Share of the random tables with the same margins (the observed one included) whose χ² is at
            least the observed one.
        n_permutations: Tables drawn; the smallest possible p-value is 1 / (n_permutations + 1).
        expected: How many of the batch each class would have if nothing had moved, shape (K,), float64.
        observed: How many of the batch each class has, shape (K,), int64.
        residuals: By how many standard deviations each class is off, shape (K,), float64; zero for a class
            that neither sample has.
    """

    score: float
    p_value: float
    n_permutations: int
    expected: Tensor
    observed: Tensor
    residuals: Tensor


def label_shift_test(
    reference: Tensor,
    batch: Tensor,
    *,
    n_classes: int,
    n_permutations: int = 999,
    seed: int = 0,
    checkpoint: Callable[[], None] = lambda: None,
) -> LabelShiftResult:
    """Test whether the classes of a batch come in the reference's shares.

    The p-value is exact for every size, however few samples a class has: given the two sizes and the class
    totals, every way of dealing the samples out is equally likely where nothing has moved.

    Args:
        reference: Predicted classes, shape (n,), integers from 0 to n_classes - 1.
        batch: Predicted classes of the batch, shape (m,), m at least 2.
        n_classes: K.
        n_permutations: Random tables; the smallest p-value is 1 / (n_permutations + 1).
        seed: Of the tables.
        checkpoint: Called before every few tables; what it raises ends the test.

    Raises:
        BatchTooSmallError: n or m is less than 2.
        FeatureShapeError: A class is out of range, or the samples are not vectors.
        FeatureTypeError: They are not integers.
        ValueError: n_permutations < 1.

    Source:
        Pearson's χ² with Patefield's random tables (1981), as scipy.stats.random_table draws them; Phipson &
        Smyth, SAGMB 9 (2010). Residuals: Agresti, Categorical Data Analysis, section 3.3.
    """
    check_classes(reference, n_classes)
    check_classes(batch, n_classes)
    if n_permutations < 1:
        raise ValueError(f"A permutation test takes at least one permutation, not {n_permutations}.")
    n, m = len(reference), len(batch)
    observed = torch.bincount(batch, minlength=n_classes)
    totals = torch.bincount(reference, minlength=n_classes) + observed
    expected = totals.double() * m / (n + m)
    seen = (totals > 0).numpy()
    tables = stats.random_table([n, m], totals.numpy()[seen], seed=seed)

    score = chi_squared(observed.numpy()[seen], expected.numpy()[seen], n, m).item()
    reached = 0
    for start in range(0, n_permutations, TABLES_AT_A_TIME):  # all at once may take hundreds of MB
        checkpoint()
        drawn = tables.rvs(min(TABLES_AT_A_TIME, n_permutations - start))  # (some, 2, seen)
        permuted = chi_squared(drawn[:, 1], expected.numpy()[seen], n, m)  # (some,)
        reached += int((permuted >= score * (1 - TIE) - TIE).sum())
    variance = expected * (1 - totals / (n + m)) * n / (n + m)
    residuals = torch.where(variance > 0, (observed - expected) / variance.clamp(min=TIE).sqrt(), 0.0)
    p_value = (1 + reached) / (1 + n_permutations)
    return LabelShiftResult(score, p_value, n_permutations, expected, observed, residuals)


def chi_squared(
    counts: NDArray[np.int64], expected: NDArray[np.float64], n: int, m: int
) -> NDArray[np.float64]:
    """Return χ² of tables whose second row is given; the first row is off by as much, the other way."""
    squares: NDArray[np.float64] = ((counts - expected) ** 2 / expected).sum(axis=-1)
    return squares * (n + m) / n


def check_classes(classes: Tensor, n_classes: int) -> None:
    """Check that a tensor holds predicted classes, with the errors of `label_shift_test`."""
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise FeatureTypeError(f"Predicted classes are integers, not {classes.dtype}.")
    if classes.ndim != 1:
        raise FeatureShapeError(f"Predicted classes are a vector, not {tuple(classes.shape)}.")
    if len(classes) < 2:
        raise BatchTooSmallError(f"A test needs at least 2 samples on both sides; one has {len(classes)}.")
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise FeatureShapeError(f"Predicted classes are from 0 to {n_classes - 1}.")
