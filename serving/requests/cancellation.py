"""Cancellation of the work for a request when it takes too long or its client leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

WATCHED_AFTER_SECONDS = 0.05  # most work is done by then, and watching costs as much as part of it


class AbandonedError(Exception):
    """Nobody waits for this work any more."""


class Work:
    """A cancellation token of a request: whether somebody still waits for its answer.

    A thread cannot be stopped from outside, so long work calls `checkpoint` every now and then.
    """

    def __init__(self) -> None:
        self.is_wanted = True

    def abandon(self) -> None:
        """Have the work end at its next checkpoint."""
        self.is_wanted = False

    def checkpoint(self) -> None:
        """Go on if somebody still waits for the work.

        Raises:
            AbandonedError: Nobody does.
        """
        if not self.is_wanted:
            raise AbandonedError


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[Work]:
    """Give a cancellation token, abandoned when the request is cancelled or its client leaves.

    The request's body must have been read to its end.

    Raises:
        ClientDisconnect: The client has left.
    """
    task, work = asyncio.current_task(), Work()
    assert task is not None
    has_left = False
    watchers = list[asyncio.Task[None]]()

    async def watch() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        task.cancel()

    loop = asyncio.get_running_loop()
    timer = loop.call_later(WATCHED_AFTER_SECONDS, lambda: watchers.append(loop.create_task(watch())))
    try:
        yield work
    except asyncio.CancelledError:
        work.abandon()
        if not has_left or task.uncancel():  # the service stops, or the time limit is over
            raise
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
