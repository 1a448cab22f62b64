"""ScaLA from a treebank: the detokeniser, every filter, every rule of a corruption, and the splits."""

import json
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import parse_task
from glossae.text.scala import Tagged, corrupt, detokenise, eligible, scala_splits
from glossae.text.tasks import read_treebank

TAGS = [
    "NOUN",
    "PROPN",
    "VERB",
    "AUX",
    "PRON",
    "ADJ",
    "ADV",
    "ADP",
    "DET",
    "PUNCT",
    "SYM",
    "NUM",
    "PART",
    "X",
]
KEPT = {"ADJ", "ADV", "PUNCT", "SYM", "DET", "NUM", "PART"}


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["Hej", ",", "du", "!"], "Hej, du!"),
        (["(", "se", "[", "her", "]", ")", ";", "ja", ":", "nej", "?"], "(se [her]); ja: nej?"),
        (["Han", "sagde", '"', "nej", "tak", '"', "."], 'Han sagde "nej tak".'),
        (['"', "A", '"', "og", '"', "b", '"'], '"A" og "b"'),
        # an odd one is left as it is
        (["Han", "sagde", '"', "nej", "."], 'Han sagde " nej.'),
        (["{", "a", "}"], "{a}"),
    ],
)
def test_tokens_become_text(tokens, text):
    assert detokenise(tokens) == text


GOOD = Tagged(
    ("Hun", "så", "en", "stor", "hund", "igår", "."), ("PRON", "VERB", "DET", "ADJ", "NOUN", "ADV", "PUNCT")
)


def test_every_filter_takes_what_it_should():
    def changed(**changes):
        return GOOD._replace(**changes)

    other = changed(tokens=("Han", *GOOD.tokens[1:]))
    short = Tagged(GOOD.tokens[:5], GOOD.tags[:5])
    few = Tagged(("To", *GOOD.tokens[1:]), ("NOUN", "VERB", "DET", "ADJ", "NOUN", "NOUN", "PUNCT"))
    quote = changed(tokens=('"', *GOOD.tokens[1:]))
    mark = Tagged(("-", *GOOD.tokens), ("PUNCT", *GOOD.tags))
    equals = changed(tokens=("a=b=c", *GOOD.tokens[1:]))
    end = changed(tokens=("SLUTORD", *GOOD.tokens[1:]))
    left, counts = eligible([GOOD, other, GOOD, short, few, quote, mark, equals, end])
    assert left == [GOOD, other]
    assert counts == [9, 8, 7, 6, 5, 4, 3, 2]
    # what the treebank keeps of the raw text counts, not the words put together
    raw = [changed(text="one"), changed(text="two"), changed(text='" odd')]
    assert eligible(raw)[0] == raw[:2]


def sentences(minimum=1):
    tags = st.lists(st.sampled_from(TAGS), min_size=minimum, max_size=10)
    return tags.map(lambda found: ([f"w{place}" for place in range(len(found))], found))


@given(sentences(), st.integers(0, 2**32))
def test_a_corruption_is_one_deletion_or_one_swap_and_legal(sentence, seed):
    tokens, tags = sentence
    made = corrupt(tokens, tags, Random(seed))
    if made is None:
        return
    kind, broken = made
    if kind == "delete":
        (place,) = [i for i in range(len(tokens)) if tokens[:i] + tokens[i + 1 :] == broken]
        assert tags[place] not in KEPT
        if tags[place] in ("NOUN", "PROPN"):
            beside = tags[max(0, place - 1) : place] + tags[place + 1 : place + 2]
            assert not set(beside) & {"NOUN", "PROPN"}
        return
    lowered = [word.lower() for word in broken]
    moved = [place for place, word in enumerate(lowered) if word != tokens[place]]
    assert len(moved) == 2
    first, second = moved
    assert second == first + 1
    assert (lowered[first], lowered[second]) == (tokens[second], tokens[first])
    # the one that was drawn is no mark, and has a neighbour to go to
    assert any(
        tags[place] not in ("PUNCT", "SYM")
        and any(
            0 <= other < len(tags) and tags[other] not in ("PUNCT", "SYM") and tags[other] != tags[place]
            for other in (place - 1, place + 1)
        )
        for place in moved
    )


@given(sentences(), st.integers(0, 2**32))
def test_the_same_seed_the_same_corruption(sentence, seed):
    assert corrupt(*sentence, Random(seed)) == corrupt(*sentence, Random(seed))


def outcomes(tokens, tags, kind):
    return {
        tuple(made[1])
        for seed in range(300)
        if (made := corrupt(tokens, tags, Random(seed))) is not None and made[0] == kind
    }


def test_every_legal_place_is_deleted_and_no_other():
    tokens = ["Hun", "så", "Ole", "Hansen", "i", "den", "hund", "."]
    tags = ["PRON", "VERB", "PROPN", "PROPN", "ADP", "DET", "NOUN", "PUNCT"]
    gone = {next(word for word in tokens if word not in left) for left in outcomes(tokens, tags, "delete")}
    assert gone == {"Hun", "så", "i", "hund"}


def test_partners_by_the_rules():
    # (tags, place drawn): where it may go, seen from all swaps of a sentence in which only some places are drawn
    def swaps(tags):
        tokens = [f"w{place}" for place in range(len(tags))]
        found = set()
        for broken in outcomes(tokens, tags, "flip_neighbours"):
            moved = [p for p, word in enumerate(broken) if word.lower() != tokens[p]]
            found.add(tuple(moved))
        return found

    assert swaps(["VERB", "NOUN"]) == {(0, 1)}
    # a mark on the right sends the token left; marks themselves are not drawn
    assert swaps(["VERB", "ADV", "PUNCT"]) == {(0, 1)}
    assert swaps(["PUNCT", "VERB", "ADV"]) == {(1, 2)}
    # the same tag on one side sends it to the other
    assert swaps(["ADV", "VERB", "VERB", "ADV"]) == {(0, 1), (2, 3)}
    # PRON before AUX: the pronoun goes left, whatever is there, and the auxiliary has a free choice
    assert (0, 1) in swaps(["PUNCT", "PRON", "AUX", "ADV"])
    # nothing differs: no swap
    assert swaps(["VERB", "VERB", "VERB"]) == set()
    assert swaps(["VERB", "PUNCT", "NOUN"]) == set()


