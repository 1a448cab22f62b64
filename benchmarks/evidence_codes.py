"""Text without words, and the codes that a TopK autoencoder might give for it."""

from dataclasses import dataclass

import numpy as np
import torch

from glossae.corpora import Corpus, Sentence
from glossae.lm import TokenizedCorpus
from glossae.units import Fired

LANGUAGES = ("da", "de", "en", "fr", "nb", "nl", "sv")
GROUPS = (
    ("da", "nb", "sv"),
    ("da", "de", "en", "nb", "nl", "sv"),
    ("da", "de", "fr", "nb", "nl", "sv"),
)
# latents of each language and of each group; those of a sentence's topic, and their share of the draws
OWN, SHARED, TOPIC, TOPIC_SHARE = 48, 24, 40, 1 / 3


@dataclass(frozen=True)
class Drawn:
    """What an autoencoder would give, as units that can be counted: a token is its own number."""

    size: int
    ids: torch.Tensor
    values: torch.Tensor
    kind = "latent"
    signed = False
    d_in = 1
    identity = "latent - drawn"

    def __len__(self) -> int:
        return self.size

    def fired(self, x: torch.Tensor) -> Fired:
        """The codes of some tokens."""
        number = x[:, 0].long()
        ids, values = self.ids[number], self.values[number]
        fires = values > 0
        return Fired(fires.nonzero()[:, 0], ids[fires], values[fires])

    def pre_activations(self, x: torch.Tensor) -> torch.Tensor:
        """None were drawn."""
        return x.new_zeros(len(x), self.size)


def draw_text(tokens: int, translations: bool, generator: np.random.Generator) -> TokenizedCorpus:
    """Sentences of 15 to 30 tokens in every language, by turns, until there are so many tokens."""
    lengths: list[int] = []
    while sum(lengths) < tokens:
        lengths.append(int(generator.integers(15, 31)))
    lengths[-1] -= sum(lengths) - tokens
    count = len(LANGUAGES)
    sentences = [
        Sentence("-", LANGUAGES[i % count], f"pair {i // count if translations else i}", "drawn")
        for i in range(len(lengths))
    ]
    ids = tuple(np.zeros(length, dtype=np.int64) for length in lengths)
    return TokenizedCorpus(Corpus.of(sentences), ids, np.array(lengths), {}, {}, prefix=0)


def draw_codes(text: TokenizedCorpus, latents: int, k: int, generator: np.random.Generator) -> Drawn:
    """At each token k latents, and their values."""
    base = 10 ** generator.normal(0, 0.7, latents)
    base *= k / base.sum()
    tilt = np.exp(generator.normal(0, 0.3, (len(LANGUAGES), latents)))
    general = base.copy()
    special = iter(generator.permutation(latents))
    for languages, size in (*(((code,), OWN) for code in LANGUAGES), *((group, SHARED) for group in GROUPS)):
        units = [next(special) for _ in range(min(size, latents // 16))]
        general[units] = 0
        base[units] = 10 ** generator.uniform(-0.8, -0.3, len(units))
        inside = np.isin(LANGUAGES, languages)
        tilt[np.ix_(inside, units)], tilt[np.ix_(~inside, units)] = 1, 0.02
    cumulative = np.cumsum(base * tilt, axis=1)
    cumulative /= cumulative[:, -1:]
    names = {pair: i for i, pair in enumerate(dict.fromkeys(s.pair for s in text.corpus.sentences))}
    topics = np.searchsorted(np.cumsum(general) / general.sum(), generator.random((len(names), TOPIC)))
    ids = np.zeros((int(text.lengths.sum()), k), dtype=np.int64)
    fires, start = np.zeros(ids.shape, dtype=bool), 0
    for sentence, length in zip(text.corpus.sentences, text.lengths.tolist(), strict=True):
        found = np.searchsorted(
            cumulative[LANGUAGES.index(sentence.language)], generator.random((length, 2 * k))
        )
        on_topic = generator.random(found.shape) < TOPIC_SHARE
        found[on_topic] = generator.choice(topics[names[sentence.pair]], int(on_topic.sum()))
        # the first k that differ
        order = np.argsort(found, axis=1, kind="stable")
        ranked = np.take_along_axis(found, order, axis=1)
        new = np.empty(found.shape, dtype=bool)
        np.put_along_axis(new, order, np.diff(ranked, axis=1, prepend=-1) > 0, axis=1)
        first = np.argsort(~new, axis=1, kind="stable")[:, :k]
        ids[start : start + length] = np.take_along_axis(found, first, axis=1)
        fires[start : start + length] = np.take_along_axis(new, first, axis=1)
        start += length
    values = np.exp(generator.normal(0, 0.5, ids.shape) + generator.normal(0, 1, latents)[ids]) * fires
    return Drawn(latents, torch.from_numpy(ids), torch.from_numpy(values.astype(np.float32)))
