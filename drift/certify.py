"""Measuring how often a reference raises an alarm: the certificate, made at fit and stored with it.

Thousands of batches are tested, all drawn from one pool of held-out samples. So what a permutation needs of a
sample of the pool is computed once, and not anew for every batch that the sample is in.
"""

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from drift.certificate import AlarmRate, Certificate, FalseAlarms, SmallestBlur
from drift.errors import BatchTooSmallError
from drift.progress import steps
from drift.reference import Reference
from drift.two_sample.kernels import CollectionName, Kernel, Points
from drift.two_sample.mmd import DEFAULT_KERNEL, check_features, permuted_statistics
from drift.two_sample.results import check_alpha, combined_p_value, count_at_least

SIZES = (16, 64, 256)
ALPHAS = (0.05, 0.01)
N_BATCHES = 1000
N_BLURRED_BATCHES = 200
POWER = 0.8
POWER_ALPHA = 0.05
SIGMAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0)  # pixels
SHARE = 0.5  # of the pool that a batch may take: larger ones would be all but one and the same
BLOCK = 1000  # samples of the pool at a time

Blur = Callable[[float], Tensor]


def certify(
    reference: Reference,
    held_out: Tensor,
    *,
    blur: Blur | None = None,
    kernel: CollectionName = DEFAULT_KERNEL,
    sizes: Sequence[int] = SIZES,
    n_batches: int = N_BATCHES,
    seed: int = 0,
    progress: bool = False,
) -> Certificate:
    """Return what held-out batches show of how often a reference raises an alarm.

    Args:
        reference: What batches are compared with.
        held_out: Features of samples that are neither in the reference nor in training, shape (N, d).
        blur: From a standard deviation in pixels to the features of the same samples, blurred, shape (N, d).
        kernel: The kernel of the test.
        sizes: Sizes of batches; those above half of N, or above what the reference takes, are left out. So
            are significance levels that the reference's permutations cannot reach.
        n_batches: Batches of each size.
        seed: Of which samples are in which batch.
        progress: Whether to show progress bars.

    Raises:
        BatchTooSmallError: There are too few held-out samples for any of the sizes.
        UnreachableAlphaError: The reference has so few permutations that it never raises an alarm at 0.05.
        DriftError: As `mmd_permutation_test`.
    """
    n_permutations = reference.bank.n_permutations
    check_alpha(POWER_ALPHA, n_permutations)
    alphas = [alpha for alpha in ALPHAS if alpha >= 1 / (n_permutations + 1)]
    measured = measurable(sizes, len(held_out), reference.max_batch)
    blurred = None if blur is None else cache(blur)
    false_alarms, blurs = list[FalseAlarms](), list[SmallestBlur]()
    for m in measured:
        batches = draw_batches(len(held_out), m, n_batches, seed)
        p_values = pooled_p_values(reference, held_out, batches, kernel=kernel, progress=progress)
        n_disjoint = len(held_out) // m
        false_alarms += [FalseAlarms(m, alpha, n_disjoint, alarm_rate(p_values, alpha)) for alpha in alphas]
        if blurred:
            few = batches[:N_BLURRED_BATCHES]
            # A blur that smaller batches show, larger ones show too.
            tried = SIGMAS[: SIGMAS.index(blurs[-1].sigma) + 1] if blurs and blurs[-1].sigma else SIGMAS
            blurs.append(smallest_blur(reference, blurred, few, tried, kernel=kernel, progress=progress))
    return Certificate(
        kernel=kernel,
        n_held_out=len(held_out),
        n_batches=n_batches,
        false_alarms=tuple(false_alarms),
        power=POWER,
        power_alpha=POWER_ALPHA,
        n_blurred_batches=min(n_batches, N_BLURRED_BATCHES),
        blurs=tuple(blurs),
    )


def measurable(sizes: Sequence[int], n_held_out: int, max_batch: int) -> list[int]:
    """Return the sizes of which held-out samples make batches that differ, in ascending order.

    Raises:
        BatchTooSmallError: There is none.
    """
    measured = sorted(m for m in sizes if m <= min(max_batch, int(SHARE * n_held_out)))
    if not measured:
        raise BatchTooSmallError(
            f"A certificate takes {2 * min(sizes)} held-out samples, twice as many as the smallest of its "
            f"batches, and a reference for batches of {min(sizes)}; there are {n_held_out} samples, for "
            f"batches of at most {max_batch}."
        )
    return measured


