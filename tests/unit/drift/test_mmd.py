"""The two-sample test: its score against TorchDrift's, its p-value against brute force, its refusals."""

import math
import multiprocessing

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchdrift.detectors import kernel_mmd
from torchdrift.detectors.mmd import ExpKernel, GaussianKernel, RationalQuadraticKernel

from drift import (
    BatchTooLargeError,
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    FeatureTypeError,
    NonFiniteFeaturesError,
    Reference,
    TooManyPermutationsError,
    UnknownKernelError,
    UnreachableAlphaError,
    mmd_permutation_test,
    mmd_score,
    witness,
)
from drift.reference import ALL_KERNELS
from drift.two_sample import mmd

WIDTH = 5
SINGLE_KERNELS = ("gaussian", "exponential", "rational_quadratic")
PEERS = {
    "gaussian": GaussianKernel,
    "exponential": ExpKernel,
    "rational_quadratic": RationalQuadraticKernel,
}


def sample(size: int, seed: int, *, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(size, WIDTH, generator=torch.Generator().manual_seed(seed)) + shift


def fitted(size: int, seed: int = 0, **options) -> Reference:
    """A reference for small batches, with few permutations, so that it is fitted at once."""
    options = {"max_batch": 60, "n_permutations": 99} | options
    return Reference.fit(
        sample(size, seed), lengthscale_sample=sample(100, seed + 10_000), seed=seed, **options
    )


def by_brute_force(reference: Reference, batch: torch.Tensor, kernel: str) -> float:
    """The p-value from the pooled kernel matrix, one permutation after the other, in whole numbers."""
    n, m = len(reference), len(batch)
    pooled = torch.cat([reference.features, batch]).double()
    squared = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist").square()
    permutations = reference.bank.permutations(n, m, reference.bank.n_permutations)
    labellings = [[False] * n + [True] * m]
    for order, kept, chosen in zip(permutations.orders, permutations.kept, permutations.chosen, strict=True):
        taken = set(order[kept].tolist())
        labellings.append([row in taken for row in range(n)] + chosen.bool().tolist())
    at_least = []
    for one in reference.kernels[kernel]:
        matrix = one(squared).fill_diagonal_(0).long()
        scores = []
        for labelling in labellings:
            z = torch.tensor(labelling)
            assert z.sum() == m
            q, s = int(matrix[z][:, z].sum()), int(matrix[z].sum())
            scores.append((n + m - 1) * (n + m - 2) * q - 2 * (m - 1) * (n + m - 1) * s)
        at_least.append([sum(other >= score for other in scores) for score in scores])
    ranks = [(min(of_kernels), sum(of_kernels)) for of_kernels in zip(*at_least, strict=True)]
    return sum(rank <= ranks[0] for rank in ranks) / len(ranks)


@given(
    n=st.integers(2, 60),
    m=st.integers(2, 60),
    seed=st.integers(0, 2**31),
    kernel=st.sampled_from(SINGLE_KERNELS),
)
def test_the_score_is_torchdrifts_without_its_diagonal(n, m, seed, kernel):
    """TorchDrift keeps the kernel's diagonal of ones, which adds 1/(n-1) + 1/(m-1)."""
    reference, batch = fitted(n, seed, kernels=[kernel], n_permutations=1), sample(m, seed + 1, shift=0.5)

    ours = mmd_permutation_test(reference, batch, kernel=kernel).score

    peer = PEERS[kernel](reference.lengthscale)
    theirs = kernel_mmd(reference.features.double(), batch.double(), n_perm=None, kernel=peer).item()
    assert ours + 1 / (n - 1) + 1 / (m - 1) == pytest.approx(theirs, abs=2e-6)
    assert mmd_score(reference, batch, kernel=kernel) == ours


@given(
    n=st.integers(2, 25),
    m=st.integers(2, 25),
    seed=st.integers(0, 2**31),
    shift=st.sampled_from([0.0, 0.3, 3.0]),
    levels=st.sampled_from([1, 3, None]),
    kernel=st.sampled_from(ALL_KERNELS),
)
@settings(max_examples=60)
def test_the_p_value_is_that_of_brute_force_over_the_same_permutations(n, m, seed, shift, levels, kernel):
    """Exactly, and also where samples coincide and scores tie, as those of few levels do."""
    features, batch = sample(n, seed), sample(m, seed + 1, shift=shift)
    if levels is not None:
        features, batch = (x.mul(levels).round().clamp(-1, 1)[:, :1] for x in (features, batch))
    reference = Reference.fit(
        features,
        lengthscale_sample=sample(50, seed + 2)[:, : features.shape[1]],
        kernels=[kernel],
        max_batch=25,
        n_permutations=39,
        seed=seed,
    )

    result = mmd_permutation_test(reference, batch, kernel=kernel)

    assert result.p_value == by_brute_force(reference, batch, kernel)


@pytest.mark.parametrize(("n", "m"), [(30, 2), (500, 10), (300, 60), (40, 60)])
def test_all_ways_to_sum_over_permutations_give_the_same(n, m, monkeypatch):
    reference, batch = fitted(n), sample(m, 1, shift=0.2)

    results = []
    for few, many in ((0.0, 1.0), (1.0, 1.0), (0.0, 0.0)):
        monkeypatch.setattr(mmd, "FEW", few)
        monkeypatch.setattr(mmd, "MANY", many)
        results.append(mmd_permutation_test(reference, batch))

    assert results[0] == results[1] == results[2]


@given(n=st.integers(2, 200), m=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_every_permutation_takes_as_many_samples_as_the_batch_has(n, m, seed):
    reference = fitted(n, seed, kernels=["gaussian"], n_permutations=19)

    permutations = reference.permutations(m, 19)

    of_reference, of_batch = permutations.kept.sum(dim=1), permutations.chosen.sum(dim=1)
    assert (of_reference + of_batch == m).all()
    assert all(len(set(order.tolist())) == len(order) for order in permutations.orders)


def test_permutations_take_each_sample_equally_often():
    """Of the pooled 90 samples, each is in the batch of 30 in a third of the permutations."""
    reference = fitted(60, kernels=["gaussian"], n_permutations=4000)
    permutations = reference.permutations(30, 4000)

    of_reference = permutations.prefix.to_dense().mean(dim=0)
    of_batch = permutations.chosen.mean(dim=0)

    rate, spread = 1 / 3, math.sqrt(2 / 9 / 4000)
    assert ((torch.cat([of_reference, of_batch]) - rate).abs() < 4.5 * spread).all()


@pytest.mark.parametrize("kernel", ["aggregate", "exponential"])
def test_scores_of_small_and_large_batches_can_be_compared(kernel):
    """The statistic is unbiased: under no drift its mean is zero at every batch size."""
    references = [fitted(100, seed, kernels=[kernel], n_permutations=1) for seed in range(300)]
    for m in (2, 10, 60):
        scores = torch.tensor(
            [
                mmd_score(reference, sample(m, seed + 500), kernel=kernel)
                for seed, reference in enumerate(references)
            ]
        )

        standard_error = scores.std() / math.sqrt(len(scores))
        assert abs(scores.mean()) < 3.3 * standard_error, f"m={m}"  # 99.9 %


@pytest.mark.slow
def test_without_drift_p_values_are_uniform():
    """A test at level alpha raises false alarms at rate alpha: no more, and no fewer."""
    cases = [(kernel, m) for kernel in ("gaussian", "aggregate") for m in (5, 20, 60)]
    p_values = {case: [] for case in cases}
    for seed in range(600):
        reference = fitted(60, seed, kernels=["gaussian", "aggregate"])
        for kernel, m in cases:
            result = mmd_permutation_test(reference, sample(m, seed + 50_000), kernel=kernel)
            p_values[kernel, m].append(result.p_value)

    for case in cases:
        for alpha in (0.01, 0.05):
            rejected = sum(p <= alpha for p in p_values[case])
            low, high = stats.binom.interval(0.999, 600, alpha)
            assert low <= rejected <= high, f"{case}: {rejected} of 600 rejected at {alpha}"


@pytest.mark.parametrize("kernel", ALL_KERNELS)
@pytest.mark.parametrize("m", [5, 16, 60], ids="m={}".format)
def test_a_large_shift_gives_the_smallest_p_value(m, kernel):
    result = mmd_permutation_test(fitted(500), sample(m, 1, shift=10.0), kernel=kernel)

    assert result.p_value == 1 / 100
    assert result.is_drift(0.01)


def test_the_aggregate_finds_what_one_lengthscale_misses():
    """Every image comes twice: as a whole they are where they should be, but they lie in pairs."""
    reference = fitted(500, n_permutations=199)
    batch = sample(30, 1).repeat(2, 1)

    result = mmd_permutation_test(reference, batch, kernel="aggregate")

    assert result.is_drift(0.01)
    assert not mmd_permutation_test(reference, batch, kernel="gaussian").is_drift(0.01)
    assert result.strongest.lengthscale < reference.lengthscale
    assert result.score == result.kernels[0].score == mmd_score(reference, batch)


@pytest.mark.parametrize("kernel", ALL_KERNELS)
def test_p_is_one_when_every_feature_is_the_same(kernel):
    """All scores tie, so every permutation reaches the observed one."""
    reference = Reference.fit(
        torch.ones(50, WIDTH), lengthscale_sample=sample(10, 0), max_batch=10, n_permutations=99
    )

    assert mmd_permutation_test(reference, torch.ones(10, WIDTH), kernel=kernel).p_value == 1


@given(
    batch=st.integers(0, 2**31),
    m=st.integers(2, 30),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30, 1e38]),
    kernel=st.sampled_from(ALL_KERNELS),
)
@settings(max_examples=50)
def test_p_is_never_zero_and_never_above_one(batch, m, scale, kernel):
    features = (sample(m, batch) * scale).clamp(-1e38, 1e38)

    result = mmd_permutation_test(fitted(30, n_permutations=19), features, kernel=kernel)

    assert 1 / 20 <= result.p_value <= 1
    assert math.isfinite(result.score)


