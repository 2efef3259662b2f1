"""Measuring how often a reference raises an alarm: the certificate, made at fit and stored with it.

Thousands of batches are tested, all drawn from one pool of held-out samples. So what a permutation needs of a
sample of the pool is computed once, and not anew for every batch that the sample is in.
"""

import bisect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor

from drift.certificate import AlarmRate, Certificate, FalseAlarms, SmallestBlur
from drift.errors import BatchTooSmallError
from drift.progress import steps
from drift.reference import Reference
from drift.two_sample.kernels import CollectionName, Kernel, Points
from drift.two_sample.mmd import DEFAULT_KERNEL, check_features, statistic
from drift.two_sample.permutations import Permutations, sparse_ones
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
TOGETHER = 8  # batches, whose kernel values are in the processor's cache
MOST_PAIRS = 10_000_000  # of samples that a permutation takes, which are listed: they take 120 MB

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
    measure = partial(pooled_p_values, reference, kernel=kernel, progress=progress)
    false_alarms, blurs = list[FalseAlarms](), list[SmallestBlur]()
    for m in measured:
        batches = draw_batches(len(held_out), m, n_batches, seed)
        p_values = measure(held_out, batches)
        n_disjoint = len(held_out) // m
        false_alarms += [FalseAlarms(m, alpha, n_disjoint, alarm_rate(p_values, alpha)) for alpha in alphas]
        if blurred:
            few = batches[:N_BLURRED_BATCHES]
            # A blur that smaller batches show, larger ones show too.
            tried = SIGMAS[: SIGMAS.index(blurs[-1].sigma) + 1] if blurs and blurs[-1].sigma else SIGMAS
            blurs.append(smallest_blur(measure, blurred, few, tried))
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
    measure: Callable[..., Tensor], blurred: Blur, batches: Tensor, sigmas: Sequence[float]
) -> SmallestBlur:
    """Return the smallest blur that is found, by bisection: the stronger a blur, the more often it is."""

    @cache
    def alarms(sigma: float) -> AlarmRate:
        return alarm_rate(measure(blurred(sigma), batches, label=f"blur {sigma:g}, "), POWER_ALPHA)

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
        pool: Features of all samples, shape (N, d).
        batches: Which samples are in each batch, shape (T, m), int64, 2 ≤ m ≤ reference.max_batch.
        label: What the progress bar says before the size of the batches.

    Raises:
        DriftError: As `mmd_permutation_test`.
    """
    check_features(reference, pool)
    kernels = reference.collection(kernel)
    permutations = reference.permutations(batches.shape[1], reference.bank.n_permutations)
    name = f"{label}batches of {batches.shape[1]}"
    with (
        one_thread_each() as threads,
        steps(name, len(batches) * len(kernels), progress=progress) as step,
        ThreadPoolExecutor(threads) as at_work,
    ):
        of_kernel = partial(
            pooled_statistics,
            reference=reference,
            points=Points.of(pool.float(), reference.centre),
            batches=batches,
            permutations=permutations,
            sums_within=sums_within(permutations.chosen),
            advance=step,
        )
        statistics = torch.stack(list(at_work.map(of_kernel, kernels)), dim=1)  # (T, L, 1 + B)
        return torch.tensor([combined_p_value(at_least) for at_least in count_at_least(statistics)])


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let torch use one thread for each product, and give how many products there may be at a time.

    In products as small as these, threads on a busy machine wait for each other: two of them, beside one busy
    process, take five times as long as one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def pooled_statistics(
    kernel: Kernel,
    *,
    reference: Reference,
    points: Points,
    batches: Tensor,
    permutations: Permutations,
    sums_within: Callable[[Tensor], Tensor],
    advance: Callable[[], object],
) -> Tensor:
    """Return T of each batch and of its permutations, shape (T, 1 + B), int64."""
    in_reference, with_reference = permutations.of_reference(reference.sums[kernel])
    prefix, chosen = permutations.prefix.to_dense(), permutations.chosen.T.contiguous()  # (B, n), (m, B)
    parts = []
    for start in range(0, len(points), BLOCK):
        squared = reference.points.squared_distances(points[start : start + BLOCK])
        across = kernel(squared, overwrite=True)
        parts.append((across.sum(dim=0), across.T @ prefix.T))
    from_reference, from_prefix = (torch.cat(part) for part in zip(*parts, strict=True))  # (N,), (N, B)
    count, m = batches.shape
    members = sparse_ones(batches.sort().values.flatten(), torch.full((count,), m), len(points))  # (T, N)
    touching = members @ from_prefix  # (T, B)
    statistics = []
    for rows, touched in zip(batches.split(TOGETHER), touching.split(TOGETHER), strict=True):
        within = torch.stack([points[own].squared_distances(points[own]) for own in rows])
        within = kernel(within, overwrite=True)  # (TOGETHER, m, m)
        within.diagonal(dim1=1, dim2=2).zero_()
        row_sums = from_reference[rows] + within.sum(dim=2)
        crossing = torch.stack([from_prefix[own].mul_(chosen).sum(dim=0) for own in rows])
        q = in_reference + 2 * crossing + sums_within(within)
        s = with_reference + touched + row_sums @ chosen
        q = torch.cat([within.sum(dim=(1, 2))[:, None], q], dim=1)
        s = torch.cat([row_sums.sum(dim=1, keepdim=True), s], dim=1)
        statistics.append(statistic(q, s, len(reference), m))
        for _ in rows:
            advance()
    return torch.cat(statistics)


def sums_within(chosen: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function from kernel values to their sums over the rows that each permutation takes.

    These rows are `chosen`, shape (B, m). The values are those within T batches of m, shape (T, m, m), with a
    diagonal of zeros; the sums have the shape (T, B).
    """
    m, sizes = chosen.shape[1], chosen.sum(dim=1)
    if (sizes * (sizes - 1)).sum() > 2 * MOST_PAIRS:
        return lambda within: torch.stack([((chosen @ values) * chosen).sum(dim=1) for values in within])
    # Of a batch that is much smaller than the reference, a permutation takes few pairs.
    above = torch.ones(m, m, dtype=torch.bool).triu(1)
    pairs = above.flatten().nonzero().flatten()  # (P,)
    places = torch.empty(m, m, dtype=torch.int32).masked_scatter_(above, torch.arange(len(pairs)).int())
    taken = [rows.nonzero().flatten() for rows in chosen]
    columns = torch.cat([places[own][:, own][above[: len(own), : len(own)]] for own in taken])
    listed = sparse_ones(columns, (sizes * (sizes - 1) / 2).int(), len(pairs))
    return lambda within: 2 * (listed @ within.flatten(1).index_select(1, pairs).T.contiguous()).T
