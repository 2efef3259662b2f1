"""Kolmogorov-Smirnov test of every softmax output, Bonferroni-corrected: black-box shift detection."""

import warnings
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from drift.errors import BatchTooSmallError, FeatureShapeError, FeatureTypeError, NonFiniteFeaturesError


@dataclass(frozen=True)
class KSResult:
    """The outcome of a test of each dimension.

    Attributes:
        score: The largest distance D of all dimensions.
        p_value: The p-value of the largest distance times the number of dimensions, at most 1.
        dimension: Where the distance is largest.
        distances: D of each dimension, shape (K,), float64.
    """

    score: float
    p_value: float
    dimension: int
    distances: Tensor


def ks_test(reference: Tensor, batch: Tensor) -> KSResult:
    """Test whether any dimension of a batch is distributed otherwise than in the reference.

    D and p of a dimension are those of `scipy.stats.ks_2samp`, ties included. Since p falls as D grows, only
    the p-value of the largest D is needed.

    Args:
        reference: Softmax outputs, or other features, shape (n, K), n at least 2.
        batch: The same of other samples, shape (m, K), m at least 2.

    Raises:
        BatchTooSmallError: n or m is less than 2.
        FeatureShapeError: They are not matrices of one width, at least 1.
        FeatureTypeError: Their values are not floating-point numbers.
        NonFiniteFeaturesError: A value is NaN or infinite.

    Source:
        Lipton, Wang, Smola, Detecting and Correcting for Label Shift with Black Box Predictors (2018);
        Rabanser, Günnemann, Lipton, Failing Loudly (2019).
    """
    check_samples(reference, batch)
    distances = ks_distances(reference, batch)
    dimension = int(distances.argmax())
    with warnings.catch_warnings():
        # scipy warns where the exact p-value is out of reach and it takes the asymptotic one.
        warnings.filterwarnings("ignore", message="ks_2samp", category=RuntimeWarning)
        p_value = stats.ks_2samp(reference[:, dimension].numpy(), batch[:, dimension].numpy()).pvalue
    corrected = min(1.0, float(p_value) * len(distances))
    return KSResult(distances[dimension].item(), corrected, dimension, distances)


def ks_distances(reference: Tensor, batch: Tensor) -> Tensor:
    """Return the largest distance between two samples' distribution functions, by dimension, (K,) float64."""
    n, m = len(reference), len(batch)
    first, second = (sample.T.contiguous().sort(dim=1).values for sample in (reference, batch))
    both = torch.cat([first, second], dim=1)  # (K, n + m)
    below_first = torch.searchsorted(first, both, right=True)
    below_second = torch.searchsorted(second, both, right=True)
    return (below_first * m - below_second * n).abs().amax(dim=1).double() / (n * m)


def check_samples(reference: Tensor, batch: Tensor) -> None:
    """Check that two samples can be compared, with the errors of `ks_test`."""
    matrices = reference.ndim == batch.ndim == 2
    if not matrices or reference.shape[1] != batch.shape[1] or batch.shape[1] < 1:
        raise FeatureShapeError(
            f"The samples must be (n, K) and (m, K); they are {tuple(reference.shape)} and "
            f"{tuple(batch.shape)}."
        )
    if not (reference.is_floating_point() and batch.is_floating_point()):
        raise FeatureTypeError(
            f"The values are {reference.dtype} and {batch.dtype}; they must be floating-point numbers."
        )
    if min(len(reference), len(batch)) < 2:
        raise BatchTooSmallError(
            f"A test needs at least 2 samples on both sides; these are {len(reference)} and {len(batch)}."
        )
    if not (reference.isfinite().all() and batch.isfinite().all()):
        raise NonFiniteFeaturesError(
            "There are NaN or infinite values: they have no place in a distribution."
        )
