"""The answers of /classify and /drift: from a batch of items to what is sent back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor

from drift import BatchTooLargeError, DriftError, MissingProbabilitiesError
from drift.report import Batch, check_form, score_batch
from serving.commands import REFERENCE_COMMANDS
from serving.errors import MalformedRequestError, NoDriftReferenceError, UntestableBatchError
from serving.execution.lanes import Lane
from serving.problems import document_of
from serving.requests.cancellation import AbandonedError, Work
from serving.requests.multipart import Submission
from serving.schemas import (
    ClassifiedImage,
    ClassifyForm,
    ClassifyResponse,
    DriftForm,
    DriftResponse,
    ImageError,
    ImageWarning,
    Prediction,
    ProblemDocument,
)
from serving.settings import Settings
from vision.errors import Problem, TooLargeError
from vision.images.read import Item, read_uploads
from vision.models.classifier import Classifier
from vision.preprocessing.prepared import Prepared

ClassifyJob = tuple[Submission[ClassifyForm], Work]


def classify(
    classifier: Classifier, limits: Settings, lane: Lane, jobs: Sequence[ClassifyJob]
) -> list[ClassifyResponse | Exception]:
    """Say what is in each image of some requests of one lane, all of them in one go.

    Returns:
        For each request its answer, or the problem that it has: a fault in one does not touch the others.
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
    classifier.meter.count_classified(found, decode=decoded - started, predict=predicted - decoded)
    classifier.meter.count_odd(prepared.warning for prepared in usable if prepared.warning)
    best = iter(found)
    return [
        reading
        if isinstance(reading, Exception)
        else classified(classifier, reading, list(islice(best, len(reading.usable))), submission.form.top_k)
        for reading, (submission, _) in zip(readings, jobs, strict=True)
    ]


@dataclass(frozen=True)
class Reading:
    """The images of a request as they were read: all of them, and those that can be used."""

    items: Sequence[Item]
    usable: Sequence[tuple[Item, Prepared]]


def check_any(works: Sequence[Work]) -> None:
    """Go on, if somebody waits for one of them.

    Raises:
        AbandonedError: Nobody does.
    """
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
            offload=lane.elsewhere(work),
        )
        classifier.meter.count_rejected(problems_of(items))
        return Reading(items, usable_inputs(items))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone
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


def score_drift(
    classifier: Classifier, limits: Settings, lane: Lane, submission: Submission[DriftForm], work: Work
) -> DriftResponse:
    """Say whether the images of a request still come from the distribution that the model was trained on.

    Raises:
        NoDriftReferenceError: The model has nothing to compare them with.
        MalformedRequestError: The reference has no such kernel, or too few permutations.
        TooLargeError: There are more images than the reference was fitted for.
        UntestableBatchError: Fewer than two images could be used, or their features are not finite.
        Problem: No image could be used.
    """
    form, reference = submission.form, classifier.reference
    if reference is None:
        raise NoDriftReferenceError(
            f"{classifier.tag} was saved without a drift reference. Run "
            f"`{REFERENCE_COMMANDS[classifier.name]}` and start again."
        )
    try:
        check_form(form, reference)
    except MissingProbabilitiesError as error:
        raise NoDriftReferenceError(str(error)) from None
    except DriftError as error:
        raise MalformedRequestError(str(error)) from None
    meter = classifier.meter
    with meter.drift_decode.time():
        items = read_uploads(
            submission.uploads,
            limits.image_limits,
            classifier.preparation,
            archives=True,
            checkpoint=lane.checkpoint(work),
            offload=lane.elsewhere(work),
        )
    meter.count_rejected(problems_of(items))
    usable, failed = usable_inputs(items), image_errors(items)
    meter.drift_images.observe(len(usable))
    with meter.drift_predict.time():
        inputs = [prepared.pixels for _, prepared in usable]
        probabilities, features = classifier.predict(inputs, work.checkpoint)
    batch = Batch([(item.index, item.filename) for item, _ in usable], probabilities, features, failed)
    try:
        with meter.drift_test.time():
            response = score_batch(
                form,
                reference,
                classifier.tag,
                classifier.labels,
                batch,
                trained=classifier.trained,
                checkpoint=work.checkpoint,
            )
    except DriftError as error:
        problem = TooLargeError if isinstance(error, BatchTooLargeError) else UntestableBatchError
        raise problem(str(error), image_errors=[image.model_dump() for image in failed]) from None
    meter.count_test(response)
    return response


def usable_inputs(items: Sequence[Item]) -> list[tuple[Item, Prepared]]:
    """Return the items that could be prepared, with what the model takes of them.

    Raises:
        Problem: There is none. It is that of the first image, with those of all the others beside it.
    """
    usable = [(item, item.content) for item in items if not isinstance(item.content, Problem)]
    if usable:
        return usable
    first = next(iter(problems_of(items)), None)
    if first is None:
        raise UntestableBatchError("The file holds no image.")
    detail = f"None of the {len(items)} images can be used. The first: " if len(items) > 1 else ""
    raise type(first)(
        detail + first.detail, image_errors=[error.model_dump() for error in image_errors(items)]
    )


def problems_of(items: Sequence[Item]) -> list[Problem]:
    return [item.content for item in items if isinstance(item.content, Problem)]


def image_errors(items: Sequence[Item]) -> list[ImageError]:
    return [
        ImageError(
            index=item.index,
            filename=item.filename,
            error=ProblemDocument.model_validate(document_of(item.content)),
        )
        for item in items
        if isinstance(item.content, Problem)
    ]
