"""The next-token loss as the paper's code averages it: its Figure 8 and Appendix C."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from glossae.effects import Edit, compile_edits
from glossae.lm import LanguageModel, Site, TokenizedCorpus, replayed_losses
from glossae.sae import Sae

# what the paper's code reads of its text: 501 rows in which the languages take turns, Danish first
CODED_SENTENCES = (251, 250)


@dataclass(frozen=True)
class CodedCell:
    """One language under one value.

    Attributes:
        value: what the units are fixed at; None: the spliced code without an edit, the paper's "no modification".
        language: of the sentences.
        ce: the mean over sentences of the mean over each one's predicted tokens, nats: a token of a short sentence
            counts for more than one of a long sentence.
        delta: ce less that of no modification.
        sentences: how many.
    """

    value: float | None
    language: str
    ce: float
    delta: float
    sentences: int


def coded_cells(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    edits: Sequence[Edit],
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[CodedCell]:
    """Mean loss of every language of a text under spliced edits, and without one.

    Args:
        lm: the model.
        site: where the autoencoder is.
        sae: the autoencoder; as coded, `without_pre_encoder_bias`.
        tokens: the text.
        edits: each with its value; the splice without an edit need not be among them.
        budget: tokens in a batch.
        progress: called with the share that is done.

    Raises:
        GlossaeError: a unit is not the autoencoder's, or the model has no such site.
    """
    fns = compile_edits([Edit("none", splice=True), *edits], sae)
    losses = replayed_losses(lm, site, tokens, fns, budget=budget, progress=progress)
    means: Float[np.ndarray, "edits sentences"] = losses / tokens.predicted
    languages = np.array([sentence.language for sentence in tokens.corpus.sentences])
    cells = []
    for code in tokens.corpus.languages:
        own = means[:, languages == code].mean(1)
        for value, ce in zip([None, *(edit.value for edit in edits)], own.tolist(), strict=True):
            cells.append(CodedCell(value, code, ce, ce - float(own[0]), int((languages == code).sum())))
    return cells
