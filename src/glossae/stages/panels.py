"""The text on which units are tested: of one kind, in several languages, in two halves that share no pair."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from glossae.corpora import (
    Corpus,
    Sentence,
    ambiguous,
    build_lexicons,
    count_ambiguous,
    cut,
    first_of_each,
    identical_texts,
    refuse_one_text_as_two_languages,
)
from glossae.errors import GlossaeError
from glossae.evidence import testing
from glossae.lm import TokenizedCorpus, tokenize
from glossae.plan import Quantities, too_few_message
from glossae.plan.quantities import least_sentences
from glossae.run.context import Context, longest_text


@dataclass(frozen=True)
class Doubtful:
    """Two languages, and the sentences of both whose words are all in the word lists of both.

    Attributes:
        languages: the two.
        found: how many sentences each has.
        marked: the doubtful ones of both.
    """

    languages: tuple[str, str]
    found: tuple[int, int]
    marked: frozenset[Sentence]

    def as_row(self) -> dict[str, Any]:
        """The counts, for `results.json`."""
        marked = Counter(sentence.language for sentence in self.marked)
        return {
            "languages": list(self.languages),
            "sentences": dict(zip(self.languages, self.found, strict=True)),
            "doubtful": {language: marked[language] for language in self.languages},
        }


def doubtful_pairs(corpus: Corpus) -> list[Doubtful]:
    """Every pair of languages of a corpus, by word lists that are built from it."""
    lexicons = build_lexicons(corpus)
    sizes = {language: len(corpus.only(language)) for language in corpus.languages}
    found = []
    for one, other in combinations(corpus.languages, 2):
        mask = ambiguous(corpus, one, other, lexicons)
        marked = frozenset(s for s, doubtful in zip(corpus.sentences, mask, strict=True) if doubtful)
        found.append(Doubtful((one, other), (sizes[one], sizes[other]), marked))
    return found


@dataclass(frozen=True)
class Panel:
    """Sentences of one kind in the target and other languages.

    Attributes:
        role: `panel`, `replicate`, or `select` where no panel is given.
        source: the one source that they are from; None where somebody named a panel.
        found_on: the half on which units are found.
        held_out: the half on which they are looked at again; all of the text for `replicate`.
        identical: texts that stood in two languages and were taken out of both.
        ambiguous: by language, sentences whose words all belong to another language of the panel too.
        doubtful: the same by pair of languages; with `evidence.ambiguous drop` the halves lack these sentences.
        too_few: by language, how many sentences were left out, since so few cannot carry a test.
    """

    role: str
    source: str | None
    found_on: TokenizedCorpus
    held_out: TokenizedCorpus
    identical: int
    ambiguous: dict[str, int]
    doubtful: list[Doubtful]
    too_few: dict[str, int]


def tested_panel(context: Context) -> Panel:
    """The panel of a run: what `corpora.panel` names, or the largest source of `select` that has the pair.

    Raises:
        GlossaeError: one language's text is another's too, or no text is left.
    """
    return _panel(context, *panel_text(context))


def panel_text(context: Context) -> tuple[str, str | None, Corpus]:
    """The role that units are tested on, the one source of it that is taken, and its sentences.

    Raises:
        GlossaeError: no source of `select` has the pair.
    """
    if "panel" in context.roles.corpora:
        return "panel", None, context.roles.corpora["panel"]
    select = context.roles.corpora["select"]
    of_source = {source: select.of_source(source) for source in select.sources}
    whole = {
        source: corpus
        for source, corpus in of_source.items()
        if {context.target, context.reference} <= set(corpus.languages)
    }
    if not whole:
        raise GlossaeError(
            f"corpora.panel: no source of select has both {context.target} and {context.reference}: name text of "
            "one kind in every language"
        )
    source = max(whole, key=lambda name: len(whole[name]))
    return "select", source, whole[source]


def searched_sample(context: Context, each: int) -> tuple[str, str | None, TokenizedCorpus]:
    """The role and the source of the panel, and the first sentences of each language of the half that is searched.

    Languages that have too few sentences for a test are among them.

    Args:
        context: the run.
        each: how many sentences of a language.

    Raises:
        GlossaeError: one language's text is another's too, or no source of `select` has the pair.
    """
    role, source, corpus = panel_text(context)
    kept, _ = _plain(role, corpus)
    if context.recipe.evidence.ambiguous == "drop":
        marked = _marked(doubtful_pairs(Corpus.of(kept)))
        kept = [sentence for sentence in kept if sentence not in marked]
    half, _ = _halves(context, kept)
    places = first_of_each((sentence.language for sentence in half), each)
    return role, source, _tokens(context, [half[place] for place in places])


def too_small(context: Context) -> list[str]:
    """One line for each language of the panel that has too few sentences for a test; said before any work.

    Nothing is said of `select`, on which units are tested where no panel is given, unless the run takes tested units.

    Raises:
        GlossaeError: the target or the reference has too few sentences, so that no unit could be tested.
    """
    recipe = context.recipe
    if "panel" not in context.roles.corpora and recipe.features.rule != "tested":
        return []
    role, _, corpus = panel_text(context)
    settings, units = recipe.evidence, tested_units(context)
    found_on, _ = _halves(context, _plain(role, corpus)[0])
    carried = _carried(context, found_on)
    words = functools.partial(too_few_message, role, units=units, minimum=settings.minimum, q=settings.q)
    if not carried:
        counts = {code: len(corpus.only(code)) for code in (context.target, context.reference)}
        least = min(counts, key=lambda code: counts[code])
        raise GlossaeError(f"corpora.{words(least, counts[least])}: no unit can be tested")
    return [
        f"{words(code, len(corpus.only(code)))}: not tested against {code}"
        for code in corpus.languages
        if code not in carried
    ]


def tested_units(context: Context) -> int:
    """The units that are tested together: latents, or the site's coordinates where those are more."""
    recipe, width = context.recipe, context.lm.widths[context.recipe.site]
    given = context.given
    latents = recipe.sae.latents or (recipe.sae.expansion or 1) * width
    coordinates = width if recipe.site == "mlp.hidden" else 2 * width
    return max(latents if given is None else given.sae.config.latents, coordinates)


