"""The statistics of drift: whether a batch of features comes from the distribution of a reference sample.

It works on float tensors of shape (samples, features), and knows nothing of images, models or HTTP.
"""

from drift.certificate import Certificate
from drift.certify import certify
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
    NotProbabilitiesError,
    TooManyPermutationsError,
    UnknownKernelError,
    UnreachableAlphaError,
    UnreadableSamplesError,
)
from drift.reference import Reference
from drift.two_sample.kernels import Kernel
from drift.two_sample.mmd import mmd_permutation_test, mmd_score, witness
from drift.two_sample.results import TwoSampleResult

__all__ = [
    "BatchTooLargeError",
    "BatchTooSmallError",
    "Certificate",
    "DriftError",
    "FeatureShapeError",
    "FeatureTypeError",
    "IndividualSamplesError",
    "InvalidReferenceError",
    "Kernel",
    "MissingProbabilitiesError",
    "NonFiniteFeaturesError",
    "NotFittedError",
    "NotProbabilitiesError",
    "Reference",
    "TooManyPermutationsError",
    "TwoSampleResult",
    "UnknownKernelError",
    "UnreachableAlphaError",
    "UnreadableSamplesError",
    "certify",
    "mmd_permutation_test",
    "mmd_score",
    "witness",
]
