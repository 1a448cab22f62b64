"""Units that fire on a language and not on any old tokens."""

import numpy as np
from jaxtyping import Bool, Float

from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, TokenizedCorpus
from glossae.text import Corpus

RANDOM = "random"
MIN_RATE, MAX_RANDOM = 0.5, 0.05
"""The filter's thresholds, which are ours: fires on so much of the language, and on so little of random tokens."""


def random_token_sequences(lm: LanguageModel, tokens: TokenizedCorpus, *, seed: int = 0) -> TokenizedCorpus:
    """For every sentence a sequence of as many tokens, each drawn uniformly from the vocabulary.

    What LangFIR (arXiv 2604.03532) holds text against. Special tokens, and rows of the embedding that no token has,
    are not drawn; a prefix stays. The language is `random`, and the bytes are those of what the tokens decode to.

    Raises:
        GlossaeError: the vocabulary has nothing but special tokens.
    """
    vocabulary = min(len(lm.tokenizer), int(lm.model.get_input_embeddings().num_embeddings))
    choice = np.setdiff1d(np.arange(vocabulary), lm.tokenizer.all_special_ids)
    if not len(choice):
        raise GlossaeError(f"scores: the tokenizer of {lm.name} has no tokens to draw from")
    generator = np.random.default_rng(seed)
    ids, sentences, sizes = [], [], []
    for sentence, own in zip(tokens.corpus.sentences, tokens.ids, strict=True):
        drawn = own.copy()
        drawn[tokens.prefix :] = generator.choice(choice, len(own) - tokens.prefix)
        texts = [
            lm.tokenizer.decode(part) for part in (drawn[tokens.prefix :], drawn[max(1, tokens.prefix) :])
        ]
        ids.append(drawn)
        sentences.append(sentence._replace(text=texts[0], language=RANDOM, source=f"{RANDOM} tokens"))
        sizes.append(len(texts[1].encode()))
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=tuple(ids),
        predicted_bytes=np.array(sizes, dtype=np.int64),
        dropped={},
        cut={},
        prefix=tokens.prefix,
    )


def random_token_difference(
    *, rate: Float[np.ndarray, " units"], random_rate: Float[np.ndarray, " units"]
) -> Float[np.ndarray, " units"]:
    """How much more often a unit fires on the language than on random tokens of the same lengths (LangFIR).

    Args:
        rate: the share of the language's sentences (or tokens) on which a unit fires.
        random_rate: the same share of the random sequences (or tokens).
    """
    difference: np.ndarray = rate - random_rate
    return difference


def random_token_filter(
    *,
    rate: Float[np.ndarray, " units"],
    random_rate: Float[np.ndarray, " units"],
    min_rate: float = MIN_RATE,
    max_random: float = MAX_RANDOM,
) -> Bool[np.ndarray, " units"]:
    """LangFIR (arXiv 2604.03532): units that fire consistently on the language and not on random tokens.

    It needs text of one language only, so it cannot tell Danish from what Danish and Swedish share. The two
    thresholds are ours.
    """
    passing: np.ndarray = (rate >= min_rate) & (random_rate <= max_random)
    return passing