def _carried(context: Context, sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """The languages that the searched half has sentences enough of."""
    pairs: dict[str, list[str]] = {}
    for sentence in sentences:
        pairs.setdefault(sentence.language, []).append(sentence.pair)
    settings = context.recipe.evidence
    return testing.languages_to_test(
        pairs, context.target, context.reference, tested_units(context), settings.minimum, settings.q
    )


def replication_panel(context: Context) -> Panel | None:
    """What `corpora.replicate` names, all of it held out."""
    if "replicate" not in context.roles.corpora:
        return None
    return _panel(context, "replicate", None, context.roles.corpora["replicate"], halves=False)


def _panel(context: Context, role: str, source: str | None, corpus: Corpus, *, halves: bool = True) -> Panel:
    kept, twice = _plain(role, corpus)
    doubtful = doubtful_pairs(Corpus.of(kept))
    marked = _marked(doubtful)
    counts = count_ambiguous(Corpus.of(kept), [sentence in marked for sentence in kept])
    if context.recipe.evidence.ambiguous == "drop":
        kept = [sentence for sentence in kept if sentence not in marked]
    first, second = _halves(context, kept) if halves else ([], kept)
    # where not even target and reference have enough, the test says so itself
    carried = _carried(context, first)
    short = Counter(s.language for s in kept if carried and s.language not in carried)
    found_on, held_out = (
        _tokens(context, [sentence for sentence in half if sentence.language not in short])
        for half in (first, second)
    )
    return Panel(role, source, found_on, held_out, twice, counts, doubtful, dict(short))


def _marked(doubtful: Sequence[Doubtful]) -> frozenset[Sentence]:
    return frozenset[Sentence]().union(*(pair.marked for pair in doubtful))


def _plain(role: str, corpus: Corpus) -> tuple[list[Sentence], int]:
    """A text without what stands in two languages, and how many such texts there were."""
    try:
        refuse_one_text_as_two_languages(corpus)
    except GlossaeError as error:
        raise GlossaeError(f"corpora.{role}: {error}") from error
    twice = {text for text, _ in identical_texts(corpus)}
    return [sentence for sentence in corpus.sentences if sentence.text not in twice], len(twice)


def _halves(context: Context, sentences: list[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """The half on which units are found, and the half held out."""
    return cut(sentences, 0.5, seed=context.recipe.seed, purpose="held out")


def _tokens(context: Context, sentences: list[Sentence]) -> TokenizedCorpus:
    recipe, lm = context.recipe, context.lm
    return tokenize(lm, Corpus.of(sentences), max_tokens=longest_text(recipe, lm), prefix=lm.prefix)


def first_sentences(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language, so many."""
    return tokens.take(first_of_each((s.language for s in tokens.corpus.sentences), wanted))


def first_tokens(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language with about so many tokens, or a few more."""
    languages = (s.language for s in tokens.corpus.sentences)
    return tokens.take(first_of_each(languages, wanted, map(int, tokens.lengths)))


def untested_lines(counts: Quantities) -> Iterator[str]:
    """A line for each language that has too few sentences for a test, or one that says that nothing can be tested."""
    settings = counts.recipe.evidence
    role, amounts = "panel" if "panel" in counts.roles else "select", counts.panel
    units = max(counts.latents, counts.coordinates)
    least = least_sentences(units, settings.minimum, settings.q)

    def words(code: str) -> str:
        return too_few_message(
            role, code, amounts[code].sentences, units=units, minimum=settings.minimum, q=settings.q
        )

    short = [code for code, amount in amounts.items() if amount.sentences < least]
    whole = [code for code in short if code in counts.pair]
    if whole:
        yield f"{words(whole[0])}: no unit can be tested"
        return
    yield from (f"{words(code)}: not tested against {code}" for code in short)
