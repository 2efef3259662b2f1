"""What a service takes of its machine: memory, handles, threads and temporary files."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MORE_MEMORY = 1.05  # of what it was; Python and malloc keep some of what they are given back
SETTLED_SECONDS = 1.5  # without a change
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Footprint:
    """What all processes of a service take together.

    Attributes:
        memory: Resident bytes.
        handles: Open files and connections.
        threads: Threads.
        files: In the folder for temporary files.
    """

    memory: int
    handles: int
    threads: int
    files: int

    @classmethod
    def of(cls, processes: Sequence[psutil.Process], folder: Path | None = None) -> "Footprint":
        """Return what processes take now, with the files in a folder that is theirs alone."""
        return cls(
            sum(process.memory_info().rss for process in processes),
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            sum(path.is_file() for path in folder.rglob("*")) if folder else 0,
        )

    @property
    def countable(self) -> tuple[int, int, int]:
        return self.handles, self.threads, self.files

    def growth_since(self, before: "Footprint") -> list[str]:
        """Say what is more than it was: memory by over 5 %, of all else anything."""
        grown = []
        if self.memory > MORE_MEMORY * before.memory:
            grown.append(f"memory grew from {megabytes(before.memory)} to {megabytes(self.memory)}")
        names = ("handles", "threads", "temporary files")
        for name, now, then in zip(names, self.countable, before.countable, strict=True):
            if now > then:
                grown.append(f"{name} grew from {then} to {now}")
        return grown


def settled(measure: Callable[[], Footprint], *, within_seconds: float) -> Footprint:
    """Return what a service takes once it has come to rest, or after a time."""
    footprint, changed = measure(), time.monotonic()
    deadline = changed + within_seconds
    while (now := time.monotonic()) < deadline and now - changed < SETTLED_SECONDS:
        time.sleep(POLL_SECONDS)
        before, footprint = footprint, measure()
        if footprint.countable != before.countable:
            changed = time.monotonic()
    return footprint


def at_rest(measure: Callable[[], Footprint], before: Footprint, *, within_seconds: float) -> Footprint:
    """Return what a service takes once that is no more than it was, or after a time."""
    deadline = time.monotonic() + within_seconds
    while (footprint := measure()).growth_since(before) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return footprint


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
