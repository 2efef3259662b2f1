"""The memory budget: answers that clients have not read yet count with the requests."""

import asyncio

import pytest
from starlette.responses import Response

from serving.errors import OverloadedError
from serving.middleware.response_memory import FREE_ANSWER_BYTES, ResponseMemory
from serving.requests.admission import MemoryBudget

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


async def answer(size: int, budget: MemoryBudget, read: asyncio.Event, sent: list[dict]) -> None:
    """Send an answer of some bytes to a client that reads it when it is told to."""

    async def send(message: dict) -> None:
        if sent and len(sent[-1].get("body", b"")) > FREE_ANSWER_BYTES:
            await read.wait()  # as the server does, before it takes what follows many bytes
        sent.append(message)

    await ResponseMemory(Response(bytes(size)), budget)(SCOPE, None, send)


@pytest.mark.parametrize(
    ("size", "held"), [(FREE_ANSWER_BYTES, 0), (10**6, 10**6)], ids=["a short answer", "a long answer"]
)
def test_an_answer_is_held_until_its_client_has_read_it(size, held):
    async def ask() -> tuple[int, int]:
        budget, read, sent = MemoryBudget(10**7), asyncio.Event(), list[dict]()
        answering = asyncio.create_task(answer(size, budget, read, sent))
        while not any(message.get("body") for message in sent):
            await asyncio.sleep(0)
        while_unread = budget.taken
        read.set()
        await answering
        assert b"".join(message.get("body", b"") for message in sent) == bytes(size)
        assert [message.get("more_body", False) for message in sent][-1] is False
        return while_unread, budget.taken

    assert asyncio.run(ask()) == (held, 0)


def test_long_answers_that_nobody_reads_leave_no_memory_for_requests():
    async def ask() -> None:
        budget, read = MemoryBudget(10**6), asyncio.Event()
        answering = [asyncio.create_task(answer(600_000, budget, read, [])) for _ in range(2)]
        while budget.taken < 2 * 600_000:
            await asyncio.sleep(0)
        with budget.for_request() as request, pytest.raises(OverloadedError):
            request.take(1)
        read.set()
        await asyncio.gather(*answering)
        with budget.for_request() as request:
            request.take(1)

    asyncio.run(ask())


def test_memory_is_given_back_when_the_client_leaves_in_the_middle():
    async def ask() -> int:
        budget = MemoryBudget(10**6)
        answering = asyncio.create_task(answer(600_000, budget, asyncio.Event(), []))
        while not budget.taken:
            await asyncio.sleep(0)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        return budget.taken

    assert asyncio.run(ask()) == 0
