"""What other programs use of the machine during a measurement, and repeating one that they disturbed."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import psutil

QUIET = 0.1  # cores that other programs may use during a measurement
TRIES = 3  # of a measurement, by default


class Disturbed(Protocol):
    """A measurement with the number of cores that other programs used meanwhile."""

    @property
    def others(self) -> float: ...


Measurement = TypeVar("Measurement", bound=Disturbed)


def is_quiet(measurement: Disturbed) -> bool:
    return measurement.others <= QUIET


def least_disturbed(measure: Callable[[], Measurement], tries: int = TRIES) -> Measurement:
    """Measure until no other program disturbs it, and return the least disturbed measurement.

    Args:
        measure: Makes one measurement.
        tries: How many are made at most.
    """
    found = [measure()]
    while not is_quiet(found[-1]) and len(found) < tries:
        found.append(measure())
    return min(found, key=lambda measurement: measurement.others)


class Watch:
    """A watch on what programs other than this one, and all that it started, use of the machine."""

    def __init__(self) -> None:
        self.began, self.all, self.ours = time.monotonic(), busy_seconds(), cpu_seconds(family())

    def others(self) -> float:
        """Return the mean number of cores that other programs have used since the watch was made."""
        others = busy_seconds() - self.all - (cpu_seconds(family()) - self.ours)
        return max(0.0, others) / (time.monotonic() - self.began)


def busy_seconds() -> float:
    """Return the processor time of all programs since the machine was started."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))


def family(process: psutil.Process | None = None) -> list[psutil.Process]:
    """Return a process, by default this one, and all that it has started."""
    process = process or psutil.Process()
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time of processes and of their children that have ended."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def megabytes(process: psutil.Process) -> float:
    """Return the memory of a process and all that it started, with shared pages counted once (PSS)."""
    total = 0
    for member in family(process):
        try:
            total += member.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20
