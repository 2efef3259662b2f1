"""What is raised when memory runs out, as the problem that it is."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import OutOfMemoryError

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

# How torch and Python's threads say so, which have no type for it.
WORDS = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "can't start new thread")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Do something that may take a lot of memory.

    Raises:
        OutOfMemoryError: There is not enough.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("A request found not enough memory: %r", error)
        raise OutOfMemoryError from None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether there was not enough memory, be it that this has caused what an error says."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error) for words in WORDS) or is_out_of_memory(error.__cause__)
