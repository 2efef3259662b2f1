"""The drift tests of a batch: which one was asked for, and what of its result is sent back."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from drift import Reference, mmd_permutation_test, witness
from drift.ks import ks_test
from drift.labels import label_shift_test
from drift.results import check_alpha
from serving.schemas import ClassCount, ClassDistance, DriftForm, KernelScore

MOVED_CLASSES = 10


def run_test(
    form: DriftForm, reference: Reference, labels: Sequence[str], probabilities: Tensor, features: Tensor
) -> tuple[dict[str, Any], Tensor | None]:
    """Test a batch as the form says.

    Args:
        form: Which detector, with what.
        reference: What the batch is compared with.
        labels: The K class names.
        probabilities: Softmax outputs of the batch, shape (m, K).
        features: Its features, shape (m, d).

    Returns:
        The fields of the answer that depend on the detector; and how much each image drives the score, shape
        (m,), where the detector can say it.

    Raises:
        DriftError: No test can be made of this batch.
    """
    if form.detector == "ks":
        return run_ks(reference, labels, probabilities), None
    if form.detector == "label_shift":
        return run_label_shift(form, reference, labels, probabilities), None
    return run_mmd(form, reference, features)


def check_form(form: DriftForm, reference: Reference) -> None:
    """Refuse what the reference cannot answer, before any image is decoded.

    Raises:
        DriftError: It has no such kernel, not as many permutations, too few for alpha, or no softmax outputs.
    """
    if form.detector == "mmd":
        reference.collection(form.kernel)
        check_alpha(form.alpha, reference.check_count(form.n_permutations))
    else:
        reference.outputs  # noqa: B018 - it raises where there are none
    if form.detector == "label_shift":
        check_alpha(form.alpha, form.n_permutations or reference.bank.n_permutations)


def run_mmd(form: DriftForm, reference: Reference, features: Tensor) -> tuple[dict[str, Any], Tensor]:
    result = mmd_permutation_test(reference, features, kernel=form.kernel, n_permutations=form.n_permutations)
    fields = {
        "kernel": form.kernel,
        "score": result.score,
        "p_value": result.p_value,
        "n_permutations": result.n_permutations,
        "lengthscale": result.strongest.lengthscale,
        "kernels": [
            KernelScore(
                kernel=one.kernel.name,
                lengthscale=one.kernel.lengthscale,
                score=one.score,
                p_value=one.p_value,
            )
            for one in result.kernels
        ],
    }
    return fields, witness(reference, features, kernel=result.strongest)


def run_ks(reference: Reference, labels: Sequence[str], probabilities: Tensor) -> dict[str, Any]:
    result = ks_test(reference.outputs, probabilities)
    largest, classes = result.distances.topk(min(MOVED_CLASSES, len(labels)))
    distances = [
        ClassDistance(label=labels[class_id], class_id=class_id, distance=distance)
        for distance, class_id in zip(largest.tolist(), classes.tolist(), strict=True)
    ]
    return {"score": result.score, "p_value": result.p_value, "class_distances": distances}


def run_label_shift(
    form: DriftForm, reference: Reference, labels: Sequence[str], probabilities: Tensor
) -> dict[str, Any]:
    result = label_shift_test(
        reference.outputs.argmax(dim=1),
        probabilities.argmax(dim=1),
        n_classes=len(labels),
        n_permutations=form.n_permutations or reference.bank.n_permutations,
        seed=reference.bank.seed,
    )
    moved = result.residuals.abs().topk(min(MOVED_CLASSES, len(labels))).indices.tolist()
    counts = [
        ClassCount(
            label=labels[class_id],
            class_id=class_id,
            expected=result.expected[class_id].item(),
            observed=int(result.observed[class_id]),
            residual=result.residuals[class_id].item(),
        )
        for class_id in moved
    ]
    return {
        "score": result.score,
        "p_value": result.p_value,
        "n_permutations": result.n_permutations,
        "class_counts": counts,
    }
