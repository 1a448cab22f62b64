"""What the protocol `as_coded` does as the paper's code does it, where that is not what the paper's text says."""

from typing import Any

import numpy as np

from glossae.effects import Edit
from glossae.lm import TokenizedCorpus
from glossae.paper import CODED_SENTENCES, coded_cells, without_pre_encoder_bias
from glossae.recipe import Recipe
from glossae.run.context import Context
from glossae.run.folder import as_rows
from glossae.run.found import Selected
from glossae.run.sae_stage import load_sae
from glossae.run.show import Report
from glossae.sae import Sae
from glossae.units import UnitStatistics, latent_statistics

# the paper's code looks for its latents in so many sentences, as they come
SELECTED_ON = 100


def coded_encoder(recipe: Recipe, sae: Sae) -> Sae:
    """The run's autoencoder as the paper's code reads it, where the protocol says so; else as it was trained."""
    return without_pre_encoder_bias(sae) if recipe.protocol == "as_coded" else sae


def coded_statistics(context: Context, layer: int, sae: Sae, report: Report) -> UnitStatistics:
    """What latents do on the first 100 sentences of `select`, by the code that leaves out the pre-encoder bias.

    Roles come in an order of the run's seed, so these are no more chosen than the paper's, which its split shuffled.
    """
    tokens = context.pair_tokens("select")
    return latent_statistics(
        context.lm,
        context.site(layer),
        without_pre_encoder_bias(sae),
        tokens.take(_first_of_both(tokens)),
        budget=context.recipe.batch_tokens,
        progress=report,
    )


def coded_sweep(
    context: Context, layer: int, selected: Selected, tokens: TokenizedCorpus, report: Report
) -> list[dict[str, Any]]:
    """The sweep of Appendix C by the mis-read code, on 251 sentences of the target and 250 of the reference."""
    languages = np.array([sentence.language for sentence in tokens.corpus.sentences])
    wanted = zip((context.target, context.reference), CODED_SENTENCES, strict=True)
    chosen = np.concatenate([np.flatnonzero(languages == code)[:most] for code, most in wanted])
    edits = [
        Edit("set", selected.units, dose.targets, splice=True, value=dose.value) for dose in selected.doses
    ]
    return as_rows(
        coded_cells(
            context.lm,
            context.site(layer),
            without_pre_encoder_bias(load_sae(context)),
            tokens.take(sorted(chosen.tolist())),
            edits,
            budget=context.recipe.batch_tokens,
            progress=report,
        )
    )


def _first_of_both(tokens: TokenizedCorpus) -> list[int]:
    """The first 100 sentences, of which at least one is of each language."""
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    firsts = {languages.index(code) for code in set(languages)}
    rest = [place for place in range(len(languages)) if place not in firsts]
    return sorted([*firsts, *rest[: SELECTED_ON - len(firsts)]])
