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
    ) -> None:
        """Set up a batcher.

        Args:
            threads: Where jobs are done.
            run: Does some jobs; returns for each its result, or what to raise.
            streams: Calls of `run` at a time.
            largest: Jobs in one call.
        """
        self.threads = threads
        self.run = run
        self.streams = streams
        self.largest = largest
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
            self.running += starts
        if starts:
            self.threads.submit(self.work, loop)
        return await future

    def work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do a share of the jobs that wait, in a thread."""
        jobs = self.take()
        try:
            results = self.run([job for job, _ in jobs]) if jobs else []
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            results = [error] * len(jobs)
        loop.call_soon_threadsafe(deliver, [future for _, future in jobs], results)
        with self.lock:
            goes_on = bool(self.waiting)
            self.running -= not goes_on
        if goes_on:  # from the end of the line, since others use the threads too
            self.threads.submit(self.work, loop)

    def take(self) -> list[Waiting[Job, Result]]:
        """Return a share of the jobs that wait, but for those that nobody waits for any more."""
        with self.lock:
            share = min(self.largest, math.ceil(len(self.waiting) / self.streams))
            jobs = [self.waiting.popleft() for _ in range(share)]
        return [(job, future) for job, future in jobs if not future.cancelled()]


def deliver(futures: Sequence["asyncio.Future[Result]"], results: Sequence[Result | Exception]) -> None:
    """Tell those who wait what came out."""
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled in the meantime
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
