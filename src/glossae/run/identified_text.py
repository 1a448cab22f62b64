"""The text that languages are told apart on, and everything that is read of it once for all sets of languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from glossae.find import identify
from glossae.lm import TokenizedCorpus
from glossae.run.context import Context
from glossae.text import cut, first_of_each, rank
from glossae.units import SentenceTable

# sentences of a language that are fitted to, and as many that are tested on: more would take longer and say the same
SENTENCES = 2_000
# tokens of all languages together, about as many of each, likewise
TOKENS = 12_000


@dataclass(frozen=True)
class Text:
    """Sentences, and everything that is read of them, row by row the same.

    Attributes:
        role: `panel` (that on which units are found, whatever it is from) or `replicate`.
        tokens: the sentences.
        tables: by kind of unit.
    """

    role: str
    tokens: TokenizedCorpus
    tables: Mapping[str, SentenceTable]

    def take(self, rows: Sequence[int] | Int[np.ndarray, " rows"]) -> "Text":
        """The sentences with these numbers."""
        index = np.asarray(rows, dtype=np.int64)
        if len(index) == len(self.tokens):
            return self
        return Text(
            self.role,
            self.tokens.take(index.tolist()),
            {kind: table.take(index) for kind, table in self.tables.items()},
        )

    def only(self, languages: Sequence[str]) -> "Text":
        """The sentences in some languages."""
        sentences = self.tokens.corpus.sentences
        return self.take([i for i, one in enumerate(sentences) if one.language in languages])

    def sizes(self) -> dict[str, int]:
        """Sentences of each language."""
        return {code: len(self.tokens.corpus.only(code)) for code in self.tokens.corpus.languages}


@dataclass(frozen=True)
class Texts:
    """A text that is fitted to and those that are tested on, and all that is read of them for any set of languages.

    Attributes:
        find: what is fitted to.
        tests: what is tested on, as far as its languages are those of `find`.
        means: the sentences' mean activations; first of `find`, then of each of `tests`.
        tokens: a sample of single tokens, likewise.
        likelihoods: of the sentences of each of `tests`, of its tokens, and of its sentences up to each token.
        columns: whose columns those are.
    """

    find: Text
    tests: list[Text]
    means: list[identify.Rows]
    tokens: list[identify.TokenSample]
    likelihoods: Sequence[tuple[identify.Rows, ...]]
    columns: tuple[str, ...]

    @staticmethod
    def read(context: Context, layer: int, find: Text, tests: Sequence[Text]) -> "Texts":
        """Run everything through the model."""
        lm, site, recipe = context.lm, context.site(layer), context.recipe
        known = tuple(find.sizes())
        tests = [own for text in tests if len((own := text.only(known)).tokens)]
        means, tokens = [], []
        for text in (find, *tests):
            means.append(identify.sentence_rows(lm, site, text.tokens, budget=recipe.batch_tokens))
            tokens.append(
                identify.sample_tokens(
                    lm,
                    site,
                    text.tokens,
                    per_language=TOKENS // len(known),
                    seed=recipe.seed,
                    budget=recipe.batch_tokens,
                )
            )
        likelihoods = [
            (
                identify.sentence_likelihoods(find.tokens.corpus, text.tokens.corpus)[0],
                identify.token_likelihoods(tokens[0], sample)[0],
                identify.token_likelihoods(tokens[0], sample, so_far=True)[0],
            )
            for text, sample in zip(tests, tokens[1:], strict=True)
        ]
        return Texts(find, tests, means, tokens, likelihoods, known)


def sample(text: Text, seed: int) -> Text:
    """At most so many sentences of each language, translations together as far as that goes."""
    sentences = text.tokens.corpus.sentences
    order = sorted(range(len(sentences)), key=lambda i: rank(seed, "identify", sentences[i].pair))
    places = first_of_each((sentences[row].language for row in order), SENTENCES)
    return text.take(sorted(order[place] for place in places))


def halves(text: Text, seed: int) -> list[Text]:
    """To fit to, and to test on; no pair is in both."""
    sentences = text.tokens.corpus.sentences
    _, held_out = cut(list(sentences), 0.5, seed=seed, purpose="identify")
    pairs = {one.pair for one in held_out}
    inside = np.array([one.pair in pairs for one in sentences])
    return [text.take(np.flatnonzero(~inside)), text.take(np.flatnonzero(inside))]
