"""Identify the language of sentences and tokens from a few units, the whole activation, or characters alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from glossae import ranks
from glossae.corpora import Corpus, first_of_each, shuffle_key
from glossae.errors import GlossaeError
from glossae.evidence.classify import UNANSWERED, Rows, Scaling, check_halves, evaluate, identify_rows
from glossae.evidence.ngrams import NgramModel, has_letters
from glossae.evidence.testing import AurocTable
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    own_activations,
    require_finite,
)
from glossae.results import Identified
from glossae.units import SentenceTable, Units, readable_tokens

__all__ = [
    "UNANSWERED",
    "NgramModel",
    "Rows",
    "TokenSample",
    "identify_by_likelihood",
    "identify_rows",
    "identify_sentences",
    "identify_sentences_by_largest",
    "identify_tokens",
    "identify_tokens_by_activations",
    "pick_units",
    "sample_tokens",
    "sentence_likelihoods",
    "sentence_rows",
    "token_likelihoods",
]

Chosen = Mapping[str, tuple[int, ...]]
"""The units of each language, from `pick_units`."""

# characters of a sentence, before a token's end, that the n-grams see
_LONGEST_CONTEXT = 60
# tokens at which units are read at once
_AT_ONCE = 4096


def pick_units(
    auroc: AurocTable, n: int, languages: Sequence[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """The n best units of each language, best first; all of them if there are fewer.

    The quality of a unit for a language is its smallest AUROC over any other: it has to separate the language
    from its nearest neighbour. Ties go to the larger mean AUROC, then to the smaller number.

    Args:
        auroc: of the units.
        n: the number of units per language.
        languages: the languages to identify; all of the table's if none are named.

    Raises:
        GlossaeError: n is less than 1, there is only one language, or the table lacks one of them.
    """
    if n < 1:
        raise GlossaeError(f"identification: {n} units a language: it takes at least 1")
    wanted = auroc.languages if languages is None else tuple(sorted(languages))
    if len(wanted) < 2:
        raise GlossaeError("identification: text in two languages or more is needed to tell them apart")
    if unknown := sorted(set(wanted) - set(auroc.languages)):
        raise GlossaeError(f"identification: {', '.join(unknown)}: no unit was compared on such text")
    index = [auroc.languages.index(language) for language in wanted]
    chosen = {}
    for number, language in zip(index, wanted, strict=True):
        others = auroc.estimate[:, number, [other for other in index if other != number]]
        order = np.lexsort((-others.mean(1), -others.min(1)))
        chosen[language] = tuple(order[:n].tolist())
    return chosen


def identify_sentences(
    chosen: Chosen, find: SentenceTable, held_out: Sequence[SentenceTable], *, seed: int = 0
) -> list[Identified]:
    """Identify the languages of sentences by a regression on the values of a few units (see `identify_rows`).

    Args:
        chosen: the units; the regression sees those of all languages.
        find: the sentences to fit to.
        held_out: the texts to test on, each separately.
        seed: of folds and resamples.

    Raises:
        GlossaeError: the tables have different units, or as for `identify_rows`.
    """
    _check_units(find, held_out)
    columns = _units_of(chosen)
    found = identify_rows(_rows(find, columns), [_rows(each, columns) for each in held_out], seed=seed)
    return [each.model_copy(update={"units": dict(chosen)}) for each in found]


def identify_sentences_by_largest(
    chosen: Chosen, find: SentenceTable, held_out: Sequence[SentenceTable], *, seed: int = 0
) -> list[Identified]:
    """Identify sentences without a regression: the language whose units' mean standardised value is largest.

    Only means and deviations are fitted to `find`.

    Raises:
        GlossaeError: as for `identify_sentences`.
    """
    _check_units(find, held_out)
    for each in held_out:
        check_halves(_rows(find, []), _rows(each, []))
    languages = tuple(chosen)
    scalings = [Scaling.of(_rows(find, own).x, find.languages) for own in chosen.values()]
    found = []
    for each in held_out:
        rows = [_rows(each, own) for own in chosen.values()]
        scores = [scaling(own.x).mean(1) for scaling, own in zip(scalings, rows, strict=True)]
        said = [languages[number] for number in np.stack(scores, axis=1).argmax(1)]
        evaluated = evaluate(each.languages, said, each.clusters, seed=seed)
        found.append(evaluated.model_copy(update={"units": dict(chosen)}))
    return found


def _check_units(find: SentenceTable, held_out: Sequence[SentenceTable]) -> None:
    for each in held_out:
        if find.identity != each.identity:
            raise GlossaeError(f"these are different units: {find.identity} and {each.identity}")


def _units_of(chosen: Chosen) -> list[int]:
    return sorted({unit for own in chosen.values() for unit in own})


def _rows(table: SentenceTable, units: Sequence[int]) -> Rows:
    x = np.asarray(table.columns(units).values.toarray(), dtype=np.float64)
    return Rows(x, table.languages, table.sources, table.pairs, table.docs)


def sentence_rows(lm: LanguageModel, site: Site, tokens: TokenizedCorpus, *, budget: int = 1024) -> Rows:
    """The mean activation at a site over each sentence's tokens, float32, in one pass; single tokens are not kept.

    A regression on it is the upper bound for units of the site.

    Args:
        budget: tokens in a batch; the result does not depend on it.

    Raises:
        GlossaeError: the model lacks the site, or an activation is not finite.
    """
    means = np.zeros((len(tokens), lm.width(site)), dtype=np.float32)
    mine = ranks.mine(batches(tokens, budget))
    for part in require_finite(lm, own_activations(lm, mine, [site]), tokens):
        x = part.sites[site].float()
        rows, place, counts = torch.unique(part.sentence, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(rows), x.shape[1], device=x.device).index_add_(0, place, x)
        means[rows.cpu().numpy()] = (sums / counts[:, None]).cpu().numpy()
    ranks.sum_arrays(f"means of {len(tokens)} sentences at {site}", means)
    return Rows.of(means, tokens.corpus)


@dataclass(frozen=True)
class TokenSample:
    """Every token of some sentences.

    Attributes:
        rows: the site's activation at each token, float32, with the token's language, source and pair.
        texts: the text of each token; a character whose bytes span several tokens stands whole at the first,
            and the others are empty.
        sentence: the number of each token's sentence in `corpus`, ascending.
        corpus: the sentences.
    """

    rows: Rows
    texts: tuple[str, ...]
    sentence: Int[np.ndarray, " tokens"]
    corpus: Corpus

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, languages: Sequence[str]) -> "TokenSample":
        """The tokens in some languages."""
        kept = np.isin(self.rows.languages, list(languages))
        texts = tuple(text for text, wanted in zip(self.texts, kept, strict=True) if wanted)
        return TokenSample(self.rows.take(kept), texts, self.sentence[kept], self.corpus)

    def so_far(self) -> list[str]:
        """The sentence up to each token's end, its last 60 characters: the text that the model had read there."""
        found, read, before = [], "", -1
        for text, sentence in zip(self.texts, self.sentence.tolist(), strict=True):
            read = text if sentence != before else (read + text)[-_LONGEST_CONTEXT:]
            before = sentence
            found.append(read)
        return found


