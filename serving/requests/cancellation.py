"""Work that nobody waits for any more: because it has taken too long, or because the client has left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

WATCHED_AFTER_SECONDS = 0.05  # most work is done by then, and to watch it would take longer than a part of it


class AbandonedError(Exception):
    """Nobody waits for this work any more."""


class Work:
    """What threads do for a request, as long as somebody waits for it.

    No thread can be stopped from outside. So whoever does something long looks here every now and then.
    """

    def __init__(self) -> None:
        self.is_wanted = True

    def abandon(self) -> None:
        """Let the work end where it is."""
        self.is_wanted = False

    def checkpoint(self) -> None:
        """Go on, if somebody still waits.

        Raises:
            AbandonedError: Nobody does.
        """
        if not self.is_wanted:
            raise AbandonedError


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[Work]:
    """Give work to do for a request, which is abandoned when it is cancelled or its client leaves.

    All of the request's body must have been read before.

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
        if not has_left or task.uncancel():  # the service stops, or the time is over
            raise
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
