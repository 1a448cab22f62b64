"""Language identification within the evidence: how well a few units tell languages apart, beside what is cheaper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from glossae.errors import GlossaeError
from glossae.find import identify, testing
from glossae.lm import TokenizedCorpus
from glossae.plan import Quantities, Work
from glossae.run.context import Context, Progress
from glossae.stages.found import Again, Tested
from glossae.stages.panels import Panel
from glossae.text import cut, first_of_each, rank
from glossae.units import SentenceTable, Units

# sentences of a language that are fitted to, and as many that are tested on: more would take longer and say the same
SENTENCES = 2_000
# tokens of all languages together, about as many of each, likewise
TOKENS = 12_000
# a language with fewer sentences than this to fit to or to test on is left out
LEAST = 20

Level = Literal["sentence", "token"]

KINDS = ("latent", "neuron")
"""The kinds of units that languages are told apart by; directions are of one pair of languages."""

# of a dry run: seconds of a regression by units of two kinds, and of one by the whole activation, a dimension
SECONDS_BY_UNITS, SECONDS_BY_COLUMN = 0.4, 0.008


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
    def read(context: Context, find: Text, tests: Sequence[Text]) -> "Texts":
        """Run everything through the model."""
        lm, site, recipe = context.lm, context.site, context.recipe
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


def identification(
    context: Context,
    tested: Sequence[Tested],
    again: Sequence[Again],
    panel: Panel,
    elsewhere: Panel | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Tell languages apart on text that nothing was fitted to: sentences, and single tokens.

    Fitted is on the half of the panel that units are found on; tested on the half held out, and on the other text
    where that has all of the languages. Languages that only the other text has are fitted to on half of that.
    """
    if not context.recipe.evidence.identify:
        return []
    seed = context.recipe.seed
    families = {family.units.kind: family for family in tested if family.units.kind in KINDS}
    tables = {place.on: place.tables for place in again}
    find = sample(
        Text("panel", panel.found_on, {kind: family.table for kind, family in families.items()}), seed
    )
    tests = [sample(Text("panel", panel.held_out, tables["held_out"]), seed)]
    other = None
    if elsewhere is not None:
        other = sample(Text("replicate", elsewhere.held_out, tables["replicate"]), seed)
        tests.append(other)
    units: dict[str, Units] = {kind: family.units for kind, family in families.items()}
    aurocs: dict[str, testing.AurocTable] = {kind: family.evidence.auroc for kind, family in families.items()}
    texts = Texts.read(context, find, tests)
    work = [(texts, aurocs, each) for each in _sets(context, tests[0].sizes())]
    if other is not None and (new := set(other.sizes()) - set(find.sizes())):
        first, second = halves(other, seed)
        own: dict[str, testing.AurocTable] = {
            kind: testing.auroc_table(table) for kind, table in first.tables.items()
        }
        sets = [each for each in _sets(context, other.sizes()) if new & set(each)]
        both = Texts.read(context, first, [second])
        work += [(both, own, each) for each in sets]
    rows: list[dict[str, Any]] = []
    for number, (texts, auroc, languages) in enumerate(work):
        rows += _Told(context, units, auroc, texts, languages).rows()
        progress((number + 1) / len(work))
    return rows


def _sets(context: Context, sizes: Mapping[str, int]) -> list[tuple[str, ...]]:
    """The pair; all languages; the target and each other one; and what the recipe names."""
    target, reference = context.target, context.reference
    found: list[tuple[str, ...]] = [(target, reference)] if {target, reference} <= set(sizes) else []
    found += [tuple(sizes)] if len(sizes) > 1 else []
    found += (
        [context.recipe.evidence.identify_languages] if context.recipe.evidence.identify_languages else []
    )
    found += [(target, code) for code in sizes if code != target and target in sizes]
    return list(dict.fromkeys(tuple(sorted(each)) for each in found))


