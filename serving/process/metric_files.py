"""The files through which workers share their metrics, with their room on disk reserved.

The files are mapped into memory. As prometheus_client makes them they are sparse: the system finds room when
something is counted and, on a full disk, kills the worker.
"""

import atexit
import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from serving.logs import refuse_to_start

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
USED = struct.Struct("i")  # the first bytes of each file: how many of its bytes are used

# Bytes of a file, by the beginning of its name: several times what the largest model and every endpoint with
# every status need. prometheus_client uses a file at the size it has.
ROOM: Mapping[str, int] = {
    "counter": 2**19,
    "histogram": 2**20,
    "gauge_all": 2**16,
    "gauge_livemin": 2**16,
    "gauge_livesum": 2**16,
    "gauge_mostrecent": 2**16,
}


def make_folder(home: Path) -> str:
    """Return a new folder for the metrics of the workers that this process starts, removed when it ends.

    It is made in BentoML's home or, where that is read-only, among the temporary files.

    Raises:
        SystemExit: Neither is possible.
    """
    try:
        folder = make_locked_folder(home / "metrics")
    except OSError:
        try:
            folder = tempfile.mkdtemp(prefix="driftbento-metrics-")
        except OSError as error:
            refuse_to_start(
                f"The service needs a folder that it can write to, and can make none in {home} or where "
                f"temporary files go, such as in /tmp ({error.strerror})."
            )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def make_locked_folder(place: Path) -> str:
    """Return a new folder that is locked as long as this process lives.

    Folders without a lock, of processes that were killed, are removed.
    """
    place.mkdir(exist_ok=True)
    with locked(place, fcntl.LOCK_EX):  # else a new folder could be removed before it is locked
        for left in place.iterdir():
            with suppress(BlockingIOError), locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.mkdtemp(dir=place)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    return folder


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def reserve() -> None:
    """Reserve the disk space for the metrics of this process, where it shares them with others.

    Raises:
        OSError: There is not enough.
    """
    if FOLDER_VARIABLE not in os.environ:
        return
    folder = Path(os.environ[FOLDER_VARIABLE])
    try:
        for name, size in ROOM.items():
            with (folder / f"{name}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        release(os.getpid(), folder)
        raise OSError(
            error.errno,
            f"A worker needs {sum(ROOM.values()):,} bytes for its metrics, and cannot have them "
            f"({os.strerror(error.errno or 0)}). Free some or make the file system larger",
            str(folder),
        ) from error


def release(process: int, folder: Path) -> None:
    """Free the disk space that a process which has ended did not use, and keep its metrics."""
    for path in folder.glob(f"*_{process}.db"):
        with path.open("r+b") as file:
            used = file.read(USED.size)
            if used:
                file.truncate(max(*USED.unpack(used), 2 * USED.size))
            else:  # it is empty, since there was no room, and readers cannot read that
                path.unlink()
