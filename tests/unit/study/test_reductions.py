"""The reductions: a picture in two dimensions that knows nothing of which sample a point is of."""

import sys

import pytest
import torch
from torch import Tensor

from drift import (
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    FeatureTypeError,
    NonFiniteFeaturesError,
)
from study.reductions import (
    REDUCTIONS,
    MissingPackageError,
    UnknownReductionError,
    available,
    embed,
    quality,
    two_sample_p_value,
)

USABLE = available()[0]


def draw(size: int, width: int, seed: int) -> Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


def halves(size: int) -> Tensor:
    return torch.arange(size) >= size // 2


@pytest.fixture
def without_umap(monkeypatch):
    """An installation without umap-learn."""
    monkeypatch.setitem(sys.modules, "umap", None)


@pytest.fixture
def with_umap(monkeypatch, tmp_path):
    """An installation whose umap-learn takes the first two features, and all threads."""
    (tmp_path / "umap.py").write_text(
        "import torch\n"
        "class UMAP:\n"
        "    def __init__(self, **settings): self.settings = settings\n"
        "    def fit_transform(self, rows):\n"
        "        torch.set_num_threads(7)\n"
        "        return rows[:, :2] * self.settings['n_components']\n"
    )
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", USABLE)
def test_far_apart_samples_are_apart_in_every_picture(name):
    features = draw(120, 16, 0)
    is_batch = halves(120)
    features[is_batch] += 4

    embedded = embed(name, features, 0)

    assert embedded.shape == (120, 2)
    assert embedded.dtype == torch.float32
    # Not 1: where the graph of neighbours falls apart, locally linear embedding turns on rounding.
    assert quality(features, embedded, is_batch).separation > 0.85
    assert two_sample_p_value(embedded, is_batch, 0) == 0.001


@pytest.mark.parametrize("sizes", [(60, 60), (100, 20)], ids=["even", "uneven"])
def test_two_samples_of_one_cloud_are_told_apart_as_often_as_chance_says(sizes):
    is_batch = torch.arange(sum(sizes)) >= sizes[0]
    clouds = [draw(len(is_batch), 2, seed) for seed in range(60)]

    separations = [quality(cloud, cloud, is_batch).separation for cloud in clouds]
    p_values = torch.tensor([two_sample_p_value(cloud, is_batch, 0) for cloud in clouds])

    assert sum(separations) / 60 == pytest.approx(0.5, abs=0.02)
    assert 0.4 < p_values.mean() < 0.6
    assert (p_values <= 0.05).sum() <= 8  # 3 are expected; more than 8 come once in 300 times


def test_the_picture_keeps_the_test_exact_when_the_features_have_not_drifted():
    """A reduction that fits whatever it is given, and finds structure in noise, still finds no drift."""
    is_batch = halves(60)

    p_values = torch.tensor(
        [
            two_sample_p_value(embed("spectral embedding", draw(60, 16, seed).relu(), seed), is_batch, seed)
            for seed in range(60)
        ]
    )

    assert 0.4 < p_values.mean() < 0.6
    assert (p_values <= 0.05).sum() <= 8


def test_a_small_batch_that_lies_apart_is_fully_separated():
    points = torch.cat([draw(200, 2, 0), draw(4, 2, 1) + 50])

    assert quality(points, points, torch.arange(204) >= 200).separation == 1


def test_separation_does_not_depend_on_the_order_of_equal_points():
    points = draw(6, 2, 0).repeat_interleave(10, dim=0)
    is_batch = torch.arange(60) % 2 == 0
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))

    forwards, shuffled = (
        quality(points[rows], points[rows], is_batch[rows]) for rows in (slice(None), order)
    )

    assert forwards.separation == pytest.approx(shuffled.separation)
    assert forwards.separation == pytest.approx(0.5, abs=0.1)


def test_neighbours_are_trusted_in_a_faithful_picture_and_not_in_a_shuffled_one():
    plane = draw(100, 2, 0)
    features = plane @ draw(2, 20, 1)  # a plane in 20 dimensions
    embedded = embed("PCA", features, 0)

    faithful = quality(features, embedded, halves(100))
    shuffled = quality(features, embedded.roll(31, dims=0), halves(100))

    assert faithful.trustworthiness > 0.99
    assert shuffled.trustworthiness < 0.6


