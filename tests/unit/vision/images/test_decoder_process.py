"""Pictures decoded in another process: the same as in this one, and within a time limit."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from serving.requests.cancellation import AbandonedError
from tests.support.processes import wait_until
from vision.errors import TooLargeError, UndecodableImageError
from vision.images.decode import decode_image
from vision.images.decoder_process import DecoderProcess
from vision.images.downscale import Downscale
from vision.images.limits import ImageLimits

ROOT = Path(__file__).parents[4]
LIMITS = ImageLimits()
MANY_SECONDS = 60


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


GRADIENT = Image.linear_gradient("L")
PICTURES = {
    "PNG of grey": (GRADIENT, "PNG"),
    "PNG with a palette": (GRADIENT.convert("RGB").convert("P"), "PNG"),
    "PNG with opacity": (Image.merge("LA", [GRADIENT, GRADIENT]), "PNG"),
    "PNG of 16 bits": (Image.fromarray(np.asarray(GRADIENT).astype(np.uint16) * 257), "PNG"),
    "PNG of one bit": (GRADIENT.convert("1"), "PNG"),
    "JPEG of four inks": (GRADIENT.convert("CMYK"), "JPEG"),
    "TIFF of numbers": (Image.fromarray(np.asarray(GRADIENT).astype(np.float32) / 255), "TIFF"),
    "WebP": (GRADIENT.convert("RGBA"), "WEBP"),
}


@pytest.fixture(scope="module")
def slow_picture() -> bytes:
    """A picture that takes several times as long as it takes to look whether it is there."""
    return encoded(Image.new("RGBA", (7000, 7000), (10, 20, 30, 40)), "PNG", compress_level=1)


@pytest.fixture
def decoder() -> Iterator[DecoderProcess]:
    decoder = DecoderProcess(MANY_SECONDS)
    yield decoder
    decoder.stop()


def decoded(
    decoder: DecoderProcess,
    data: bytes,
    *,
    limits: ImageLimits = LIMITS,
    downscale: Downscale | None = None,
    checkpoint=lambda: None,
):
    return decoder.decode(data, limits=limits, downscale=downscale, checkpoint=checkpoint)


def test_a_picture_comes_out_as_it_does_without_another_process(decoder):
    for name, (image, kind) in PICTURES.items():
        data = encoded(image, kind)

        here, there = decode_image(data, LIMITS), decoded(decoder, data)

        assert (there.mode, there.size) == (here.mode, here.size), name
        assert there.tobytes() == here.tobytes(), name


def test_a_picture_is_made_as_small_as_its_model_can_spare(decoder):
    data = encoded(GRADIENT.resize((2100, 2400)), "PNG")

    assert decoded(decoder, data, downscale=Downscale("longer", 560)).size == (525, 600)


def test_what_is_wrong_with_a_picture_is_said_as_without_another_process(decoder):
    with pytest.raises(UndecodableImageError, match="ends early"):
        decoded(decoder, encoded(GRADIENT, "PNG")[:200])
    with pytest.raises(TooLargeError, match="65,536 pixels"):
        decoded(decoder, encoded(GRADIENT, "PNG"), limits=ImageLimits(max_pixels=1000))


def test_a_picture_that_takes_too_long_is_refused_and_the_next_one_is_decoded(decoder, slow_picture):
    decoder.seconds = 0

    with pytest.raises(TooLargeError, match="takes too long to decode"):
        decoded(decoder, slow_picture)

    decoder.seconds = MANY_SECONDS
    assert decoded(decoder, encoded(GRADIENT, "PNG")).size == (256, 256)


def test_work_that_nobody_waits_for_ends_inside_a_picture(decoder, slow_picture):
    working = psutil.Process(decoder.child.process.pid)

    def leave() -> None:
        raise AbandonedError

    with pytest.raises(AbandonedError):
        decoded(decoder, slow_picture, checkpoint=leave)

    assert not working.is_running()
    assert decoded(decoder, encoded(GRADIENT, "PNG")).size == (256, 256)


@pytest.mark.parametrize(
    ("killed_by", "error"), [(signal.SIGSEGV, UndecodableImageError), (signal.SIGKILL, MemoryError)], ids=str
)
def test_a_decoder_that_dies_costs_its_own_picture_alone(decoder, slow_picture, killed_by, error):
    def die() -> None:
        os.kill(decoder.child.process.pid, killed_by)

    with pytest.raises(error):
        decoded(decoder, slow_picture, checkpoint=die)

    assert decoded(decoder, encoded(GRADIENT, "PNG")).size == (256, 256)


PARENT = """
import sys, time
from vision.images.decoder_process import DecoderProcess
from vision.images.limits import ImageLimits
decoder = DecoderProcess(60)
print(decoder.child.process.pid, flush=True)
if "busy" in sys.argv:
    data = open(sys.argv[1], "rb").read()
    limits = ImageLimits(max_pixels=10**8)
    decoder.decode(data, limits=limits, downscale=None, checkpoint=lambda: print("busy", flush=True))
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_process_ends_with_the_one_that_started_it(state, slow_picture, tmp_path):
    (tmp_path / "slow.png").write_bytes(slow_picture)
    command = [sys.executable, "-c", PARENT, str(tmp_path / "slow.png"), state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        if state == "busy":
            assert parent.stdout.readline() == "busy\n"
        parent.kill()

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
