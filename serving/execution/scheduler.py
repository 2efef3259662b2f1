"""Requests that wait at the same time, answered together where that takes less time."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
Waiting = tuple[Job, asyncio.Future[Result]]


class Batcher(Generic[Job, Result]):
    """Hands jobs to threads, several at a time when several wait.

    No job waits for others to come: a thread that is free takes its share of those that are there. So a
    single client is answered at once, and the more wait, the less each of them costs.
    """

    def __init__(
        self,
        threads: Executor,
        run: Callable[[Sequence[Job]], Sequence[Result | Exception]],
        *,
        streams: int,
        largest: int,
        size_of: Callable[[Job], int] = lambda _: 1,
    ) -> None:
        """Set up a batcher.

        Args:
            threads: Where jobs are done.
            run: Does some jobs; returns for each its result, or what to raise.
            streams: Calls of `run` at a time.
            largest: Size of all jobs in one call; one that is larger has a call of its own.
            size_of: Size of a job.
        """
        self.threads = threads
        self.run = run
        self.streams = streams
        self.largest = largest
        self.size_of = size_of
        self.waiting: deque[Waiting[Job, Result]] = deque()
        self.running = 0
        self.lock = threading.Lock()  # of the two above

    async def __call__(self, job: Job) -> Result:
        """Return a job's result, or raise what it came to."""
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
        """Do a share of the jobs that wait, in a thread."""
        jobs = self.take()
        results = self.results_of([job for job, _ in jobs])
        loop.call_soon_threadsafe(deliver, [future for _, future in jobs], results)
        with self.lock:
            goes_on = bool(self.waiting)
            if not goes_on:
                self.running -= 1
        if goes_on:  # from the end of the line, since others use the threads too
            self.threads.submit(self.work, loop)

    def take(self) -> list[Waiting[Job, Result]]:
        """Return a share of the jobs that wait, but for those that nobody waits for any more."""
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
        """Return a result for each job, or what to raise; those who wait must hear of it, whatever it is."""
        try:
            results = self.run(jobs) if jobs else []
            if len(results) != len(jobs):
                raise RuntimeError(f"There are {len(results)} results of {len(jobs)} jobs.")
        except BaseException as error:  # noqa: BLE001 - a panic in compiled code is no Exception
            defect = RuntimeError(f"A batch failed: {type(error).__name__}: {error}")
            defect.__cause__ = error
            return [defect] * len(jobs)
        return results


def deliver(futures: Sequence["asyncio.Future[Result]"], results: Sequence[Result | Exception]) -> None:
    """Tell those who wait what came out."""
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled in the meantime
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
