"""Telling the language of single tokens: by a few units, and by the whole activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from glossae.find.identify.evaluation import Identified
from glossae.find.identify.rows import Rows, identify_rows
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite
from glossae.text import Corpus, first_of_each, rank
from glossae.units import Units, readable_tokens

# characters of a sentence before a token's end that are read
_LONGEST_CONTEXT = 60
# tokens that units read at once
_AT_ONCE = 4096


@dataclass(frozen=True)
class TokenSample:
    """Every token of some sentences.

    Attributes:
        rows: the site's activation at each token, float32, and where the token is from.
        texts: what each token says; a character whose bytes are spread over tokens stands whole at its first, and
            the others say nothing.
        sentence: the number of each token's sentence in `corpus`, ascending.
        corpus: the sentences.
    """

    rows: Rows
    texts: tuple[str, ...]
    sentence: Int[np.ndarray, " tokens"]
    corpus: Corpus

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, languages: Sequence[str]) -> "TokenSample":
        """The tokens in some languages."""
        kept = np.isin(self.rows.languages, list(languages))
        texts = tuple(text for text, wanted in zip(self.texts, kept, strict=True) if wanted)
        return TokenSample(self.rows.take(kept), texts, self.sentence[kept], self.corpus)

    def so_far(self) -> list[str]:
        """The sentence up to each token's end, its last 60 characters: what the model had read there."""
        found, read, before = [], "", -1
        for text, sentence in zip(self.texts, self.sentence.tolist(), strict=True):
            read = text if sentence != before else (read + text)[-_LONGEST_CONTEXT:]
            before = sentence
            found.append(read)
        return found


def sample_tokens(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    *,
    per_language: int,
    seed: int = 0,
    budget: int = 1024,
) -> TokenSample:
    """Tokens of whole sentences, drawn until each language has at least `per_language`, or all of its own.

    Which sentences are drawn depends on the seed and on their pairs, not on their order; translations are drawn
    together as far as that goes. A BOS is no token of them.

    Raises:
        GlossaeError: the model has no such site, or an activation is not finite.
    """
    sentences, lengths = tokens.corpus.sentences, tokens.lengths
    ranked = sorted(range(len(sentences)), key=lambda i: rank(seed, "identify", sentences[i].pair))
    taken = first_of_each(
        (sentences[number].language for number in ranked),
        per_language,
        (int(lengths[number]) for number in ranked),
    )
    drawn = tokens.take(sorted(ranked[place] for place in taken))
    parts, whose, places = [np.zeros((0, lm.width(site)), dtype=np.float32)], [], []
    for part in finite(lm, activations(lm, batches(drawn, budget), [site]), drawn):
        parts.append(part.sites[site].float().cpu().numpy())
        whose.append(part.sentence.cpu().numpy())
        places.append(part.position.cpu().numpy())
    sentence = np.concatenate([np.zeros(0, dtype=np.int64), *whose])
    # batches come in the order of lengths: back to that of the text
    order = np.lexsort((np.concatenate([np.zeros(0, dtype=np.int64), *places]), sentence))
    sentence = sentence[order]
    readable = [readable_tokens(lm, ids[drawn.prefix :].tolist()) for ids in drawn.ids]
    place = np.concatenate([np.zeros(0, dtype=np.int64), *places])[order] - drawn.prefix
    texts = [readable[of][at] for of, at in zip(sentence.tolist(), place.tolist(), strict=True)]
    rows = Rows.of(np.zeros((len(drawn), 0)), drawn.corpus).take(sentence)
    return TokenSample(rows.with_values(np.concatenate(parts)[order]), tuple(texts), sentence, drawn.corpus)


def identify_tokens(
    units: Units,
    chosen: Mapping[str, tuple[int, ...]],
    find: TokenSample,
    held_out: Sequence[TokenSample],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> list[Identified]:
    """Tell the language of single tokens by a few units, with the regression that tells that of sentences.

    Args:
        units: of the site that the samples are of.
        chosen: those of each language, as `pick` gives them.
        find: what is fitted to.
        held_out: samples to test on, each by itself; intervals are resamples of pairs, with all of their tokens.
        draws: how many resamples.
        seed: of folds and resamples.

    Raises:
        GlossaeError: as for `identify_rows`.
    """
    columns = sorted({unit for own in chosen.values() for unit in own})
    found = identify_rows(
        find.rows.with_values(_read(units, find.rows.x, columns)),
        [each.rows.with_values(_read(units, each.rows.x, columns)) for each in held_out],
        draws=draws,
        seed=seed,
    )
    return [replace(each, units=dict(chosen)) for each in found]


def identify_tokens_by_activations(
    find: TokenSample, held_out: Sequence[TokenSample], *, draws: int = 1000, seed: int = 0
) -> list[Identified]:
    """The same by every dimension of the site: what units can at best do.

    Raises:
        GlossaeError: as for `identify_rows`.
    """
    return identify_rows(find.rows, [each.rows for each in held_out], draws=draws, seed=seed)


def _read(units: Units, x: Float[np.ndarray, "tokens d_in"], columns: list[int]) -> np.ndarray:
    """What some units read at each token, a few thousand tokens at a time."""
    with torch.no_grad():
        parts = [units.read(part, columns).cpu().float() for part in torch.from_numpy(x).split(_AT_ONCE)]
    return torch.cat(parts).numpy()
