"""Whether all workers of the service are there and ready, as each of them can tell at any time."""

import ctypes
import fcntl
import os
import signal
import struct
import tempfile
from typing import Self

# By which workers find the roll: its file descriptor, how many they are, and the process that starts them.
VARIABLE = "DRIFTBENTO_ROLL"
PROCESS = struct.Struct("q")
PR_SET_PDEATHSIG = 1  # as Linux's prctl.h calls it


class Roll:
    """A file without a name in which each worker that is ready has locked a byte.

    The system takes the lock back however a worker ends, and to ask for it takes microseconds. So the others
    know at once when one is gone.
    """

    def __init__(self, descriptor: int, n_workers: int, starter: int, worker: int = 0) -> None:
        """Use a roll that is open.

        Args:
            descriptor: Of the file.
            n_workers: How many there are when all are there.
            starter: The process that starts them.
            worker: The number of this one, from 1 on, at most 2 * n_workers; 0 for who starts them.
        """
        self.descriptor = descriptor
        self.n_workers = n_workers
        self.starter = starter
        self.worker = worker
        self.has_signed = False

    @classmethod
    def create(cls, n_workers: int) -> Self:
        """Return a new roll, for workers that this process is going to start."""
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)  # noqa: PTH108 - mkstemp gives no Path
        os.set_inheritable(descriptor, True)
        return cls(descriptor, n_workers, os.getpid())

    @classmethod
    def inherit(cls, worker: int | None) -> Self | None:
        """Return the roll of the process that started this one as a worker, if one did."""
        if not worker or VARIABLE not in os.environ:
            return None
        descriptor, n_workers, starter = map(int, os.environ[VARIABLE].split(":"))
        return cls(descriptor, n_workers, starter, worker)

    def environment(self) -> dict[str, str]:
        """Return what workers are to have in their environment."""
        return {VARIABLE: f"{self.descriptor}:{self.n_workers}:{self.starter}"}

    def sign(self) -> None:
        """Say that this worker is ready, for as long as it lives."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.worker)
        os.pwrite(self.descriptor, PROCESS.pack(os.getpid()), self.worker * PROCESS.size)
        self.has_signed = True

    def has_seen(self, process: int) -> bool:
        """Return whether a process has signed, be it still alive or not."""
        signed = os.pread(self.descriptor, (2 * self.n_workers + 1) * PROCESS.size, 0)
        return (process,) in PROCESS.iter_unpack(signed[: len(signed) // PROCESS.size * PROCESS.size])

    @property
    def why_not_ready(self) -> str | None:
        """How many workers are gone or have not signed yet, if any."""
        others = (place for place in range(1, 2 * self.n_workers + 1) if place != self.worker)
        n_missing = self.n_workers - self.has_signed - sum(map(self.is_held, others))
        return f"Workers that are not ready: {n_missing} of {self.n_workers}." if n_missing > 0 else None

    def is_held(self, place: int) -> bool:
        """Return whether a worker other than this one holds a place."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, place)
        except OSError:
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, place)
        return False


def end_with_parent(parent: int) -> None:
    """Have this worker told to stop when the process that started it is gone, where the system can do that.

    Otherwise, it would go on for ever, with a port and with memory that nobody knows of.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # which has gone before that
            os.kill(os.getpid(), signal.SIGTERM)
