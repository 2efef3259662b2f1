"""Progress of long work on standard error: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from tqdm import tqdm

LOG_SECONDS = 10.0  # between two lines of a log, whatever the work goes through meanwhile

Item = TypeVar("Item")


class Log:
    """Prints how many steps are done, unless the same process has printed a moment ago."""

    printed_at: ClassVar[float] = time.monotonic()

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.done = name, total, 0

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - Log.printed_at >= LOG_SECONDS:
            Log.printed_at = now
            total = "" if self.total is None else f" of {self.total:,}"
            print(f"{self.name}: {self.done:,}{total}", file=sys.stderr, flush=True)


@contextmanager
def steps(name: str, total: int | None, *, progress: bool = True) -> Iterator[Callable[[], object]]:
    """Give a function to call after each step of some work.

    Args:
        name: What to call the work.
        total: How many steps it takes, where that is known.
        progress: Whether to show anything.
    """
    if not progress:
        yield lambda: None
    elif sys.stderr.isatty():
        with tqdm(total=total, desc=name, leave=False) as bar:
            yield bar.update
    else:
        yield Log(name, total).step


def followed(
    items: Iterable[Item], name: str, total: int | None = None, *, progress: bool = True
) -> Iterator[Item]:
    """Yield items, each of them one step of some work, with the arguments of `steps`."""
    with steps(name, total, progress=progress) as step:
        for item in items:
            yield item
            step()