def draw_batches(size: int, m: int, count: int, seed: int) -> Tensor:
    """Return batches of m different ones of `size` samples, shape (count, m), int64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(size, generator=generator)[:m] for _ in range(count)])


def alarm_rate(p_values: Tensor, alpha: float) -> AlarmRate:
    return AlarmRate.of(int((p_values <= alpha).sum()), len(p_values))


def smallest_blur(
    reference: Reference,
    blurred: Blur,
    batches: Tensor,
    sigmas: Sequence[float],
    *,
    kernel: CollectionName,
    progress: bool,
) -> SmallestBlur:
    """Return the smallest blur that is found, by bisection: the stronger a blur, the more often it is."""

    @cache
    def alarms(sigma: float) -> AlarmRate:
        p_values = pooled_p_values(
            reference, blurred(sigma), batches, kernel=kernel, progress=progress, label=f"blur {sigma:g}, "
        )
        return alarm_rate(p_values, POWER_ALPHA)

    place = bisect.bisect_left(sigmas, True, key=lambda sigma: alarms(sigma).rate >= POWER)
    sigma = sigmas[place] if place < len(sigmas) else None
    return SmallestBlur(batches.shape[1], sigma, alarms(sigma or sigmas[-1]))


def pooled_p_values(
    reference: Reference,
    pool: Tensor,
    batches: Tensor,
    *,
    kernel: CollectionName,
    progress: bool = False,
    label: str = "",
) -> Tensor:
    """Return the p-value of each of many batches from one pool, shape (T,): those of `mmd_permutation_test`.

    Args:
        reference: What they are compared with.
        pool: Features of all samples, shape (N, d).
        batches: Which samples are in each batch, shape (T, m), int64, 2 ≤ m ≤ reference.max_batch.
        kernel: The kernel of the test.
        progress: Whether to show a progress bar.
        label: What to call it there.

    Raises:
        DriftError: As `mmd_permutation_test`.
    """
    check_features(reference, pool)
    points = Points.of(pool.float(), reference.centre)
    kernels = reference.collection(kernel)
    name = f"{label}batches of {batches.shape[1]}"
    with one_thread(), steps(name, len(batches) * len(kernels), progress=progress) as step:
        statistics = torch.stack(
            [pooled_statistics(reference, one, points, batches, step) for one in kernels], dim=1
        )  # (T, L, 1 + B)
    return torch.tensor([combined_p_value(count_at_least(batch)) for batch in statistics])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: in products as small as these, threads on a busy machine wait for each other.

    On idle cores two of them take two thirds of the time; beside one busy process, five times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pooled_statistics(
    reference: Reference, kernel: Kernel, points: Points, batches: Tensor, advance: Callable[[], object]
) -> Tensor:
    """Return T of each batch and of its permutations, shape (T, 1 + B), int64."""
    sums, m = reference.sums[kernel], batches.shape[1]
    permutations = reference.permutations(m, reference.bank.n_permutations)
    of_reference = permutations.of_reference(sums)
    prefix, chosen = permutations.prefix.to_dense(), permutations.chosen.T.contiguous()  # (B, n), (m, B)
    parts = []
    for start in range(0, len(points), BLOCK):
        squared = reference.points.squared_distances(points[start : start + BLOCK])
        across = kernel(squared, overwrite=True)
        parts.append((across.sum(dim=0), across.T @ prefix.T))
    from_reference, from_prefix = (torch.cat(part) for part in zip(*parts, strict=True))  # (N,), (N, B)
    statistics = torch.empty(len(batches), 1 + len(prefix), dtype=torch.int64)
    for index, rows in enumerate(batches):
        touched = from_prefix[rows]  # (m, B)
        batch = points[rows]
        within = kernel(batch.squared_distances(batch), overwrite=True).fill_diagonal_(0)
        statistics[index] = permuted_statistics(
            of_reference,
            permutations.chosen,
            from_reference=from_reference[rows],
            within=within,
            touching=touched.sum(dim=0),
            crossing=touched.mul_(chosen).sum(dim=0),
        )
        advance()
    return statistics
