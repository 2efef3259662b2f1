"""Which thread answers a request, and together with which others."""

from functools import partial

from serving.abandonment import Work
from serving.answers import ClassifyJob, classify, score_drift
from serving.batcher import Batcher
from serving.errors import TooLargeError
from serving.registry import Registry
from serving.schemas import ClassifyForm, ClassifyResponse, DriftForm, DriftResponse
from serving.settings import Settings
from serving.threads import cores, in_thread, start_threads
from serving.uploads import Submission

FEW_IMAGES = 8  # requests of more are answered beside the others, which are not to wait for them
MAX_PREDICTIONS = 100_000  # in one answer
LARGE_FILES = 2**20  # bytes of pictures that may take long to decode

Classify = Batcher[ClassifyJob, ClassifyResponse]


class Dispatcher:
    """Hands requests to threads, so that none holds up the event loop or the others for long.

    Classifications of a few images by a large network have as many threads as there are cores, and those by a
    small one have one. So have those of many images, and drift tests.
    """

    def __init__(self, registry: Registry, limits: Settings) -> None:
        self.registry = registry
        self.limits = limits
        n_threads = limits.classify_threads or max(1, cores() // limits.workers)
        by_large, by_small = start_threads(n_threads, "classify-large"), start_threads(1, "classify-small")
        many = start_threads(1, "classify-many")
        self.few, self.many = dict[str, Classify](), dict[str, Classify]()
        for classifier in registry.loaded:
            run = partial(classify, classifier, limits)
            # A large network computes without Python's lock, in as many threads as there are cores. Around a
            # small one Python works longer than the network, in one thread at a time whatever there are, and
            # hands over between them.
            few, streams = (by_small, 1) if classifier.engine.is_small else (by_large, n_threads)
            together = classifier.engine.sizes[-1]
            self.few[classifier.name] = Batcher(few, run, streams=streams, largest=together, size_of=n_images)
            self.many[classifier.name] = Batcher(many, run, streams=1, largest=1)
        self.drift_thread = start_threads(1, "drift")

    async def classify(self, submission: Submission[ClassifyForm], work: Work) -> ClassifyResponse:
        """Say what is in each image of a request.

        Raises:
            Problem: There is no such model, or no image can be used.
        """
        classifier = self.registry.get(submission.form.model)
        check_predictions(len(submission.uploads), min(submission.form.top_k, len(classifier.labels)))
        # A large picture of a digit takes a hundred times as long to decode as to classify, and the others
        # have but one thread to go by.
        is_large = sum(len(upload.data) for upload in submission.uploads) > LARGE_FILES
        is_slow = len(submission.uploads) > FEW_IMAGES or (is_large and classifier.engine.is_small)
        return await (self.many if is_slow else self.few)[classifier.name]((submission, work))

    async def score_drift(self, submission: Submission[DriftForm], work: Work) -> DriftResponse:
        """Say whether the images of a request still come from the distribution that a model was trained on.

        Raises:
            Problem: There is no such model, or no test can be made.
        """
        classifier = self.registry.get(submission.form.model)
        return await in_thread(self.drift_thread, score_drift, classifier, submission, self.limits, work)


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
