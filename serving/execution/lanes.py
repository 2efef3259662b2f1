"""A quick and a slow lane for requests, so that quick requests do not wait for slow ones.

How long a request takes is not known beforehand. A request of few images starts in the quick lane. Once it
turns out to be slow it is put off, and starts anew in the slow lane.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, NoReturn

from serving.requests.cancellation import Work
from vision.images.decode import QUICK_STEPS, Offload
from vision.images.decoder_process import DecoderProcess

QUICK_SECONDS = 0.15  # for decoding and preparing; one more picture then takes a tenth of a second at most


class PutOffError(Exception):
    """A request takes longer than the quick lane allows."""


@dataclass(frozen=True)
class Lane:
    """How the pictures of a request are decoded."""

    offload: Callable[[Work], Offload]  # returns what decodes the slow pictures of a request
    seconds: float = inf  # how long a request may take before it is put off

    def checkpoint(self, work: Work) -> Callable[[], None]:
        """Return a function to call before each picture, which raises an error if the work has to end."""
        until = time.monotonic() + self.seconds

        def check() -> None:
            work.checkpoint()
            if time.monotonic() > until:
                raise PutOffError

        return check


def quick_lane(steps: int) -> Lane:
    """Return a lane that puts off requests with a picture of more steps, or that take long in all."""
    offload = Offload(steps, put_off)
    return Lane(lambda _: offload, QUICK_SECONDS)


def slow_lane(decoder: DecoderProcess) -> Lane:
    """Return a lane for any request; slow pictures are decoded in another process."""
    return Lane(lambda work: Offload(QUICK_STEPS, partial(decoder.decode, checkpoint=work.checkpoint)))


def put_off(*_: Any, **__: Any) -> NoReturn:
    raise PutOffError
