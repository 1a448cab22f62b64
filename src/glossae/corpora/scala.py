"""Make ScaLA from a treebank: sentences, and the same with one word deleted or two neighbours swapped.

The rules are ScaLA's (Nielsen 2023, *ScandEval: A Benchmark for Scandinavian Natural Language Processing*,
section 3.1), as in its newest scripts. ScaLA draws its corruptions without a seed; here they have one.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from glossae.errors import GlossaeError

CORRECT, INCORRECT = "correct", "incorrect"
DELETE, SWAP = "delete", "flip_neighbours"
# the seed of ScaLA's splits; with the treebank in its own order, the splits are the same
SCALA_SEED = 4242

_MARKS = ("PUNCT", "SYM")
_NOUNS = ("NOUN", "PROPN")
# parts of speech that can be deleted from a sentence without corrupting it
_KEPT = ("ADJ", "ADV", "PUNCT", "SYM", "DET", "NUM", "PART")
_MORE_THAN = 5
_CHARACTERS = (2, 5000)
_VALIDATION, _TEST, _TRAIN = 128, 1024, 512
_LEAST_TEST = 128
_SMALL_TRAIN, _SMALL_VALIDATION = 64, 32


class Tagged(NamedTuple):
    """A sentence: tokens, the universal part of speech of each, and the text if the treebank has it."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    text: str | None = None


def detokenise(tokens: Sequence[str]) -> str:
    """Tokens as text: no blank before `. , ; : ) ] } ? !`, none after `( [ {`, none inside paired quotes."""
    text = " ".join(tokens)
    text = re.sub(r" ([.,;:)\]}?!])", r"\1", text)
    text = re.sub(r"([(\[{]) ", r"\1", text)
    if text.count('"') % 2 == 0:
        text = re.sub(r'" ([^"]*) "', r'"\1"', text)
    return text


def _raw(sentence: Tagged) -> str:
    return detokenise(sentence.tokens) if sentence.text is None else sentence.text


_RULES: tuple[Callable[[Tagged], bool], ...] = (
    lambda sentence: len(sentence.tokens) > _MORE_THAN,
    lambda sentence: len(set(sentence.tags)) > _MORE_THAN,
    lambda sentence: _raw(sentence).count('"') % 2 == 0,
    lambda sentence: sentence.tags[0] not in _MARKS,
    lambda sentence: _raw(sentence).count("=") <= 1,
    lambda sentence: "SLUTORD" not in _raw(sentence),
)


def eligible(sentences: Iterable[Tagged]) -> tuple[list[Tagged], list[int]]:
    """The sentences that ScaLA accepts, and the numbers of sentences left: at first, and after each rule.

    Dropped are, in this order: repeated texts; sentences of at most 5 tokens; of at most 5 different parts of
    speech; with an odd number of `"`; that begin with a punctuation mark; with several `=`; with `SLUTORD`.
    """
    left = list(sentences)
    first: dict[str, Tagged] = {}
    for sentence in left:
        first.setdefault(_raw(sentence), sentence)
    counts = [len(left), len(first)]
    left = list(first.values())
    for rule in _RULES:
        left = [sentence for sentence in left if rule(sentence)]
        counts.append(len(left))
    return left, counts


def corrupt(tokens: Sequence[str], tags: Sequence[str], random: Random) -> tuple[str, list[str]] | None:
    """One corruption of a sentence with its kind, `delete` or `flip_neighbours`; None if neither is possible."""
    made = {DELETE: _deleted, SWAP: _swapped}
    kinds = [DELETE, SWAP]
    random.shuffle(kinds)
    # ScaLA draws again until one succeeds; trying the other kind gives the same distribution
    for kind in kinds:
        if (broken := made[kind](tokens, tags, random)) is not None:
            return kind, broken
    return None


def _deleted(tokens: Sequence[str], tags: Sequence[str], random: Random) -> list[str] | None:
    def joins(place: int) -> bool:
        """Whether a noun is beside another noun, so that deleting it may leave a correct sentence."""
        beside = (*tags[max(0, place - 1) : place], *tags[place + 1 : place + 2])
        return tags[place] in _NOUNS and any(tag in _NOUNS for tag in beside)

    places = [place for place, tag in enumerate(tags) if tag not in _KEPT and not joins(place)]
    if not places:
        return None
    place = random.choice(places)
    return [*tokens[:place], *tokens[place + 1 :]]


