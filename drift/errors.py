"""The errors of a batch or a reference.

DriftError
├── BatchTooSmallError          fewer than two samples
├── BatchTooLargeError          more samples than the reference was fitted for
├── FeatureShapeError           not (samples, features) of the width that the reference has
├── FeatureTypeError            not floating-point numbers
├── NonFiniteFeaturesError      NaN or infinity
├── UnreachableAlphaError       a significance level below the smallest p-value that can come out
├── TooManyPermutationsError    more permutations than the reference holds, or none
├── UnknownKernelError          a kernel that does not exist, or that the reference was not fitted with
├── MissingProbabilitiesError   a test of softmax outputs on a reference that has none
├── NotProbabilitiesError       logits, or other numbers, where softmax outputs should be
├── IndividualSamplesError      one score a sample, of a detector that scores a batch as a whole
├── UnreadableSamplesError      a file that holds neither features nor images, or a damaged one
├── NotFittedError              a detector that was not fitted
└── InvalidReferenceError       a file that holds no reference, or a damaged one
"""


class DriftError(ValueError):
    """A drift test that cannot be made; the message says what would be right."""


class BatchTooSmallError(DriftError):
    """The batch has fewer than two samples, so its spread is unknown."""


class BatchTooLargeError(DriftError):
    """The batch has more samples than the reference's permutations were drawn for."""


class FeatureShapeError(DriftError):
    """The features are not a matrix of the reference's width."""


class FeatureTypeError(DriftError):
    """The features are not floating-point numbers."""


class NonFiniteFeaturesError(DriftError):
    """A feature is NaN or infinite: no distance to it exists, so neither alarm nor pass has a meaning."""


class UnreachableAlphaError(DriftError):
    """No permutation test of this many permutations can reach this significance level."""


class TooManyPermutationsError(DriftError):
    """The reference does not hold that many permutations."""


class UnknownKernelError(DriftError):
    """There is no such kernel, or the reference was fitted without it."""


class MissingProbabilitiesError(DriftError):
    """The test looks at softmax outputs, and the reference was fitted without any."""


class NotProbabilitiesError(DriftError):
    """The numbers given as softmax outputs are something else: logits, most likely."""


class IndividualSamplesError(DriftError):
    """The detector scores a batch as a whole."""


class UnreadableSamplesError(DriftError):
    """The file holds no samples that can be tested."""


class NotFittedError(DriftError):
    """The detector has no reference yet."""


class InvalidReferenceError(DriftError):
    """The file is not a drift reference that this version can read."""
