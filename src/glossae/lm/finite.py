"""Activations that are NaN or infinite: found where they arise, with the sentence that they arise in."""

from collections.abc import Iterable, Iterator

import torch

from glossae.errors import GlossaeError
from glossae.lm.batches import TokenizedCorpus
from glossae.lm.model import LanguageModel
from glossae.lm.stream import Activations


def finite(lm: LanguageModel, parts: Iterable[Activations], tokens: TokenizedCorpus) -> Iterator[Activations]:
    """Pass activations of `tokens` on, as long as they are finite.

    Raises:
        GlossaeError: some are not; the line names the site and shows the sentence.
    """
    for part in parts:
        for site, x in part.sites.items():
            # a sum is finite only if everything in it is, and overflows so seldom that asking twice is cheap
            if bool(torch.isfinite(x.sum(dtype=torch.float32))) or bool(torch.isfinite(x).all()):
                continue
            bad = int((~torch.isfinite(x)).any(1).nonzero()[0, 0])
            sentence = tokens.corpus.sentences[int(part.sentence[bad])]
            text = sentence.text if len(sentence.text) <= 60 else f"{sentence.text[:60]}…"
            raise GlossaeError(
                f"model: {lm.name}: {site} is NaN or infinite at token {int(part.position[bad])} of the sentence "
                f"{text!r} ({sentence.language}, {sentence.source}); another dtype may help, float32 above all"
            )
        yield part