def _swapped(tokens: Sequence[str], tags: Sequence[str], random: Random) -> list[str] | None:
    def differs(place: int, other: int) -> bool:
        return 0 <= other < len(tags) and tags[other] not in _MARKS and tags[other] != tags[place]

    places = [
        place
        for place, tag in enumerate(tags)
        if tag not in _MARKS and (differs(place, place + 1) or differs(place, place - 1))
    ]
    if len(places) < 2:
        return None
    place = random.choice(places)
    other = random.choice(_partners(tags, place))
    broken = list(tokens)
    broken[place], broken[other] = broken[other], broken[place]
    if 0 in (place, other):
        first, second = broken[:2]
        broken[0] = first if first.isupper() else first.title()
        broken[1] = second if second.isupper() else second.lower()
    return broken


def _partners(tags: Sequence[str], place: int) -> tuple[int, ...]:
    """The places that the token may move to: one side, or both.

    ScaLA checks the pair PRON and AUX on the right only, and does not check the left neighbour when it moves a
    token there.
    """
    left, right = place - 1, place + 1
    if place == 0:
        return (right,)
    if place == len(tags) - 1:
        return (left,)
    if tags[right] in _MARKS or tags[right] == tags[place] or {tags[place], tags[right]} == {"PRON", "AUX"}:
        return (left,)
    if tags[left] in _MARKS or tags[left] == tags[place]:
        return (right,)
    return (left, right)


def scala_splits(
    sentences: Iterable[Tagged], source: str, *, seed: int = SCALA_SEED
) -> dict[str, list[tuple[str, str, int]]]:
    """Eligible sentences and their corruptions as `train`, `val`, `test` and `full_train`.

    The sizes are ScaLA's: 128 for `val`, 1,024 for `test`, 512 for `train`. For a small treebank, `test` is
    halved until it fits, down to 128; below that, 64 for `train`, 32 for `val` and the rest for `test`.
    `full_train` has everything that is in neither `val` nor `test`. Both rows of a pair are in the same split.

    Args:
        sentences: a treebank's sentences, in its order.
        source: the name for messages.
        seed: of the splits, the corruptions and the order of rows.

    Returns:
        Rows of text, label and the number of their sentence, from 1.

    Raises:
        GlossaeError: there are too few eligible sentences.
    """
    # imported here, because `import glossae.corpora` has to work without it
    import numpy as np

    found, _ = eligible(sentences)
    random = Random(seed)
    pairs = []
    for sentence in found:
        broken = corrupt(sentence.tokens, sentence.tags, random)
        if broken is not None:
            pairs.append((detokenise(sentence.tokens), detokenise(broken[1])))
    sizes = _sizes(len(pairs), source)
    rest = list(range(len(pairs)))
    chosen: dict[str, list[int]] = {}
    for split in ("val", "test", "train"):
        if split == "train":
            chosen["full_train"] = list(rest)
        # draws like `pandas.DataFrame.sample`, so that the splits are ScaLA's own
        drawn = np.random.RandomState(seed).choice(len(rest), sizes[split], replace=False)
        chosen[split] = [rest[place] for place in drawn]
        rest = sorted(set(rest) - set(chosen[split]))
    low, high = _CHARACTERS
    splits = {}
    for split, numbers in chosen.items():
        rows = [
            (text, label, number + 1)
            for number in numbers
            if low <= len(pairs[number][0]) <= high
            for text, label in zip(pairs[number], (CORRECT, INCORRECT), strict=True)
        ]
        order = np.random.RandomState(seed).permutation(len(rows))
        splits[split] = [rows[place] for place in order]
    return splits


def _sizes(count: int, source: str) -> dict[str, int]:
    test = _TEST
    while test > _LEAST_TEST and count < test + _VALIDATION + _TRAIN:
        test //= 2
    if count >= test + _VALIDATION + _TRAIN:
        return {"val": _VALIDATION, "test": test, "train": _TRAIN}
    small = count - _SMALL_TRAIN - _SMALL_VALIDATION
    if small < 1:
        raise GlossaeError(
            f"{source}: only {count} sentences can be corrupted; ScaLA needs more than "
            f"{_SMALL_TRAIN + _SMALL_VALIDATION}"
        )
    return {"val": _SMALL_VALIDATION, "test": small, "train": _SMALL_TRAIN}
