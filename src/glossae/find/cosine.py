"""Which directions of one set are nearest to those of another, by cosine: all of them, or one to one."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# from this |cosine| on, two directions count as the same
SAME = 0.7
# cosines held at once: 64 MiB of float32
COSINES = 2**24


def cosines(
    rows: Float[Tensor, "rows d_in"], directions: Float[Tensor, "directions d_in"]
) -> Float[Tensor, "rows directions"]:
    """The cosine of each row with each direction; one of zeros is near nothing."""
    lengths = [matrix.norm(dim=1).clamp_min(1e-12) for matrix in (rows, directions)]
    found: Tensor = rows @ directions.T / lengths[0][:, None] / lengths[1]
    return found


@torch.no_grad()
def nearest(
    rows: Float[Tensor, "rows d_in"], directions: Float[Tensor, "directions d_in"], count: int
) -> tuple[Int[Tensor, "rows count"], Float[Tensor, "rows count"]]:
    """The `count` directions with the largest cosine to each row, and these cosines, the nearest first.

    Cosines are found for some rows at a time: of 65,536 rows with as many directions they would be 16 GiB.
    """
    step = max(1, COSINES // len(directions))
    parts = [cosines(part, directions).topk(count, dim=1) for part in rows.split(step)]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def one_to_one(
    similarity: Float[np.ndarray, "rows columns"],
) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Each row's column in the one-to-one matching of the largest total similarity, and how similar that is.

    By the Hungarian algorithm (Kuhn 1955). With more rows than columns some rows have none: -1, and 0.
    """
    from scipy.optimize import linear_sum_assignment

    row, column = linear_sum_assignment(similarity, maximize=True)
    partner, how = np.full(len(similarity), -1, dtype=np.int64), np.zeros(len(similarity))
    partner[row], how[row] = column, similarity[row, column]
    return partner, how
