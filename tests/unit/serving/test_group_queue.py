"""Groups of requests: none waits for others, each gets its own answer, and a fault stays where it is."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.execution.scheduler import GroupQueue

BROKEN, LOST = 10_001, 10_002


class Squares:
    """Squares numbers, once it is let, and notes which it was given together."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.may_go_on = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(numbers))
        self.may_go_on.wait(timeout=60)
        if BROKEN in numbers:
            raise KeyboardInterrupt("all of them")
        if LOST in numbers:
            return []
        return [ValueError(f"{number} is negative") if number < 0 else number**2 for number in numbers]


def answers(
    squares: Squares, numbers: Sequence[int], *, streams: int = 1, largest: int = 100, **options
) -> list[int | BaseException]:
    """Ask for all numbers at once, the first of them a moment before the others."""

    async def ask() -> list[int | BaseException]:
        queue = GroupQueue(pool, squares, streams=streams, largest=largest, **options)
        first = asyncio.create_task(queue(numbers[0]))
        while not squares.calls:
            await asyncio.sleep(0)
        others = [asyncio.create_task(queue(number)) for number in numbers[1:]]
        await asyncio.sleep(0)
        squares.may_go_on.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    with ThreadPoolExecutor(4) as pool:
        return asyncio.run(ask())


def test_the_first_does_not_wait_and_those_that_come_meanwhile_are_answered_together():
    squares = Squares()

    assert answers(squares, [1, 2, 3, 4]) == [1, 4, 9, 16]

    assert squares.calls == [[1], [2, 3, 4]]


def test_no_more_are_answered_together_than_may_be():
    squares = Squares()

    assert answers(squares, range(1, 8), largest=2) == [number**2 for number in range(1, 8)]

    assert [len(call) for call in squares.calls] == [1, 2, 2, 2]


def test_large_ones_are_answered_with_fewer_others():
    squares = Squares()

    answers(squares, [1, 3, 4, 5, 20, 2, 2], largest=10, size_of=lambda number: number)

    assert squares.calls == [[1], [3, 4], [5], [20], [2, 2]]


def test_streams_share_what_waits():
    squares = Squares()

    assert answers(squares, range(30), streams=2) == [number**2 for number in range(30)]

    sizes = [len(call) for call in squares.calls]
    assert sum(sizes) == 30
    assert max(sizes) <= 15


def test_one_that_fails_leaves_the_others_alone():
    first, second, third = answers(Squares(), [1, -2, 3])

    assert (first, third) == (1, 9)
    assert isinstance(second, ValueError)


@pytest.mark.parametrize("fault", [BROKEN, LOST], ids=["raised", "too few results"])
def test_where_the_work_itself_fails_all_that_are_in_it_hear_of_it_and_the_next_are_answered(fault):
    squares = Squares()

    found = answers(squares, [1, fault, 2, 3, 4], largest=2)

    assert [type(one) for one in found] == [int, RuntimeError, RuntimeError, int, int]


def test_one_that_has_left_is_not_worked_for():
    squares = Squares()

    async def leave() -> int:
        queue = GroupQueue(pool, squares, streams=1, largest=100)
        first = asyncio.create_task(queue(1))
        while not squares.calls:
            await asyncio.sleep(0)
        gone, stays = asyncio.create_task(queue(2)), asyncio.create_task(queue(3))
        await asyncio.sleep(0)
        gone.cancel()
        squares.may_go_on.set()
        await first
        return await stays

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(leave()) == 9

    assert squares.calls == [[1], [3]]


@pytest.mark.parametrize("streams", [1, 3])
def test_of_many_that_come_at_odd_times_each_gets_its_own_answer(streams):
    squares = Squares()
    squares.may_go_on.set()

    async def ask(queue: GroupQueue, start: int) -> list[int]:
        return [await queue(number) for number in range(start, start + 50)]

    async def ask_all() -> list[list[int]]:
        queue = GroupQueue(pool, squares, streams=streams, largest=4)
        return await asyncio.gather(*(ask(queue, start) for start in range(0, 1000, 50)))

    with ThreadPoolExecutor(3) as pool:
        found = asyncio.run(ask_all())

    assert [number for one in found for number in one] == [number**2 for number in range(1000)]
    assert max(len(call) for call in squares.calls) <= 4