def test_fewer_permutations_are_the_first_of_those_that_the_reference_holds():
    reference = fitted(30)

    far = mmd_permutation_test(reference, sample(5, 1, shift=50.0), n_permutations=19)

    assert (far.p_value, far.n_permutations) == (1 / 20, 19)
    assert mmd_permutation_test(reference, sample(5, 1)).n_permutations == 99


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_same_batch_gets_the_same_answer(dtype):
    first, second = fitted(100), fitted(100)

    assert mmd_permutation_test(first, sample(20, 1).to(dtype)) == mmd_permutation_test(second, sample(20, 1))


def test_memory_stays_the_same_over_a_thousand_batches():
    """In a process of its own, where nothing else takes or frees any."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        grown = process.apply(megabytes_grown)

    assert grown < 50


def megabytes_grown() -> float:
    """By how much a process's memory grows while it tests batches of 128, and now and then of other sizes."""
    torch.set_num_threads(1)
    reference = fitted(1000, kernels=["gaussian", "aggregate"], max_batch=128, n_permutations=999)
    before = 0.0
    for call in range(-100, 1000):
        if call == 0:  # until then, it takes what it will need
            before = resident_megabytes()
        # Every other size is another one, so that keeping the permutations of all of them would show.
        m = 128 if call % 25 else 88 + abs(call) // 25
        kernel = "gaussian" if call % 10 else "aggregate"
        mmd_permutation_test(reference, sample(m, call + 1000), kernel=kernel)
    return resident_megabytes() - before


