"""The statistics of drift: whether a batch of features comes from the distribution of a reference sample.

Nothing here knows of HTTP, of BentoML or of a particular model: it works on float tensors of shape (samples,
features).
"""

from drift.errors import (
    BatchTooLargeError,
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    FeatureTypeError,
    InvalidReferenceError,
    MissingProbabilitiesError,
    NonFiniteFeaturesError,
    NotFittedError,
    TooManyPermutationsError,
    UnknownKernelError,
    UnreachableAlphaError,
    UnreadableSamplesError,
)
from drift.kernels import Kernel
from drift.mmd import TwoSampleResult, mmd_permutation_test, mmd_score, witness
from drift.reference import Reference

__all__ = [
    "BatchTooLargeError",
    "BatchTooSmallError",
    "DriftError",
    "FeatureShapeError",
    "FeatureTypeError",
    "InvalidReferenceError",
    "Kernel",
    "MissingProbabilitiesError",
    "NonFiniteFeaturesError",
    "NotFittedError",
    "Reference",
    "TooManyPermutationsError",
    "TwoSampleResult",
    "UnknownKernelError",
    "UnreachableAlphaError",
    "UnreadableSamplesError",
    "mmd_permutation_test",
    "mmd_score",
    "witness",
]
