"""Splits: assign pairs and documents by a seed and their ids, never by their order in the file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate, repeat

from glossae.corpora.cleaning import words_of
from glossae.corpora.corpus import Sentence, cluster


def shuffle_key(seed: int, purpose: str, pair: str) -> bytes:
    """The sort key of `pair` in the shuffle of `seed` for `purpose`; shuffles of two purposes are independent."""
    # the id after the hash makes the order total even if two hashes are equal
    return blake2b(f"{seed}:{purpose}:{pair}".encode(), digest_size=8).digest() + pair.encode()


def shuffled(sentences: Iterable[Sentence], seed: int) -> list[Sentence]:
    """Shuffle `sentences` by the seed and their content, whatever their order.

    Any stretch of the result is a fair sample of languages and sources; a pair's sentences stay together.
    """
    return sorted(sentences, key=lambda s: (shuffle_key(seed, "order", s.pair), s.language, s.text))


def cut(
    sentences: list[Sentence], share: float, *, seed: int, purpose: str
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide `sentences` by pair, or document, into those left and those taken, each in the given order.

    The share is taken from every source and every combination of languages separately, so that the two parts
    are alike; of two or more such pairs, at least one is taken and one left. A document is taken whole, with
    the pairs that have a sentence in it; the number of documents is the one whose sentences come nearest to
    the share.
    """
    clusters = cluster([s.pair for s in sentences], [s.doc for s in sentences])
    members: dict[int, list[Sentence]] = defaultdict(list)
    for number, sentence in zip(clusters, sentences, strict=True):
        members[number].append(sentence)
    # (rank, cluster, size) by stratum: pairs by source and languages; documents, with their pairs, likewise
    groups: dict[tuple[bool, tuple[str, ...], tuple[str, ...]], list[tuple[bytes, int, int]]] = defaultdict(
        list
    )
    for number, own in members.items():
        docs = [sentence.doc for sentence in own if sentence.doc]
        sources, languages = [own[0].source], [sentence.language for sentence in own]
        if docs:
            sources, languages = list({sentence.source for sentence in own}), list(set(languages))
        unit = shuffle_key(seed, purpose, min(docs) if docs else own[0].pair), number, len(own)
        groups[bool(docs), tuple(sorted(sources)), tuple(sorted(languages))].append(unit)

    taken: set[int] = set()
    for (are_documents, _, _), units in groups.items():
        units.sort()
        most = round(share * len(units))
        if are_documents:
            # the number whose sentences come nearest to the share
            reached = [0, *accumulate(size for _, _, size in units)]
            distances = [abs(come - share * reached[-1]) for come in reached]
            most = distances.index(min(distances))
        if len(units) > 1:
            most = min(max(most, 1), len(units) - 1)
        taken.update(number for _, number, _ in units[:most])
    rest = [sentence for number, sentence in zip(clusters, sentences, strict=True) if number not in taken]
    return rest, [sentence for number, sentence in zip(clusters, sentences, strict=True) if number in taken]


def cut_text(
    sentences: Sequence[Sentence],
    shares: Mapping[str, float],
    *,
    trained: Sequence[str],
    limits: Mapping[str, int | None],
    seed: int,
) -> tuple[dict[str, list[Sentence]], str]:
    """Cut one text into `panel` and other roles, from each source separately; the rest is `train`.

    Args:
        sentences: the text.
        shares: each role's share, in this order; a source without a language of `trained` is divided among
            these alone.
        trained: the languages that train is read in.
        limits: for each role, the most sentences per language; a share is smaller if that needs less, and the
            caller still has to trim to the limit.
        seed: decides the cuts.

    Returns:
        The sentences of each role, and a sentence on whether the panel's languages come from the same sources:
        the panel is cut from the sources that have every language of the text, if there are any. Sources that
        share pairs count as one.
    """
    own = _by_source(sentences)
    everything = {sentence.language for sentence in sentences}
    complete = [name for name, texts in own.items() if {s.language for s in texts} == everything]
    numbers = {name: Counter(sentence.language for sentence in texts) for name, texts in own.items()}
    givers = {"panel": complete or list(own)}
    parts: dict[str, list[Sentence]] = {role: [] for role in ("train", *shares)}
    for source, texts in own.items():
        languages = {sentence.language for sentence in texts}
        # a source that train does not read is divided among the other roles
        scale = 1.0 if languages & set(trained) else 1 / sum(shares.values())
        left, portion = texts, 1.0
        for role, share in shares.items():
            sources = givers.get(role, list(own))
            if source not in sources:
                continue
            there = [sum(numbers[name][language] for name in sources) for language in languages]
            limit = limits[role]
            needed = 1.0 if limit is None else max(limit / number for number in there)
            share = min(share * scale, needed)
            left, taken = cut(left, share / portion, seed=seed, purpose=role)
            portion -= share
            parts[role] += taken
        parts["train"] += left
    if complete:
        return parts, f"every language from {' and '.join(complete)}"
    return parts, (
        f"no source has every language, so the panel is from {', '.join(own)}: a difference between sources "
        "can look like one between languages"
    )


def words_key(text: str) -> bytes:
    """A hash of a sentence's words: the words of every sentence at once are as large as the text."""
    return blake2b((" ".join(words_of(text)) or text).encode(), digest_size=16).digest()


def without_near_duplicates(sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[Sentence]]:
    """Of sentences of one language with the same words, keep the one with the smallest pair id; return the rest too."""
    first: dict[bytes, Sentence] = {}
    keys = [words_key(s.text) + s.language.encode() for s in sentences]
    for key, sentence in zip(keys, sentences, strict=True):
        if key not in first or (sentence.pair, sentence.text) < (first[key].pair, first[key].text):
            first[key] = sentence
    kept = [s for key, s in zip(keys, sentences, strict=True) if first[key] == s]
    return kept, [s for key, s in zip(keys, sentences, strict=True) if first[key] != s]


def _by_source(sentences: Sequence[Sentence]) -> dict[str, list[Sentence]]:
    """The sentences by source; sources with common pairs, such as one file per language, count as one."""
    numbers = cluster([s.pair for s in sentences], [s.source for s in sentences])
    members: dict[int, list[Sentence]] = defaultdict(list)
    for number, sentence in zip(numbers, sentences, strict=True):
        members[number].append(sentence)
    found = {" with ".join(sorted({s.source for s in own})): own for own in members.values()}
    return dict(sorted(found.items()))


def first_of_each(languages: Iterable[str], wanted: int, sizes: Iterable[int] | None = None) -> list[int]:
    """The places of the first sentences of each language, up to `wanted` each.

    Args:
        languages: the language of each sentence, in the order in which they are taken; in a shuffled text the
            first are a fair sample.
        wanted: the number of sentences; with `sizes`, the total size, reached by the last sentence, which is
            kept whole.
        sizes: the size of each sentence, such as its tokens.
    """
    taken: dict[str, int] = defaultdict(int)
    places = []
    sizes = repeat(1) if sizes is None else sizes
    for place, (language, size) in enumerate(zip(languages, sizes, strict=False)):
        if taken[language] < wanted:
            taken[language] += size
            places.append(place)
    return places


def within_limit(
    sentences: list[Sentence], limit: int, *, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide into at most `limit` sentences of every language, and those over the limit.

    Pairs are taken in the order of their rank, so translations stay together as far as the limit allows.
    """
    numbers: dict[str, int] = defaultdict(int)
    kept: list[Sentence] = []
    over: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda s: (shuffle_key(seed, "limit", s.pair), s.language, s.text)):
        numbers[sentence.language] += 1
        (kept if numbers[sentence.language] <= limit else over).append(sentence)
    return kept, over
