"""The statistics of drift: whether a batch of features comes from the distribution of a reference sample.

Nothing here knows of HTTP, of BentoML or of a particular model: it works on float tensors of shape (samples,
features).
"""

from drift.errors import (
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    InvalidReferenceError,
    NonFiniteFeaturesError,
    UnreachableAlphaError,
)
from drift.mmd import TwoSampleResult, mmd_permutation_test, witness
from drift.reference import Reference

__all__ = [
    "BatchTooSmallError",
    "DriftError",
    "FeatureShapeError",
    "InvalidReferenceError",
    "NonFiniteFeaturesError",
    "Reference",
    "TwoSampleResult",
    "UnreachableAlphaError",
    "mmd_permutation_test",
    "witness",
]
