"""Splits: which pairs go where, decided by a seed and the pairs themselves, never by their order."""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from itertools import repeat

from sprog.corpora.sentences import Sentence


def rank(seed: int, purpose: str, pair: str) -> bytes:
    """Where `pair` stands in the shuffle of `seed` for `purpose`; two purposes, two independent shuffles."""
    # the id behind the hash makes the order total even where two hashes are equal
    return blake2b(f"{seed}:{purpose}:{pair}".encode(), digest_size=8).digest() + pair.encode()


def shuffled(sentences: Iterable[Sentence], seed: int) -> list[Sentence]:
    """`sentences` in an order that depends on the seed and on what they say, not on how they came.

    Any stretch of it is a fair sample of languages and sources; a pair's sentences stand together.
    """
    return sorted(sentences, key=lambda s: (rank(seed, "order", s.pair), s.language, s.text))


def cut(
    sentences: list[Sentence], share: float, *, seed: int, purpose: str
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide `sentences` by pair into what is left and what is taken, each in the order it came.

    The share is taken from every source and every combination of languages by itself, so that the parts
    are alike; of two or more such pairs at least one is taken and one is left.
    """
    makeup: dict[str, tuple[str, ...]] = {}
    for sentence in sentences:
        known = makeup.get(sentence.pair, (sentence.source,))
        makeup[sentence.pair] = (*known, sentence.language)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pair, (source, *languages) in makeup.items():
        strata[source, *sorted(languages)].append(pair)

    taken: set[str] = set()
    for pairs in strata.values():
        number = round(share * len(pairs))
        if len(pairs) > 1:
            number = min(max(number, 1), len(pairs) - 1)
        pairs.sort(key=lambda pair: rank(seed, purpose, pair))
        taken.update(pairs[:number])
    rest = [sentence for sentence in sentences if sentence.pair not in taken]
    return rest, [sentence for sentence in sentences if sentence.pair in taken]


def first_of_each(languages: Iterable[str], wanted: int, sizes: Iterable[int] | None = None) -> list[int]:
    """The places of the first sentences of each language, until it has so many, or all of its own.

    Args:
        languages: of each sentence, in the order in which they are taken; of a shuffled text the first are a fair
            sample.
        wanted: how many sentences; with `sizes`, how much of those they come to, the last one included whole.
        sizes: of each sentence, such as its tokens.
    """
    taken: dict[str, int] = defaultdict(int)
    places = []
    for place, (language, size) in enumerate(
        zip(languages, repeat(1) if sizes is None else sizes, strict=False)
    ):
        if taken[language] < wanted:
            taken[language] += size
            places.append(place)
    return places


def within_limit(
    sentences: list[Sentence], limit: int, *, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """At most `limit` sentences of every language, and those that are over it.

    Pairs are taken in the order of their rank, so translations stay together as far as the limit allows.
    """
    numbers: dict[str, int] = defaultdict(int)
    kept: list[Sentence] = []
    over: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda s: (rank(seed, "limit", s.pair), s.language, s.text)):
        numbers[sentence.language] += 1
        (kept if numbers[sentence.language] <= limit else over).append(sentence)
    return kept, over
