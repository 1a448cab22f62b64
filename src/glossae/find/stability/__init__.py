"""Whether the latents of one autoencoder are there again in another, such as one trained with another seed."""

from glossae.find.stability.correlating import CorrelationSums
from glossae.find.stability.matched import LatentMatch, LatentMatcher, Shares, match_latents

__all__ = [
    "CorrelationSums",
    "LatentMatch",
    "LatentMatcher",
    "Shares",
    "match_latents",
]
