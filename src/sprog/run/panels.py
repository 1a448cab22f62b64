"""The text on which units are tested: of one kind, in several languages, in two halves that share no pair."""

from dataclasses import dataclass

from sprog.corpora import (
    Corpus,
    Sentence,
    count_ambiguous,
    cut,
    identical_texts,
    refuse_one_text_as_two_languages,
)
from sprog.errors import SprogError
from sprog.lm import TokenizedCorpus, tokenize
from sprog.run.context import Context, longest_text
from sprog.run.doubtful import Doubtful, doubtful_pairs


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
    """

    role: str
    source: str | None
    found_on: TokenizedCorpus
    held_out: TokenizedCorpus
    identical: int
    ambiguous: dict[str, int]
    doubtful: list[Doubtful]


def test_panel(context: Context) -> Panel:
    """The panel of a run: what `corpora.panel` names, or the largest source of `select` that has the pair.

    Raises:
        SprogError: one language's text is another's too, or no text is left.
    """
    return _panel(context, *panel_text(context))


def panel_text(context: Context) -> tuple[str, str | None, Corpus]:
    """The role that a run's panel is from, its one source where it is part of `select`, and all of its text.

    Raises:
        SprogError: no source of `select` has the pair.
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
        raise SprogError(
            f"corpora.panel: no source of select has both {context.target} and {context.reference}: name text of "
            "one kind in every language"
        )
    source = max(whole, key=lambda name: len(whole[name]))
    return "select", source, whole[source]


def replication_panel(context: Context) -> Panel | None:
    """What `corpora.replicate` names, all of it held out."""
    if "replicate" not in context.roles.corpora:
        return None
    return _panel(context, "replicate", None, context.roles.corpora["replicate"], halves=False)


def _panel(context: Context, role: str, source: str | None, corpus: Corpus, *, halves: bool = True) -> Panel:
    try:
        refuse_one_text_as_two_languages(corpus)
    except SprogError as error:
        raise SprogError(f"corpora.{role}: {error}") from error
    twice = {text for text, _ in identical_texts(corpus)}
    kept = [sentence for sentence in corpus.sentences if sentence.text not in twice]
    doubtful = doubtful_pairs(Corpus.of(kept))
    marked = frozenset[Sentence]().union(*(pair.marked for pair in doubtful))
    counts = count_ambiguous(Corpus.of(kept), [sentence in marked for sentence in kept])
    if context.recipe.evidence.ambiguous == "drop":
        kept = [sentence for sentence in kept if sentence not in marked]
    first, second = cut(kept, 0.5, seed=context.recipe.seed, purpose="held out") if halves else ([], kept)
    found_on, held_out = (_tokens(context, sentences) for sentences in (first, second))
    return Panel(role, source, found_on, held_out, len(twice), counts, doubtful)


def _tokens(context: Context, sentences: list[Sentence]) -> TokenizedCorpus:
    recipe, lm = context.recipe, context.lm
    return tokenize(lm, Corpus.of(sentences), max_tokens=longest_text(recipe, lm), bos=context.bos)
