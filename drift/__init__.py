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
    IndividualSamplesError,
    InvalidReferenceError,
    MissingProbabilitiesError,
    NonFiniteFeaturesError,
    NotFittedError,
    TooManyPermutationsError,
    UnknownKernelError,
    UnreachableAlphaError,
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
    "IndividualSamplesError",
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
    "mmd_permutation_test",
    "mmd_score",
    "witness",
]
