"""The threads that answer requests, and the groups of requests that go through a network together."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Generic, TypeVar

from serving.endpoints.classify import ClassifyJob, classify
from serving.endpoints.drift import score_drift
from serving.execution.lanes import PutOffError, quick_lane, slow_lane
from serving.execution.threads import cores, in_thread, start_threads
from serving.registry import Registry
from serving.requests.cancellation import Work
from serving.requests.multipart import Submission
from serving.schemas import ClassifyForm, ClassifyResponse, DriftForm, DriftResponse
from serving.settings import Settings
from vision.errors import TooLargeError
from vision.images.decode import QUICK_STEPS
from vision.images.decoder_process import DecoderProcess
from vision.models.classifier import Classifier

FEW_IMAGES = 8  # in a request; larger ones are answered apart, so that these need not wait for them
MAX_PREDICTIONS = 100_000  # in one answer
# Steps of decoding that a picture may take in the threads of a large network. There are several of them, and
# they spend most of their time in the network.
LARGE_STEPS = 4 * QUICK_STEPS

Job = TypeVar("Job")
Result = TypeVar("Result")
Waiting = tuple[Job, asyncio.Future[Result]]


@dataclass(eq=False)
class GroupQueue(Generic[Job, Result]):
    """A queue of jobs that threads take in groups.

    No job waits for others to come: a free thread takes its share of the jobs that are there. A single client
    is answered at once, and the more jobs wait, the less each of them costs.

    Attributes:
        threads: The threads that do the jobs.
        run: Does a group of jobs; returns for each its result, or the error to raise.
        streams: How many groups are worked on at a time.
        largest: Largest size of a group; a job that is larger is a group of its own.
        size_of: Returns the size of a job.
    """

    threads: Executor
    run: Callable[[Sequence[Job]], Sequence[Result | Exception]]
    _: KW_ONLY
    streams: int
    largest: int
    size_of: Callable[[Job], int] = lambda _: 1

    def __post_init__(self) -> None:
        self.waiting: deque[Waiting[Job, Result]] = deque()
        self.running = 0
        self.lock = threading.Lock()  # guards `waiting` and `running`

    async def __call__(self, job: Job) -> Result:
        """Return the result of a job, or raise its error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self.lock:
            self.waiting.append((job, future))
            starts = self.running < self.streams
            if starts:
                self.running += 1
        if starts:
            self.threads.submit(self.work, loop)
        return await future

    def work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do a group of the waiting jobs, in a thread."""
        jobs = self.take()
        results = self.results_of([job for job, _ in jobs])
        loop.call_soon_threadsafe(deliver, [future for _, future in jobs], results)
        with self.lock:
            goes_on = bool(self.waiting)
            if not goes_on:
                self.running -= 1
        if goes_on:  # at the end of the line, since other queues use these threads too
            self.threads.submit(self.work, loop)

    def take(self) -> list[Waiting[Job, Result]]:
        """Return a group of the waiting jobs, without those that nobody waits for any more."""
        jobs, size = list[Waiting[Job, Result]](), 0
        with self.lock:
            share = math.ceil(len(self.waiting) / self.streams)
            while self.waiting and len(jobs) < share:
                size += self.size_of(self.waiting[0][0])
                if jobs and size > self.largest:
                    break
                jobs.append(self.waiting.popleft())
        return [(job, future) for job, future in jobs if not future.cancelled()]

    def results_of(self, jobs: Sequence[Job]) -> Sequence[Result | Exception]:
        """Return the result or the error of each job; a fault of the whole group is the error of each."""
        try:
            results = self.run(jobs) if jobs else []
            if len(results) != len(jobs):
                raise RuntimeError(f"There are {len(results)} results of {len(jobs)} jobs.")
        except BaseException as error:  # noqa: BLE001 - a panic in compiled code is no Exception
            defect = RuntimeError(f"A group of requests failed: {type(error).__name__}: {error}")
            defect.__cause__ = error
            return [defect] * len(jobs)
        return results


def deliver(futures: Sequence["asyncio.Future[Result]"], results: Sequence[Result | Exception]) -> None:
    """Hand results and errors to the coroutines that wait for them."""
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled in the meantime
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


ClassifyQueue = GroupQueue[ClassifyJob, ClassifyResponse]


@dataclass(frozen=True)
class Queues:
    """The requests that wait for one model: those of a few images, of slow ones, and of many."""

    few: ClassifyQueue
    slow: ClassifyQueue
    many: ClassifyQueue


class Scheduler:
    """Hands requests to threads, so that none holds up the event loop or other requests for long.

    A large network has as many threads as there are cores for requests of a few images, and a small one has
    one. Slow pictures, requests of many images, and drift tests have one thread each.
    """

    def __init__(self, registry: Registry, limits: Settings) -> None:
        self.registry = registry
        self.limits = limits
        self.decoder = DecoderProcess(limits.decode_seconds)
        self.n_threads = limits.classify_threads or max(1, cores() // limits.workers)
        self.by_large = start_threads(self.n_threads, "classify-large")
        self.by_small = start_threads(1, "classify-small")
        self.by_slow, self.by_many = start_threads(1, "classify-slow"), start_threads(1, "classify-many")
        self.drift_thread = start_threads(1, "drift")
        self.slow_lane = slow_lane(self.decoder)
        self.queues = dict[str, Queues]()

    def queues_of(self, classifier: Classifier) -> Queues:
        """Return the queues of a model, which are made when it is asked for the first time."""
        if classifier.tag not in self.queues:
            engine = classifier.engine
            # A large network computes without Python's lock, on every core. Around a small network Python
            # works longer than the network does, and since its lock lets one thread work at a time, more
            # threads would only take turns.
            few, streams, steps = self.by_large, self.n_threads, LARGE_STEPS
            if engine.is_small:
                few, streams, steps = self.by_small, 1, QUICK_STEPS
            quick = partial(classify, classifier, self.limits, quick_lane(steps))
            slow = partial(classify, classifier, self.limits, self.slow_lane)
            self.queues[classifier.tag] = Queues(
                GroupQueue(
                    few,
                    quick,
                    streams=streams,
                    largest=engine.sizes[-1],
                    size_of=lambda job: len(job[0].uploads),
                ),
                GroupQueue(self.by_slow, slow, streams=1, largest=1),
                GroupQueue(self.by_many, slow, streams=1, largest=1),
            )
        return self.queues[classifier.tag]

    async def classify(self, submission: Submission[ClassifyForm], work: Work) -> ClassifyResponse:
        """Say what is in each image of a request.

        Raises:
            Problem: There is no such model, too many classes are asked for, or no image can be used.
        """
        classifier = self.registry.get(submission.form.model)
        n_images, top_k = len(submission.uploads), min(submission.form.top_k, len(classifier.labels))
        if n_images * top_k > MAX_PREDICTIONS:  # an answer far longer than what was sent
            raise TooLargeError(
                f"{top_k} classes of {n_images} images are more than {MAX_PREDICTIONS:,}. Ask for fewer."
            )
        queues = self.queues_of(classifier)
        if n_images > FEW_IMAGES:
            return await queues.many((submission, work))
        try:
            return await queues.few((submission, work))
        except PutOffError:
            return await queues.slow((submission, work))

    async def score_drift(self, submission: Submission[DriftForm], work: Work) -> DriftResponse:
        """Say whether the images of a request still come from the distribution that a model was trained on.

        Raises:
            Problem: There is no such model, or no test can be made.
        """
        classifier = self.registry.get(submission.form.model)
        return await in_thread(
            self.drift_thread, score_drift, classifier, self.limits, self.slow_lane, submission, work
        )
