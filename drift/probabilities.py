"""Softmax outputs, told from the logits that they are made of."""

from torch import Tensor

from drift.errors import NotProbabilitiesError

TOLERANCE = 0.01  # of a sum of a thousand outputs in bfloat16


def check_probabilities(outputs: Tensor) -> None:
    """Refuse what no softmax can have returned; NaN passes, since others say more of it.

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
