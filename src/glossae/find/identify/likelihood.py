"""The baseline that takes no language model: n-grams of characters, of sentences and of single tokens."""

from collections.abc import Sequence

import numpy as np

from glossae.errors import GlossaeError
from glossae.find.identify.evaluation import UNANSWERED, Identified, evaluate
from glossae.find.identify.ngrams import NgramModel
from glossae.find.identify.regression import check_halves
from glossae.find.identify.rows import Rows
from glossae.find.identify.tokens import TokenSample
from glossae.text import Corpus

# what a space at the beginning of a token is read as: texts are stripped before their characters are counted
_SPACE = "_"


def identify_by_ngrams(
    find: Corpus, held_out: Corpus, *, order: int = 4, draws: int = 1000, seed: int = 0
) -> Identified:
    """Tell the languages of sentences apart by n-grams of up to `order` characters.

    A sentence without a letter is unanswered, and counts as wrong.

    Raises:
        GlossaeError: the halves share a pair; `held_out` has a language that `find` lacks; there is no text; or the
            order is not one of 1 to 4.
    """
    likelihoods, columns = sentence_likelihoods(find, held_out, order=order)
    return identify_by_likelihood(likelihoods, columns, draws=draws, seed=seed)


def sentence_likelihoods(find: Corpus, held_out: Corpus, *, order: int = 4) -> tuple[Rows, tuple[str, ...]]:
    """The log-likelihood of each sentence in each language of `find`, and which column is which language's.

    It is 0 in all of them for a sentence without a letter.

    Raises:
        GlossaeError: as for `identify_by_ngrams`.
    """
    check_halves(*([(s.language, s.source, s.pair) for s in each.sentences] for each in (find, held_out)))
    model = NgramModel.fit(
        [s.text for s in find.sentences], [s.language for s in find.sentences], order=order
    )
    scores = model.score([s.text for s in held_out.sentences])
    scores[[not any(c.isalpha() for c in s.text) for s in held_out.sentences]] = 0
    return Rows.of(scores, held_out), model.languages


def identify_tokens_by_ngrams(
    find: TokenSample,
    held_out: TokenSample,
    *,
    so_far: bool = False,
    order: int = 4,
    draws: int = 1000,
    seed: int = 0,
) -> Identified:
    """Tell the language of single tokens by n-grams of characters, without a language model.

    A token by itself is often the same in several languages, and its text is far less than an activation knows,
    which has seen the sentence up to it. With `so_far` characters know as much.

    Args:
        find: what is counted.
        held_out: what is tested on.
        so_far: whether the sentence up to the token's end is read, not the token alone.
        order: characters of the longest n-grams.
        draws: resamples of pairs.
        seed: of resamples.

    Raises:
        GlossaeError: as for `identify_by_ngrams`.
    """
    likelihoods, columns = token_likelihoods(find, held_out, so_far=so_far, order=order)
    return identify_by_likelihood(likelihoods, columns, draws=draws, seed=seed)


def token_likelihoods(
    find: TokenSample, held_out: TokenSample, *, so_far: bool = False, order: int = 4
) -> tuple[Rows, tuple[str, ...]]:
    """The log-likelihood of each token in each language of `find`, and which column is which language's.

    A token without a letter has one as well: full stops are likelier in one language than in another. It is 0 in all
    of them where a token says nothing.

    Raises:
        GlossaeError: as for `identify_by_ngrams`.
    """
    check_halves(find.rows.named, held_out.rows.named)
    if so_far:
        known = set(find.rows.languages.tolist())
        learnt = [(one.text, one.language) for one in find.corpus.sentences if one.language in known]
    else:
        learnt = list(zip(map(_spaced, find.texts), find.rows.languages.tolist(), strict=True))
    texts, languages = zip(*learnt, strict=True)
    model = NgramModel.fit(texts, languages, order=order)
    read = held_out.so_far() if so_far else list(map(_spaced, held_out.texts))
    # the same few tokens come again and again
    place = {text: number for number, text in enumerate(dict.fromkeys(read))}
    # what goes on has no end yet
    scores = model.score(list(place), end=not so_far)
    return held_out.rows.with_values(scores[[place[text] for text in read]]), model.languages


def identify_by_likelihood(
    likelihoods: Rows,
    columns: Sequence[str],
    among: Sequence[str] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Identified:
    """Say of each text that it is in the language that it is likeliest in.

    Args:
        likelihoods: of each text in each language, as logarithms; 0 in all of them is unanswered.
        columns: the language of each.
        among: the languages that are told apart: only texts in these are tested on, and only these are said; all of
            `columns` if none are named.
        draws: resamples of the pairs.
        seed: of resamples.

    Raises:
        GlossaeError: there is no text in these languages, or none of them is a column's.
    """
    wanted = [place for place, code in enumerate(columns) if among is None or code in among]
    if not wanted:
        raise GlossaeError("identification: no likelihood is of a language that is to be told apart")
    rows = likelihoods if among is None else likelihoods.only(among)
    best = rows.x[:, wanted].argmax(1)
    said = np.array([columns[place] for place in wanted], dtype=np.str_)[best]
    said = np.where(rows.x.any(1), said, UNANSWERED)
    return evaluate(rows.languages, said, rows.clusters, draws=draws, seed=seed)


def _spaced(text: str) -> str:
    return _SPACE + text[1:] if text.startswith(" ") else text
