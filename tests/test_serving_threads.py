"""Threads: what is cancelled while it waits is never begun, and what is begun keeps its thread."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from serving.threads import in_thread, start_threads


def test_cancelled_requests_do_not_pile_up_threads():
    begun, may_end = [], threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        may_end.wait()

    async def ask_and_leave(threads: ThreadPoolExecutor) -> None:
        requests = [asyncio.create_task(in_thread(threads, work, number)) for number in range(5)]
        while not begun:
            await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(ask_and_leave(threads))
        may_end.set()

    assert begun == [0]


def test_threads_that_are_started_beforehand_are_all_there():
    before = threading.active_count()

    with start_threads(3, "early") as threads:
        started = [thread for thread in threading.enumerate() if thread.name.startswith("early")]
        done = threads.submit(lambda: 1).result()

    assert len(started) == 3
    assert done == 1
    assert threading.active_count() == before
