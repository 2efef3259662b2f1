"""Time of frouros' MMD, run by `bench.drift` in an environment of its own.

frouros' pins exclude this project's packages, so nothing of this project is imported here. The program takes
a `.npz` with `reference`, `batch` and `lengthscale`, and prints the measurement as JSON.
"""

import argparse
import functools
import json
import resource
import time

import numpy as np
from frouros.callbacks.batch import PermutationTestDistanceBased
from frouros.detectors.data_drift import MMD
from frouros.utils.kernels import rbf_kernel


def main() -> None:
    options = parser().parse_args()
    with np.load(options.features) as arrays:
        reference, batch, lengthscale = (arrays[name] for name in ("reference", "batch", "lengthscale"))
    permutations = PermutationTestDistanceBased(
        num_permutations=options.n_permutations,
        num_jobs=1,
        method="conservative",  # (1 + permutations that reach the score) / (1 + permutations)
        random_state=0,
        name="test",
    )
    detector = MMD(kernel=functools.partial(rbf_kernel, sigma=float(lengthscale)), callbacks=[permutations])
    detector.fit(X=reference)
    before = peak_memory()
    start = time.perf_counter()
    distance, logs = detector.compare(X=batch)
    found = {
        "seconds": time.perf_counter() - start,
        "score": float(distance.distance),  # unbiased and without the diagonal, like ours
        "p_value": float(logs["test"]["p_value"]),
        "megabytes": (peak_memory() - before) / 1024,
    }
    print(json.dumps(found))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("features", help="a .npz file")
    options.add_argument("--n-permutations", type=int, required=True)
    return options


def peak_memory() -> int:
    """Return the peak memory of this process plus that of its largest ended child, in kB."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
