"""The drift tests of a batch: which one was asked for, and what of its result is sent back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from drift import Reference, mmd_permutation_test, witness
from drift.ks import check_samples, ks_test
from drift.label_shift import label_shift_test
from drift.mmd import check_features
from drift.results import check_alpha
from serving.schemas import (
    ClassCount,
    ClassDistance,
    DriftForm,
    DriftResponse,
    DrivingImage,
    ImageError,
    KernelScore,
)

DRIVING_IMAGES = 10
MOVED_CLASSES = 10


@dataclass(frozen=True)
class Batch:
    """The images of a batch as a model sees them.

    Attributes:
        images: Index and file name of each, m of them.
        probabilities: Softmax outputs, shape (m, K).
        features: Features, shape (m, d).
        failed: Images that could not be used.
    """

    images: Sequence[tuple[int, str]]
    probabilities: Tensor
    features: Tensor
    failed: Sequence[ImageError] = ()


def score_batch(
    form: DriftForm,
    reference: Reference,
    model: str,
    labels: Sequence[str],
    batch: Batch,
    *,
    trained: bool | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> DriftResponse:
    """Test a batch as the form says.

    Args:
        form: Which detector, with what.
        reference: What the batch is compared with.
        model: The model's name and version.
        labels: The K class names.
        batch: What is tested.
        trained: Whether the model has learnt anything, where that is known.
        checkpoint: Called now and then; what it raises ends the test.

    Raises:
        DriftError: No test can be made of this batch.
    """
    # Whichever of the two a detector looks at, a batch with a fault in the other is none to be judged.
    check_features(reference, batch.features)
    if form.detector != "mmd":
        check_samples(reference.outputs, batch.probabilities)
    driving = list[DrivingImage]()
    if form.detector == "ks":
        fields = run_ks(reference, labels, batch.probabilities)
    elif form.detector == "label_shift":
        fields = run_label_shift(form, reference, labels, batch.probabilities, checkpoint)
    else:
        fields, drive = run_mmd(form, reference, batch.features, checkpoint)
        driving = foremost(batch.images, drive)
    return DriftResponse(
        model=model,
        trained=trained,
        detector=form.detector,
        alpha=form.alpha,
        is_drift=fields["p_value"] <= form.alpha,
        n_reference=len(reference),
        n_batch=len(batch.images),
        driving_images=driving,
        image_errors=list(batch.failed),
        **fields,
    )


def foremost(images: Sequence[tuple[int, str]], drive: Tensor) -> list[DrivingImage]:
    """Return the images that drive the score most, by how much each of them does, shape (m,)."""
    values, places = drive.topk(min(DRIVING_IMAGES, len(images)))
    return [
        DrivingImage(index=images[place][0], filename=images[place][1], witness=value)
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
    ]


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


def run_mmd(
    form: DriftForm, reference: Reference, features: Tensor, checkpoint: Callable[[], None]
) -> tuple[dict[str, Any], Tensor]:
    result = mmd_permutation_test(
        reference,
        features,
        kernel=form.kernel,
        n_permutations=form.n_permutations,
        checkpoint=checkpoint,
    )
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
    form: DriftForm,
    reference: Reference,
    labels: Sequence[str],
    probabilities: Tensor,
    checkpoint: Callable[[], None],
) -> dict[str, Any]:
    result = label_shift_test(
        reference.outputs.argmax(dim=1),
        probabilities.argmax(dim=1),
        n_classes=len(labels),
        n_permutations=form.n_permutations or reference.bank.n_permutations,
        seed=reference.bank.seed,
        checkpoint=checkpoint,
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