@pytest.mark.parametrize("name", USABLE)
def test_the_same_seed_gives_the_same_picture(name):
    features = draw(50, 8, 0)

    assert torch.equal(embed(name, features, 3), embed(name, features, 3))


@pytest.mark.parametrize("name", USABLE)
@pytest.mark.parametrize(
    "features",
    [
        torch.cat([draw(20, 8, 0).relu(), torch.zeros(40, 8)]),
        torch.cat([torch.zeros(30, 8), torch.ones(30, 8)]),
        torch.cat([draw(25, 8, 0), draw(25, 8, 1) + 100]),
        torch.cat([torch.zeros(40, 8), torch.ones(1, 8)]),
        draw(40, 8, 0) * torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]),
        draw(40, 8, 0) * 1e-30,
        draw(40, 8, 0) * 1e35,
        draw(5, 8, 0),
    ],
    ids=["many zeros", "two points", "two islands", "one odd", "constant features", "tiny", "huge", "few"],
)
def test_awkward_features_have_a_picture_without_a_word(name, features, recwarn):
    embedded = embed(name, features, 0)

    assert embedded.isfinite().all()
    assert embedded.std() > 0
    assert not recwarn.list
    assert 0 < two_sample_p_value(embedded, halves(len(features)), 0) <= 1


@pytest.mark.parametrize("name", USABLE)
def test_features_that_are_all_equal_show_no_drift(name):
    features = torch.full((40, 8), 0.1)

    embedded = embed(name, features, 0)

    assert (embedded == 0).all()
    assert quality(features, embedded, halves(40)).separation == 0.5
    assert two_sample_p_value(embedded, halves(40), 0) == 1


def test_umap_is_named_as_left_out_when_it_is_not_installed(without_umap):
    usable, left_out = available()

    assert left_out == ["UMAP"]
    assert [*usable, "UMAP"] == list(REDUCTIONS)
    with pytest.raises(MissingPackageError, match="pip install umap-learn"):
        embed("UMAP", draw(20, 8, 0), 0)


def test_umap_is_used_when_it_is_installed_and_leaves_the_threads_alone(with_umap):
    threads = torch.get_num_threads()

    embedded = embed("UMAP", draw(20, 8, 0), 0)

    assert available() == (list(REDUCTIONS), [])
    assert embedded.std() > 0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("name", "features", "error", "message"),
    [
        ("pca", draw(20, 8, 0), UnknownReductionError, "'pca' is no reduction. There are PCA, Isomap"),
        ("PCA", draw(4, 8, 0), FeatureShapeError, "at least 5 samples"),
        ("PCA", draw(20, 1, 0), FeatureShapeError, "at least 2 dimensions"),
        ("PCA", torch.ones(20, 8, dtype=torch.int64), FeatureTypeError, "int64"),
        ("PCA", draw(20, 8, 0) / 0, NonFiniteFeaturesError, "infinite"),
    ],
    ids=["unknown", "few", "narrow", "whole numbers", "infinite"],
)
def test_what_has_no_picture_is_refused(name, features, error, message):
    with pytest.raises(error, match=message) as raised:
        embed(name, features, 0)

    assert isinstance(raised.value, DriftError)


@pytest.mark.parametrize("measure", [lambda p, z: quality(p, p, z), lambda p, z: two_sample_p_value(p, z, 0)])
@pytest.mark.parametrize(
    ("is_batch", "error"),
    [
        (torch.arange(20) >= 19, BatchTooSmallError),
        (torch.arange(20) >= 1, BatchTooSmallError),
        (torch.arange(19) >= 5, FeatureShapeError),
        ((torch.arange(20) >= 5).long(), FeatureShapeError),
    ],
    ids=["batch of one", "reference of one", "too few labels", "no bools"],
)
def test_labels_that_make_no_two_samples_are_refused(measure, is_batch, error):
    with pytest.raises(error):
        measure(draw(20, 2, 0), is_batch)