def sample_tokens(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    *,
    per_language: int,
    seed: int = 0,
    budget: int = 1024,
) -> TokenSample:
    """Tokens of whole sentences, drawn until each language has at least `per_language`, or all of its own.

    The draw depends on the seed and on the sentences' pairs, not on their order; translations are drawn
    together as far as possible. A BOS does not count as a token.

    Raises:
        GlossaeError: the model lacks the site, or an activation is not finite.
    """
    sentences, lengths = tokens.corpus.sentences, tokens.lengths
    ranked = sorted(range(len(sentences)), key=lambda i: shuffle_key(seed, "identify", sentences[i].pair))
    taken = first_of_each(
        (sentences[number].language for number in ranked),
        per_language,
        (int(lengths[number]) for number in ranked),
    )
    drawn = tokens.take(sorted(ranked[place] for place in taken))
    parts, whose, places = [], [], []
    for part in require_finite(lm, activations(lm, batches(drawn, budget), [site]), drawn):
        parts.append(part.sites[site].float().cpu().numpy())
        whose.append(part.sentence.cpu().numpy())
        places.append(part.position.cpu().numpy())
    sentence, position = np.concatenate(whose), np.concatenate(places)
    # batches come in the order of lengths: sort back to that of the text
    order = np.lexsort((position, sentence))
    sentence, position = sentence[order], position[order] - drawn.prefix
    readable = [readable_tokens(lm, ids[drawn.prefix :].tolist()) for ids in drawn.ids]
    texts = [readable[of][at] for of, at in zip(sentence.tolist(), position.tolist(), strict=True)]
    rows = Rows.of(np.zeros((len(drawn), 0)), drawn.corpus).take(sentence)
    return TokenSample(replace(rows, x=np.concatenate(parts)[order]), tuple(texts), sentence, drawn.corpus)


