"""The answers of /classify: the most probable classes of each image."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor

from serving.endpoints.images import image_errors, problems_of, usable_inputs
from serving.execution.lanes import Lane
from serving.metrics import metrics
from serving.requests.cancellation import AbandonedError, Work
from serving.requests.multipart import Submission
from serving.schemas import (
    ClassifiedImage,
    ClassifyForm,
    ClassifyResponse,
    ImageError,
    ImageWarning,
    Prediction,
)
from serving.settings import Settings
from vision.images.read import Item, read_uploads
from vision.models.classifier import Classifier
from vision.preprocessing.prepared import Prepared

ClassifyJob = tuple[Submission[ClassifyForm], Work]


def classify(
    classifier: Classifier, limits: Settings, lane: Lane, jobs: Sequence[ClassifyJob]
) -> list[ClassifyResponse | Exception]:
    """Classify the images of a group of requests, all of them together.

    Returns:
        For each request its answer, or the error that it alone has.
    """
    started = time.perf_counter()
    readings = [read_images(classifier, limits, lane, submission, work) for submission, work in jobs]
    decoded = time.perf_counter()
    usable = [
        prepared for reading in readings if isinstance(reading, Reading) for _, prepared in reading.usable
    ]
    if not usable:
        return [reading for reading in readings if isinstance(reading, Exception)]
    inputs = [prepared.pixels for prepared in usable]
    probabilities, _ = classifier.predict(inputs, partial(check_any, [work for _, work in jobs]))
    predicted = time.perf_counter()
    most = max(submission.form.top_k for submission, _ in jobs)
    found = best_classes(probabilities, classifier.labels, most)
    meter = metrics().meter(classifier.name)
    meter.count_classified(found, decode=decoded - started, predict=predicted - decoded)
    meter.count_odd(prepared.warning for prepared in usable if prepared.warning)
    best = iter(found)
    return [
        reading
        if isinstance(reading, Exception)
        else classified(classifier, reading, list(islice(best, len(reading.usable))), submission.form.top_k)
        for reading, (submission, _) in zip(readings, jobs, strict=True)
    ]


@dataclass(frozen=True)
class Reading:
    """The images of a request: all of them, and those that can be used."""

    items: Sequence[Item]
    usable: Sequence[tuple[Item, Prepared]]


def check_any(works: Sequence[Work]) -> None:
    """Raise AbandonedError if no request of a group is waited for any more."""
    if not any(work.is_wanted for work in works):
        raise AbandonedError


def read_images(
    classifier: Classifier, limits: Settings, lane: Lane, submission: Submission[ClassifyForm], work: Work
) -> Reading | Exception:
    try:
        items = read_uploads(
            submission.uploads,
            limits.image_limits,
            classifier.preparation,
            archives=False,
            checkpoint=lane.checkpoint(work),
            offload=lane.offload(work),
        )
        metrics().meter(classifier.name).count_rejected(problems_of(items))
        return Reading(items, usable_inputs(items))
    except Exception as error:  # noqa: BLE001 - the others of the group are to be answered
        return error


def classified(
    classifier: Classifier, reading: Reading, best: Sequence[Sequence[Prediction]], top_k: int
) -> ClassifyResponse:
    results: dict[int, ClassifiedImage | ImageError] = {
        error.index: error for error in image_errors(reading.items)
    }
    for (item, prepared), top in zip(reading.usable, best, strict=True):
        results[item.index] = ClassifiedImage(
            index=item.index,
            filename=item.filename,
            label=top[0].label,
            class_id=top[0].class_id,
            probability=top[0].probability,
            top=list(top[:top_k]),
            warning=prepared.warning and ImageWarning(kind=prepared.warning, detail=prepared.warning.detail),
        )
    return ClassifyResponse(
        model=classifier.tag,
        trained=classifier.trained,
        results=[results[item.index] for item in reading.items],
    )


def best_classes(probabilities: Tensor, labels: Sequence[str], count: int) -> list[list[Prediction]]:
    """Return the most probable classes of each image, best first, from softmax outputs (N, K)."""
    values, classes = probabilities.topk(min(count, len(labels)), dim=1)
    return [
        [
            Prediction(label=labels[class_id], class_id=class_id, probability=probability)
            for probability, class_id in zip(row_values, row_classes, strict=True)
        ]
        for row_values, row_classes in zip(values.tolist(), classes.tolist(), strict=True)
    ]
