"""The answer of /drift: whether the images of a request still come from the training distribution."""

from drift import BatchTooLargeError, DriftError, MissingProbabilitiesError, Reference
from drift.report import Batch, DriftTest
from serving.endpoints.images import image_errors, problems_of, usable_inputs
from serving.errors import MalformedRequestError, NoDriftReferenceError, UntestableBatchError
from serving.execution.lanes import Lane
from serving.metrics import metrics
from serving.registry import REFERENCE_COMMANDS
from serving.requests.cancellation import Work
from serving.requests.multipart import Submission
from serving.schemas import DriftForm, DriftResponse
from serving.settings import Settings
from vision.errors import TooLargeError
from vision.images.read import read_uploads
from vision.models.classifier import Classifier


def score_drift(
    classifier: Classifier, limits: Settings, lane: Lane, submission: Submission[DriftForm], work: Work
) -> DriftResponse:
    """Test whether the images of a request come from the distribution that the model was trained on.

    Raises:
        NoDriftReferenceError: The model has no drift reference, or none for this detector.
        MalformedRequestError: The reference does not have the kernel, or not as many permutations.
        TooLargeError: There are more images than the reference was fitted for.
        UntestableBatchError: Fewer than two images could be used, or their features are not finite.
        Problem: No image could be used.
    """
    reference = reference_of(classifier)
    test = requested_test(submission.form, reference)
    meter = metrics().meter(classifier.name)
    with meter.drift_decode.time():
        items = read_uploads(
            submission.uploads,
            limits.image_limits,
            classifier.preparation,
            archives=True,
            checkpoint=lane.checkpoint(work),
            offload=lane.offload(work),
        )
    meter.count_rejected(problems_of(items))
    usable, failed = usable_inputs(items), image_errors(items)
    meter.drift_images.observe(len(usable))
    with meter.drift_predict.time():
        inputs = [prepared.pixels for _, prepared in usable]
        probabilities, features = classifier.predict(inputs, work.checkpoint)
    batch = Batch([(item.index, item.filename) for item, _ in usable], probabilities, features)
    try:
        with meter.drift_test.time():
            report = test.run(reference, batch, classifier.labels, checkpoint=work.checkpoint)
    except DriftError as error:
        problem = TooLargeError if isinstance(error, BatchTooLargeError) else UntestableBatchError
        raise problem(str(error), image_errors=[image.model_dump() for image in failed]) from None
    meter.count_test(report)
    return DriftResponse(
        model=classifier.tag, trained=classifier.trained, image_errors=failed, **vars(report)
    )


def reference_of(classifier: Classifier) -> Reference:
    if classifier.reference is None:
        command = REFERENCE_COMMANDS.get(classifier.name)
        advice = f"Run `{command}`" if command else "Save it with one"
        raise NoDriftReferenceError(
            f"{classifier.tag} was saved without a drift reference. {advice} and start again."
        )
    return classifier.reference


def requested_test(form: DriftForm, reference: Reference) -> DriftTest:
    test = DriftTest(form.detector, form.kernel, form.alpha, form.n_permutations)
    try:
        test.check(reference)
    except MissingProbabilitiesError as error:
        raise NoDriftReferenceError(str(error)) from None
    except DriftError as error:
        raise MalformedRequestError(str(error)) from None
    return test
