"""A text with what a few latents do at each of its tokens (the paper's Figure 6)."""

from collections.abc import Sequence
from typing import Any

import torch

from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, pad
from glossae.sae import Sae
from glossae.text import Corpus
from glossae.units.detail import fired_values

# longer sentences make the figure unreadable
LONGEST_SHOWN = 60


def sentences_to_show(corpus: Corpus, target: str, reference: str, count: int) -> Corpus:
    """Translated pairs where the corpus has them, else the first sentences of either language."""
    by_pair: dict[str, dict[str, int]] = {}
    for number, sentence in enumerate(corpus.sentences):
        by_pair.setdefault(sentence.pair, {}).setdefault(sentence.language, number)
    pairs = [[p[target], p[reference]] for p in by_pair.values() if target in p and reference in p]
    if not pairs:
        of_either = (corpus.only(language).sentences[: count // 2] for language in (target, reference))
        return Corpus.of(sentence for sentences in of_either for sentence in sentences)
    return Corpus.of(corpus.sentences[n] for pair in pairs[:count] for n in pair)


@torch.no_grad()
def token_texts(
    lm: LanguageModel, site: Site, sae: Sae, tokens: TokenizedCorpus, units: Sequence[int]
) -> list[dict[str, Any]]:
    """Each sentence's tokens as readable strings, with each unit's pre-activation and whether it fires.

    Attention sinks, on which units are not read, are left out.
    """
    chosen = torch.tensor(list(units), dtype=torch.int64, device=lm.device)
    texts = []
    for number, sentence in enumerate(tokens.corpus.sentences):
        (part,) = activations(lm, [pad(tokens, torch.tensor([number]).numpy())], [site])
        x = part.sites[site].float()[:LONGEST_SHOWN]
        pre = sae.pre_activations(x, chosen).T.tolist()
        fires = (~fired_values(sae, x, chosen).isnan()).T.tolist()
        readable = readable_tokens(lm, tokens.ids[number][tokens.prefix :].tolist())
        places = part.position[:LONGEST_SHOWN] - tokens.prefix
        texts.append(
            {
                "pair": sentence.pair,
                "source": sentence.source,
                "language": sentence.language,
                "tokens": [readable[place] for place in places.tolist()],
                "units": {
                    str(unit): {"pre": pre[column], "fires": fires[column]}
                    for column, unit in enumerate(units)
                },
            }
        )
    return texts


def readable_tokens(lm: LanguageModel, ids: Sequence[int]) -> list[str]:
    """One string a token; a character whose bytes are spread over tokens stands whole at its first."""
    strings: list[str] = []
    start = 0
    while start < len(ids):
        end = start + 1
        # U+FFFD at the end stands for bytes that are no character yet: take more tokens until they are
        while end < len(ids) and lm.tokenizer.decode(ids[start:end]).endswith("�"):
            end += 1
        strings += [lm.tokenizer.decode(ids[start:end])] + [""] * (end - start - 1)
        start = end
    return strings
