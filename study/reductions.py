"""Reductions of features to two dimensions, and how well these still show the features and the drift."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from sklearn.decomposition import PCA
from sklearn.manifold import MDS, TSNE, Isomap, LocallyLinearEmbedding, SpectralEmbedding, trustworthiness
from torch import Tensor

from drift.errors import (
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    FeatureTypeError,
    NonFiniteFeaturesError,
)
from drift.reference import Reference
from drift.two_sample.mmd import mmd_permutation_test

FEWEST_POINTS = 5  # fewer have no two-dimensional embedding that every reduction can find
GRAPH_NEIGHBOURS = 15  # fewer tear 300 points apart, more bridge what is apart
PERPLEXITY = 30
QUALITY_NEIGHBOURS = 10


class UnknownReductionError(DriftError):
    """There is no such reduction to two dimensions."""


class MissingPackageError(DriftError):
    """The reduction needs a package that is not installed."""


class Estimator(Protocol):
    """A reduction of scikit-learn or umap-learn."""

    def fit_transform(self, X: Any) -> Any:  # noqa: N803 # the name that scikit-learn gave it
        """Return the points (N, d) in two dimensions, (N, 2)."""


def make_umap(n: int, seed: int) -> Estimator:
    from umap import UMAP  # an extra, which most installations are without

    # Its spectral start needs more points than neighbours; and with a seed it allows but one job.
    estimator: Estimator = UMAP(
        n_components=2,
        n_neighbors=graph_neighbours(n),
        init="spectral" if n > GRAPH_NEIGHBOURS else "random",
        random_state=seed,
        n_jobs=1,
    )
    return estimator


def graph_neighbours(n: int) -> int:
    return min(GRAPH_NEIGHBOURS, n - 1)


# Each by the name that is shown, as a function of the number of points and a seed.
REDUCTIONS: Mapping[str, Callable[[int, int], Estimator]] = {
    "PCA": lambda _n, seed: PCA(n_components=2, random_state=seed),
    "Isomap": lambda n, _seed: Isomap(n_components=2, n_neighbors=graph_neighbours(n)),
    # The dense solver: the sparse one gives up where equal points make the matrix singular.
    "locally linear embedding": lambda n, seed: LocallyLinearEmbedding(
        n_components=2, n_neighbors=graph_neighbours(n), eigen_solver="dense", random_state=seed
    ),
    "MDS": lambda _n, seed: MDS(n_components=2, init="classical_mds", n_init=1, random_state=seed),
    "spectral embedding": lambda n, seed: SpectralEmbedding(
        n_components=2, affinity="nearest_neighbors", n_neighbors=graph_neighbours(n), random_state=seed
    ),
    "t-SNE": lambda n, seed: TSNE(
        n_components=2, perplexity=min(PERPLEXITY, (n - 1) / 3), init="pca", random_state=seed
    ),
    "UMAP": make_umap,
}
# The module that a reduction needs beside scikit-learn, and the package to install for it.
EXTRAS = {"UMAP": ("umap", "umap-learn")}


@dataclass(frozen=True)
class Quality:
    """How well an embedding in two dimensions shows the features.

    Attributes:
        trustworthiness: Whether neighbours in the plane are neighbours in the features, from 0 to 1; about
            0.5 where the plane has nothing to do with them.
        separation: Share of each point's neighbours in the plane that are of its own sample, were both
            samples of one size; 0.5 where they lie as if they were one, 1 where they are apart.
    """

    trustworthiness: float
    separation: float


def available() -> tuple[list[str], list[str]]:
    """Return the reductions that can be used, and those left out because their package is not installed."""
    left_out = [name for name, (module, _) in EXTRAS.items() if find_spec(module) is None]
    return [name for name in REDUCTIONS if name not in left_out], left_out


def best_reduction(qualities: Mapping[str, Quality]) -> str:
    """Return the reduction with the best separation, and of equals the one with the best trustworthiness."""
    return max(qualities, key=lambda name: (qualities[name].separation, qualities[name].trustworthiness))


def embed(name: str, features: Tensor, seed: int) -> Tensor:
    """Return features in two dimensions.

    Neither the scale of the features nor their order matters: the reduction gets them shuffled, and cannot
    tell the two samples apart by their places.

    Args:
        name: One of `REDUCTIONS`.
        features: Of all samples together, shape (N, d), N at least 5 and d at least 2.
        seed: Of the shuffle and of the reduction.

    Returns:
        Points of the plane, shape (N, 2), float32; zeros where all features are one and the same point.

    Raises:
        FeatureShapeError: The features are not such a matrix.
        FeatureTypeError: They are not floating-point numbers.
        MissingPackageError: The reduction's package is not installed.
        NonFiniteFeaturesError: A feature is NaN or infinite.
        UnknownReductionError: There is no such reduction.
    """
    check_name(name)
    check_features(features)
    embedded = torch.zeros(len(features), 2)
    if (features == features[0]).all():  # no direction to find, and t-SNE would crash on looking for one
        return embedded
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    # Scaled to near one, since the squares of the largest and smallest float32 would overflow or vanish.
    rows = features.detach().double()
    rows = rows - rows.mean(dim=0)
    rows /= rows.abs().max()
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            # Graphs in several parts and singular matrices are nobody's mistake: features after a ReLU are
            # often equal. `quality` says how far the picture can be trusted.
            warnings.simplefilter("ignore")
            points = REDUCTIONS[name](len(rows), seed).fit_transform(rows[order].numpy())
    finally:
        torch.set_num_threads(threads)  # UMAP sets this for the whole process
    embedded[order] = torch.as_tensor(points).float()
    return embedded


def quality(features: Tensor, embedded: Tensor, is_batch: Tensor) -> Quality:
    """Return how well an embedding shows the features, and how well it separates the two samples.

    Args:
        features: Of both samples, shape (N, d).
        embedded: The same in two dimensions, shape (N, 2).
        is_batch: Whether each is of the batch, shape (N,), bool; at least two are, and two are not.

    Raises:
        BatchTooSmallError: One of the samples has fewer than two points.
        FeatureShapeError: The three do not fit together.

    Source:
        Trustworthiness: Venna & Kaski, Neighborhood Preservation in Nonlinear Projection Methods (2001).
    """
    check_labels(embedded, is_batch)
    if len(features) != len(embedded):
        raise FeatureShapeError(f"There are {len(features)} samples, but {len(embedded)} points of them.")
    # Trustworthiness is defined for fewer neighbours than half of the points.
    neighbours = min(QUALITY_NEIGHBOURS, (len(features) - 1) // 2)
    trusted = trustworthiness(features.double().numpy(), embedded.double().numpy(), n_neighbors=neighbours)
    return Quality(float(trusted), separation(embedded, is_batch))


def separation(embedded: Tensor, is_batch: Tensor) -> float:
    """Return the share of points' nearest neighbours that are of their own sample, were both of one size.

    A neighbour counts the more, the smaller its sample, and the mean is of each sample for itself, so that a
    large sample does not win by its size. A point is no neighbour of itself; points as far away as the last
    neighbour are neighbours too, so that the order of equal points does not matter. The arguments are those
    of `quality`.

    Source:
        Schilling, Multivariate Two-Sample Tests Based on Nearest Neighbors, JASA 81 (1986); as the chance
        that a left-out point's neighbours tell its sample: Lopez-Paz & Oquab, Revisiting Classifier
        Two-Sample Tests, ICLR 2017.
    """
    points = embedded.double()
    # Not by a matrix product, which would round equal distances apart.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    counts = torch.where(is_batch, is_batch.sum(), (~is_batch).sum())  # in each point's own sample, (N,)
    neighbours = min(QUALITY_NEIGHBOURS, int(counts.min()) - 1)  # all of them can be of the own sample
    near = distances <= distances.kthvalue(neighbours, dim=1, keepdim=True).values  # (N, N)
    of_own = is_batch[:, None] == is_batch  # (N, N)
    own = (near & of_own).sum(dim=1) / (counts - 1)
    other = (near & ~of_own).sum(dim=1) / (len(points) - counts)
    share = own / (own + other)
    return float((share[is_batch].mean() + share[~is_batch].mean()) / 2)


def two_sample_p_value(embedded: Tensor, is_batch: Tensor, seed: int) -> float:
    """Return the p-value of the Gaussian-kernel MMD test between the two samples in the plane.

    Args:
        embedded: Points of both samples, shape (N, 2).
        is_batch: Whether each is of the batch, shape (N,), bool; at least two are, and two are not.
        seed: Of the permutations.

    Raises:
        BatchTooSmallError: One of the samples has fewer than two points.
        FeatureShapeError: Points and labels do not fit together.
        NonFiniteFeaturesError: A coordinate is NaN or infinite.
    """
    check_labels(embedded, is_batch)
    # The lengthscale comes from the very points under test, which `Reference.fit` warns of, but from all of
    # them alike: neither it nor the embedding knows which sample a point is of, so permuting the labels
    # leaves both as they are, and the test stays exact. Equal points count once, lest the median be zero.
    places = embedded.unique(dim=0)
    if len(places) < 2:
        return 1.0  # all points are one, and every permutation scores alike
    reference = Reference.fit(
        embedded[~is_batch],
        lengthscale_sample=places,
        kernels=["gaussian"],
        max_batch=int(is_batch.sum()),
        seed=seed,
    )
    return mmd_permutation_test(reference, embedded[is_batch], kernel="gaussian").p_value


def check_name(name: str) -> None:
    if name not in REDUCTIONS:
        raise UnknownReductionError(f"{name!r} is no reduction. There are {', '.join(REDUCTIONS)}.")
    if name in available()[1]:
        _, package = EXTRAS[name]
        raise MissingPackageError(f"{name} needs a package that is not installed: pip install {package}")


def check_features(features: Tensor) -> None:
    if features.ndim != 2 or len(features) < FEWEST_POINTS or features.shape[1] < 2:
        raise FeatureShapeError(
            f"An embedding is of at least {FEWEST_POINTS} samples in at least 2 dimensions; these are "
            f"{tuple(features.shape)}."
        )
    if not features.is_floating_point():
        raise FeatureTypeError(f"The features are {features.dtype}; they must be floating-point numbers.")
    if not features.float().isfinite().all():
        raise NonFiniteFeaturesError("A NaN or infinite feature has no place in an embedding.")


def check_labels(embedded: Tensor, is_batch: Tensor) -> None:
    if embedded.ndim != 2 or is_batch.shape != embedded.shape[:1] or is_batch.dtype != torch.bool:
        raise FeatureShapeError(
            f"There must be one bool a point; there are {is_batch.dtype} {tuple(is_batch.shape)} for points "
            f"{tuple(embedded.shape)}."
        )
    smaller = min(int(is_batch.sum()), int((~is_batch).sum()))
    if smaller < 2:
        raise BatchTooSmallError(f"Each of two samples needs at least 2 points; one of these has {smaller}.")
