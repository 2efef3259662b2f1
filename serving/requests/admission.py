"""Admission: how many requests of an endpoint, and how many bytes of all requests, are held at a time.

A request over a limit is refused at once, with 429: to let it wait would take the memory that is missing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import OverloadedError
from serving.metrics import metrics


class Queue:
    """The requests to one endpoint that are being answered or wait for it, up to a number of them."""

    def __init__(self, endpoint: str, most: int) -> None:
        self.most = most
        self.taken = 0
        self.gauge = metrics().queue.labels(endpoint)
        self.gauge.set(0)

    def check(self) -> None:
        """Make sure that there is a place.

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
            OverloadedError: No place is left.
        """
        self.check()
        self.taken += 1
        self.gauge.set(self.taken)
        try:
            yield
        finally:
            self.taken -= 1
            self.gauge.set(self.taken)


class MemoryBudget:
    """The bytes that requests, and answers which are not read yet, may take together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def for_request(self) -> Iterator["RequestMemory"]:
        """Give a counter for the bytes of a request, which are given back when the request is over."""
        held = RequestMemory(self)
        try:
            yield held
        finally:
            self.taken -= held.count

    @contextmanager
    def with_answer(self, count: int) -> Iterator[None]:
        """Count the bytes of an answer, even over the budget, since the answer is in memory already."""
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


class RequestMemory:
    """The bytes of one request."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.count = 0

    def take(self, count: int) -> None:
        """Count some more bytes.

        Raises:
            OverloadedError: They are over the budget. Those counted before stay counted.
        """
        budget = self.budget
        if budget.taken + count > budget.most:
            raise OverloadedError(
                f"Requests of {budget.taken:,} bytes are being answered, and {budget.most:,} is all that "
                "they may have together. Send this one again, or smaller ones."
            )
        budget.taken += count
        self.count += count
