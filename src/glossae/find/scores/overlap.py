"""How far the values of a unit on two languages lie in the same place."""

import numpy as np
from jaxtyping import Float, Int

from glossae.find.scores.counts import others, unit_slices, with_silent


def histogram_overlap(
    *,
    histogram: Int[np.ndarray, "languages units bins"],
    tokens: Int[np.ndarray, " languages"],
    target: int,
    negative_bins: int = 0,
) -> Float[np.ndarray, " units"]:
    """The overlap coefficient of a unit's values on the target and on the language that is closest to it.

    The sum over bins of the smaller of two shares (Weitzman 1970): 1 where both histograms are the same, 0 where
    they do not meet. The paper praises a latent for it (section 5.1, Figure 5). All tokens count; those in no bin have
    one of their own, at zero. It does not say which of the languages is the high one.

    Raises:
        GlossaeError: a histogram holds more values than there are tokens, or there is one language only.
    """
    rest = others(len(tokens), target)
    overlap = np.empty(histogram.shape[1])
    for part in unit_slices(len(overlap), len(tokens) * histogram.shape[2]):
        shares = with_silent(histogram[:, part], tokens, negative_bins) / tokens[:, None, None]
        overlap[part] = np.minimum(shares[target], shares[rest]).sum(2).max(0)
    return overlap
