"""The readiness of all workers, which each of them knows at any time."""

import asyncio
import fcntl
import logging
import os
import signal
import struct
import tempfile
import time
from dataclasses import dataclass
from typing import Self

logger = logging.getLogger("bentoml.driftbento")

# In the environment of workers: the file's descriptor, their number, and the process that starts them.
VARIABLE = "DRIFTBENTO_READINESS"
RECORD = struct.Struct("qd")  # a process, and when it last showed a sign of life, by time.monotonic
BEAT_EVERY_SECONDS = 0.25
SILENT_AFTER_SECONDS = 5  # far more than any request keeps a worker from showing a sign of life
LOOK_EVERY_SECONDS = 0.1


@dataclass(eq=False)
class ReadinessFile:
    """An unlinked file in which each worker that has loaded locks a byte: one if ready, another if not.

    The system releases the lock however a worker ends, and looking at a lock takes microseconds, so that the
    others know at once when a worker is gone. A worker that hangs is known by its record, in which it would
    note the time again and again.
    """

    descriptor: int
    n_workers: int  # when all are there
    starter: int  # the process that starts them
    worker: int = 0  # the number of this one, from 1 to n_places; 0 for the process that starts them
    is_ready: bool = False

    def __post_init__(self) -> None:
        self.n_places = 2 * (self.n_workers + 1)  # circus numbers replacements too

    @classmethod
    def create(cls, n_workers: int) -> Self:
        """Return a new file, for workers that this process is going to start."""
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)  # noqa: PTH108 - mkstemp gives no Path
        os.set_inheritable(descriptor, True)
        created = cls(descriptor, n_workers, os.getpid())
        os.pwrite(descriptor, bytes((created.n_places + 1) * RECORD.size), 0)  # the disk may be full later
        return created

    @classmethod
    def inherit(cls, worker: int | None) -> Self | None:
        """Return the file of the process that started this one as a worker, None for other processes."""
        if not worker or VARIABLE not in os.environ:
            return None
        descriptor, n_workers, starter = map(int, os.environ[VARIABLE].split(":"))
        return cls(descriptor, n_workers, starter, worker)

    def environment(self) -> dict[str, str]:
        """Return the environment variable by which workers find the file."""
        return {VARIABLE: f"{self.descriptor}:{self.n_workers}:{self.starter}"}

    def mark_ready(self) -> None:
        """Mark this worker as ready, for as long as it lives and shows signs of life."""
        self.note_time()
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.worker)
        self.is_ready = True

    def is_needed_unready(self) -> bool:
        """Return whether this worker, which is not ready, has to answer since no other worker is ready.

        It waits until another is ready or none can be any more.
        """
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.n_places + self.worker)
        while not self.n_ready:
            if sum(self.is_held(self.n_places + place) for place in self.others()) >= self.n_workers - 1:
                self.note_time()
                return True
            time.sleep(LOOK_EVERY_SECONDS)
        return False

    def join(self, why_not_ready: str | None) -> None:
        """Take part in answering requests, or end this process if it is not ready and another worker is."""
        if why_not_ready is None:
            self.mark_ready()
        elif not self.is_needed_unready():
            logger.error("This worker ends, since others are ready. %s", why_not_ready)
            os._exit(1)
        self.keep_beating()

    def keep_beating(self) -> None:
        """Show signs of life as long as the event loop turns; end if not ready and another worker is."""
        self.note_time()
        if not self.is_ready and self.n_ready:
            signal.raise_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(BEAT_EVERY_SECONDS, self.keep_beating)

    def note_time(self) -> None:
        record = RECORD.pack(os.getpid(), time.monotonic())
        os.pwrite(self.descriptor, record, self.worker * RECORD.size)

    def records(self) -> list[tuple[int, float]]:
        """Return for each place its last process, and when that last showed a sign of life."""
        return list(RECORD.iter_unpack(os.pread(self.descriptor, (self.n_places + 1) * RECORD.size, 0)))

    def last_sign_of(self, process: int) -> float | None:
        """Return when a process last showed a sign of life, even if it has ended; None if it never did."""
        return dict(self.records()).get(process)

    @property
    def n_ready(self) -> int:
        """How many other workers are ready and alive, those that hang included."""
        return sum(map(self.is_held, self.others()))

    @property
    def why_not_ready(self) -> str | None:
        """How many workers are gone, hang, or are not ready yet, in a sentence; None if no worker is."""
        since, records = time.monotonic() - SILENT_AFTER_SECONDS, self.records()
        n_others = sum(records[place][1] >= since and self.is_held(place) for place in self.others())
        n_missing = self.n_workers - self.is_ready - n_others
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
