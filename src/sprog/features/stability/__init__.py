"""Whether the latents of one autoencoder are there again in another, such as one trained with another seed."""

from sprog.features.stability.correlating import CorrelationSums
from sprog.features.stability.matched import LatentMatch, LatentMatcher, Shares, match_latents

__all__ = ["CorrelationSums", "LatentMatch", "LatentMatcher", "Shares", "match_latents"]
