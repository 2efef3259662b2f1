"""The permutation bank: the part of every permutation that depends on the reference alone, computed once.

A permutation of the pooled sample calls m of its n + m rows the batch: k of the batch's own and m - k of the
reference's, k being hypergeometric. The bank keeps a random order of the reference for each permutation; a
permutation for a batch of m takes the first m - k of that order, and k random rows of the batch. So one bank
serves every batch size, and the kernel sums within the reference's part are prefix sums along the order.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drift.progress import followed
from drift.two_sample.kernels import UNIT, Kernel, Points

BLOCK = 128  # rows whose kernel values are in the processor's cache at a time

with warnings.catch_warnings():
    # torch warns once per process that sparse matrices are in beta. This lets it do so unseen.
    warnings.filterwarnings("ignore", message="Sparse ")
    torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1))


@dataclass(frozen=True)
class PermutationBank:
    """B permutations for every batch size, as far as they can be drawn before any batch is seen.

    Attributes:
        orders: Random orders of the reference, the first J samples of each, shape (B, J), int32.
        of_batch: How many rows of a batch of m each permutation takes, shape (max_batch + 1, B), int16.
        seed: Of everything that is drawn.
    """

    orders: Tensor
    of_batch: Tensor
    seed: int

    @classmethod
    def draw(cls, n: int, *, max_batch: int, n_permutations: int, seed: int) -> "PermutationBank":
        """Return a bank for a reference of n and batches of 2 to max_batch."""
        generator = np.random.default_rng(seed)
        sizes = np.arange(max_batch + 1)[:, np.newaxis]
        of_batch = generator.hypergeometric(sizes, n, sizes, size=(max_batch + 1, n_permutations))
        longest = int((sizes - of_batch).max())  # no permutation takes more of the reference
        orders = np.stack([generator.permutation(n)[:longest] for _ in range(n_permutations)])
        return cls(
            torch.from_numpy(orders.astype(np.int32)), torch.from_numpy(of_batch.astype(np.int16)), seed
        )

    def fits(self, n: int) -> bool:
        """Return whether every permutation takes samples that a reference of n has."""
        sizes = torch.arange(len(self.of_batch))[:, None]
        of_reference = sizes - self.of_batch
        return (
            self.orders.ndim == self.of_batch.ndim == 2
            and len(self.of_batch) > 2
            and len(self.orders) == self.of_batch.shape[1] > 0
            and bool((self.orders >= 0).all() and (self.orders < n).all())
            and bool((self.of_batch >= 0).all() and (self.of_batch <= sizes).all())
            and bool((of_reference <= self.orders.shape[1]).all())
        )

    @property
    def max_batch(self) -> int:
        return len(self.of_batch) - 1

    @property
    def n_permutations(self) -> int:
        return len(self.orders)

    def permutations(self, n: int, m: int, count: int) -> "Permutations":
        """Return the first permutations of a reference of n and a batch of m, the same ones every time."""
        width = min(m, self.orders.shape[1])
        orders, of_batch = self.orders[:count, :width], self.of_batch[m, :count].long()
        kept = torch.arange(width) < (m - of_batch)[:, None]  # (count, width)
        columns = torch.from_numpy(orders.numpy()[kept.numpy()])  # torch's indexing takes ten times as long
        prefix = sparse_ones(columns, m - of_batch, n)
        chosen = random_subsets(of_batch.numpy(), m, np.random.default_rng([self.seed, m]))
        return Permutations(orders, kept, prefix, torch.from_numpy(chosen).double())


@dataclass(frozen=True)
class KernelSums:
    """Sums of kernel values within the reference, in units of 2⁻²⁰.

    Attributes:
        row_sums: Of each sample with all the others, shape (n,), float64.
        increments: Of each sample of an order with those before it, shape (B, J), int32.
    """

    row_sums: Tensor
    increments: Tensor


@dataclass(frozen=True)
class Permutations:
    """Permutations for a batch of m: which of the reference and which of the batch are called the batch.

    Attributes:
        orders: The reference's samples in the order in which they are taken, shape (B, min(m, J)), int32.
        kept: Which of them are taken, the first m - k, shape (B, min(m, J)), bool.
        prefix: The samples of the reference that are taken, shape (B, n), sparse, float64.
        chosen: The rows of the batch that are taken, shape (B, m), float64.
    """

    orders: Tensor
    kept: Tensor
    prefix: Tensor
    chosen: Tensor

    def of_reference(self, sums: KernelSums) -> tuple[Tensor, Tensor]:
        """Return the kernel sums over each permutation's part of the reference, in units of 2⁻²⁰.

        Within the part, shape (B,), int64; and of the part with the whole reference, shape (B,), float64.
        """
        count, width = self.kept.shape
        within = 2 * (sums.increments[:count, :width] * self.kept).sum(dim=1)
        return within, self.prefix @ sums.row_sums


def sparse_ones(columns: Tensor, counts: Tensor, width: int) -> Tensor:
    """Return a sparse matrix, float64, of ones, from their columns, row by row, and how many each row has."""
    starts = torch.zeros(len(counts) + 1, dtype=torch.int32)
    torch.cumsum(counts, dim=0, out=starts[1:])
    ones = torch.ones(len(columns), dtype=torch.float64)
    size = len(counts), width
    return torch.sparse_csr_tensor(starts, columns.int(), ones, size=size, check_invariants=False)


def random_subsets(sizes: NDArray[np.int64], m: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random subset of range(m) of each of some sizes, one a row, shape (len(sizes), m).

    Source:
        Floyd's algorithm, for all subsets at once: Bentley, Floyd, A Sample of Brilliance, CACM 30 (1987).
    """
    chosen = np.zeros((len(sizes), m), dtype=np.bool_)
    largest_first = np.argsort(-sizes, kind="stable")
    ascending = sizes[largest_first[::-1]]
    for step in range(int(sizes.max(initial=0))):
        rows = largest_first[: len(sizes) - np.searchsorted(ascending, step, side="right")]
        last = m - sizes[rows] + step
        drawn = (generator.random(len(rows)) * (last + 1)).astype(np.int64)
        chosen[rows, np.where(chosen[rows, drawn], last, drawn)] = True
    return chosen


def sum_kernels(
    points: Points, orders: Tensor, kernels: Sequence[Kernel], *, progress: bool = False
) -> dict[Kernel, KernelSums]:
    """Return the sums within a reference that its permutations need.

    It takes B·J²/2 + n² values of each kernel, and keeps B·J + n of their sums.

    Args:
        points: The reference, n points.
        orders: Random orders of it, shape (B, J).
        kernels: Each kernel that tests will use.
        progress: Whether to show a progress bar.
    """
    count, length = orders.shape
    # A sum of J values of at most 2²⁰ is below 2³¹ where J is below 2¹¹.
    small = torch.int32 if length < 2**31 // UNIT else torch.int64
    sums = {
        kernel: KernelSums(
            torch.empty(len(points), dtype=torch.float64), torch.empty(count, length, dtype=small)
        )
        for kernel in kernels
    }
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = points[rows].squared_distances(points)
        for kernel, kernel_sums in sums.items():
            kernel_sums.row_sums[rows] = kernel(squared).sum(dim=1) - UNIT  # less the diagonal
    for index in followed(range(count), "permutations", count, progress=progress):
        ordered = points[orders[index].long()]
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            squared = ordered[start:stop].squared_distances(ordered[:stop])
            for kernel, kernel_sums in sums.items():
                values = kernel(squared)
                before = values[:, :start].sum(dim=1) + values[:, start:].tril_(-1).sum(dim=1)
                kernel_sums.increments[index, start:stop] = before
    return sums
