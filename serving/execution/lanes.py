"""Requests that take long told from those that do not, so that none of the quick ones waits for a slow one.

Nobody knows beforehand how long a request takes. One of few images begins in the quick lane, and is put off
as soon as it turns out to take long. Its work then begins anew in the slow lane.
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

QUICK_SECONDS = 0.15  # of decoding and preparing; a further picture then takes a tenth of a second at most


class PutOffError(Exception):
    """A request takes longer than its lane allows."""


@dataclass(frozen=True)
class Lane:
    """How the pictures of a request are decoded.

    Attributes:
        elsewhere: Returns what decodes those that take long, for some work.
        seconds: How long a request may take before it is put off.
    """

    elsewhere: Callable[[Work], Offload]
    seconds: float = inf

    def checkpoint(self, work: Work) -> Callable[[], None]:
        """Return a function that is called before each picture, and raises what ends the work."""
        until = time.monotonic() + self.seconds

        def check() -> None:
            work.checkpoint()
            if time.monotonic() > until:
                raise PutOffError

        return check


def quick_lane(steps: int) -> Lane:
    """Return a lane for requests that take neither many steps for a picture nor much time in all."""
    elsewhere = Offload(steps, put_off)
    return Lane(lambda _: elsewhere, QUICK_SECONDS)


def slow_lane(decoder: DecoderProcess) -> Lane:
    """Return a lane for any requests; pictures that take long are decoded in another process."""
    return Lane(lambda work: Offload(QUICK_STEPS, partial(decoder.decode, checkpoint=work.checkpoint)))


def put_off(*_: Any, **__: Any) -> NoReturn:
    raise PutOffError