def resident_megabytes() -> float:
    return psutil.Process().memory_info().rss / 2**20


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param(torch.zeros(0, WIDTH), BatchTooSmallError, id="empty"),
        pytest.param(torch.zeros(1, WIDTH), BatchTooSmallError, id="one sample"),
        pytest.param(torch.zeros(61, WIDTH), BatchTooLargeError, id="above max_batch"),
        pytest.param(torch.zeros(10, WIDTH + 1), FeatureShapeError, id="too wide"),
        pytest.param(torch.zeros(WIDTH), FeatureShapeError, id="a vector"),
        pytest.param(torch.zeros(10, WIDTH, dtype=torch.int64), FeatureTypeError, id="integers"),
        pytest.param(torch.zeros(10, WIDTH, dtype=torch.complex64), FeatureTypeError, id="complex"),
        pytest.param(torch.full((10, WIDTH), math.nan), NonFiniteFeaturesError, id="NaN"),
        pytest.param(torch.full((10, WIDTH), math.inf), NonFiniteFeaturesError, id="infinity"),
        pytest.param(
            torch.full((10, WIDTH), 1e300, dtype=torch.float64), NonFiniteFeaturesError, id="beyond float32"
        ),
    ],
)
@pytest.mark.parametrize(
    "function", [mmd_permutation_test, mmd_score, witness], ids=["test", "score", "witness"]
)
def test_a_batch_that_cannot_be_tested_is_an_error(function, batch, error):
    """Never an alarm, and never a pass."""
    with pytest.raises(error) as raised:
        function(fitted(10), batch)

    assert isinstance(raised.value, DriftError)


