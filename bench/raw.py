"""`python -m bench.raw`: the highest rate of a model's forward pass alone on this machine, as JSON.

Nothing is decoded and nothing is sent, so this is an upper bound for any server. `bench.serving` runs it and
shows what share of the bound each server reaches.
"""

import argparse
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.service import require_model
from bench.serving.machine_load import TRIES, Watch, least_disturbed
from bento import catalogue
from vision.errors import ModelNotLoadedError
from vision.models import bundle

GROUP_SIZES = (1, 2, 4, 8)  # images in one forward pass
CORES = os.cpu_count() or 1
WAYS = sorted({(1, 1), (CORES, 1), (1, CORES)})  # forward passes at a time, and threads of each
SEARCH_SHARE = 0.1  # part of the seconds for which each way and group size is tried
WARM_UP_PASSES = 3  # TorchScript optimises a script in its first passes

Script = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rate:
    """How fast the forward pass is.

    Attributes:
        images_per_second: All streams together.
        streams: Forward passes at a time.
        threads: Threads of each forward pass.
        images: Images in each forward pass.
        others: Cores that other programs used meanwhile.
    """

    images_per_second: float
    streams: int
    threads: int
    images: int
    others: float


def main() -> int:
    options = parser().parse_args()
    folder = require_model(options.model).folder
    images = bundle.read_golden(folder)["images"]
    rates = {}
    for name, script in forms(folder, options.model):
        rates[name] = asdict(best_rate(script, images, options.seconds, options.tries))
    print(json.dumps(rates))
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.raw", description=__doc__)
    options.add_argument("model", help="in the store, name or name:version")
    options.add_argument(
        "--seconds", type=float, default=3, help="of measuring the best way (default: %(default)s)"
    )
    options.add_argument(
        "--tries", type=int, default=TRIES, help="at most, while other programs disturb it (%(default)s)"
    )
    return options


def forms(folder: Path, name: str) -> Iterator[tuple[str, Script]]:
    """Yield the stored script, the script optimised by TorchScript, and the service's own engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of TorchScript, which is deprecated
        script = torch.jit.load(str(folder / bundle.SCRIPT)).eval()
        yield "as it comes", script
        frozen = torch.jit.freeze(script.to(memory_format=torch.channels_last))
        yield "frozen, channels last", channels_last(frozen)
    try:
        engine = catalogue.load(name).engine
    except ModelNotLoadedError as error:
        print(f"{name} is not measured as the service runs it: {error.detail}", file=sys.stderr)
    else:
        yield f"as this service runs it, in {engine.precision}", engine


def channels_last(script: Script) -> Script:
    return lambda images: script(images.contiguous(memory_format=torch.channels_last))


def best_rate(script: Script, images: Tensor, seconds: float, tries: int = TRIES) -> Rate:
    """Return the rate of the fastest of all ways and group sizes.

    Args:
        script: Takes uint8 (N, C, H, W).
        images: Some inputs, repeated where a group is larger.
        seconds: How long the fastest is measured once it is found.
        tries: How often it is measured, at most, while other programs disturb it.
    """

    def rate(way: tuple[int, int], size: int, seconds: float) -> Rate:
        inputs = images[torch.arange(size) % len(images)]  # (N, C, H, W)
        return measure(script, inputs, way, seconds)

    found = [rate(way, size, seconds * SEARCH_SHARE) for way, size in itertools.product(WAYS, GROUP_SIZES)]
    best = max(found, key=lambda rate: rate.images_per_second)
    return least_disturbed(lambda: rate((best.streams, best.threads), best.images, seconds), tries)


def measure(script: Script, inputs: Tensor, way: tuple[int, int], seconds: float) -> Rate:
    """Return the rate of parallel streams of forward passes, in a way of WAYS."""
    streams, threads = way
    watch = Watch()
    with ThreadPoolExecutor(streams) as pool:
        rates = pool.map(lambda _: stream(script, inputs, threads, seconds), range(streams))
        return Rate(sum(rates), streams, threads, len(inputs), watch.others())


@torch.inference_mode()
def stream(script: Script, inputs: Tensor, threads: int, seconds: float) -> float:
    """Return the images per second of forward passes that run one after the other in this thread."""
    torch.set_num_threads(threads)
    for _ in range(WARM_UP_PASSES):
        script(inputs)
    passes, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or not passes:
        script(inputs)
        passes += 1
    return passes * len(inputs) / passed


if __name__ == "__main__":
    sys.exit(main())
