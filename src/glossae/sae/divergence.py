"""When a training has failed: a loss that is not finite, one beyond all measure, and one that ends where it should not.

Errors are held against the variance of the batch, FVU, so that a limit means the same at every site.
"""

import math
from collections.abc import Sequence

from glossae.errors import GlossaeError

# a fraction of variance unexplained beyond this is no step back but a divergence
DIVERGED = 1e4
# and an autoencoder that ends beyond this has learnt nothing: the batch's mean alone comes to 1, and what fires too
# seldom to be of use stays a little above that
USELESS = 2.0


def check_loss(squares: float, values: int, variance: float, step: int, lr: float) -> tuple[float, float]:
    """The mean squared error of a batch, and its fraction of variance unexplained.

    Args:
        squares: summed squared errors of scaled inputs.
        values: how many they are summed over.
        variance: the batch's summed squares around its mean.
        step, lr: for the message.

    Raises:
        GlossaeError: the loss is not finite, or more than `DIVERGED` times the variance.
    """
    mse, fvu = squares / values, squares / max(variance, 1e-30)
    if not math.isfinite(mse):
        raise GlossaeError(f"sae: the loss is no longer finite at step {step}; lower sae.lr (it is {lr:.2g})")
    # a site whose values hardly differ has no variance to measure by
    if fvu > DIVERGED and mse > 1.0:
        raise GlossaeError(
            f"sae: the loss diverges at step {step} (its error is {fvu:.0e} times the variance); "
            f"lower sae.lr (it is {lr:.2g})"
        )
    return mse, fvu


def check_end(first: float, last: Sequence[float], steps: int, lr: float) -> None:
    """Refuse an autoencoder that went astray without ever being as far off as `DIVERGED`.

    Args:
        first: FVU at the beginning.
        last: FVU of the last steps.
        steps, lr: for the message.

    Raises:
        GlossaeError: all of the last are beyond `USELESS` and worse than the first.
    """
    if min(last) > max(USELESS, first):
        raise GlossaeError(
            f"sae: the loss diverged: after {steps} steps the error is {last[-1]:.3g} times the variance, and was "
            f"{first:.3g} times it at first; lower sae.lr (it is {lr:.2g})"
        )
