"""The tokens that probes are fitted and tested on: a seeded sample of whole sentences."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from glossae.errors import GlossaeError
from glossae.lm import TokenizedCorpus

# of the sampled sentences, the share that each seed holds out
HELD_OUT = 0.2


@dataclass(frozen=True)
class ProbeSample:
    """Sentences for probes, and how each seed splits them.

    Attributes:
        tokens: the sampled sentences.
        held_out: for each seed, which sentences are held out; the others are fitted.
    """

    tokens: TokenizedCorpus
    held_out: Bool[np.ndarray, "seeds sentences"]

    @property
    def seeds(self) -> int:
        """How many ways the sentences are split."""
        return len(self.held_out)


def sample_sentences(
    tokens: TokenizedCorpus, languages: tuple[str, str], budget: int, *, seeds: int, seed: int
) -> ProbeSample:
    """Draw whole sentences until each language has half the budget, plus what is held out.

    About `budget` tokens are fitted by each seed and a quarter as many held out; less if the text is short.

    Raises:
        GlossaeError: a language has fewer than 10 sentences.
    """
    generator = np.random.default_rng(seed)
    of = np.array([sentence.language for sentence in tokens.corpus.sentences])
    chosen = []
    for language in languages:
        numbers = generator.permutation(np.flatnonzero(of == language))
        if len(numbers) < 10:
            raise GlossaeError(
                f"corpora.train: {len(numbers)} sentences of '{language}' are too few for a probe (at least 10)"
            )
        reached = np.cumsum(tokens.lengths[numbers])
        enough = int(np.searchsorted(reached, budget / 2 / (1 - HELD_OUT))) + 1
        chosen.append(numbers[:enough])
    held_out = np.zeros((seeds, sum(len(numbers) for numbers in chosen)), dtype=bool)
    sample = tokens.take(np.concatenate(chosen))
    if any(sentence.doc for sentence in sample.corpus.sentences):
        for row in held_out:
            row[:] = _documents_held_out(sample, generator)
        return ProbeSample(sample, held_out)
    for row in held_out:
        start = 0
        for numbers in chosen:
            count = max(1, round(HELD_OUT * len(numbers)))
            row[start + generator.permutation(len(numbers))[:count]] = True
            start += len(numbers)
    return ProbeSample(sample, held_out)


def _documents_held_out(
    sample: TokenizedCorpus, generator: np.random.Generator
) -> Bool[np.ndarray, " sentences"]:
    """Whole clusters, until each language has its share or the next would leave it nothing to fit on.

    Raises:
        GlossaeError: a language has nothing held out.
    """
    clusters = np.array(sample.corpus.clusters)
    spoken = np.array([sentence.language for sentence in sample.corpus.sentences])
    held_out = np.zeros(len(sample), dtype=bool)
    totals = {language: int((spoken == language).sum()) for language in sample.corpus.languages}
    numbers = dict.fromkeys(totals, 0)
    for cluster in generator.permutation(int(clusters.max()) + 1):
        own = np.flatnonzero(clusters == cluster)
        counts = {code: int((spoken[own] == code).sum()) for code in totals}
        lacking = any(counts[code] and numbers[code] < HELD_OUT * totals[code] for code in totals)
        if lacking and all(numbers[code] + counts[code] < totals[code] for code in totals):
            held_out[own] = True
            numbers = {code: numbers[code] + counts[code] for code in totals}
    if empty := [code for code, number in numbers.items() if not number]:
        raise GlossaeError(
            f"corpora.train: the documents of '{empty[0]}' are too few for a probe (at least 2, of which one is held "
            "out)"
        )
    return held_out
