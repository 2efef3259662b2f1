"""A simple baseline: the permutation test as one matrix product over the whole pooled sample."""

from collections.abc import Callable

import torch
from torch import Tensor


def dense_permutation_test(
    reference: Tensor, batch: Tensor, kernel: Callable[[Tensor], Tensor], n_permutations: int
) -> tuple[float, float]:
    """Return the unbiased MMD² and its permutation p-value.

    It keeps the kernel matrix of all n + m samples and multiplies it by one column per permutation.

    Args:
        reference: Shape (n, d).
        batch: Shape (m, d).
        kernel: Turns distances into kernel values.
        n_permutations: Number of permutations.
    """
    n, m = len(reference), len(batch)
    pooled = torch.cat([reference, batch]).double()
    matrix = kernel(torch.cdist(pooled, pooled)).fill_diagonal_(0)
    labellings = torch.zeros(n + m, 1 + n_permutations, dtype=torch.float64)
    labellings[n:, 0] = 1
    generator = torch.Generator().manual_seed(0)
    for index in range(1, 1 + n_permutations):
        labellings[torch.randperm(n + m, generator=generator)[:m], index] = 1
    row_sums = matrix.sum(dim=1)
    q = (labellings * (matrix @ labellings)).sum(dim=0)
    s = row_sums @ labellings
    scores = (row_sums.sum() - 2 * s + q) / (n * (n - 1)) + q / (m * (m - 1)) - 2 * (s - q) / (n * m)
    p_value = (scores >= scores[0] - 1e-12).double().mean().item()
    return scores[0].item(), p_value
