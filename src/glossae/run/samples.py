"""The first part of a text: of one that comes shuffled it is a fair sample."""

from glossae.lm import TokenizedCorpus
from glossae.text import first_of_each


def first_sentences(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language, so many."""
    return tokens.take(first_of_each((s.language for s in tokens.corpus.sentences), wanted))


def first_tokens(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language with about so many tokens, or a few more."""
    languages = (s.language for s in tokens.corpus.sentences)
    return tokens.take(first_of_each(languages, wanted, map(int, tokens.lengths)))
