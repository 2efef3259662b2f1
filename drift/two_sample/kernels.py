"""Kernels and distances. Every kernel value is rounded to a whole multiple of 2⁻²⁰.

Sums of such values are exact in float64, in whatever order and on however many threads they are made. So two
permutations whose scores are equal are seen to be equal, and the p-value is the same on every machine; the
score moves by less than 1e-6.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor
from torchdrift.detectors.mmd import ExpKernel, GaussianKernel, RationalQuadraticKernel

from drift.errors import UnknownKernelError

UNIT = 2**20  # the factor of kernel values before they are rounded
LOG_UNIT = torch.tensor(math.log(UNIT), dtype=torch.float64)

KernelName = Literal["gaussian", "exponential", "rational_quadratic"]
CollectionName = Literal["gaussian", "exponential", "rational_quadratic", "aggregate"]
TorchDriftKernel: TypeAlias = GaussianKernel | ExpKernel | RationalQuadraticKernel

TORCHDRIFT: dict[KernelName, type] = {
    "gaussian": GaussianKernel,
    "exponential": ExpKernel,
    "rational_quadratic": RationalQuadraticKernel,
}
AGGREGATED: tuple[KernelName, ...] = ("gaussian", "exponential")
MULTIPLES = (1.0, 0.25, 0.5, 2.0, 4.0)  # of the lengthscale, in the aggregate; the first gives the score


@dataclass(frozen=True)
class Kernel:
    """A kernel as TorchDrift defines it, with its lengthscale.

    Attributes:
        name: Which function of the distance.
        lengthscale: In the unit of the features.
        alpha: Exponent of the rational quadratic kernel; the others have none.
    """

    name: KernelName
    lengthscale: float
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in get_args(KernelName):
            raise UnknownKernelError(f"{self.name!r} is no kernel. There are {', '.join(TORCHDRIFT)}.")
        # Float32 features are at most 3e38 and at least 1e-45 apart; the square must not overflow either.
        if not 1e-100 < self.lengthscale < 1e100:
            raise UnknownKernelError(
                f"The lengthscale is {self.lengthscale}; it must be positive. Perhaps more than half of the "
                "sample for it is one and the same point: take samples that differ."
            )
        if not 1e-3 <= self.alpha <= 1e3:
            raise UnknownKernelError(f"The kernel's alpha is {self.alpha}; it must be from 0.001 to 1000.")

    def __call__(self, squared_distances: Tensor, *, overwrite: bool = False) -> Tensor:
        """Return kernel values in units of 2⁻²⁰: whole numbers from 0 to 2²⁰, float64.

        Args:
            squared_distances: Of any shape, float64, not negative.
            overwrite: Whether the values may take the place of the distances, which spares memory.
        """
        out = squared_distances if overwrite else torch.empty_like(squared_distances)
        if self.name == "gaussian":
            exponent = torch.add(LOG_UNIT, squared_distances, alpha=-0.5 / self.lengthscale**2, out=out)
            return exponent.exp_().round_()
        if self.name == "exponential":
            distances = torch.sqrt(squared_distances, out=out)
            return torch.add(LOG_UNIT, distances, alpha=-1 / self.lengthscale, out=out).exp_().round_()
        base = torch.mul(squared_distances, 0.5 / self.alpha / self.lengthscale**2, out=out).add_(1)
        raised = base.reciprocal_() if self.alpha == 1 else base.pow_(-self.alpha)
        return raised.mul_(UNIT).round_()


def make_kernel(kernel: str | TorchDriftKernel, lengthscale: float) -> Kernel:
    """Return a kernel by its name, or as one of TorchDrift's.

    Args:
        kernel: A name, or a kernel object of TorchDrift.
        lengthscale: For a kernel that has none of its own.

    Raises:
        UnknownKernelError: It is none of these, or its lengthscale is not positive.
    """
    if isinstance(kernel, str):
        return Kernel(cast("KernelName", kernel), lengthscale)  # Kernel checks the name.
    for name, torchdrift_kernel in TORCHDRIFT.items():
        if type(kernel) is torchdrift_kernel:
            own = getattr(kernel, "lengthscale", None)
            alpha = float(getattr(kernel, "alpha", 1.0))
            return Kernel(name, lengthscale if own is None else float(own), alpha)
    raise UnknownKernelError(
        f"{type(kernel).__name__} is no kernel of TorchDrift's. There are {', '.join(TORCHDRIFT)}."
    )


def aggregate(lengthscale: float) -> tuple[Kernel, ...]:
    """Return the kernels of the aggregated test, the plain Gaussian first."""
    return tuple(Kernel(name, lengthscale * multiple) for name in AGGREGATED for multiple in MULTIPLES)


def median_distance(sample: Tensor) -> float:
    """Return the median distance within a sample, the usual lengthscale.

    Args:
        sample: Shape (k, d), k at least 2.

    Source:
        Garreau, Jitkrittum, Kanagawa, Large sample analysis of the median heuristic (2017).
    """
    return torch.pdist(sample.double()).median().item()


@dataclass(frozen=True)
class Points:
    """Points between which distances are taken, in the form in which one matrix product gives them all.

    With x' = (-2x, |x|², 1) and y' = (y, 1, |y|²) the squared distance |x - y|² is x'·y'.

    Attributes:
        left: x', shape (n, d + 2), float64.
        right: y', shape (n, d + 2), float64.
    """

    left: Tensor
    right: Tensor

    @classmethod
    def of(cls, features: Tensor, centre: Tensor) -> "Points":
        """Return features (n, d) as points around a centre (d,), such as their mean, to round little."""
        rows = features.double() - centre
        # Rounding moves a product of d + 2 terms by at most this share of |x|² + |y|². Subtracted beforehand,
        # it leaves the distance of equal points negative or zero, and relu_ makes it exactly zero.
        slack = 2 * (rows.shape[1] + 2) * torch.finfo(torch.float64).eps
        norms = rows.square().sum(dim=1, keepdim=True).mul_(1 - slack)
        ones = torch.ones_like(norms)
        return cls(torch.cat([-2 * rows, norms, ones], dim=1), torch.cat([rows, ones, norms], dim=1))

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Tensor | slice) -> "Points":
        return Points(self.left[rows], self.right[rows])

    def squared_distances(self, others: "Points") -> Tensor:
        """Return the squared distance of each of these points to each of the others, (n, m), float64."""
        return (self.left @ others.right.T).relu_()
