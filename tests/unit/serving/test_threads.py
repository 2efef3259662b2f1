"""Threads: what is cancelled while it waits is never begun, and what is begun keeps its thread."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.execution import threads
from serving.execution.threads import in_thread, start_threads


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


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "1000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "1000000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
    ids=[
        "one and a half, by version 2",
        "one and a half, by version 1",
        "a hundredth",
        "more than there are",
        "no quota, by version 2",
        "no quota, by version 1",
        "no cgroup",
    ],
)
def test_no_more_cores_are_used_than_the_quota_of_the_container_keeps_busy(
    monkeypatch, tmp_path, files, used
):
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert threads.cores() == used
