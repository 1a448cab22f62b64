"""Means over tokens when whole clusters of sentences were drawn."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def clustered_mean(values: Float[Tensor, " rows"], cluster: Int[Tensor, " rows"]) -> tuple[float, float]:
    """The mean over rows, and its standard error when whole clusters (sentences, or documents) were drawn."""
    _, number = cluster.unique(return_inverse=True)
    count = int(number.max()) + 1
    sizes = torch.zeros(count, dtype=torch.float64, device=values.device)
    sums = torch.zeros_like(sizes)
    sizes.index_add_(0, number, torch.ones_like(values))
    sums.index_add_(0, number, values)
    mean = values.mean()
    if count < 2:
        return float(mean), 0.0
    spread = (sums - mean * sizes).square().sum() * count / (count - 1)
    return float(mean), float(spread.sqrt() / sizes.sum())
