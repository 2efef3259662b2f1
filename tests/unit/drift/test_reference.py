"""The reference: what is fitted, and what is refused when it is read back."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import pdist
from torchdrift.detectors.mmd import GaussianKernel, RationalQuadraticKernel

from drift import (
    FeatureShapeError,
    FeatureTypeError,
    InvalidReferenceError,
    MissingProbabilitiesError,
    NonFiniteFeaturesError,
    NotProbabilitiesError,
    Reference,
    UnknownKernelError,
    mmd_permutation_test,
    storage,
)


def draw(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, 3, generator=torch.Generator().manual_seed(seed))


def fit(features=None, probabilities=None, lengthscale_sample=None, **options) -> Reference:
    features = draw(20, 0) if features is None else features
    probabilities = features.softmax(-1) if probabilities is None else probabilities
    lengthscale_sample = features + 1 if lengthscale_sample is None else lengthscale_sample
    options = {"max_batch": 12, "n_permutations": 49} | options
    return Reference.fit(features, probabilities, lengthscale_sample=lengthscale_sample, **options)


def test_the_lengthscale_is_the_median_distance_of_the_other_sample():
    other = draw(31, 1)

    reference = fit(lengthscale_sample=other)

    assert reference.lengthscale == pytest.approx(np.median(pdist(other.numpy())), rel=1e-6)
    assert {reference.kernels[name][0].lengthscale for name in ("gaussian", "exponential")} == {
        reference.lengthscale
    }


def test_a_large_sample_for_the_lengthscale_is_thinned_out():
    """The distances within 100,000 samples would take 40 GB."""
    reference = fit(lengthscale_sample=draw(100_000, 1))

    assert reference.lengthscale == pytest.approx(fit(lengthscale_sample=draw(1000, 2)).lengthscale, rel=0.05)


def test_a_kernel_of_torchdrift_brings_its_own_lengthscale():
    reference = fit(kernels=[GaussianKernel(0.123), RationalQuadraticKernel(alpha=2.0)])

    (gaussian,), (rational,) = reference.kernels["gaussian"], reference.kernels["rational_quadratic"]
    assert gaussian.lengthscale == 0.123
    assert (rational.lengthscale, rational.alpha) == (reference.lengthscale, 2.0)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    reference, batch = fit(), draw(10, 5)

    reference.save(tmp_path / "reference.safetensors")
    loaded = Reference.load(tmp_path / "reference.safetensors")

    assert torch.equal(loaded.features, reference.features)
    assert torch.equal(loaded.outputs, reference.outputs)
    assert (loaded.lengthscale, loaded.max_batch) == (reference.lengthscale, reference.max_batch)
    for kernel in reference.kernels:
        found = mmd_permutation_test(loaded, batch, kernel=kernel)
        assert found == mmd_permutation_test(reference, batch, kernel=kernel)


def test_a_reference_of_the_size_of_a_test_split_is_small(tmp_path):
    """As many samples as batches have in the service, and every kernel."""
    features = torch.randn(1000, 128, generator=torch.Generator().manual_seed(0))

    Reference.fit(features, lengthscale_sample=features[:200] + 1).save(tmp_path / "reference.safetensors")

    assert (tmp_path / "reference.safetensors").stat().st_size < 30e6


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "reference.safetensors"
    fit().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        fit(torch.zeros(5, 3), lengthscale_sample=torch.eye(3)).save(path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-8], id="cut short"),
        pytest.param(lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], id="one bit flipped"),
        pytest.param(lambda _: b"no such thing", id="another format"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data.replace(b"lengthscale", b"lengthscalf"), id="another fact"),
        pytest.param(lambda data: data.replace(b'version\\": 3', b'version\\": 1'), id="another version"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, damage):
    path = tmp_path / "reference.safetensors"
    fit().save(path)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)

    with pytest.raises(InvalidReferenceError, match=r"reference\.safetensors"):
        Reference.load(path)


def test_another_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "reference.safetensors"
    save_file({"features": torch.ones(2, 2)}, path)

    with pytest.raises(InvalidReferenceError, match="no drift reference of format version"):
        Reference.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("features", lambda x: x * torch.nan, id="NaN features"),
        pytest.param("probabilities", lambda x: x[1:], id="sizes differ"),
        pytest.param("orders", lambda x: x + 1, id="samples that are not there"),
        pytest.param("orders", lambda x: x[:, :2], id="orders too short"),
        pytest.param("of_batch", lambda x: x + 1, id="more than the batch has"),
        pytest.param("row_sums", lambda x: x[:, 1:], id="sums of others"),
        pytest.param("increments", lambda x: x[1:], id="a kernel without sums"),
        pytest.param("increments", None, id="a tensor missing"),
    ],
)
def test_a_file_with_values_that_make_no_reference_is_refused(name, change):
    """Even where somebody made the checksum fit: else it would be an alarm, or a crash, for every batch."""
    tensors, facts = storage.unpack(fit().to_bytes(), "it")
    changed = {key: value for key, value in tensors.items() if key != name}
    if change is not None:
        changed[name] = change(tensors[name])

    with pytest.raises(InvalidReferenceError, match="no drift reference that can be used"):
        Reference.from_bytes(storage.pack(changed, facts))


def test_a_negative_lengthscale_in_a_file_is_refused():
    tensors, facts = storage.unpack(fit().to_bytes(), "it")
    facts = json.loads(json.dumps(facts))
    facts["kernels"][0][1] *= -1

    with pytest.raises(InvalidReferenceError, match="lengthscale"):
        Reference.from_bytes(storage.pack(tensors, facts))


def test_the_file_is_one_that_safetensors_reads(tmp_path):
    fit().save(tmp_path / "reference.safetensors")

    assert load_file(tmp_path / "reference.safetensors")["features"].shape == (20, 3)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"features": torch.ones(1, 3)}, FeatureShapeError, id="one sample"),
        pytest.param({"features": torch.ones(9, 0)}, FeatureShapeError, id="no feature"),
        pytest.param({"probabilities": torch.ones(19, 3)}, FeatureShapeError, id="sizes differ"),
        pytest.param({"lengthscale_sample": torch.ones(9, 4)}, FeatureShapeError, id="widths differ"),
        pytest.param({"lengthscale_sample": torch.ones(1, 3)}, FeatureShapeError, id="no distance"),
        pytest.param({"lengthscale_sample": torch.ones(9, 3)}, UnknownKernelError, id="no spread"),
        pytest.param({"kernels": ["laplace"]}, UnknownKernelError, id="no such kernel"),
        pytest.param({"features": torch.full((9, 3), torch.nan)}, NonFiniteFeaturesError, id="NaN"),
        pytest.param({"lengthscale_sample": torch.eye(3) / 0}, NonFiniteFeaturesError, id="infinite"),
        pytest.param({"probabilities": torch.ones(20, 3).long()}, FeatureTypeError, id="integers"),
        pytest.param({"probabilities": draw(20, 7)}, NotProbabilitiesError, id="logits"),
        pytest.param({"probabilities": torch.ones(20, 3)}, NotProbabilitiesError, id="not adding up"),
        pytest.param({"probabilities": draw(20, 7).log_softmax(1)}, NotProbabilitiesError, id="logarithms"),
        pytest.param({"max_batch": 1}, ValueError, id="batches of one"),
        pytest.param({"n_permutations": 0}, ValueError, id="no permutation"),
    ],
)
def test_what_makes_no_reference_is_refused(arguments, error):
    with pytest.raises(error):
        fit(**arguments)


def test_probabilities_may_have_been_rounded_to_bfloat16():
    outputs = torch.randn(20, 1000, generator=torch.Generator().manual_seed(7)).softmax(dim=1).bfloat16()

    assert fit(probabilities=outputs.float()).outputs.shape == (20, 1000)


def test_a_reference_without_softmax_outputs_says_so_when_they_are_needed():
    reference = Reference.fit(draw(20, 0), lengthscale_sample=draw(20, 1), max_batch=5, n_permutations=19)

    assert mmd_permutation_test(reference, draw(5, 2)).p_value > 0
    with pytest.raises(MissingProbabilitiesError, match="Fit it with them"):
        _ = reference.outputs
