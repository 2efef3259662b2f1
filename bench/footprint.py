"""Resources that a service uses: memory, handles, threads and temporary files."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MORE_MEMORY = 1.05  # tolerated growth: Python and malloc keep some of the memory that is freed
SETTLED_SECONDS = 1.5  # without a change of handles, threads and files
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Footprint:
    """Resources of all processes of a service together.

    Attributes:
        memory: Resident bytes.
        handles: Open files and connections.
        threads: Threads.
        files: Files in its temporary folder.
    """

    memory: int
    handles: int
    threads: int
    files: int

    @classmethod
    def of(cls, processes: Sequence[psutil.Process], folder: Path | None = None) -> "Footprint":
        """Return what processes use now, with the files in a folder that only they use."""
        return cls(
            sum(process.memory_info().rss for process in processes),
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            sum(path.is_file() for path in folder.rglob("*")) if folder else 0,
        )

    @property
    def countable(self) -> tuple[int, int, int]:
        """Handles, threads and files."""
        return self.handles, self.threads, self.files

    def growth_since(self, before: "Footprint") -> list[str]:
        """Return what grew, in words: memory by over 5 %, handles, threads and files by any number."""
        grown = []
        if self.memory > MORE_MEMORY * before.memory:
            grown.append(f"memory grew from {megabytes(before.memory)} to {megabytes(self.memory)}")
        names = ("handles", "threads", "temporary files")
        for name, now, then in zip(names, self.countable, before.countable, strict=True):
            if now > then:
                grown.append(f"{name} grew from {then} to {now}")
        return grown


def settled(measure: Callable[[], Footprint], *, within_seconds: float) -> Footprint:
    """Return a footprint once handles, threads and files no longer change, or after some seconds."""
    footprint, changed = measure(), time.monotonic()
    deadline = changed + within_seconds
    while (now := time.monotonic()) < deadline and now - changed < SETTLED_SECONDS:
        time.sleep(POLL_SECONDS)
        before, footprint = footprint, measure()
        if footprint.countable != before.countable:
            changed = time.monotonic()
    return footprint


def at_rest(measure: Callable[[], Footprint], before: Footprint, *, within_seconds: float) -> Footprint:
    """Return a footprint once it is no larger than before, or after some seconds."""
    deadline = time.monotonic() + within_seconds
    while (footprint := measure()).growth_since(before) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return footprint


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
