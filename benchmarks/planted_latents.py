"""What `planted.py --sae` does: an autoencoder trained on a planted world, and its latents tested and scored."""

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from glossae.sae import Mixer, Sae, SaeConfig, TrainSettings, train
from glossae.units import Latents, SentenceTable
from planted_sentences import draw_sentences, match, score, score_latents
from planted_world import PlantedWorld

# seeds of draws: sentences to learn from and for the latents' own truth, neither of which is tested
LEARNT, FRESH = 1_000, 1
POOL, BATCH = 2**16, 1024


def stream(world: PlantedWorld, tokens: int) -> Iterator[Tensor]:
    """Activations of sentences that are not tested."""
    taken = number = 0
    while taken < tokens:
        for x in draw_sentences(world, 64, LEARNT + number).activations(8192):
            part = x[: tokens - taken]
            taken += len(part)
            if len(part):
                yield part
        number += 1


def trained(world: PlantedWorld, tokens: int, latents: int, k: int, seed: int) -> tuple[Sae, float]:
    """A TopK autoencoder of the world, and its FVU at the end of training."""
    mixer = Mixer(BATCH, POOL, torch.Generator().manual_seed(seed))
    settings = TrainSettings(steps=math.ceil(tokens / BATCH), tokens=tokens, seed=seed)
    config = SaeConfig(d_in=world.d_in, latents=latents, k=k)
    sae, log = train(config, mixer.batches(stream(world, tokens)), settings)
    return sae, log[-1].fvu


class Scored:
    """The latents of one autoencoder, and every way to say which of them are truly for a language.

    Args:
        world: what it was trained on.
        sae: the autoencoder.
        fresh: sentences of each language from which the latents' own AUROC is taken for their truth; its standard
            error is at most sqrt(1 / (6 fresh)), and nearer to 0.8 about half that.
    """

    def __init__(self, world: PlantedWorld, sae: Sae, fresh: int) -> None:
        self.world, self.units = world, Latents(sae)
        self.matching = match(sae.W_dec, world.directions)
        self.large = draw_sentences(world, fresh, FRESH).read(self.units)

    def table(self, sentences: int, seed: int) -> SentenceTable:
        """What is tested."""
        return draw_sentences(self.world, sentences, seed).read(self.units)

    def rows(
        self, language: str, chosen: np.ndarray, own: np.ndarray, minimum: float
    ) -> dict[str, dict[str, float]]:
        """A selection of latents for one language, by every way.

        Args:
            language: of the claim.
            chosen: the latents selected.
            own: each latent's AUROC on the fresh sentences against its nearest language.
            minimum: what has to be exceeded.
        """
        truth = self.world.truth(language, minimum)
        found = {"their own AUROC": score(chosen, own > minimum)}
        for way in ("one-to-one", "best"):
            stands = self.matching.of(way)
            for unmatched in ("false", "left out"):
                found[f"{way}, unmatched {unmatched}"] = score_latents(
                    chosen, stands, truth, unmatched=unmatched
                )
        return {
            name: {"FDP": one.fdp, "power": one.power, "discoveries": one.discoveries}
            for name, one in found.items()
        }

    def why(self, language: str, chosen: np.ndarray, own: np.ndarray, minimum: float) -> dict[str, int]:
        """What the false ones of a selection are, matched one-to-one, and on which side of the minimum."""
        stands, truth = self.matching.of("one-to-one")[chosen], self.world.truth(language, minimum)
        best = self.matching.of("best")[chosen]
        wrong = ~((stands >= 0) & truth[stands])
        counts: dict[str, int] = defaultdict(int)
        for latent in np.flatnonzero(wrong):
            if stands[latent] >= 0:
                what = f"feature: {self.world.kind[stands[latent]]}"
            elif best[latent] >= 0 and truth[best[latent]]:
                what = "second latent of a true feature"
            else:
                what = "no feature at 0.7"
            counts[what + (", AUROC above" if own[chosen[latent]] > minimum else ", AUROC under")] += 1
        return dict(counts)

    def recovered(self, minimum: float) -> dict[str, float]:
        """What the autoencoder found of the world."""
        world, matching = self.world, self.matching
        true = np.any([world.truth(language, minimum) for language in world.codes], axis=0)
        partners = matching.of("one-to-one")
        often = world.token_rates.mean(1) >= 0.01
        return {
            "median cosine of true features": float(np.median(matching.recovered[true])),
            "true features at 0.7, best": float((matching.recovered[true] >= 0.7).mean()),
            "true features at 0.7, one-to-one": float(np.isin(np.flatnonzero(true), partners).mean()),
            "features at 0.7": float((matching.recovered >= 0.7).mean()),
            "features on 1 % of tokens, at 0.7": float((matching.recovered[often] >= 0.7).mean()),
            "latents at 0.7, one-to-one": float((partners >= 0).mean()),
            "mean cosine, one-to-one": float(matching.partner_cosine.mean()),
            "latents that fire": float((np.diff(self.large.values.indptr) > 0).mean()),
        }
