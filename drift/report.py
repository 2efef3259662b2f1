"""A drift test as it is asked for, and its report: the result, and what drives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from drift.reference import Reference
from drift.two_sample.kernels import CollectionName
from drift.two_sample.ks import check_samples, ks_test
from drift.two_sample.label_shift import label_shift_test
from drift.two_sample.mmd import DEFAULT_KERNEL, check_features, mmd_permutation_test, witness
from drift.two_sample.results import check_alpha

DRIVING_IMAGES = 10
MOVED_CLASSES = 10

Detector = Literal["mmd", "ks", "label_shift"]
Alpha = Annotated[float, Field(ge=1e-4, lt=1)]
PermutationCount = Annotated[int, Field(ge=19, le=9999)]


@dataclass(frozen=True)
class DrivingImage:
    """An image that drives the score."""

    index: int
    filename: str
    witness: Annotated[
        float, Field(description="Mean kernel value to the rest of the batch less that to the reference.")
    ]


@dataclass(frozen=True)
class KernelScore:
    """What one kernel found by itself."""

    kernel: str
    lengthscale: float
    score: float
    p_value: float


@dataclass(frozen=True)
class ClassDistance:
    """How far the softmax outputs of a class are from the reference's."""

    label: str
    class_id: int
    distance: Annotated[float, Field(description="Kolmogorov-Smirnov D, from 0 to 1.")]


