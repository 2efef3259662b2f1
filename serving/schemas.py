"""The schemas of the API: form fields and answers."""

import json
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from drift import Certificate
from drift.report import (
    Alpha,
    ClassCount,
    ClassDistance,
    Detector,
    DrivingImage,
    KernelScore,
    PermutationCount,
)
from drift.two_sample.kernels import CollectionName
from drift.two_sample.mmd import DEFAULT_KERNEL
from vision.preprocessing.prepared import WarningKind


class Form(BaseModel):
    """Fields beside the images. A field that does not exist is an error, not something to ignore."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "mnist", max_length=100, description="Which classifier: a name that GET /models lists."
    )

    @field_validator("*", mode="before")
    @classmethod
    def may_be_json(cls, value: Any) -> Any:
        """Return what is said in JSON, as BentoML's own clients say it, and other values as they are."""
        if isinstance(value, str) and (value.startswith('"') or value == "null"):
            with suppress(ValueError):
                return json.loads(value)
        return value


class ClassifyForm(Form):
    """The fields of POST /classify."""

    top_k: int = Field(1, ge=1, le=1000, description="How many classes to return for each image, best first.")


class DriftForm(Form):
    """The fields of POST /drift."""

    detector: Detector = Field(
        "mmd",
        description=(
            "Which two-sample test: MMD on the features, Kolmogorov-Smirnov on the softmax outputs, or χ² on "
            "the predicted classes."
        ),
    )
    kernel: CollectionName = Field(
        DEFAULT_KERNEL,
        description="Which kernel the MMD uses; aggregate looks through several of them at once.",
    )
    alpha: Alpha = Field(0.05, description="Significance level: the rate of false alarms to accept.")
    n_permutations: PermutationCount | None = Field(
        None,
        description=(
            "Permutations; the p-value is at least 1/(this+1). Left out, all that the reference holds; "
            "the KS test needs none."
        ),
    )


class ProblemDocument(BaseModel):
    """An error as RFC 9457 describes it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class Prediction(BaseModel):
    """One class and how probable the model finds it."""

    label: str
    class_id: int
    probability: float = Field(description="Softmax output, 0 to 1.")


class ImageWarning(BaseModel):
    """Why an answer is doubtful: the image is unlike those that the model was trained on."""

    kind: WarningKind
    detail: str


class ClassifiedImage(Prediction):
    """What was found in one image."""

    index: int = Field(description="Position of the image in the request, from 0.")
    filename: str
    top: list[Prediction] = Field(description="The top_k classes, most probable first.")
    warning: ImageWarning | None = Field(
        None, description="What makes the label doubtful, however probable it is; null where nothing does."
    )


class ImageError(BaseModel):
    """An image that could not be used."""

    index: int = Field(description="Position of the image in the request, from 0.")
    filename: str
    error: ProblemDocument


class ClassifyResponse(BaseModel):
    """The answer of POST /classify: a result for each image, in order."""

    model: str = Field(description="name:version")
    trained: bool = Field(description="False where the weights are random, and the answer means nothing.")
    results: list[ClassifiedImage | ImageError]


class DriftResponse(BaseModel):
    """The answer of POST /drift."""

    model: str = Field(description="name:version")
    trained: bool | None = Field(
        None, description="False where the weights are random; None where only features were given."
    )
    detector: Detector
    kernel: CollectionName | None = Field(None, description="Of the MMD.")
    score: float = Field(
        description="Unbiased MMD² (zero on average without drift), of the aggregate that of its plain "
        "Gaussian kernel; the largest KS distance; or χ²."
    )
    p_value: float = Field(description="Corrected for the number of kernels or classes.")
    alpha: float
    is_drift: bool = Field(description="p_value ≤ alpha")
    n_reference: int
    n_batch: int = Field(description="Images tested.")
    n_permutations: int | None = Field(None, description="None in a KS test.")
    lengthscale: float | None = Field(None, description="Of the kernel that stands out most.")
    kernels: list[KernelScore] = Field([], description="Each kernel of the MMD by itself.")
    class_distances: list[ClassDistance] = Field(
        [], description="The ten classes whose softmax outputs moved most, of a KS test."
    )
    class_counts: list[ClassCount] = Field(
        [], description="The ten classes that moved most, of a label shift test."
    )
    driving_images: list[DrivingImage] = Field(
        [], description="The ten that drive the MMD most, the first foremost."
    )
    image_errors: list[ImageError] = Field(description="Images that were left out of the test, and why.")


class DriftReferenceInfo(BaseModel):
    """What a model's drift reference holds."""

    n_reference: int
    n_features: int
    lengthscale: float = Field(description="Median distance of features that are not in the reference.")
    kernels: list[str]
    n_permutations: int
    max_batch: int = Field(description="The largest batch that can be tested.")
    certificate: Certificate | None = Field(description="How often it raises an alarm, where measured.")


class ModelInfo(BaseModel):
    """What is known of a model."""

    name: str
    version: str
    ready: bool
    reason: str | None = Field(None, description="Why the model is not ready, where it is not.")
    trained: bool | None = Field(
        description="False where the weights are random; None where it is not ready."
    )
    precision: Literal["float32", "bfloat16"] | None = Field(description="Of the weights as they are served.")
    classes: list[str]
    drift_reference: DriftReferenceInfo | None
    metadata: dict[str, Any]


class ModelsResponse(BaseModel):
    """The answer of GET /models."""

    models: list[ModelInfo]
