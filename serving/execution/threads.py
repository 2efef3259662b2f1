"""Threads for work that would hold up the event loop, and how many cores there are for them."""

import asyncio
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

CGROUP = Path("/sys/fs/cgroup")
# Files of cgroups, version 2 and 1, with a container's CPU time and the period it is for, in microseconds.
QUOTAS = (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"])


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in QUOTAS:
        with suppress(OSError, ValueError):  # another version, no container, or one without a quota ("max")
            quota, period = (int(part) for name in files for part in (CGROUP / name).read_text().split())
            if quota > 0:  # version 1 says -1 where there is none
                return min(allowed, math.ceil(quota / period))
    return allowed


def start_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return threads that have all been started; later, there may be no memory to start one."""
    threads, all_there = ThreadPoolExecutor(count, name), threading.Barrier(count + 1)
    for _ in range(count):
        threads.submit(all_there.wait)
    all_there.wait()
    return threads


async def in_thread(threads: Executor, function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function in one of the threads, and return its result.

    A request that is cancelled while it waits for a thread never takes one. A request that has begun keeps
    its thread until it is done or finds itself abandoned.
    """
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
