"""How well a few units tell languages apart, beside what is cheaper: the whole activation, and characters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from glossae.corpora import cut, first_of_each, shuffle_key
from glossae.errors import GlossaeError
from glossae.evidence import identify, testing
from glossae.evidence.confounders import OtherText
from glossae.evidence.families import Family
from glossae.evidence.panels import Panel
from glossae.evidence.settings import EvidenceSettings
from glossae.lm import LanguageModel, Site, TokenizedCorpus
from glossae.results import IdentificationRow, Identified, NotIdentified
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
    def read(
        lm: LanguageModel, site: Site, find: Text, tests: Sequence[Text], *, seed: int, budget: int
    ) -> "Texts":
        """Run everything through the model."""
        known = tuple(find.sizes())
        tests = [own for text in tests if len((own := text.only(known)).tokens)]
        means, tokens = [], []
        for text in (find, *tests):
            means.append(identify.sentence_rows(lm, site, text.tokens, budget=budget))
            tokens.append(
                identify.sample_tokens(
                    lm, site, text.tokens, per_language=TOKENS // len(known), seed=seed, budget=budget
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
    order = sorted(range(len(sentences)), key=lambda i: shuffle_key(seed, "identify", sentences[i].pair))
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
    lm: LanguageModel,
    site: Site,
    families: Sequence[Family],
    panel: Panel,
    again: Sequence[OtherText],
    settings: EvidenceSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> list[IdentificationRow | NotIdentified]:
    """Tell languages apart on text that nothing was fitted to: sentences, and single tokens.

    Fitted is on the half of the panel that units are found on; tested on the half held out, and on the other text
    where that has all of the languages. Languages that only the other text has are fitted to on half of that.

    Args:
        lm: the model.
        site: where the units read.
        families: those found on the panel; directions are left out.
        panel: the text.
        again: the half held out, and other text where there is some.
        settings: which sets of languages, and how many units of each.
        progress: is told the share that is done.
    """
    seed = settings.seed
    kinds: dict[str, Family] = {
        family.units.kind: family for family in families if family.units.kind in KINDS
    }

    def text_of(role: str, text: OtherText) -> Text:
        tables: dict[str, SentenceTable] = {
            each.units.kind: table for each, table in zip(text.families, text.tables, strict=True)
        }
        return sample(Text(role, text.tokens, tables), seed)

    find = sample(Text("panel", panel.found_on, {kind: family.table for kind, family in kinds.items()}), seed)
    tests = [text_of(role, text) for role, text in zip(("panel", "replicate"), again, strict=False)]
    units: dict[str, Units] = {kind: family.units for kind, family in kinds.items()}
    aurocs: dict[str, testing.AurocTable] = {kind: family.evidence.auroc for kind, family in kinds.items()}
    read: dict[str, Any] = {"seed": seed, "budget": settings.budget}
    texts = Texts.read(lm, site, find, tests, **read)
    work = [(texts, aurocs, each) for each in _sets(settings, tests[0].sizes())]
    for other in tests[1:]:
        new = set(other.sizes()) - set(find.sizes())
        if not new:
            continue
        first, second = halves(other, seed)
        own: dict[str, testing.AurocTable] = {kind: testing.auroc_table(first.tables[kind]) for kind in kinds}
        both = Texts.read(lm, site, first, [second], **read)
        work += [(both, own, each) for each in _sets(settings, other.sizes()) if new & set(each)]
    rows: list[IdentificationRow | NotIdentified] = []
    for number, (texts, auroc, languages) in enumerate(work):
        rows += _told(settings, units, auroc, texts, languages)
        progress((number + 1) / len(work))
    return rows


def _sets(settings: EvidenceSettings, sizes: Mapping[str, int]) -> list[tuple[str, ...]]:
    """The pair; all languages; the target and each other one; and what the recipe names."""
    target, reference = settings.target, settings.reference
    found: list[tuple[str, ...]] = [(target, reference)] if {target, reference} <= set(sizes) else []
    found += [tuple(sizes)] if len(sizes) > 1 else []
    found += [own] if (own := settings.identify_languages) else []
    found += [(target, code) for code in sizes if code != target and target in sizes]
    return list(dict.fromkeys(tuple(sorted(each)) for each in found))


def _told(
    settings: EvidenceSettings,
    units: Mapping[str, Units],
    aurocs: Mapping[str, testing.AurocTable],
    texts: Texts,
    languages: tuple[str, ...],
) -> list[IdentificationRow | NotIdentified]:
    """How well one set of languages is told apart, by sentences and then by tokens; or why it is not."""
    seed, sizes = settings.seed, settings.identify_units
    if len(languages) == 2 and set(languages) != {settings.target, settings.reference}:
        # for the target against one other the largest number of units only
        sizes = (max(sizes),)

    def where(text: Text) -> dict[str, Any]:
        on = "held_out" if text.role == "panel" else "replicate"
        return {"set": languages, "fitted_on": texts.find.role, "on": on}

    reasons, whole = list[IdentificationRow | NotIdentified](), list[int]()
    for number, text in enumerate(texts.tests):
        few = _too_few(texts.find, text, languages)
        if few is None:
            whole.append(number)
        elif text.role == texts.find.role:
            # what the other text lacks is no loss of the panel's
            reasons.append(NotIdentified(**where(text), reason=few))
    if not whole:
        return reasons
    tests, rows = [texts.tests[number] for number in whole], [*reasons]

    def say(level: Level, by: str, how: str, count: int | None, found: list[Identified]) -> None:
        told: dict[str, Any] = {"level": level, "by": by, "how": how, "per_language": count}
        rows.extend(
            IdentificationRow(**where(text), **told, **dict(each))
            for text, each in zip(tests, found, strict=True)
        )

    def likeliest(level: Level, by: str, column: int) -> None:
        found = [
            identify.identify_by_likelihood(
                texts.likelihoods[number][column], texts.columns, languages, seed=seed
            )
            for number in whole
        ]
        say(level, by, "likelihood", None, found)

    # first what is fitted to, then what is tested on
    places = (0, *(number + 1 for number in whole))
    try:
        find, others = texts.find.only(languages), [text.only(languages) for text in tests]
        chosen = {
            (kind, size): identify.pick_units(aurocs[kind], size, languages)
            for kind in units
            for size in sizes
        }
        for (kind, size), picked in chosen.items():
            table, rest = find.tables[kind], [text.tables[kind] for text in others]
            by_regression = identify.identify_sentences(picked, table, rest, seed=seed)
            say("sentence", kind, "regression", size, by_regression)
            by_largest = identify.identify_sentences_by_largest(picked, table, rest, seed=seed)
            say("sentence", kind, "largest", size, by_largest)
        means, *more_means = (texts.means[place].only(languages) for place in places)
        found = identify.identify_rows(means, more_means, seed=seed)
        say("sentence", "activation", "regression", None, found)
        likeliest("sentence", "ngram", 0)
        first, *more = (texts.tokens[place].only(languages) for place in places)
        for (kind, size), picked in chosen.items():
            found = identify.identify_tokens(units[kind], picked, first, more, seed=seed)
            say("token", kind, "regression", size, found)
        found = identify.identify_tokens_by_activations(first, more, seed=seed)
        say("token", "activation", "regression", None, found)
        likeliest("token", "ngram", 1)
        likeliest("token", "ngram so far", 2)
    except GlossaeError as error:
        return reasons + [NotIdentified(**where(text), reason=str(error)) for text in tests]
    return rows


def _too_few(find: Text, test: Text, languages: tuple[str, ...]) -> str | None:
    for code in languages:
        counts = find.sizes().get(code, 0), test.sizes().get(code, 0)
        if min(counts) < LEAST:
            return (
                f"{code} has {counts[0]} sentences to fit to and {counts[1]} to test on, and it takes {LEAST} of each "
                "to tell it apart"
            )
    return None