@dataclass(frozen=True)
class ClassCount:
    """How many images of a class were expected and found."""

    label: str
    class_id: int
    expected: float
    observed: int
    residual: Annotated[float, Field(description="By how many standard deviations they differ.")]


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What a drift test found, with the images and classes that stand out.

    Attributes:
        kernel: Name of the kernel, or of the collection of kernels, of an MMD test.
        score: Unbiased MMD², the largest KS distance, or χ².
        p_value: Corrected for the number of kernels or classes.
        n_permutations: Permutations drawn; None in a KS test.
        lengthscale: Lengthscale of the kernel that stands out most in an MMD test.
        kernels: What each kernel of an MMD test found.
        class_distances: The classes whose softmax outputs moved most, of a KS test.
        class_counts: The classes whose counts moved most, of a label shift test.
        driving_images: The images that drive an MMD test most, the foremost first.
    """

    detector: Detector
    kernel: CollectionName | None = None
    score: float
    p_value: float
    alpha: float
    is_drift: bool
    n_reference: int
    n_batch: int
    n_permutations: int | None = None
    lengthscale: float | None = None
    kernels: Sequence[KernelScore] = ()
    class_distances: Sequence[ClassDistance] = ()
    class_counts: Sequence[ClassCount] = ()
    driving_images: Sequence[DrivingImage] = ()


@dataclass(frozen=True)
class Batch:
    """The images of a batch as a model sees them.

    Attributes:
        images: Index and file name of each, m of them.
        probabilities: Softmax outputs, shape (m, K); any shape where the detector is "mmd".
        features: Features, shape (m, d).
    """

    images: Sequence[tuple[int, str]]
    probabilities: Tensor
    features: Tensor


@dataclass(frozen=True)
class DriftTest:
    """A test that is asked for.

    Attributes:
        detector: Which two-sample test.
        kernel: The kernel of the MMD.
        alpha: Significance level.
        n_permutations: Permutations to draw; None for as many as the reference holds.
    """

    detector: Detector = "mmd"
    kernel: CollectionName = DEFAULT_KERNEL
    alpha: float = 0.05
    n_permutations: int | None = None

    def check(self, reference: Reference) -> None:
        """Refuse what the reference cannot answer, which needs no batch.

        Raises:
            DriftError: It has no such kernel, not as many permutations, too few for alpha, or no softmax
                outputs.
        """
        if self.detector == "mmd":
            reference.collection(self.kernel)
            check_alpha(self.alpha, reference.check_count(self.n_permutations))
        else:
            reference.outputs  # noqa: B018 - it raises where there are none
        if self.detector == "label_shift":
            check_alpha(self.alpha, self.n_permutations or reference.bank.n_permutations)

    def run(
        self,
        reference: Reference,
        batch: Batch,
        labels: Sequence[str],
        *,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> DriftReport:
        """Test a batch.

        Args:
            reference: What the batch is compared with.
            batch: The batch.
            labels: The K class names.
            checkpoint: Called now and then; what it raises ends the test.

        Raises:
            DriftError: No test can be made of this batch.
        """
        # A fault in the features or the softmax outputs forbids a verdict, whichever the detector looks at.
        check_features(reference, batch.features)
        if self.detector != "mmd":
            check_samples(reference.outputs, batch.probabilities)
        if self.detector == "ks":
            found = run_ks(reference, batch, labels)
        elif self.detector == "label_shift":
            found = self.run_label_shift(reference, batch, labels, checkpoint)
        else:
            found = self.run_mmd(reference, batch, checkpoint)
        return DriftReport(
            detector=self.detector,
            alpha=self.alpha,
            is_drift=found["p_value"] <= self.alpha,
            n_reference=len(reference),
            n_batch=len(batch.images),
            **found,
        )

    def run_mmd(self, reference: Reference, batch: Batch, checkpoint: Callable[[], None]) -> dict[str, Any]:
        result = mmd_permutation_test(
            reference,
            batch.features,
            kernel=self.kernel,
            n_permutations=self.n_permutations,
            checkpoint=checkpoint,
        )
        drive = witness(reference, batch.features, kernel=result.strongest)
        return {
            "kernel": self.kernel,
            "score": result.score,
            "p_value": result.p_value,
            "n_permutations": result.n_permutations,
            "lengthscale": result.strongest.lengthscale,
            "kernels": [
                KernelScore(one.kernel.name, one.kernel.lengthscale, one.score, one.p_value)
                for one in result.kernels
            ],
            "driving_images": foremost(batch.images, drive),
        }

    def run_label_shift(
        self, reference: Reference, batch: Batch, labels: Sequence[str], checkpoint: Callable[[], None]
    ) -> dict[str, Any]:
        result = label_shift_test(
            reference.outputs.argmax(dim=1),
            batch.probabilities.argmax(dim=1),
            n_classes=len(labels),
            n_permutations=self.n_permutations or reference.bank.n_permutations,
            seed=reference.bank.seed,
            checkpoint=checkpoint,
        )
        moved = result.residuals.abs().topk(min(MOVED_CLASSES, len(labels))).indices.tolist()
        return {
            "score": result.score,
            "p_value": result.p_value,
            "n_permutations": result.n_permutations,
            "class_counts": [
                ClassCount(
                    labels[class_id],
                    class_id,
                    expected=result.expected[class_id].item(),
                    observed=int(result.observed[class_id]),
                    residual=result.residuals[class_id].item(),
                )
                for class_id in moved
            ],
        }


def run_ks(reference: Reference, batch: Batch, labels: Sequence[str]) -> dict[str, Any]:
    result = ks_test(reference.outputs, batch.probabilities)
    largest, classes = result.distances.topk(min(MOVED_CLASSES, len(labels)))
    distances = [
        ClassDistance(labels[class_id], class_id, distance)
        for distance, class_id in zip(largest.tolist(), classes.tolist(), strict=True)
    ]
    return {"score": result.score, "p_value": result.p_value, "class_distances": distances}


def foremost(images: Sequence[tuple[int, str]], drive: Tensor) -> list[DrivingImage]:
    """Return the images that drive the score most, by how much each of them does, shape (m,)."""
    values, places = drive.topk(min(DRIVING_IMAGES, len(images)))
    found = [images[place] for place in places.tolist()]
    return [
        DrivingImage(index, filename, value)
        for (index, filename), value in zip(found, values.tolist(), strict=True)
    ]
