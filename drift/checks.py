"""Checks of the tensors that a reference is fitted on."""

from torch import Tensor

from drift.errors import (
    FeatureShapeError,
    FeatureTypeError,
    NonFiniteFeaturesError,
    NotProbabilitiesError,
)

TOLERANCE = 0.01  # a sum of a thousand softmax outputs in bfloat16 is off by less


def check_reference_sample(features: Tensor, probabilities: Tensor) -> None:
    """Refuse a sample that no reference can be made of, with the errors of `Reference.fit`."""
    fit_together = probabilities.ndim == 2 and len(probabilities) == len(features)
    if features.ndim != 2 or len(features) < 2 or features.shape[1] < 1 or not fit_together:
        raise FeatureShapeError(
            f"A reference is (n, d) features and (n, K) probabilities with n at least 2; these are "
            f"{tuple(features.shape)} and {tuple(probabilities.shape)}."
        )
    check_numbers(features, probabilities)
    check_probabilities(probabilities)


def check_lengthscale_sample(sample: Tensor, features: Tensor) -> None:
    """Refuse a sample that gives no lengthscale for these features, with the errors of `Reference.fit`."""
    if sample.ndim != 2 or len(sample) < 2 or sample.shape[1:] != features.shape[1:]:
        raise FeatureShapeError(
            f"The lengthscale sample is {tuple(sample.shape)}; it must be (k, {features.shape[-1]}), with k "
            "at least 2."
        )
    check_numbers(sample)


def check_numbers(*tensors: Tensor) -> None:
    for tensor in tensors:
        if not tensor.is_floating_point():
            raise FeatureTypeError(f"The values are {tensor.dtype}; they must be floating-point numbers.")
        if not tensor.float().isfinite().all():
            raise NonFiniteFeaturesError("A reference cannot hold NaN or infinite values.")


def check_probabilities(outputs: Tensor) -> None:
    """Refuse what no softmax can have returned; NaN passes, since other checks say more of it.

    Args:
        outputs: Shape (n, K), floating-point numbers.

    Raises:
        NotProbabilitiesError: One is below 0, or those of a sample do not add up to 1.
    """
    if not outputs.numel():
        return
    lowest, sums = outputs.double().min(), outputs.double().sum(dim=1)
    farthest = sums[(sums - 1).abs().argmax()]
    if lowest < -TOLERANCE or (farthest - 1).abs() > TOLERANCE:
        raise NotProbabilitiesError(
            "Probabilities are softmax outputs: each is from 0 to 1, and those of a sample add up to 1. Of "
            f"these the lowest is {lowest:.3g}, and one sample's add up to {farthest:.3g}. Give the "
            "softmax of logits: logits.softmax(dim=1)."
        )
