"""The room that a worker's metrics take on disk, taken before there is none left.

Workers share their metrics through files that are mapped into memory. As prometheus_client makes them they
are holes, for which the system finds room when something is counted; on a full disk it kills the worker.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
USED = struct.Struct("i")  # bytes, with which each file begins

# Bytes by the beginning of a file's name: several times what is counted of the largest model and of every
# endpoint with every status that it has. prometheus_client takes a file as large as it finds it.
ROOM: Mapping[str, int] = {
    "counter": 2**19,
    "histogram": 2**20,
    "gauge_all": 2**16,
    "gauge_livemin": 2**16,
    "gauge_livesum": 2**16,
    "gauge_mostrecent": 2**16,
}


def reserve() -> None:
    """Take the room for all that this process will count, where it shares its metrics with others.

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
    """Give back the room that a process which has ended did not use. What it has counted stays."""
    for path in folder.glob(f"*_{process}.db"):
        with path.open("r+b") as file:
            used = file.read(USED.size)
            if used:
                file.truncate(max(*USED.unpack(used), 2 * USED.size))
            else:  # there was no room for it, and readers expect a beginning
                path.unlink()
