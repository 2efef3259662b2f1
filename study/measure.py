"""The measurements: every detector on every condition at every size, in runs with samples dealt out anew."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor
from torchdrift.detectors import KernelMMDDriftDetector, KSDriftDetector

from drift.progress import followed
from drift.reference import Reference
from drift.two_sample.kernels import CollectionName
from drift.two_sample.ks import ks_test
from drift.two_sample.label_shift import label_shift_test
from drift.two_sample.mmd import mmd_permutation_test
from study.conditions import Condition, Outputs

ALPHA = 0.05
LENGTHSCALE_SHARE = 0.1
SLOW_RUNS = 3  # runs of a detector that takes seconds for one p-value


@dataclass(frozen=True)
class Split:
    """The samples of one run, dealt out to their uses.

    Attributes:
        run: Its number, from 0.
        seed: Of everything random in it.
        reference: Outputs of the model for the reference, n samples.
        lengthscale_sample: Features of samples that only give the lengthscale, shape (k, d).
        max_batch: The largest size of a batch.
        batches: Outputs for a batch of each condition, of max_batch images where there are enough.
    """

    run: int
    seed: int
    reference: Outputs
    lengthscale_sample: Tensor
    max_batch: int
    batches: Sequence[Outputs]

    @cached_property
    def fitted(self) -> Reference:
        """The reference as our own detectors take it."""
        return Reference.fit(
            self.reference.features,
            self.reference.probabilities,
            lengthscale_sample=self.lengthscale_sample,
            max_batch=self.max_batch,
            seed=self.seed,
        )


Test = Callable[[Split, Outputs], tuple[float, float]]


def mmd_test(split: Split, batch: Outputs, *, kernel: CollectionName) -> tuple[float, float]:
    result = mmd_permutation_test(split.fitted, batch.features, kernel=kernel)
    return result.score, result.p_value


def softmax_ks_test(split: Split, batch: Outputs) -> tuple[float, float]:
    result = ks_test(split.reference.probabilities, batch.probabilities)
    return result.score, result.p_value


def predicted_label_test(split: Split, batch: Outputs) -> tuple[float, float]:
    result = label_shift_test(
        split.reference.probabilities.argmax(dim=1),
        batch.probabilities.argmax(dim=1),
        n_classes=batch.probabilities.shape[1],
        seed=split.seed,
    )
    return result.score, result.p_value


def torchdrift_mmd_test(split: Split, batch: Outputs) -> tuple[float, float]:
    torch.manual_seed(split.seed)  # draws the permutations
    detector = KernelMMDDriftDetector()
    score, p_value = detector.predict_shift_from_features(
        split.reference.features, batch.features, True, True
    )
    return score.item(), p_value.item()


def torchdrift_ks_test(split: Split, batch: Outputs) -> tuple[float, float]:
    detector = KSDriftDetector()
    detector.fit(split.reference.probabilities)
    score, p_value = detector.predict_shift_from_features(
        split.reference.probabilities, batch.probabilities, True, True
    )
    return score.item(), float(p_value)


DETECTORS: Mapping[str, Test] = {
    "MMD, aggregate": partial(mmd_test, kernel="aggregate"),
    "MMD, gaussian": partial(mmd_test, kernel="gaussian"),
    "MMD, exponential": partial(mmd_test, kernel="exponential"),
    "MMD, rational quadratic": partial(mmd_test, kernel="rational_quadratic"),
    "KS": softmax_ks_test,
    "label shift": predicted_label_test,
    "TorchDrift MMD": torchdrift_mmd_test,
    "TorchDrift KS": torchdrift_ks_test,
}
SLOW = ("TorchDrift MMD",)


def split_samples(
    conditions: Sequence[Condition], *, sizes: Sequence[int], n: int, run: int, seed: int
) -> Split:
    """Deal out the held-out images of the first condition to lengthscale, reference and batches of a run."""
    sharp = conditions[0].outputs
    fixed = torch.randperm(len(sharp.features), generator=torch.Generator().manual_seed(seed))
    lengthscale, others = fixed.tensor_split([round(LENGTHSCALE_SHARE * len(fixed))])
    generator = torch.Generator().manual_seed(seed + 1 + run)
    others = others[torch.randperm(len(others), generator=generator)]
    batches = [
        condition.outputs.take(condition.draw(others[n:], generator)[: max(sizes)])
        for condition in conditions
    ]
    return Split(run, seed + run, sharp.take(others[:n]), sharp.features[lengthscale], max(sizes), batches)


def left_for_reference(n_held_out: int, sizes: Sequence[int]) -> int:
    """Return how many held-out images are left without the largest batch and those of the lengthscale."""
    return n_held_out - round(LENGTHSCALE_SHARE * n_held_out) - max(sizes)


def measure(
    conditions: Sequence[Condition],
    *,
    sizes: Sequence[int],
    n: int,
    runs: int,
    slow_runs: int = SLOW_RUNS,
    seed: int,
    progress: bool = False,
) -> pd.DataFrame:
    """Return a row for every test: condition, detector, m, run, p_value, score, seconds.

    Args:
        conditions: The first of them without drift.
        sizes: Sizes of batches. Where a condition has too few images for one in any run, there is no row: the
            runs in which there are enough would be a selection.
        n: Size of the reference.
        runs: How often samples are dealt out anew.
        slow_runs: The same for detectors that take seconds for one p-value.
        seed: Of everything random.
        progress: Whether to show a progress bar.
    """
    splits = [split_samples(conditions, sizes=sizes, n=n, run=run, seed=seed) for run in range(runs)]
    places = {condition.name: index for index, condition in enumerate(conditions)}
    enough = [min(len(split.batches[index].features) for split in splits) for index in range(len(conditions))]
    fast = [name for name in DETECTORS if name not in SLOW]
    # The slow ones first, so that no core waits for the last of them at the end.
    tasks = [
        delayed(run_tests)(split, {condition.name: index}, enough, sizes, SLOW)
        for split in splits[:slow_runs]
        for index, condition in enumerate(conditions)
    ]
    tasks += [delayed(run_tests)(split, places, enough, sizes, fast) for split in splits]
    rows = list[dict[str, object]]()
    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        # TorchDrift's test leaks memory; a worker that has grown by it is replaced, and joblib says so.
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)
        found: Iterable[list[dict[str, object]]] = Parallel(n_jobs=-1, return_as="generator_unordered")(tasks)
        for part in followed(found, "tests", len(tasks), progress=progress):
            rows += part
    order = ["condition", "detector", "m", "run"]
    return pd.DataFrame(rows).sort_values(order, key=in_order(list(places)), ignore_index=True)


def in_order(conditions: Sequence[str]) -> Callable[[pd.Series], pd.Series]:
    """Return a sorting key: conditions and detectors as they are listed, numbers as they are."""
    places = {name: place for place, name in enumerate([*conditions, *DETECTORS])}
    return lambda column: column.map(places) if column.name in ("condition", "detector") else column


def run_tests(
    split: Split,
    places: Mapping[str, int],
    enough: Sequence[int],
    sizes: Sequence[int],
    detectors: Sequence[str],
) -> list[dict[str, object]]:
    """Return a row for each test of some conditions of a run."""
    if not set(SLOW) & set(detectors):
        split.fitted  # noqa: B018 - fitting takes a while, and no test's time is to include it
    return [
        {"condition": name, "detector": detector, "m": m, "run": split.run, **found}
        for name, index in places.items()
        for m in sizes
        if enough[index] >= m
        for detector, found in timed_tests(split, split.batches[index], m, detectors)
    ]


def timed_tests(
    split: Split, batch: Outputs, m: int, detectors: Sequence[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    part = batch.take(slice(m))
    for detector in detectors:
        start = time.perf_counter()
        score, p_value = DETECTORS[detector](split, part)
        yield detector, {"score": score, "p_value": p_value, "seconds": time.perf_counter() - start}


def summarise(tests: pd.DataFrame, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Return a row for each condition, detector and size: the table of the study.

    Its columns are condition, family, level and axis (of the condition), detector, m, runs, p_value (median),
    alarms (share of runs with p at most 0.05), score (mean) and seconds (median).
    """
    found = tests.groupby(["condition", "detector", "m"], sort=False).agg(
        runs=("run", "size"),
        p_value=("p_value", "median"),
        alarms=("p_value", lambda p_values: (p_values <= ALPHA).mean()),
        score=("score", "mean"),
        seconds=("seconds", "median"),
    )
    facts = pd.DataFrame(
        [(one.name, one.family, one.level, one.axis) for one in conditions],
        columns=["condition", "family", "level", "axis"],
    )
    return facts.merge(found.reset_index(), on="condition")
