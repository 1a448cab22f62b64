"""Acceptable and corrupted sentences, made as ScaLA makes them from a treebank.

The rules are ScaLA's (Nielsen 2023, *ScandEval: A Benchmark for Scandinavian Natural Language Processing*): one word
is deleted, or two neighbours are swapped, as parts of speech allow. The grammar knows more than a treebank does, and
so leaves out corruptions that leave a sentence behind (`Word.optional`, `Word.movable`), and the first word always has
its capital, which would otherwise tell.
"""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

from toy_grammar.constructions import draw_sentence
from toy_grammar.draw import Draw
from toy_grammar.labelled import LabelledText, check_request
from toy_grammar.realise import tokens
from toy_grammar.words import Word, text_of

CORRECT, INCORRECT = "correct", "incorrect"

MORE_THAN = 5
"""A sentence has more tokens than this, and more different parts of speech."""

MARKS = ("PUNCT", "SYM")
NOUNS = ("NOUN", "PROPN")
KEPT = ("ADJ", "ADV", "PUNCT", "SYM", "DET", "NUM")
"""What is never deleted: a sentence can do without it."""

ORDERLESS = (
    {"ADV", "NOUN"},
    {"ADV", "PRON"},
    {"ADV", "PROPN"},
    {"PRON", "NOUN"},
    {"PRON", "PROPN"},
    {"NOUN", "PROPN"},
)
"""Neighbours that are not swapped: in one of the languages either order is good."""


def acceptability(number: int, seed: int, language: str) -> list[LabelledText]:
    """Sentences with the label `correct` and their corruptions with the label `incorrect`, half each.

    Args:
        number: how many rows, 0 to `MAX_LABELLED`; the rows of a pair are neighbours, in random order.
        seed: same seed, same rows; a smaller number gives the first ones of a larger.
        language: a language code.

    Returns:
        Rows whose `kind` is `clean`, `delete` or `flip_neighbours`; no text occurs twice.

    Raises:
        GlossaeError: the language is unknown, or `number` is out of range.
    """
    check_request(number, language)
    draw = Draw(Random(seed))
    rows: list[LabelledText] = []
    seen: set[str] = set()
    while len(rows) < number:
        words = tokens(draw_sentence(draw), language)
        if min(len(words), len({word.tag for word in words})) <= MORE_THAN:
            continue
        corrupted = corrupt(words, draw.random)
        if corrupted is None:
            continue
        kind, broken = corrupted
        clean, bad = text_of(words), text_of(broken)
        if clean in seen or bad in seen:
            continue
        seen |= {clean, bad}
        pair = f"toy-acceptability:{len(rows) // 2}"
        both = [LabelledText(clean, CORRECT, pair, "clean"), LabelledText(bad, INCORRECT, pair, kind)]
        rows += both[::-1] if draw.chance(0.5) else both
    return rows[:number]


def corrupt(words: list[Word], random: Random) -> tuple[str, list[Word]] | None:
    """One corruption of a sentence with its kind, `delete` and `flip_neighbours` as likely; None if none is legal."""
    kinds = {"delete": list(_deletions(words)), "flip_neighbours": list(_swaps(words))}
    possible = [kind for kind, made in kinds.items() if made]
    if not possible:
        return None
    kind = random.choice(possible)
    return kind, random.choice(kinds[kind])


def _deletions(words: list[Word]) -> Iterator[list[Word]]:
    for i, word in enumerate(words):
        neighbours = [words[j].tag for j in (i - 1, i + 1) if 0 <= j < len(words)]
        joins = word.tag in NOUNS and any(tag in NOUNS for tag in neighbours)
        # without its first noun or pronoun many a statement is a question, and many a question a statement
        opens = i == 0 and word.tag in (*NOUNS, "PRON")
        if word.tag not in KEPT and not (word.optional or joins or opens):
            yield [*words[:i], *words[i + 1 :]]


def _swaps(words: list[Word]) -> Iterator[list[Word]]:
    for i, (first, second) in enumerate(pairwise(words)):
        tags = {first.tag, second.tag}
        differ = len(tags) == 2 and first.text.lower() != second.text.lower()
        legal = differ and tags.isdisjoint(MARKS) and tags not in ORDERLESS
        # a verb that changes places with the first word makes a question of a statement
        asks = i == 0 and not tags.isdisjoint(("VERB", "AUX"))
        if legal and not (asks or first.movable or second.movable or tags == {"PRON", "AUX"}):
            yield [*words[:i], second, first, *words[i + 2 :]]
