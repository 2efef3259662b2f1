"""Kernels and distances: whole numbers, equal to TorchDrift's, and right for points that coincide."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchdrift.detectors.mmd import ExpKernel, GaussianKernel, RationalQuadraticKernel

from drift import UnknownKernelError
from drift.two_sample.kernels import UNIT, Kernel, Points, aggregate, make_kernel


@pytest.mark.parametrize(
    "peer",
    [
        GaussianKernel(1.7),
        ExpKernel(0.6),
        RationalQuadraticKernel(2.0),
        RationalQuadraticKernel(1.0, alpha=0.4),
    ],
    ids=["gaussian", "exponential", "rational quadratic", "rational quadratic with an alpha"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kernel_is_torchdrifts_in_whole_units(peer, overwrite):
    distances = torch.linspace(0, 10, 101, dtype=torch.float64)

    values = make_kernel(peer, lengthscale=9.9)(distances.square(), overwrite=overwrite)

    assert torch.equal(values, values.round())
    assert values[0] == UNIT
    assert torch.allclose(values / UNIT, peer(distances), atol=0.51 / UNIT, rtol=0)


def test_a_kernel_of_torchdrift_without_a_lengthscale_takes_the_given_one():
    assert make_kernel(ExpKernel(), lengthscale=3.0) == Kernel("exponential", 3.0)


@given(
    shift=st.sampled_from([0.0, 1e3, 1e6]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 2**31),
)
def test_distances_are_those_that_are_taken_point_by_point(shift, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(9, 4, generator=generator) * scale + shift for _ in range(2))
    centre = x.double().mean(dim=0)

    squared = Points.of(x, centre).squared_distances(Points.of(y, centre))

    exact = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    assert torch.allclose(squared, exact, rtol=1e-9, atol=1e-12 * scale**2)


@given(scale=st.sampled_from([1e-30, 1.0, 1e19, 1e38]), width=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_equal_points_are_at_distance_zero(scale, width, seed):
    """Else the exponential kernel, whose slope is not zero there, would tell them apart."""
    x = torch.rand(20, width, generator=torch.Generator().manual_seed(seed)) * scale
    points = Points.of(x, torch.zeros(width, dtype=torch.float64))

    assert (points.squared_distances(points).diagonal() == 0).all()


def test_the_aggregate_is_a_range_of_lengthscales_of_two_kernels():
    kernels = aggregate(2.0)

    assert {kernel.name for kernel in kernels} == {"gaussian", "exponential"}
    assert sorted({kernel.lengthscale for kernel in kernels}) == [0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: make_kernel("laplace", 1.0), id="no such name"),
        pytest.param(lambda: make_kernel(torch.nn.ReLU(), 1.0), id="no kernel"),
        pytest.param(lambda: Kernel("gaussian", 0.0), id="lengthscale zero"),
        pytest.param(lambda: Kernel("gaussian", float("nan")), id="lengthscale NaN"),
        pytest.param(lambda: Kernel("rational_quadratic", 1.0, alpha=-1.0), id="alpha negative"),
    ],
)
def test_what_is_no_kernel_is_refused(make):
    with pytest.raises(UnknownKernelError):
        make()