def identify_tokens(
    units: Units, chosen: Chosen, find: TokenSample, held_out: Sequence[TokenSample], *, seed: int = 0
) -> list[Identified]:
    """Identify the language of single tokens by a few units, with the regression of `identify_sentences`.

    Args:
        units: units of the samples' site.
        chosen: those of each language.
        find: the tokens to fit to.
        held_out: the samples to test on, each separately; intervals resample pairs with all their tokens.
        seed: of folds and resamples.

    Raises:
        GlossaeError: as for `identify_rows`.
    """
    columns = _units_of(chosen)

    def read(sample: TokenSample) -> Rows:
        """The units' values at each token, a few thousand tokens at a time."""
        with torch.no_grad():
            parts = [
                units.read(x, columns).cpu().float() for x in torch.from_numpy(sample.rows.x).split(_AT_ONCE)
            ]
        return replace(sample.rows, x=torch.cat(parts).numpy())

    found = identify_rows(read(find), [read(each) for each in held_out], seed=seed)
    return [each.model_copy(update={"units": dict(chosen)}) for each in found]


def identify_tokens_by_activations(
    find: TokenSample, held_out: Sequence[TokenSample], *, seed: int = 0
) -> list[Identified]:
    """The same from every dimension of the site: the upper bound for units.

    Raises:
        GlossaeError: as for `identify_rows`.
    """
    return identify_rows(find.rows, [each.rows for each in held_out], seed=seed)


def sentence_likelihoods(find: Corpus, held_out: Corpus) -> tuple[Rows, tuple[str, ...]]:
    """The log-likelihood of each sentence in each language of `find` by character n-grams, without a language model.

    It is 0 in all languages for a sentence without a letter.

    Returns:
        The likelihoods, and the language of each column.

    Raises:
        GlossaeError: the halves share a pair, `held_out` has a language that `find` lacks, or there is no text.
    """
    known, rows = (Rows.of(np.zeros((len(each), 0)), each) for each in (find, held_out))
    check_halves(known, rows)
    texts = [s.text for s in held_out.sentences]
    model = NgramModel.fit([s.text for s in find.sentences], [s.language for s in find.sentences])
    scores = model.score(texts)
    scores[~has_letters(texts)] = 0
    return replace(rows, x=scores), model.languages


def token_likelihoods(
    find: TokenSample, held_out: TokenSample, *, so_far: bool = False
) -> tuple[Rows, tuple[str, ...]]:
    """The log-likelihood of each token in each language of `find` by character n-grams, without a language model.

    A single token is often the same in several languages, and its text has far less information than an
    activation, which depends on the sentence up to it. With `so_far`, the n-grams see that much too. A token
    without a letter also has a
    likelihood: full stops are likelier in some languages. It is 0 in all languages for a token without text.

    Args:
        find: the text to count.
        held_out: the tokens to test on.
        so_far: whether to score the sentence up to the token's end instead of the token alone.

    Returns:
        The likelihoods, and the language of each column.

    Raises:
        GlossaeError: as for `sentence_likelihoods`.
    """
    check_halves(find.rows, held_out.rows)
    if so_far:
        known = set(find.rows.languages.tolist())
        learnt = [(one.text, one.language) for one in find.corpus.sentences if one.language in known]
        read = held_out.so_far()
    else:
        learnt = list(zip(map(_spaced, find.texts), find.rows.languages.tolist(), strict=True))
        read = list(map(_spaced, held_out.texts))
    texts, languages = zip(*learnt, strict=True)
    model = NgramModel.fit(texts, languages)
    # the same few tokens occur again and again
    place = {text: number for number, text in enumerate(dict.fromkeys(read))}
    # an unfinished sentence has no end to score
    scores = model.score(list(place), end=not so_far)
    return replace(held_out.rows, x=scores[[place[text] for text in read]]), model.languages


def identify_by_likelihood(
    likelihoods: Rows, columns: Sequence[str], among: Sequence[str], *, seed: int = 0
) -> Identified:
    """Assign each text to the language of its largest likelihood.

    Args:
        likelihoods: of each text in each language, as logarithms; 0 in all of them is unanswered.
        columns: the language of each column.
        among: the candidate languages: only texts in these are tested, and only these are predicted.
        seed: of resamples.

    Raises:
        GlossaeError: there is no text in these languages, or none of them has a column.
    """
    wanted = [place for place, code in enumerate(columns) if code in among]
    if not wanted:
        raise GlossaeError("identification: no likelihood is of a language that is to be told apart")
    rows = likelihoods.only(among)
    said = np.array([columns[place] for place in wanted], dtype=np.str_)[rows.x[:, wanted].argmax(1)]
    said = np.where(rows.x.any(1), said, UNANSWERED)
    return evaluate(rows.languages, said, rows.clusters, seed=seed)


def _spaced(text: str) -> str:
    """Make a space at the beginning visible: texts are stripped before their characters are counted."""
    return f"_{text[1:]}" if text.startswith(" ") else text
