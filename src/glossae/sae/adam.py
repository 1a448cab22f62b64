"""Adam on one block of rows after another, with moments in float32 or, to save memory, bfloat16."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam

from glossae.sae.sparse import kernels_for

# Kingma & Ba 2015, algorithm 1
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """The moments of some parameters, and the update of a block of their rows.

    Adam treats every weight alone, so a parameter may be updated in blocks, as their gradients are made: no whole
    gradient is ever held. Arithmetic is in float32. Moments that are stored in bfloat16 are rounded up or down at
    random, in proportion to the distance (Gupta et al. 2015, section 3). Rounded to the nearest, the second moment
    would never fall: a step takes a thousandth of it, and the steps of bfloat16 are 1/256.

    Attributes:
        moments: the first and the second moment of each parameter by its name.
    """

    def __init__(self, parameters: Mapping[str, Tensor], dtype: torch.dtype, seed: int) -> None:
        self.seed = seed
        self.moments = {
            name: tuple(
                torch.zeros_like(each, dtype=dtype if each.ndim == 2 else None, requires_grad=False)
                for _ in range(2)
            )
            for name, each in parameters.items()
        }
        self._generator: torch.Generator | None = None

    def start(self, step: int, device: torch.device) -> None:
        """Begin a step: what is rounded at random depends on its number alone, so that a training can be resumed."""
        self._number = step + 1
        self._step = torch.full((), float(step), device=device)
        self._generator = torch.Generator(device).manual_seed((self.seed << 32) + step)

    def update(
        self,
        name: str,
        values: Float[Tensor, "*shape"],
        gradient: Float[Tensor, "*shape"],
        lr: float,
        rows: slice = slice(None),
        along: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Update `values`, the given rows of a parameter, in place; `gradient` may be overwritten.

        With `along`, the rows are kept at length 1: `along` is the part of the gradient along each row, which would
        only change its length. It is removed, and the new rows are divided by their lengths.
        """
        stored = [moment[rows] for moment in self.moments[name]]
        if values.ndim == 2 and (fast := kernels_for(values)) is not None:
            seed = torch.randint(2**62, (1,), generator=self._generator, device=values.device)
            fast.adam(
                values,
                gradient,
                *stored,
                along,
                seed,
                step=self._number,
                lr=lr,
                betas=(BETA_1, BETA_2),
                epsilon=EPSILON,
            )
            return
        if along is not None:
            gradient.addcmul_(along[:, None], values, value=-1)
        moments = [each.float() for each in stored]
        fused = values.device.type in ("cpu", "cuda")
        adam(
            [values],
            [gradient],
            moments[:1],
            moments[1:],
            [],
            [self._step.clone()],
            foreach=False,
            fused=fused,
            amsgrad=False,
            beta1=BETA_1,
            beta2=BETA_2,
            lr=lr,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )
        if stored[0].dtype == torch.bfloat16:
            drawn = self._drawn(values)
            for place, moment, noise in zip(stored, moments, (drawn, drawn >> 16), strict=True):
                # the lower half of a float32 is cut off after a random number below it was added
                bits = moment.view(torch.int32).add_(noise.bitwise_and_(2**16 - 1)).bitwise_and_(-(2**16))
                place.copy_(bits.view(torch.float32))
        if along is not None:
            values.div_(torch.linalg.vector_norm(values, dim=1, keepdim=True).clamp_min(1e-12))

    def _drawn(self, like: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """32 random bits for each value."""
        return torch.randint(
            -(2**31), 2**31, like.shape, generator=self._generator, device=like.device, dtype=torch.int32
        )
