"""Joining sentences into passages of a length, so that texts with short and with long sentences compare."""

from collections import defaultdict
from hashlib import blake2b

import numpy as np
from scipy.sparse import csc_array, csr_array

from glossae.errors import GlossaeError
from glossae.text import cluster
from glossae.units import SentenceTable


def passages(table: SentenceTable, tokens: int) -> SentenceTable:
    """The sentences of a table joined until each passage has at least so many tokens.

    A unit's mean over few tokens varies more than over many, so its AUROC over sentences depends on how long they
    are: half of the same firing tells less in a sentence of eight tokens than in one of thirty. Passages of one length
    take that away.

    Sentences are joined pair by pair within a source, and only pairs that have the same languages, so that a passage of
    one language keeps its translation, and passages depend on each other no more than sentences do. Which pairs come
    together is drawn by the hash of their names: the order of sentences plays no part. A document that is told, has
    several pairs and has text for a passage or more is joined by itself; shorter ones are joined whole. A passage's
    value is the mean over all of its tokens. What is left over at the end and is too short is left out.

    Args:
        table: sentences.
        tokens: of each passage, in every language that it has.

    Raises:
        GlossaeError: `tokens` is less than 1, or some language has too few tokens for a single passage.
    """
    if tokens < 1:
        raise GlossaeError(f"passages: {tokens} tokens: give at least 1")
    groups = [group for alike in _alike(table) for group in _apart(table, alike, tokens)]
    passage = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    sentence = np.concatenate([np.array(group, dtype=np.int64) for group in groups]) if groups else passage
    languages, language = np.unique(table.languages.astype(str), return_inverse=True)
    # a passage of several languages is a row of each
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


def _alike(table: SentenceTable) -> list[list[list[int]]]:
    """Pairs that may be joined: of one source and with the same languages; a pair is the numbers of its sentences."""
    pairs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, name in enumerate(zip(table.sources.tolist(), table.pairs.tolist(), strict=True)):
        pairs[name].append(number)
    alike: dict[tuple[str, tuple[str, ...]], list[list[int]]] = defaultdict(list)
    for source, pair in sorted(pairs, key=_drawn):
        # within a pair the order of the table plays no part either, since its sentences end up together
        numbers = pairs[source, pair]
        alike[source, tuple(sorted(set(table.languages[numbers].tolist())))].append(numbers)
    return list(alike.values())


def _drawn(name: tuple[str, str]) -> bytes:
    return blake2b("\t".join(name).encode("utf-8"), digest_size=16).digest()


def _apart(table: SentenceTable, pairs: list[list[int]], tokens: int) -> list[list[int]]:
    """The sentences of each passage; of a cluster with several pairs, by itself where that has text for one."""
    by_cluster: dict[str, list[list[int]]] = defaultdict(list)
    for pair in pairs:
        by_cluster[table.clusters[pair[0]]].append(pair)
    groups, short = [], list[list[int]]()
    for own in by_cluster.values():
        found = _joined(table, own, tokens) if len(own) > 1 else []
        groups += found
        if not found:
            short.append([number for pair in own for number in pair])
    return groups + (_joined(table, short, tokens) if short else [])


def _documents(table: SentenceTable, groups: list[list[int]]) -> np.ndarray:
    """A name for each passage that it shares with those that have sentences of one cluster with it."""
    names = [
        (str(number), table.clusters[sentence]) for number, group in enumerate(groups) for sentence in group
    ]
    together = cluster([passage for passage, _ in names], [name for _, name in names])
    first: dict[int, str] = {}
    for own, (_, name) in zip(together, names, strict=True):
        first[own] = min(name, first.get(own, name))
    starts = np.cumsum([0, *(len(group) for group in groups)])[:-1].tolist()
    return np.array([first[together[start]] for start in starts], dtype=np.str_)


def _joined(table: SentenceTable, pairs: list[list[int]], tokens: int) -> list[list[int]]:
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
