"""What is let in: so many requests of each endpoint at a time, and so many bytes of all of them together.

The bytes of long answers count too, until the clients have read them. Whoever finds no room is told to come
again, at once. To wait would cost the memory that there is none of.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import OverloadedError
from serving.metrics import metrics

FREE_ANSWER_BYTES = 2**16  # which uvicorn lets wait for a client without a second thought


class Queue:
    """The requests of one endpoint that are answered or wait for it."""

    def __init__(self, endpoint: str, most: int) -> None:
        self.most = most
        self.taken = 0
        self.gauge = metrics().queue.labels(endpoint)
        self.gauge.set(0)

    def check(self) -> None:
        """Make sure that there is room.

        Raises:
            OverloadedError: There is none.
        """
        if self.taken >= self.most:
            raise OverloadedError(
                f"{self.most} requests are being answered, as many as are at a time. Send this one again."
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for as long as a request is answered.

        Raises:
            OverloadedError: There is none.
        """
        self.check()
        self.taken += 1
        self.gauge.set(self.taken)
        try:
            yield
        finally:
            self.taken -= 1
            self.gauge.set(self.taken)


class Room:
    """The memory for what clients send."""

    def __init__(self, most: int) -> None:
        """Make room for a number of bytes."""
        self.most = most
        self.taken = 0

    @contextmanager
    def for_request(self) -> Iterator["HeldBytes"]:
        """Give what counts the bytes of a request, and gives them back when it is over."""
        held = HeldBytes(self)
        try:
            yield held
        finally:
            self.taken -= held.count

    @contextmanager
    def with_answer(self, count: int) -> Iterator[None]:
        """Count the bytes of an answer, be there room or not: it is there already."""
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


class HeldBytes:
    """The bytes of one request."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.count = 0

    def take(self, count: int) -> None:
        """Take room for some more bytes.

        Raises:
            OverloadedError: There is none. What was taken before is kept until the request is over.
        """
        if self.room.taken + count > self.room.most:
            raise OverloadedError(
                f"Requests of {self.room.taken:,} bytes are being answered, and {self.room.most:,} is all "
                "that they may have together. Send this one again, or smaller ones."
            )
        self.room.taken += count
        self.count += count


class HeldAnswers:
    """Counts the bytes of long answers until their clients have read all but the last of them."""

    def __init__(self, app: ASGIApp, room: Room) -> None:
        self.app = app
        self.room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            size = len(message.get("body", b""))
            if size <= FREE_ANSWER_BYTES:
                return await send(message)
            with self.room.with_answer(size):
                await send({**message, "more_body": True})
                # Which the server takes only when hardly anything is left of what came before.
                await send({**message, "body": b""})
            return None

        await self.app(scope, receive, send_counted)
