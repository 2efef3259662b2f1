"""Which thread answers a request, and together with which others."""

from functools import partial

from serving.endpoints.classify import ClassifyJob, classify
from serving.endpoints.drift import score_drift
from serving.execution.lanes import PutOffError, quick_lane, slow_lane
from serving.execution.scheduler import Batcher
from serving.execution.threads import cores, in_thread, start_threads
from serving.registry import Registry
from serving.requests.cancellation import Work
from serving.requests.multipart import Submission
from serving.schemas import ClassifyForm, ClassifyResponse, DriftForm, DriftResponse
from serving.settings import Settings
from vision.errors import TooLargeError
from vision.images.decode import QUICK_STEPS
from vision.images.decoder_process import DecoderProcess

FEW_IMAGES = 8  # requests of more are answered beside the others, which are not to wait for them
MAX_PREDICTIONS = 100_000  # in one answer
# Of decoding, that a picture for a large network may take in the threads that classify. There are several of
# them, and they spend most of their time in the network anyway.
LARGE_STEPS = 4 * QUICK_STEPS

Classify = Batcher[ClassifyJob, ClassifyResponse]


class Dispatcher:
    """Hands requests to threads, so that none holds up the event loop or the others for long.

    Classifications of a few images by a large network have as many threads as there are cores, and those by a
    small one have one. So have those of pictures that take long, those of many images, and drift tests.
    """

    def __init__(self, registry: Registry, limits: Settings) -> None:
        self.registry = registry
        self.limits = limits
        self.decoder = DecoderProcess(limits.decode_seconds)
        n_threads = limits.classify_threads or max(1, cores() // limits.workers)
        by_large, by_small = start_threads(n_threads, "classify-large"), start_threads(1, "classify-small")
        slow, many = start_threads(1, "classify-slow"), start_threads(1, "classify-many")
        self.slow_lane = slow_lane(self.decoder)
        self.few, self.slow, self.many = dict[str, Classify](), dict[str, Classify](), dict[str, Classify]()
        for classifier in registry.loaded:
            name, engine = classifier.name, classifier.engine
            # A large network computes without Python's lock, in as many threads as there are cores. Around a
            # small one Python works longer than the network, in one thread at a time whatever there are, and
            # hands over between them.
            few, streams, steps = (
                (by_small, 1, QUICK_STEPS) if engine.is_small else (by_large, n_threads, LARGE_STEPS)
            )
            run = partial(classify, classifier, limits, quick_lane(steps))
            self.few[name] = Batcher(few, run, streams=streams, largest=engine.sizes[-1], size_of=n_images)
            run = partial(classify, classifier, limits, self.slow_lane)
            self.slow[name] = Batcher(slow, run, streams=1, largest=1)
            self.many[name] = Batcher(many, run, streams=1, largest=1)
        self.drift_thread = start_threads(1, "drift")

    async def classify(self, submission: Submission[ClassifyForm], work: Work) -> ClassifyResponse:
        """Say what is in each image of a request.

        Raises:
            Problem: There is no such model, or no image can be used.
        """
        classifier = self.registry.get(submission.form.model)
        check_predictions(len(submission.uploads), min(submission.form.top_k, len(classifier.labels)))
        if len(submission.uploads) > FEW_IMAGES:
            return await self.many[classifier.name]((submission, work))
        try:
            return await self.few[classifier.name]((submission, work))
        except PutOffError:
            return await self.slow[classifier.name]((submission, work))

    async def score_drift(self, submission: Submission[DriftForm], work: Work) -> DriftResponse:
        """Say whether the images of a request still come from the distribution that a model was trained on.

        Raises:
            Problem: There is no such model, or no test can be made.
        """
        classifier = self.registry.get(submission.form.model)
        return await in_thread(
            self.drift_thread, score_drift, classifier, self.limits, self.slow_lane, submission, work
        )


def check_predictions(n_images: int, top_k: int) -> None:
    """Refuse a request whose answer would be far longer than what was sent.

    Raises:
        TooLargeError: It asks for too many classes of too many images.
    """
    if n_images * top_k > MAX_PREDICTIONS:
        raise TooLargeError(
            f"{top_k} classes of {n_images} images are more than {MAX_PREDICTIONS:,}. Ask for fewer."
        )


def n_images(job: ClassifyJob) -> int:
    submission, _ = job
    return len(submission.uploads)
