"""`python -m bench.drift`: the time, memory and result of one p-value, ours beside those of peers.

All get the same features, the same kernel with the same lengthscale, the same number of permutations, one
thread and a process of their own. Times do not include fitting, since a reference is fitted once; the time
of that is printed below the table.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor
from torchdrift.detectors import KernelMMDDriftDetector
from torchdrift.detectors.mmd import GaussianKernel
from tqdm import tqdm

from bench.drift.dense import dense_permutation_test
from drift import Reference, mmd_permutation_test
from drift.two_sample.kernels import median_distance

WIDTH = 128
N_PERMUTATIONS = 999
FROUROS = "frouros==0.9.0"
# For each permutation, TorchDrift copies the whole kernel matrix twice, and frouros all samples before the
# first test. With more samples than this they would take hours or all memory: a few permutations are timed,
# and the time of all is computed from them.
MOST_SAMPLES = 3000
FEW = 5


@dataclass(frozen=True)
class Measurement:
    """One p-value of one implementation, and what it cost.

    Attributes:
        seconds: Median time.
        score: Unbiased MMD², without the diagonal of the kernel matrix that TorchDrift keeps.
        p_value: None if only a few permutations were made.
        megabytes: Growth of the process's peak memory.
        fit_seconds: Time to fit the reference.
    """

    seconds: float
    score: float
    p_value: float | None
    megabytes: float
    fit_seconds: float = 0.0


def main() -> int:
    options = parser().parse_args()
    if options.case:
        print(json.dumps(asdict(CASES[options.case](options.n[0], options.m[0]))))
        return 0
    chosen = list(itertools.product(options.n, options.m))
    names = ("n", "m", "test", "time", "ratio", "memory", "score", "p-value")
    table = Table(*(Column(name, no_wrap=True) for name in names))
    fits = dict[tuple[str, int], float]()
    with tqdm(total=len(chosen) * len(CASES)) as progress:
        for n, m in chosen:
            found = {}
            for case in CASES:
                progress.set_description(f"{case}, n={n}, m={m}")
                try:
                    found[case] = in_a_process(case, n, m)
                except subprocess.CalledProcessError:
                    tqdm.write(f"{case} could not be run with n={n}, m={m}: its row is left out.", sys.stderr)
                progress.update()
            for case, measured in found.items():
                ratio = measured.seconds / found["gaussian"].seconds
                table.add_row(*row(n, m, case, measured, ratio))
                fits[case, n] = measured.fit_seconds
            table.add_section()
    console = Console(width=110)
    console.print(table)
    for (case, n), seconds in fits.items():
        if seconds:
            console.print(f"Fitting {case} on n={n}: {seconds:.1f} s, once")
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.drift", description=__doc__)
    options.add_argument("--n", type=int, nargs="+", default=[1000, 10_000], help="sizes of the reference")
    options.add_argument("--m", type=int, nargs="+", default=[16, 128, 1000], help="sizes of the batch")
    options.add_argument("--case", choices=CASES, help="one implementation alone, as JSON")
    return options


def in_a_process(case: str, n: int, m: int) -> Measurement:
    """Return the measurement of one implementation, made in a process of its own."""
    command = [sys.executable, "-m", "bench.drift", "--case", case, "--n", str(n), "--m", str(m)]
    return Measurement(**json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def row(n: int, m: int, case: str, measured: Measurement, ratio: float) -> list[str]:
    complete = measured.p_value is not None
    return [
        str(n),
        str(m),
        case,
        f"{'' if complete else '≈ '}{measured.seconds * 1000:,.1f} ms",
        f"{ratio:,.1f}",
        f"{measured.megabytes:,.0f} MB",
        f"{measured.score:.6f}",
        f"{measured.p_value:.3f}" if complete else f"(of {FEW} permutations)",
    ]


def features(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of a reference, of a lengthscale sample, and of a batch that has drifted a little."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(32, WIDTH, generator=generator)
    reference, others, batch = (
        (torch.randn(size, 32, generator=generator) @ mixing).relu() for size in (n, 500, m)
    )
    return reference, others, batch * 1.05


def timed(test: Callable[[], tuple[float, float]], repeats: int) -> tuple[float, float, float, float]:
    """Return the median time of a test, its score and p-value, and the growth of peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        score, p_value = test()
        seconds.append(time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return statistics.median(seconds), score, p_value, grown / 1024


def measure_ours(kernel: str) -> Callable[[int, int], Measurement]:
    """Return a function that measures this project's test with a kernel."""

    def measure(n: int, m: int) -> Measurement:
        reference, others, batch = features(n, m)
        start = time.perf_counter()
        fitted = Reference.fit(reference, lengthscale_sample=others, kernels=[kernel])
        fit_seconds = time.perf_counter() - start

        def test() -> tuple[float, float]:
            result = mmd_permutation_test(fitted, batch, kernel=kernel)
            return result.score, result.p_value

        seconds, score, p_value, megabytes = timed(test, 50 if m < 1000 else 5)
        return Measurement(seconds, score, p_value, megabytes, fit_seconds)

    return measure


def measure_dense(n: int, m: int) -> Measurement:
    reference, others, batch = features(n, m)
    kernel = GaussianKernel(median_distance(others))
    return Measurement(
        *timed(lambda: dense_permutation_test(reference, batch, kernel, N_PERMUTATIONS), 3 if n < 3000 else 1)
    )


def measure_torchdrift(n: int, m: int) -> Measurement:
    reference, others, batch = features(n, m)
    count = feasible_permutations(n, m)
    detector = KernelMMDDriftDetector(n_perm=count, kernel=GaussianKernel(median_distance(others)))

    def test() -> tuple[float, float]:
        score, p_value = detector.predict_shift_from_features(reference, batch, True, True)
        return score.item() - 1 / (n - 1) - 1 / (m - 1), p_value.item()

    seconds, score, p_value, megabytes = timed(test, 1)
    return scaled(Measurement(seconds, score, p_value, megabytes), count)


def measure_frouros(n: int, m: int) -> Measurement:
    reference, others, batch = features(n, m)
    count = feasible_permutations(n, m)
    uv = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated", "--with", FROUROS]
    with tempfile.TemporaryDirectory() as folder:
        arrays = f"{folder}/features.npz"
        np.savez(arrays, reference=reference, batch=batch, lengthscale=median_distance(others))
        script = str(Path(__file__).with_name("frouros_mmd.py"))
        command = [*uv, "python", script, arrays, "--n-permutations", str(count)]
        one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        printed = subprocess.run(command, env=one_thread, stdout=subprocess.PIPE, check=True).stdout
    return scaled(Measurement(**json.loads(printed)), count)


def feasible_permutations(n: int, m: int) -> int:
    """Return how many permutations a slow implementation makes."""
    return N_PERMUTATIONS if n + m <= MOST_SAMPLES else FEW


def scaled(measured: Measurement, count: int) -> Measurement:
    """Return a measurement of `count` permutations with the time that all would take."""
    if count == N_PERMUTATIONS:
        return measured
    return replace(measured, seconds=measured.seconds * N_PERMUTATIONS / count, p_value=None)


CASES: dict[str, Callable[[int, int], Measurement]] = {
    "gaussian": measure_ours("gaussian"),
    "aggregate": measure_ours("aggregate"),
    "dense": measure_dense,
    "TorchDrift": measure_torchdrift,
    "frouros": measure_frouros,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