@given(
    place=st.tuples(st.integers(0, 29), st.integers(0, WIDTH - 1)),
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_one_number_that_is_not_finite_is_an_error(place, value):
    batch = sample(30, 1)
    batch[place] = value

    with pytest.raises(NonFiniteFeaturesError):
        mmd_permutation_test(fitted(10, kernels=["gaussian"], n_permutations=1), batch, kernel="gaussian")


@pytest.mark.parametrize("n_permutations", [0, -1, 100])
def test_permutations_that_the_reference_does_not_hold_are_an_error(n_permutations):
    with pytest.raises(TooManyPermutationsError, match="from 1 to 99"):
        mmd_permutation_test(fitted(10), sample(10, 1), n_permutations=n_permutations)


def test_a_kernel_that_the_reference_was_not_fitted_with_is_an_error():
    with pytest.raises(UnknownKernelError, match="It has gaussian"):
        mmd_permutation_test(fitted(10, kernels=["gaussian"]), sample(10, 1), kernel="exponential")


@pytest.mark.parametrize(("alpha", "enough"), [(0.001, "999"), (0.0003, "3333"), (5e-324, r"\d+")])
def test_an_alpha_out_of_reach_is_an_error_that_says_how_many_permutations_it_takes(alpha, enough):
    result = mmd_permutation_test(fitted(10), sample(10, 1))

    with pytest.raises(UnreachableAlphaError, match=f"at least {enough} permutations"):
        result.is_drift(alpha)


@pytest.mark.parametrize("kernel", SINGLE_KERNELS)
def test_the_witness_points_at_the_samples_that_are_new(kernel):
    """Five of twenty samples are far from the reference, and near each other."""
    reference = fitted(500, n_permutations=1)
    batch = torch.cat([sample(15, 1), sample(5, 2) * 0.1 + 4])

    driving = witness(reference, batch, kernel=reference.kernels[kernel][0]).topk(5).indices

    assert set(driving.tolist()) == {15, 16, 17, 18, 19}


def test_the_witness_and_the_reference_agree_on_the_score():
    """The score is the mean witness of the batch less that of the reference's own samples."""
    reference, batch = fitted(50, kernels=["gaussian"]), sample(20, 1, shift=1.0)
    sums = reference.sums[reference.kernels["gaussian"][0]]

    of_batch = witness(reference, batch).mean().item()

    swapped = Reference.fit(batch, lengthscale_sample=sample(100, 10_000), kernels=["gaussian"], max_batch=50)
    of_reference = witness(swapped, reference.features).mean().item()
    assert len(sums.row_sums) == 50
    assert of_batch + of_reference == pytest.approx(mmd_score(reference, batch, kernel="gaussian"), abs=2e-6)