@dataclass(frozen=True)
class _Told:
    """How well one set of languages is told apart."""

    context: Context
    units: Mapping[str, Units]
    aurocs: Mapping[str, testing.AurocTable]
    texts: Texts
    languages: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """What came out, sentences first; or why nothing did."""
        whole, reasons = [], []
        for number, text in enumerate(self.texts.tests):
            few = self._too_few(text)
            if few is None:
                whole.append(number)
            elif text.role == self.texts.find.role:
                # what the other text lacks is no loss of the panel's
                reasons.append(self._row(text, few))
        if not whole:
            return reasons
        tests = [self.texts.tests[number] for number in whole]
        try:
            return reasons + self._sentences(whole, tests) + self._tokens(whole, tests)
        except GlossaeError as error:
            return reasons + [self._row(text, str(error)) for text in tests]

    @property
    def _seed(self) -> int:
        return self.context.recipe.seed

    @property
    def _sizes(self) -> tuple[int, ...]:
        """Units a language: all that are asked for, but for the target against one other the largest only."""
        sizes = self.context.recipe.evidence.identify_units
        pair = {self.context.target, self.context.reference}
        return sizes if len(self.languages) > 2 or set(self.languages) == pair else (max(sizes),)

    def _too_few(self, text: Text) -> str | None:
        for code in self.languages:
            find, test = self.texts.find.sizes().get(code, 0), text.sizes().get(code, 0)
            if min(find, test) < LEAST:
                return (
                    f"{code} has {find} sentences to fit to and {test} to test on, and it takes {LEAST} of each to "
                    "tell it apart"
                )
        return None

    def _sentences(self, whole: list[int], tests: list[Text]) -> list[dict[str, Any]]:
        find, others = self.texts.find.only(self.languages), [text.only(self.languages) for text in tests]
        rows = []
        for kind in self.units:
            table, rest = find.tables[kind], [text.tables[kind] for text in others]
            for size in self._sizes:
                chosen = identify.pick(self.aurocs[kind], size, self.languages)
                for how, tell in (
                    ("regression", identify.identify_sentences),
                    ("largest", identify.identify_sentences_by_largest),
                ):
                    found = tell(chosen, table, rest, seed=self._seed)
                    rows += self._said(tests, "sentence", kind, how, size, found)
        first, *means = (
            self.texts.means[number].only(self.languages) for number in (0, *(n + 1 for n in whole))
        )
        found = identify.identify_rows(first, means, seed=self._seed)
        rows += self._said(tests, "sentence", "activation", "regression", None, found)
        return rows + self._likeliest(whole, tests, "sentence", "ngram", 0)

    def _tokens(self, whole: list[int], tests: list[Text]) -> list[dict[str, Any]]:
        first, *others = (
            self.texts.tokens[number].only(self.languages) for number in (0, *(n + 1 for n in whole))
        )
        rows = []
        for kind, units in self.units.items():
            for size in self._sizes:
                chosen = identify.pick(self.aurocs[kind], size, self.languages)
                found = identify.identify_tokens(units, chosen, first, others, seed=self._seed)
                rows += self._said(tests, "token", kind, "regression", size, found)
        found = identify.identify_tokens_by_activations(first, others, seed=self._seed)
        rows += self._said(tests, "token", "activation", "regression", None, found)
        rows += self._likeliest(whole, tests, "token", "ngram", 1)
        return rows + self._likeliest(whole, tests, "token", "ngram so far", 2)

    def _likeliest(
        self, whole: list[int], tests: list[Text], level: Level, by: str, place: int
    ) -> list[dict[str, Any]]:
        found = [
            identify.identify_by_likelihood(
                self.texts.likelihoods[number][place], self.texts.columns, self.languages, seed=self._seed
            )
            for number in whole
        ]
        return self._said(tests, level, by, "likelihood", None, found)

    def _said(
        self,
        tests: list[Text],
        level: Level,
        by: str,
        how: str,
        per_language: int | None,
        found: list[identify.Identified],
    ) -> list[dict[str, Any]]:
        return [
            self._row(text, None)
            | {"level": level, "by": by, "how": how, "per_language": per_language}
            | each.as_json()
            for text, each in zip(tests, found, strict=True)
        ]

    def _row(self, text: Text, reason: str | None) -> dict[str, Any]:
        """That of one set of languages on one text; without a reason, more is said."""
        return {
            "set": list(self.languages),
            "fitted_on": self.texts.find.role,
            "on": "held_out" if text.role == "panel" else "replicate",
            "reason": reason,
        }


def identification_work(counts: Quantities, text: Sequence[Mapping[str, Any]]) -> Work:
    """Another pass over a sample of each half of a panel (and of what replicates it), and all regressions."""
    languages = len(text[0])
    if not counts.recipe.evidence.identify or languages < 2:
        return Work()
    # of each half, and of the other text
    read = sum(
        a.tokens * min(1.0, halves * SENTENCES / max(1.0, a.sentences))
        for halves, amounts in zip((2, 1, 1), text, strict=False)
        for a in amounts.values()
    )
    # the pair and all together by every number of units, each other language by one; sentences and tokens
    sets = len(counts.recipe.evidence.identify_units) * min(2, languages - 1) + languages - 2
    seconds = sets * 2 * 2 * SECONDS_BY_UNITS + languages * 2 * counts.d_in * SECONDS_BY_COLUMN
    return counts.forward(read, counts.depth) + Work(seconds=seconds)
