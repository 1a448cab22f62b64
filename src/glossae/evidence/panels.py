"""The text on which units are tested: of one kind, in several languages, in two halves that share no pair."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

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
from glossae.evidence.settings import EvidenceSettings
from glossae.evidence.testing import languages_to_test
from glossae.lm import LanguageModel, TokenizedCorpus, tokenize
from glossae.results import DoubtfulPair, PanelRow


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

    def row(self) -> DoubtfulPair:
        """The counts."""
        marked = Counter(sentence.language for sentence in self.marked)
        return DoubtfulPair(
            languages=self.languages,
            sentences=dict(zip(self.languages, self.found, strict=True)),
            doubtful={language: marked[language] for language in self.languages},
        )


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
        doubtful: the same by pair of languages; with `ambiguous drop` the halves lack these sentences.
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

    def row(self) -> PanelRow:
        """How much text there is, found on and held out, and what is doubtful in it."""
        return PanelRow(
            role=self.role,
            source=self.source,
            sentences={
                code: (len(self.found_on.corpus.only(code)), len(self.held_out.corpus.only(code)))
                for code in self.held_out.corpus.languages
            },
            identical=self.identical,
            ambiguous=self.ambiguous,
            too_few=self.too_few,
            doubtful=[pair.row() for pair in self.doubtful],
        )


def make_panel(
    lm: LanguageModel,
    corpus: Corpus,
    settings: EvidenceSettings,
    *,
    role: str,
    source: str | None,
    units: int,
    max_tokens: int,
    halves: bool = True,
) -> Panel:
    """Make a panel of a text.

    Args:
        lm: the model whose tokens it is cut into.
        corpus: the sentences.
        settings: of the tests.
        role: of the text.
        source: see `Panel`.
        units: how many are tested together: languages with too few sentences for that are left out.
        max_tokens: of a sentence.
        halves: whether a half is there to find units on; if not, all of it is held out.

    Raises:
        GlossaeError: one language's text is another's too.
    """
    kept, twice = plain_text(role, corpus)
    doubtful = doubtful_pairs(Corpus.of(kept))
    marked = _marked(doubtful)
    counts = count_ambiguous(Corpus.of(kept), [sentence in marked for sentence in kept])
    if settings.ambiguous == "drop":
        kept = [sentence for sentence in kept if sentence not in marked]
    first, second = found_and_held_out(kept, settings.seed) if halves else ([], kept)
    # where not even target and reference have enough, the test says so itself
    carried = carried_by(first, settings, units)
    short = Counter(s.language for s in kept if carried and s.language not in carried)
    found_on, held_out = (
        _tokens(lm, [sentence for sentence in half if sentence.language not in short], max_tokens)
        for half in (first, second)
    )
    return Panel(role, source, found_on, held_out, twice, counts, doubtful, dict(short))


def searched_sample(
    lm: LanguageModel, corpus: Corpus, settings: EvidenceSettings, *, role: str, each: int, max_tokens: int
) -> TokenizedCorpus:
    """The first `each` sentences of each language of the half of a panel that is searched, few or many.

    Raises:
        GlossaeError: one language's text is another's too.
    """
    kept, _ = plain_text(role, corpus)
    if settings.ambiguous == "drop":
        marked = _marked(doubtful_pairs(Corpus.of(kept)))
        kept = [sentence for sentence in kept if sentence not in marked]
    half, _ = found_and_held_out(kept, settings.seed)
    places = first_of_each((sentence.language for sentence in half), each)
    return _tokens(lm, [half[place] for place in places], max_tokens)


def plain_text(role: str, corpus: Corpus) -> tuple[list[Sentence], int]:
    """A text without what stands in two languages, and how many such texts there were.

    Raises:
        GlossaeError: one language's text is another's too.
    """
    try:
        refuse_one_text_as_two_languages(corpus)
    except GlossaeError as error:
        raise GlossaeError(f"corpora.{role}: {error}") from error
    twice = {text for text, _ in identical_texts(corpus)}
    return [sentence for sentence in corpus.sentences if sentence.text not in twice], len(twice)


def found_and_held_out(sentences: list[Sentence], seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """The half on which units are found, and the half held out."""
    return cut(sentences, 0.5, seed=seed, purpose="held out")


def carried_by(sentences: Sequence[Sentence], settings: EvidenceSettings, units: int) -> tuple[str, ...]:
    """The languages that a half has sentences enough of for a test of so many units."""
    pairs: dict[str, list[str]] = {}
    for sentence in sentences:
        pairs.setdefault(sentence.language, []).append(sentence.pair)
    return languages_to_test(pairs, settings.target, settings.reference, units, settings.minimum, settings.q)


def first_sentences(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language, so many."""
    return tokens.take(first_of_each((s.language for s in tokens.corpus.sentences), wanted))


def first_tokens(tokens: TokenizedCorpus, wanted: int) -> TokenizedCorpus:
    """The first sentences of each language with about so many tokens, or a few more."""
    languages = (s.language for s in tokens.corpus.sentences)
    return tokens.take(first_of_each(languages, wanted, map(int, tokens.lengths)))


def _marked(doubtful: Sequence[Doubtful]) -> frozenset[Sentence]:
    return frozenset[Sentence]().union(*(pair.marked for pair in doubtful))


def _tokens(lm: LanguageModel, sentences: list[Sentence], max_tokens: int) -> TokenizedCorpus:
    return tokenize(lm, Corpus.of(sentences), max_tokens=max_tokens, prefix=lm.prefix)
