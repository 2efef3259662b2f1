"""A process that decodes pictures, and can be stopped whatever a decoder does.

A thread cannot be stopped while it is inside a decoder, and some decoders keep all other threads waiting. A
process can be stopped and keeps nobody waiting. If a damaged file crashes it, only that file is lost.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from vision.errors import Problem, TooLargeError, UndecodableImageError
from vision.images.decode import decode_image
from vision.images.downscale import Downscale
from vision.images.limits import ImageLimits
from vision.libc import end_with_parent

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

ROOT = Path(__file__).parents[2]
PROBLEMS = {problem.kind: problem for problem in (TooLargeError, UndecodableImageError)}
POLL_SECONDS = 0.05
NICENESS = 5  # small pictures, which the workers decode, come first
OOM_SCORE_ADJ = "500"  # of 1,000: a system without memory kills this process before a worker


class DecoderProcess:
    """Decodes one picture at a time in another process, for all threads of this one."""

    def __init__(self, seconds: float) -> None:
        """Start the process; a picture may take that many seconds."""
        self.seconds = seconds
        self.lock = threading.Lock()
        self.child: Child | None = Child()

    def decode(
        self, data: bytes, *, limits: ImageLimits, downscale: Downscale | None, checkpoint: Callable[[], None]
    ) -> Image.Image:
        """Return a picture as `decode_image` does.

        Args:
            data, limits, downscale: As `decode_image` takes them.
            checkpoint: Called while this waits; an error that it raises ends the work.

        Raises:
            TooLargeError: The picture is too large, or takes too long.
            UndecodableImageError: The bytes are no complete image, or the decoder crashes on them.
            MemoryError: There is too little memory.
        """
        how = {"limits": asdict(limits), "downscale": downscale and asdict(downscale)}
        with self.locked(checkpoint) as child:
            answer = child.ask(how, data, until=time.monotonic() + self.seconds, checkpoint=checkpoint)
        return picture_of(*answer)

    @contextmanager
    def locked(self, checkpoint: Callable[[], None]) -> Iterator["Child"]:
        """Lock the process for the calling thread. An error ends it, and the next picture gets a new one."""
        while not self.lock.acquire(timeout=POLL_SECONDS):
            checkpoint()
        try:
            child = self.child = self.child or Child()
            try:
                yield child
            except BaseException:
                self.child = None
                child.stop()
                raise
        finally:
            self.lock.release()

    def stop(self) -> None:
        """End the process; the next picture starts another."""
        with self.lock:
            if self.child:
                self.child.stop()
            self.child = None


class Child:
    """The process, as its parent sees it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = str(theirs.fileno()), str(os.getpid())
            self.process = subprocess.Popen(  # noqa: S603 - nothing in the command is a client's
                [sys.executable, "-m", "vision.images.decoder_process", *arguments],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        self.connection = Connection(ours.detach())

    def ask(
        self, how: dict[str, Any], data: bytes, *, until: float, checkpoint: Callable[[], None]
    ) -> tuple[dict[str, Any], bytes]:
        """Return what the process says about a picture, and the bytes of its pixels."""
        try:
            self.connection.send_bytes(json.dumps(how).encode())
            self.connection.send_bytes(data)
            while not self.connection.poll(POLL_SECONDS):
                checkpoint()
                if time.monotonic() > until:
                    raise TooLargeError(
                        "The image takes too long to decode. Send it smaller, or as a usual PNG or JPEG."
                    )
            return json.loads(self.connection.recv_bytes()), self.connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise self.crash() from None

    def crash(self) -> Exception:
        """Return the error that stands for the end of the process."""
        status = self.process.wait()
        logger.error("The decoder's process ended with status %d; the next picture starts another.", status)
        if status == -signal.SIGKILL:  # the system is out of memory
            return MemoryError()
        return UndecodableImageError(
            "The image is damaged: its decoder crashed. Save it anew and send it again."
        )

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


def picture_of(said: dict[str, Any], pixels: bytes) -> Image.Image:
    """Return the picture that the process has sent, or raise the error that it has sent."""
    if "problem" in said:
        raise PROBLEMS[said["problem"]](said["detail"])
    if "memory" in said:
        raise MemoryError(said["memory"])
    return Image.frombytes(said["mode"], tuple(said["size"]), pixels)


def answer(connection: Connection) -> None:
    """Receive one picture, decode it, and send it back."""
    how, data = json.loads(connection.recv_bytes()), connection.recv_bytes()
    try:
        limits, downscale = ImageLimits(**how["limits"]), how["downscale"]
        picture = decode_image(data, limits, downscale=Downscale(**downscale) if downscale else None)
        said, pixels = {"mode": picture.mode, "size": picture.size}, picture.tobytes()
    except Problem as problem:
        said, pixels = {"problem": problem.kind, "detail": problem.detail}, b""
    except MemoryError as error:
        said, pixels = {"memory": str(error)}, b""
    connection.send_bytes(json.dumps(said).encode())
    connection.send_bytes(pixels)


def main() -> None:
    """Decode pictures until the parent is gone."""
    descriptor, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)
    os.nice(NICENESS)
    with suppress(OSError):  # some systems have no such file
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJ)
    connection = Connection(descriptor)
    with suppress(EOFError):
        while True:
            answer(connection)


if __name__ == "__main__":
    main()
