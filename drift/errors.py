"""What can be wrong with a batch or a reference.

DriftError
├── BatchTooSmallError       fewer than two samples
├── FeatureShapeError        not (samples, features) of the width that the reference has
├── NonFiniteFeaturesError   NaN or infinity
├── UnreachableAlphaError    a significance level below the smallest p-value that can come out
└── InvalidReferenceError    a file that holds no reference, or a damaged one
"""


class DriftError(ValueError):
    """A drift test that cannot be made; the message says what would be right."""


class BatchTooSmallError(DriftError):
    """The batch has fewer than two samples, so its spread is unknown."""


class FeatureShapeError(DriftError):
    """The features are not a matrix of the reference's width."""


class NonFiniteFeaturesError(DriftError):
    """A feature is NaN or infinite: no distance to it exists, so neither alarm nor pass has a meaning."""


class UnreachableAlphaError(DriftError):
    """No permutation test of this many permutations can reach this significance level."""


class InvalidReferenceError(DriftError):
    """The file is not a drift reference that this version can read."""