def test_capitals_change_places():
    def swapped(tokens, tags):
        return outcomes(tokens, tags, "flip_neighbours")

    tags = ["ADV", "NUM"]
    assert swapped(["Nu", "tre"], tags) == {("Tre", "nu")}
    assert swapped(["USA", "o'hara"], tags) == {("O'Hara", "USA")}
    assert swapped(["Nu", "EU"], tags) == {("EU", "nu")}


def test_both_kinds_are_as_likely():
    tokens, tags = ["Hun", "så", "en", "hund"], ["PRON", "VERB", "DET", "NOUN"]
    kinds = [corrupt(tokens, tags, Random(seed))[0] for seed in range(2000)]
    assert 900 < kinds.count("delete") < 1100


def made_up(count):
    return [GOOD._replace(tokens=(f"Hun{number}", *GOOD.tokens[1:])) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "train", "val", "test"),
    [
        (1700, 512, 128, 1024),
        (1300, 512, 128, 512),
        (800, 512, 128, 128),
        (300, 64, 32, 204),
        (97, 64, 32, 1),
    ],
)
def test_splits_keep_pairs_together(count, train, val, test):
    splits = scala_splits(made_up(count), "made", seed=3)
    sizes = {split: len(rows) / 2 for split, rows in splits.items()}
    assert sizes == {"train": train, "val": val, "test": test, "full_train": count - val - test}
    places = {}
    for split in ("train", "val", "test"):
        for _, label, number in splits[split]:
            places.setdefault(number, []).append((split, label))
    assert all(
        {label for _, label in found} == {"correct", "incorrect"} and len({split for split, _ in found}) == 1
        for found in places.values()
    )
    assert splits == scala_splits(made_up(count), "made", seed=3)
    assert splits != scala_splits(made_up(count), "made", seed=4)


def test_too_few_sentences():
    with pytest.raises(GlossaeError, match="made: only 96 sentences can be corrupted"):
        scala_splits(made_up(96), "made")


CONLLU = """\
# text = Vi ku'kke se hunden.
1\tVi\tvi\tPRON\t_\t_\t_\t_\t_\t_
2-3\tku'kke\t_\t_\t_\t_\t_\t_\t_\t_
2\tkunne\tkunne\tAUX\t_\t_\t_\t_\t_\t_
3\tikke\tikke\tADV\t_\t_\t_\t_\t_\t_
4\tse\tse\tVERB\t_\t_\t_\t_\t_\t_
4.1\tX\t_\tX\t_\t_\t_\t_\t_\t_
5\thunden\thund\tNOUN\t_\t_\t_\t_\t_\tSpaceAfter=No
6\t.\t.\tPUNCT\t_\t_\t_\t_\t_\t_

1\tJa\tja\tINTJ\t_\t_\t_\t_\t_\t_
"""


def test_a_range_is_one_token_with_the_tag_of_its_first_word(tmp_path):
    path = tmp_path / "x.conllu"
    path.write_text(CONLLU, encoding="utf-8")
    first, second = read_treebank(path)
    assert first.tokens == ("Vi", "ku'kke", "se", "hunden", ".")
    assert first.tags == ("PRON", "AUX", "VERB", "NOUN", "PUNCT")
    assert first.text == "Vi ku'kke se hunden."
    assert second == (("Ja",), ("INTJ",), "Ja")


def test_json_lines_of_tokens_and_tags(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"tokens": GOOD.tokens, "pos_tags": GOOD.tags}) + "\n")
    assert list(read_treebank(path)) == [GOOD]
    path.write_text(json.dumps({"tokens": ["a"], "pos_tags": []}) + "\n")
    with pytest.raises(GlossaeError, match=r"x.jsonl, line 1: has 1 tokens and 0 pos_tags"):
        list(read_treebank(path))
    path.write_text(json.dumps({"tokens": ["a"]}) + "\n")
    with pytest.raises(GlossaeError, match=r"x.jsonl, line 1: pos_tags is None"):
        list(read_treebank(path))
    with pytest.raises(GlossaeError, match="is no treebank"):
        list(read_treebank(tmp_path / "x.txt"))


def test_the_danish_treebank(shared):
    folder = shared / "data" / "ud_danish_ddt"
    if not folder.is_dir():
        pytest.skip("shared/data/ud_danish_ddt is not here")
    files = [folder / "ddt_train_plus_dev.jsonl", folder / "ddt_test.jsonl"]
    _, counts = eligible(sentence for file in files for sentence in read_treebank(file))
    assert counts == [5512, 5501, 4953, 4599, 4160, 3823, 3823, 3823]
    task = parse_task(f"scala-da=scala:{','.join(map(str, files))}").read(0)
    assert {split: len(rows) for split, rows in task.splits.items()} == {
        "train": 1024,
        "val": 256,
        "test": 2048,
        "full_train": 5342,
    }
    labels = [row.label for row in task.train]
    assert labels.count("correct") == labels.count("incorrect") == 512


@given(sentences(minimum=6))
def test_text_has_the_tokens_letters(sentence):
    tokens, _ = sentence
    assume(tokens)
    assert detokenise(tokens).replace(" ", "") == "".join(tokens)
