"""The tokens that probes are fitted and tested on: a seeded sample of whole sentences."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from sprog.errors import SprogError
from sprog.lm import TokenizedCorpus

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
        SprogError: a language has fewer than 10 sentences.
    """
    generator = np.random.default_rng(seed)
    of = np.array([sentence.language for sentence in tokens.corpus.sentences])
    chosen = []
    for language in languages:
        numbers = generator.permutation(np.flatnonzero(of == language))
        if len(numbers) < 10:
            raise SprogError(
                f"corpora.train: {len(numbers)} sentences of '{language}' are too few for a probe (at least 10)"
            )
        reached = np.cumsum(tokens.lengths[numbers])
        enough = int(np.searchsorted(reached, budget / 2 / (1 - HELD_OUT))) + 1
        chosen.append(numbers[:enough])
    held_out = np.zeros((seeds, sum(len(numbers) for numbers in chosen)), dtype=bool)
    for row in held_out:
        start = 0
        for numbers in chosen:
            count = max(1, round(HELD_OUT * len(numbers)))
            row[start + generator.permutation(len(numbers))[:count]] = True
            start += len(numbers)
    return ProbeSample(tokens.take(np.concatenate(chosen)), held_out)
