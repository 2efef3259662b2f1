"""Out of memory: whoever says so in whichever way, it is the same problem; and nothing else is."""

import errno
import os

import pytest
import torch

from serving.errors import OutOfMemoryError
from serving.problems import enough_memory


def allocate_too_much() -> None:
    torch.empty(2**50)


def fail_to_map() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def fail_to_start_a_thread() -> None:
    raise RuntimeError("can't start new thread")  # as threading says it


def fail_as_a_batch() -> None:
    raise RuntimeError("A batch failed: MemoryError: ") from MemoryError()


@pytest.mark.parametrize(
    "fail",
    [lambda: bytearray(2**60), allocate_too_much, fail_to_map, fail_to_start_a_thread, fail_as_a_batch],
    ids=["Python", "torch", "a mapping", "a thread", "the cause of something else"],
)
def test_too_little_memory_is_a_problem_of_its_own(fail):
    with pytest.raises(OutOfMemoryError, match="fewer or smaller images"), enough_memory():
        fail()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("The size of tensor a must match"), OSError(errno.ENOSPC, "full"), ValueError("no")],
    ids=["torch", "a disk", "a value"],
)
def test_what_has_nothing_to_do_with_memory_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, enough_memory():
        raise error

    assert raised.value is error
