"""Which thread answers a request, and together with which others."""

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from serving.answers import classify, score_drift
from serving.batcher import Batcher
from serving.models import Classifier
from serving.registry import Registry
from serving.schemas import ClassifyForm, ClassifyResponse, DriftForm, DriftResponse
from serving.settings import Settings
from serving.threads import cores, in_thread
from serving.uploads import Body, Submission, parse_submission

MANY_IMAGES = 8  # in one request: others are not to wait for it

Classify = Batcher[Submission[ClassifyForm], ClassifyResponse]


class Dispatcher:
    """Hands requests to threads, off the event loop, so that none holds up the others for long.

    Classifications of a few images have as many threads as there are cores; those of many images have one of
    their own, and so have drift tests.
    """

    def __init__(self, registry: Registry, limits: Settings) -> None:
        self.registry = registry
        self.limits = limits
        n_threads = limits.classify_threads or max(1, cores() // limits.workers)
        few, many = ThreadPoolExecutor(n_threads, "classify"), ThreadPoolExecutor(1, "classify-many")
        self.few = {
            classifier.name: batcher(classifier, limits, few, streams_of(classifier, n_threads))
            for classifier in registry.loaded
        }
        self.many = {classifier.name: batcher(classifier, limits, many, 1) for classifier in registry.loaded}
        self.drift_thread = ThreadPoolExecutor(1, "drift")

    async def classify(self, body: Body) -> ClassifyResponse:
        """Say what is in each image of a request.

        Raises:
            Problem: The request is malformed, there is no such model, or no image can be used.
        """
        submission = parse_submission(body, ClassifyForm, max_images=self.limits.max_images)
        name = self.registry.get(submission.form.model).name
        lane = self.many if len(submission.uploads) > MANY_IMAGES else self.few
        return await lane[name](submission)

    async def score_drift(self, body: Body) -> DriftResponse:
        """Say whether the images of a request still come from the distribution that a model was trained on.

        Raises:
            Problem: The request is malformed, or no test can be made.
        """
        return await in_thread(self.drift_thread, self.score, body)

    def score(self, body: Body) -> DriftResponse:
        submission = parse_submission(body, DriftForm, max_images=self.limits.max_images)
        return score_drift(self.registry.get(submission.form.model), submission, self.limits)


def streams_of(classifier: Classifier, n_threads: int) -> int:
    """Return in how many threads at a time a classifier is worth running.

    A large network computes without Python's lock, in as many as there are. Around a small one Python works
    longer than the network, in one thread at a time whatever there are, and hands over between them.
    """
    return 1 if classifier.engine.is_small else n_threads


def batcher(classifier: Classifier, limits: Settings, threads: Executor, streams: int) -> Classify:
    run = partial(classify, classifier, limits)
    return Batcher(threads, run, streams=streams, largest=classifier.engine.sizes[-1])
