"""Work that takes long, off the event loop, in no more threads than there are for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

Result = TypeVar("Result")


async def in_thread(threads: Executor, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a function returns that runs in one of some threads.

    A request that is cancelled while it waits for a thread never takes one. One that has begun keeps its
    thread until it is done, so that there are never more at work than the pool has.
    """
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
