"""Sentences that could be in either of two languages, and text that was given for two."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from glossae.errors import GlossaeError
from glossae.text.lexicons import Lexicon, Telltale, telltale, words_of
from glossae.text.sentences import Corpus, Sentence

# two languages that share more than this share of their sentences are one text given twice
SAME_TEXT = 0.5
# of fewer different texts the share says nothing: close languages share many of their shortest sentences
LEAST_COMPARED = 20


def ambiguous(
    corpus: Corpus,
    first: str,
    second: str,
    lexicons: Mapping[str, Lexicon],
    telltales: tuple[Telltale, Telltale] | None = None,
) -> list[bool]:
    """Which sentences in `first` or `second` could be in the other: every word stands in both word lists.

    Danish and Bokmål share whole sentences, which no model can tell apart (SLIDE, arXiv 2502.06692, gives such
    a sentence both labels). A text that stands in the corpus in both languages is ambiguous in any case, and so
    is one without a word. A tell-tale word of one language is none of the other's, whatever its list says.
    Sentences in other languages are not ambiguous.

    Words alone are looked at. A word that the smaller text happens to lack makes a sentence clear, and grammar
    that only one of the languages has does not.

    Args:
        lexicons: the word lists by language, as `build_lexicons` makes them.
        telltales: of `first` against `second`, and the other way round; those that come with the package if
            None, and `(Telltale(), Telltale())` for none.

    Returns:
        A truth value per sentence, in order.

    Raises:
        GlossaeError: there is no word list for one of the two.
    """
    for language in (first, second):
        if language not in lexicons:
            raise GlossaeError(f"no word list for {language}: build one from text in {language}")
    if telltales is None:
        telltales = telltale(first, second), telltale(second, first)
    shared = frozenset(
        word
        for word in lexicons[first].words & lexicons[second].words
        if not any(known.marks(word) for known in telltales)
    )
    texts = [{s.text for s in corpus.only(language).sentences} for language in (first, second)]
    twice = texts[0] & texts[1]
    return [
        sentence.language in (first, second)
        and (sentence.text in twice or shared.issuperset(words_of(sentence.text)))
        for sentence in corpus.sentences
    ]


def count_ambiguous(corpus: Corpus, mask: Sequence[bool]) -> dict[str, int]:
    """How many sentences of each language of the corpus a mask marks, 0 included."""
    counts = Counter(s.language for s, marked in zip(corpus.sentences, mask, strict=True) if marked)
    return {language: counts[language] for language in corpus.languages}


def identical_texts(corpus: Corpus) -> list[tuple[str, tuple[str, ...]]]:
    """The texts that stand in more than one language, with those languages, both sorted."""
    languages: dict[str, set[str]] = defaultdict(set)
    for sentence in corpus.sentences:
        languages[sentence.text].add(sentence.language)
    return sorted((text, tuple(sorted(codes))) for text, codes in languages.items() if len(codes) > 1)


def refuse_one_text_as_two_languages(corpus: Corpus, share: float = SAME_TEXT) -> None:
    """Refuse a corpus in which one language's text is another's too.

    The share is that of the smaller language's different texts which the larger has as well. Close languages
    share short sentences; a copied file shares nearly all.

    Raises:
        GlossaeError: two languages of a source, or of all sources together, share more than `share` and the
            smaller has at least 20 different texts.
    """
    named = [(source, corpus.of_source(source)) for source in corpus.sources]
    for name, part in [*named, (" and ".join(corpus.sources), corpus)]:
        texts = {language: {s.text for s in part.only(language).sentences} for language in part.languages}
        for (first, ours), (second, theirs) in combinations(texts.items(), 2):
            common, smaller = len(ours & theirs), min(len(ours), len(theirs))
            if smaller >= LEAST_COMPARED and common > share * smaller:
                raise GlossaeError(
                    f"{name}: {common} of {smaller} sentences in {first} and {second} are the same: one text was "
                    f"given for two languages; name the right file for each"
                )


def refuse_one_text_in_two_roles(corpora: Mapping[str, Corpus]) -> None:
    """Refuse roles that share a sentence, by the same text in the same language, by pair or by document.

    `build_roles` never makes such roles; this is for text that was put together by hand.

    Raises:
        GlossaeError: two roles share some.
    """
    for (first, ours), (second, theirs) in combinations(corpora.items(), 2):
        texts = {(s.language, s.text) for s in ours.sentences}
        pairs = {(s.source, s.pair) for s in ours.sentences}
        docs = {s.doc for s in ours.sentences if s.doc}
        common = sum(
            (s.language, s.text) in texts or (s.source, s.pair) in pairs or s.doc in docs
            for s in theirs.sentences
        )
        if common:
            raise GlossaeError(
                f"{common} of {len(theirs)} sentences of {second} are in {first} too, or their translations or others "
                f"of their documents are: give {second} other text"
            )


def refuse_a_source_given_for_two_roles(
    role: str,
    kept: Sequence[Sentence],
    dropped: Sequence[Sentence],
    earlier: Mapping[str, Sequence[Sentence]],
) -> None:
    """Refuse a role of whose sources one has nothing left, because earlier roles have all of it.

    Args:
        role: the role.
        kept: its sentences.
        dropped: those that are in an earlier role, or of a pair that is.
        earlier: the sentences of each earlier role.

    Raises:
        GlossaeError: naming the source and the roles.
    """
    for name in sorted({sentence.source for sentence in dropped} - {sentence.source for sentence in kept}):
        gone = [sentence for sentence in dropped if sentence.source == name]
        texts = {(sentence.language, sentence.text) for sentence in gone}
        pairs = {sentence.pair for sentence in gone}
        docs = {sentence.doc for sentence in gone if sentence.doc}
        where = " and ".join(
            f"corpora.{other}"
            for other, sentences in earlier.items()
            if any((s.language, s.text) in texts or s.pair in pairs or s.doc in docs for s in sentences)
        )
        raise GlossaeError(
            f"corpora.{role}: all {len(gone)} sentences of {name} are in {where} already: one text cannot be in two "
            f"roles; give corpora.{role} other text"
        )
