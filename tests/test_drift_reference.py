"""The reference: what is fitted, and what is refused when it is read back."""

import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.spatial.distance import pdist

from drift import FeatureShapeError, InvalidReferenceError, NonFiniteFeaturesError, Reference


def fit(features=None, probabilities=None, lengthscale_sample=None) -> Reference:
    features = (
        torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) if features is None else features
    )
    probabilities = features.softmax(-1) if probabilities is None else probabilities
    lengthscale_sample = features + 1 if lengthscale_sample is None else lengthscale_sample
    return Reference.fit(features, probabilities, lengthscale_sample=lengthscale_sample)


def test_the_lengthscale_is_the_median_distance_of_the_other_sample():
    other = torch.randn(31, 3, generator=torch.Generator().manual_seed(1))

    lengthscale = fit(lengthscale_sample=other).lengthscale

    assert lengthscale == pytest.approx(np.median(pdist(other.numpy())), rel=1e-6)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    reference = fit()

    reference.save(tmp_path / "reference.safetensors")
    loaded = Reference.load(tmp_path / "reference.safetensors")

    assert torch.equal(loaded.features, reference.features)
    assert torch.equal(loaded.probabilities, reference.probabilities)
    assert loaded.lengthscale == reference.lengthscale


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "reference.safetensors"
    fit().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        fit(torch.zeros(5, 3), lengthscale_sample=torch.eye(3)).save(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-8]), id="cut short"),
        pytest.param(lambda path: path.write_bytes(b"no such thing"), id="another format"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: save_file({"features": torch.ones(2, 2)}, path), id="other tensors"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, damage):
    path = tmp_path / "reference.safetensors"
    fit().save(path)
    damage(path)

    with pytest.raises(InvalidReferenceError, match=r"reference\.safetensors"):
        Reference.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("features", lambda x: x * torch.nan, id="NaN features"),
        pytest.param("probabilities", lambda x: x[1:], id="sizes differ"),
        pytest.param("lengthscale", lambda x: -x, id="negative lengthscale"),
    ],
)
def test_a_file_with_values_that_make_no_reference_is_refused(tmp_path, name, change):
    """Else a NaN in it would be an alarm for every batch."""
    path = tmp_path / "reference.safetensors"
    fit().save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
    save_file(tensors | {name: change(tensors[name]).contiguous()}, path, metadata=metadata)

    with pytest.raises(InvalidReferenceError, match=r"reference\.safetensors"):
        Reference.load(path)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"features": torch.ones(1, 3)}, FeatureShapeError, id="one sample"),
        pytest.param({"probabilities": torch.ones(19, 3)}, FeatureShapeError, id="sizes differ"),
        pytest.param({"lengthscale_sample": torch.ones(9, 4)}, FeatureShapeError, id="widths differ"),
        pytest.param({"lengthscale_sample": torch.ones(9, 3)}, FeatureShapeError, id="no spread"),
        pytest.param({"features": torch.full((9, 3), torch.nan)}, NonFiniteFeaturesError, id="NaN"),
    ],
)
def test_what_makes_no_reference_is_refused(arguments, error):
    with pytest.raises(error):
        fit(**arguments)
