"""Who waits for whom: few images not for many, small ones not for large ones, and large networks for none."""

import asyncio
import io
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from serving.endpoints.classify import ClassifyJob
from serving.execution import lanes
from serving.execution.lanes import Lane, PutOffError, put_off, quick_lane
from serving.execution.scheduler import FEW_IMAGES, MAX_PREDICTIONS, Scheduler
from serving.registry import Registry
from serving.requests.cancellation import AbandonedError, Work
from serving.requests.multipart import Submission
from serving.schemas import ClassifyForm, ClassifyResponse
from serving.settings import Settings
from vision.errors import TooLargeError
from vision.images.decode import Offload
from vision.images.read import Upload
from vision.models.classifier import Classifier, load_classifier
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

SMALL, SPECIAL = (28, 28), (600, 600)  # the second takes long where the network is small
PATIENCE_SECONDS = 60


def job(*sizes: tuple[int, int]) -> ClassifyJob:
    """A request with pictures of noise, so that large ones have many bytes."""
    uploads = []
    for index, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        uploads.append(Upload(f"{index}.png", "image/png", stream.getvalue()))
    return Submission(ClassifyForm(model="fake"), uploads), Work()


@pytest.fixture
def scheduler(fake_model_folder, monkeypatch) -> Callable[..., Scheduler]:
    """Return a function that makes a scheduler of two threads, given what happens at special pictures."""
    monkeypatch.setattr(lanes, "QUICK_SECONDS", math.inf)  # on a slow machine too
    loaded = load_classifier(fake_model_folder, "fake", "1", {"preprocessing": "digits"})

    def make(at_special: Callable[[], object], *, sizes: Sequence[int]) -> Scheduler:
        def prepare(image: Image.Image) -> Prepared:
            if image.size == SPECIAL:
                at_special()
            return Prepared(np.asarray(image.resize(SMALL).convert("L"))[np.newaxis])

        classifier: Classifier = replace(
            loaded, engine=replace(loaded.engine, sizes=sizes), preparation=Preparation(prepare)
        )
        return Scheduler(Registry({"fake": classifier}), Settings(classify_threads=2))

    return make


async def first_and_second(
    scheduler: Scheduler,
    begun: threading.Event,
    may_end: threading.Event,
    first: ClassifyJob,
    second: ClassifyJob,
) -> tuple[ClassifyResponse, ClassifyResponse]:
    """Send a request, another once the first is being worked on, and let the first end after the second."""
    slow = asyncio.create_task(scheduler.classify(*first))
    await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
    quick = await asyncio.wait_for(scheduler.classify(*second), PATIENCE_SECONDS)
    may_end.set()
    return await slow, quick


@pytest.mark.parametrize(
    "first",
    [[*[SMALL] * FEW_IMAGES, SPECIAL], [SPECIAL]],
    ids=["many images", "a large picture"],
)
def test_a_small_picture_does_not_wait_for(scheduler, first):
    begun, may_end = threading.Event(), threading.Event()

    def hold_up() -> None:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)

    slow, quick = asyncio.run(
        first_and_second(scheduler(hold_up, sizes=(1, 8)), begun, may_end, job(*first), job(SMALL))
    )

    assert len(slow.results) == len(first)
    assert len(quick.results) == 1


def test_a_picture_that_takes_long_is_decoded_in_another_process(scheduler):
    decoded_elsewhere = []

    async def ask() -> ClassifyResponse:
        made = scheduler(lambda: None, sizes=(1, 8))
        decode = made.decoder.decode
        made.decoder.decode = lambda data, **limits: decoded_elsewhere.append(data) or decode(data, **limits)
        return await made.classify(*job(SMALL, SPECIAL, SMALL))

    answer = asyncio.run(ask())

    assert len(decoded_elsewhere) == 1
    assert [result.label is not None for result in answer.results] == [True] * 3


def test_an_answer_far_longer_than_its_request_is_too_large(scheduler):
    submission = Submission(
        ClassifyForm(model="fake", top_k=2), [Upload("x.png", "image/png", b"")] * (MAX_PREDICTIONS // 2 + 1)
    )

    with pytest.raises(TooLargeError, match="2 classes of 50001 images"):
        asyncio.run(scheduler(lambda: None, sizes=(1,)).classify(submission, Work()))


def test_a_large_network_sees_large_pictures_at_the_same_time(scheduler):
    both = threading.Barrier(2)

    async def ask() -> list[ClassifyResponse]:
        at_once = scheduler(lambda: both.wait(PATIENCE_SECONDS), sizes=(1,))
        return await asyncio.gather(*(at_once.classify(*job(SPECIAL)) for _ in range(2)))

    answers = asyncio.run(ask())

    assert [len(answer.results) for answer in answers] == [1, 1]
    assert not both.broken


def test_a_request_whose_pictures_take_long_together_is_put_off():
    checkpoint = Lane(lambda _: Offload(0, put_off), seconds=0).checkpoint(Work())

    with pytest.raises(PutOffError):
        checkpoint()


def test_a_request_that_nobody_waits_for_is_abandoned_in_any_lane():
    work = Work()
    work.abandon()

    for lane in (quick_lane(1), Lane(lambda _: Offload(0, put_off))):
        with pytest.raises(AbandonedError):
            lane.checkpoint(work)()
