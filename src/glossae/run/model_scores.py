"""The scores of latents that need the model itself: what the loss would do without one, and random tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from glossae.find import scores
from glossae.lm import TokenizedCorpus
from glossae.run.context import Context
from glossae.run.evidence_rows import MOST_ROWS, Tested, score_rows
from glossae.run.panels import Panel
from glossae.run.samples import first_sentences, first_tokens
from glossae.run.show import Report, part
from glossae.units import collect

# sentences of each language behind attribution, and random tokens: enough for a ranking, and seconds of work
ATTRIBUTED_SENTENCES = 200
RANDOM_TOKENS = 2000


@dataclass(frozen=True)
class ModelScores:
    """What the model was asked about the latents.

    Attributes:
        attribution: by how much each language's loss would rise without each latent, to first order.
        random_rate: the share of random tokens on which each latent fires.
        tokens: how many random tokens that is of.
    """

    attribution: scores.Attribution
    random_rate: Float[np.ndarray, " units"]
    tokens: int

    def filter_rows(self, evidence: scores.Evidence, latents: Tested) -> list[dict[str, Any]]:
        """LangFIR's filter over the frozen latents: which it would keep, and by which rates."""
        kept = scores.random_token_filter(rate=evidence.token_rate, random_rate=self.random_rate)
        return [
            {
                "unit": unit,
                "rate": float(evidence.token_rate[unit]),
                "random_rate": float(self.random_rate[unit]),
                "on_random": bool(self.random_rate[unit] > scores.MAX_RANDOM),
                "kept": bool(kept[unit]),
            }
            for unit in latents.frozen.units[:MOST_ROWS]
        ]


def latent_scores(
    context: Context, layer: int, latents: Tested, panel: Panel, report: Report = lambda _: None
) -> dict[str, Any]:
    """The `scores` of results.json: how far the field's scores agree, and what LangFIR's filter says of the frozen."""
    asked = model_scores(context, layer, latents, panel, report)
    evidence = scores.Evidence(
        context.target,
        scores.TokenCounts.of(latents.statistics),
        latents.table,
        attribution=asked.attribution,
        random_rate=asked.random_rate,
        seed=context.recipe.seed,
    )
    return {
        **score_rows(evidence),
        "attributed": dict(
            zip(asked.attribution.languages, asked.attribution.predicted.tolist(), strict=True)
        ),
        "random_tokens": {
            "tokens": asked.tokens,
            "min_rate": scores.MIN_RATE,
            "max_random": scores.MAX_RANDOM,
            "units": asked.filter_rows(evidence, latents),
        },
    }


def model_scores(
    context: Context, layer: int, latents: Tested, panel: Panel, report: Report = lambda _: None
) -> ModelScores:
    """Attribution on the first sentences of each language of the half that was searched, and a pass over random tokens.

    The random sequences are as long as the target's first sentences there.
    """
    recipe, lm, site = context.recipe, context.lm, context.site(layer)
    attribution = scores.gradient_attribution(
        lm,
        site,
        latents.units,
        first_sentences(panel.found_on, ATTRIBUTED_SENTENCES),
        budget=recipe.batch_tokens,
        progress=part(report, 0.0, 0.9),
    )
    drawn = scores.random_token_sequences(lm, _some(context, panel.found_on), seed=recipe.seed)
    statistics, _ = collect(
        lm,
        site,
        latents.units,
        drawn,
        budget=recipe.batch_tokens,
        table=False,
        progress=part(report, 0.9, 1.0),
    )
    counts = scores.TokenCounts.of(statistics)
    tokens = int(counts.tokens.sum())
    return ModelScores(attribution, counts.fired.sum(0) / tokens, tokens)


def _some(context: Context, tokens: TokenizedCorpus) -> TokenizedCorpus:
    """The target's first sentences, until there are tokens enough."""
    own = tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == context.target])
    return first_tokens(own, RANDOM_TOKENS)
