"""`python -m bench.raw`: the most images a second that a model's forward pass alone can do on this machine.

Nothing is decoded and nothing is sent: a server could reach it if all else took no time. It is for
`bench.serving`, which shows what share of it each server reaches.
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
from safetensors.torch import load_file
from torch import Tensor

from bench.service import require_model
from bench.serving.machine_load import TRIES, Watch, least_disturbed
from bento import catalogue
from vision.errors import ModelNotLoadedError

BATCHES = (1, 2, 4, 8)
CORES = os.cpu_count() or 1
WAYS = sorted({(1, 1), (CORES, 1), (1, CORES)})  # streams, and threads of each
SEARCH_SHARE = 0.1  # of the seconds, for each way and size, to find the best
WARM_UP_PASSES = 3  # in which TorchScript compiles what it runs

Script = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rate:
    """How fast a form of a model is, at its best.

    Attributes:
        images_per_second: All streams together.
        streams: Forward passes at a time.
        threads: Threads of each of them.
        batch: Images in each of them.
        others: Cores that something else used meanwhile.
    """

    images_per_second: float
    streams: int
    threads: int
    batch: int
    others: float


def main() -> int:
    options = parser().parse_args()
    folder = require_model(options.model).folder
    images = load_file(folder / "golden.safetensors")["images"]
    rates = {}
    for name, script in forms(folder, options.model):
        rates[name] = asdict(best_rate(script, images, options.seconds, options.tries))
    print(json.dumps(rates))
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.raw", description=__doc__)
    options.add_argument("model", help="in the store, name or name:version")
    options.add_argument("--seconds", type=float, default=3, help="for the best (default: %(default)s)")
    options.add_argument("--tries", type=int, default=TRIES, help="while something else runs too")
    return options


def forms(folder: Path, name: str) -> Iterator[tuple[str, Script]]:
    """Yield a model as it lies in the store, made faster, and as the service runs it where it loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and shipped here
        script = torch.jit.load(str(folder / "model.pt")).eval()
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
    """Return the rate of the fastest of all ways and sizes.

    Args:
        script: Takes uint8 (B, C, H, W).
        images: Some inputs, repeated where a batch is larger.
        seconds: How long the fastest is measured, once it is found.
        tries: How often at most it is measured while something else runs too.
    """

    def rate(way: tuple[int, int], batch: int, seconds: float) -> Rate:
        inputs = images[torch.arange(batch) % len(images)]  # (B, C, H, W)
        return measure(script, inputs, way, seconds)

    found = [rate(way, batch, seconds * SEARCH_SHARE) for way, batch in itertools.product(WAYS, BATCHES)]
    best = max(found, key=lambda one: one.images_per_second)
    return least_disturbed(lambda: rate((best.streams, best.threads), best.batch, seconds), tries)


def measure(script: Script, inputs: Tensor, way: tuple[int, int], seconds: float) -> Rate:
    """Return the rate of some streams of forward passes at a time."""
    streams, threads = way
    watch = Watch()
    with ThreadPoolExecutor(streams) as pool:
        rates = pool.map(lambda _: stream(script, inputs, threads, seconds), range(streams))
        return Rate(sum(rates), streams, threads, len(inputs), watch.others())


@torch.inference_mode()
def stream(script: Script, inputs: Tensor, threads: int, seconds: float) -> float:
    """Return the images a second of forward passes one after the other, in this thread."""
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
