"""Make texts comparable: join sentences into passages of one length, or match sentences by their tokenisation."""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csc_array, csr_array
from scipy.spatial import KDTree

from glossae.corpora import cluster
from glossae.errors import GlossaeError
from glossae.lm import TokenizedCorpus
from glossae.results import TokenisationMatch
from glossae.units import SentenceTable

COVARIATES = ("tokens_per_word", "bytes_per_token")
CALIPER = 0.2
"""The largest difference of matched sentences in each covariate, in standard deviations (Austin 2011)."""


def passages(table: SentenceTable, tokens: int) -> SentenceTable:
    """Join the sentences of a table until each passage has at least `tokens` tokens.

    A unit's mean over few tokens varies more than over many, so its AUROC over sentences depends on their
    length. Passages of one length remove that dependence.

    Sentences are joined pair by pair within a source, and only with pairs of the same languages. So a passage
    of one language keeps its translation, and passages depend on each other no more than sentences do. A hash
    of the pairs' names decides which are joined; the order of sentences plays no part. A document of several
    pairs with text for at least one passage is joined within itself; shorter documents are joined with others,
    each whole. A passage's value is the mean over all of its tokens. A remainder that is too short for a
    passage is left out.

    Args:
        table: sentences.
        tokens: the least tokens of a passage, in every language that it has.

    Raises:
        GlossaeError: `tokens` is less than 1, or a language has too few tokens for a single passage.
    """
    if tokens < 1:
        raise GlossaeError(f"passages: {tokens} tokens: give at least 1")
    groups = [group for alike in _joinable_pairs(table) for group in _join_documents(table, alike, tokens)]
    passage = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    sentence = np.concatenate([np.array(group, dtype=np.int64) for group in groups]) if groups else passage
    languages, language = np.unique(table.languages.astype(str), return_inverse=True)
    # a passage of several languages gives one row for each
    row_of = np.unique(passage * len(languages) + language[sentence])
    row = np.searchsorted(row_of, passage * len(languages) + language[sentence])
    lacking = sorted(set(languages.tolist()) - set(languages[row_of % len(languages)].tolist()))
    if lacking:
        raise GlossaeError(
            f"passages: {', '.join(lacking)}: less text than a passage of {tokens} tokens: give more, or join less"
        )
    lengths = np.bincount(row, weights=table.tokens[sentence]).astype(np.int64)
    first = np.array([group[0] for group in groups], dtype=np.int64)[row_of // len(languages)]
    shape = (len(row_of), len(table))
    share = csr_array((table.tokens[sentence] / lengths[row], (row, sentence)), shape=shape)
    member = csr_array((np.ones(len(row), dtype=np.int32), (row, sentence)), shape=shape)
    values = csc_array(share @ table.values, dtype=np.float32)
    fired = csc_array(member @ table.fired, dtype=np.int32)
    for matrix in (values, fired):
        matrix.sort_indices()
    return SentenceTable(
        values=values,
        fired=fired,
        tokens=lengths,
        languages=languages[row_of % len(languages)],
        sources=table.sources[first],
        pairs=table.pairs[first],
        identity=table.identity,
        docs=None if table.docs is None else _documents(table, groups)[row_of // len(languages)],
    )


def _joinable_pairs(table: SentenceTable) -> list[list[list[int]]]:
    """Pairs that may be joined: of one source and with the same languages; a pair is its sentences' numbers."""
    pairs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, name in enumerate(zip(table.sources.tolist(), table.pairs.tolist(), strict=True)):
        pairs[name].append(number)
    alike: dict[tuple[str, tuple[str, ...]], list[list[int]]] = defaultdict(list)
    for source, pair in sorted(
        pairs, key=lambda name: blake2b("\t".join(name).encode(), digest_size=16).digest()
    ):
        # the order of the table plays no part within a pair either, since its sentences end up in one passage
        numbers = pairs[source, pair]
        alike[source, tuple(sorted(set(table.languages[numbers].tolist())))].append(numbers)
    return list(alike.values())


def _join_documents(table: SentenceTable, pairs: list[list[int]], tokens: int) -> list[list[int]]:
    """The sentences of each passage; a cluster of several pairs with text for a passage is joined within itself."""
    by_cluster: dict[str, list[list[int]]] = defaultdict(list)
    for pair in pairs:
        by_cluster[table.clusters[pair[0]]].append(pair)
    groups, short = [], list[list[int]]()
    for own in by_cluster.values():
        found = _join_pairs(table, own, tokens) if len(own) > 1 else []
        groups += found
        if not found:
            short.append([number for pair in own for number in pair])
    return groups + (_join_pairs(table, short, tokens) if short else [])


def _documents(table: SentenceTable, groups: list[list[int]]) -> np.ndarray:
    """A name for each passage; passages with sentences of one cluster share it."""
    names = [
        (str(number), table.clusters[sentence]) for number, group in enumerate(groups) for sentence in group
    ]
    together = cluster([passage for passage, _ in names], [name for _, name in names])
    first: dict[int, str] = {}
    for own, (_, name) in zip(together, names, strict=True):
        first[own] = min(name, first.get(own, name))
    starts = np.cumsum([0, *(len(group) for group in groups)])[:-1].tolist()
    return np.array([first[together[start]] for start in starts], dtype=np.str_)


def _join_pairs(table: SentenceTable, pairs: list[list[int]], tokens: int) -> list[list[int]]:
    """The sentences of each passage."""
    groups, group = [], list[int]()
    length: dict[str, int] = defaultdict(int)
    wanted = len(set(table.languages[pairs[0]].tolist()))
    for pair in pairs:
        group += pair
        for number in pair:
            length[table.languages[number]] += int(table.tokens[number])
        if len(length) == wanted and min(length.values()) >= tokens:
            groups.append(group)
            group, length = [], defaultdict(int)
    return groups


@dataclass(frozen=True)
class MatchedTokenisation:
    """Sentences of one language, each matched with a sentence of another that is tokenised similarly.

    Attributes:
        first: numbers of sentences of the first language, in the tokenized corpus.
        second: the number of the sentence of the second language matched with each.
        found: the number of sentences of the first and the second language.
        before: by covariate, the standardised mean difference of all of them, first less second: in units of
            sqrt((s1^2 + s2^2) / 2) (Austin 2009).
        after: the same for the matched ones, in the same units; below 0.1 in size commonly counts as balance.
    """

    first: Int[np.ndarray, " matched"]
    second: Int[np.ndarray, " matched"]
    found: tuple[int, int]
    before: dict[str, float]
    after: dict[str, float]

    def __len__(self) -> int:
        """The number of matches."""
        return len(self.first)

    @property
    def rows(self) -> Int[np.ndarray, " both"]:
        """The numbers of all matched sentences, ascending: the rows to take from a table of the same text."""
        return np.sort(np.concatenate([self.first, self.second]))

    def counts(self) -> TokenisationMatch:
        """The counts and the balance."""
        return TokenisationMatch(matched=len(self), found=self.found, before=self.before, after=self.after)


def tokenisation(tokens: TokenizedCorpus) -> Float[np.ndarray, "sentences 2"]:
    """Tokens per word and UTF-8 bytes per token of each sentence.

    Words are divided by blanks. Bytes are those of the predicted tokens. A cut sentence has fewer tokens but
    all of its words, so text should be tokenized uncut.
    """
    words = np.array([max(len(s.text.split()), 1) for s in tokens.corpus.sentences], dtype=np.float64)
    bytes_per_token = tokens.predicted_bytes / np.maximum(tokens.predicted, 1)
    return np.stack([tokens.lengths / words, bytes_per_token], axis=1).astype(np.float64)


def match_tokenisation(
    tokens: TokenizedCorpus, first: str, second: str, *, caliper: float = CALIPER, seed: int = 0
) -> MatchedTokenisation:
    """Match the sentences of two languages on tokens per word and bytes per token.

    Greedy nearest neighbours without replacement (Rosenbaum and Rubin 1985): in random order, each sentence of
    the language with fewer takes the nearest remaining sentence within the caliper in both covariates. The
    distance is the larger of the two differences. Sentences without a match are left out. The order of the
    corpus plays no part.

    Args:
        caliper: in standard deviations (see `MatchedTokenisation.before`).
        seed: of the order in which sentences are matched.

    Raises:
        GlossaeError: a language has fewer than 2 sentences, both are the same, the caliper is not above 0, or
            no two sentences lie within it.
    """
    if first == second:
        raise GlossaeError(f"matching: {first} twice: name two languages")
    if not caliper > 0:
        raise GlossaeError(f"matching: caliper {caliper}: it has to be above 0")
    sides = [_numbers(tokens, language) for language in (first, second)]
    values = tokenisation(tokens)
    unit = np.sqrt(np.mean([values[side].var(0, ddof=1) for side in sides], axis=0))
    # a covariate that is constant within the languages cannot be scaled; any difference then lies outside
    scaled = values / np.where(unit > 0, unit, np.finfo(np.float64).tiny ** 0.5)
    few, many = sorted(sides, key=len)
    taken = _greedy(scaled[few], scaled[many], caliper, seed)
    if not taken:
        raise GlossaeError(
            f"matching: no sentence of {first} is tokenised like one of {second}: widen the caliper"
        )
    here, there = (np.array(column, dtype=np.int64) for column in zip(*sorted(taken.items()), strict=True))
    matched = [few[here], many[there]]
    if few is not sides[0]:
        matched.reverse()
    return MatchedTokenisation(
        first=matched[0],
        second=matched[1],
        found=(len(sides[0]), len(sides[1])),
        before=_difference(scaled, sides),
        after=_difference(scaled, matched),
    )


def _numbers(tokens: TokenizedCorpus, language: str) -> Int[np.ndarray, " chosen"]:
    """The numbers of a language's sentences, in an order that does not depend on the corpus's."""
    sentences = tokens.corpus.sentences
    chosen = [i for i, s in enumerate(sentences) if s.language == language]
    if len(chosen) < 2:
        raise GlossaeError(f"matching: {len(chosen)} sentences in {language}: give at least 2")
    return np.array(sorted(chosen, key=lambda i: sentences[i]), dtype=np.int64)


def _greedy(
    few: Float[np.ndarray, "few 2"], many: Float[np.ndarray, "many 2"], caliper: float, seed: int
) -> dict[int, int]:
    """The match of each sentence that finds one."""
    tree = KDTree(many)
    free = np.ones(len(many), dtype=bool)
    taken: dict[int, int] = {}
    for one in np.random.default_rng(seed).permutation(len(few)).tolist():
        nearby = np.array(
            tree.query_ball_point(few[one], caliper, p=np.inf, return_sorted=True), dtype=np.int64
        )
        nearby = nearby[free[nearby]]
        if len(nearby):
            best = int(nearby[np.abs(many[nearby] - few[one]).max(1).argmin()])
            taken[one], free[best] = best, False
    return taken


def _difference(
    scaled: Float[np.ndarray, "sentences 2"], sides: list[Int[np.ndarray, " _"]]
) -> dict[str, float]:
    difference = scaled[sides[0]].mean(0) - scaled[sides[1]].mean(0)
    return dict(zip(COVARIATES, difference.tolist(), strict=True))
