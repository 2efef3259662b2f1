"""Whether all workers of the service are there and ready, as each of them can tell at any time."""

import asyncio
import fcntl
import logging
import os
import signal
import struct
import tempfile
import time
from typing import Self

logger = logging.getLogger("bentoml.driftbento")

# By which workers find the roll: its file descriptor, how many they are, and the process that starts them.
VARIABLE = "DRIFTBENTO_ROLL"
RECORD = struct.Struct("qd")  # a process, and when it last showed a sign of life, by time.monotonic
BEAT_EVERY_SECONDS = 0.25
SILENT_AFTER_SECONDS = 5  # far more than any request keeps a worker from showing a sign of life
LOOK_EVERY_SECONDS = 0.1


class Roll:
    """A file without a name in which each worker that has loaded locks a byte: one if ready, another if not.

    The system takes the lock back however a worker ends, and to ask for it takes microseconds. So the others
    know at once when one is gone. A worker that has a lock and does nothing is known by its record, in which
    it notes the time again and again.
    """

    def __init__(self, descriptor: int, n_workers: int, starter: int, worker: int = 0) -> None:
        """Use a roll that is open.

        Args:
            descriptor: Of the file.
            n_workers: How many there are when all are there.
            starter: The process that starts them.
            worker: The number of this one, from 1 on, at most n_places; 0 for who starts them.
        """
        self.descriptor = descriptor
        self.n_workers = n_workers
        self.n_places = 2 * (
            n_workers + 1
        )  # workers are numbered so, one that is to replace another included
        self.starter = starter
        self.worker = worker
        self.has_signed = False

    @classmethod
    def create(cls, n_workers: int) -> Self:
        """Return a new roll, for workers that this process is going to start."""
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)  # noqa: PTH108 - mkstemp gives no Path
        os.set_inheritable(descriptor, True)
        roll = cls(descriptor, n_workers, os.getpid())
        os.pwrite(descriptor, bytes((roll.n_places + 1) * RECORD.size), 0)  # later, the disk may be full
        return roll

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
        """Say that this worker is ready, for as long as it lives and shows signs of life."""
        self.note_time()
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.worker)
        self.has_signed = True

    def is_needed_unready(self) -> bool:
        """Return whether a worker that is not ready is to answer, since no other one could do so better.

        It waits until either is known.
        """
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.n_places + self.worker)
        while not self.n_ready:
            if sum(self.is_held(self.n_places + place) for place in self.others()) >= self.n_workers - 1:
                self.note_time()
                return True
            time.sleep(LOOK_EVERY_SECONDS)
        return False

    def join(self, why_not_ready: str | None) -> None:
        """Take part in answering, or end this process if it is not ready and another worker is.

        Args:
            why_not_ready: What is missing, if anything is.
        """
        if why_not_ready is None:
            self.sign()
        elif not self.is_needed_unready():
            logger.error("This worker ends, since others are ready. %s", why_not_ready)
            os._exit(1)
        self.keep_beating()

    def keep_beating(self) -> None:
        """Show signs of life as long as the event loop turns; end if not ready and another worker is."""
        self.note_time()
        if not self.has_signed and self.n_ready:
            signal.raise_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(BEAT_EVERY_SECONDS, self.keep_beating)

    def note_time(self) -> None:
        record = RECORD.pack(os.getpid(), time.monotonic())
        os.pwrite(self.descriptor, record, self.worker * RECORD.size)

    def records(self) -> list[tuple[int, float]]:
        """Return the process that last had each place, and when it last showed a sign of life."""
        noted = os.pread(self.descriptor, (self.n_places + 1) * RECORD.size, 0)
        return list(RECORD.iter_unpack(noted))

    def last_sign_of(self, process: int) -> float | None:
        """Return when a process last showed a sign of life, even if it has ended; None if it never did."""
        return dict(self.records()).get(process)

    @property
    def n_ready(self) -> int:
        """How many other workers have signed and are alive, be it without a sign of it."""
        return sum(map(self.is_held, self.others()))

    @property
    def why_not_ready(self) -> str | None:
        """How many workers are gone, give no sign of life, or have not signed yet, if any."""
        since, records = time.monotonic() - SILENT_AFTER_SECONDS, self.records()
        n_others = sum(records[place][1] >= since and self.is_held(place) for place in self.others())
        n_missing = self.n_workers - self.has_signed - n_others
        return f"Workers that are not ready: {n_missing} of {self.n_workers}." if n_missing > 0 else None

    def others(self) -> list[int]:
        """Return the places of all workers but this one."""
        return [place for place in range(1, self.n_places + 1) if place != self.worker]

    def is_held(self, byte: int) -> bool:
        """Return whether another process than this one has locked a byte."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)
        return False
