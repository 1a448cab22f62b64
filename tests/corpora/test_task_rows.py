"""Labelled tasks: every form of file and name, every refusal in one line; and ScaLA, rule by rule."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import Row, assemble_task, parse_task, split_tasks
from glossae.corpora.scala import Tagged, corrupt, detokenise, eligible, scala_splits
from glossae.corpora.tasks import read_treebank
from glossae.errors import GlossaeError

ROWS = [("Dejligt!", "god"), ("Øv, en dag.", "skidt"), ("Fint, synes jeg", "god"), ("Nej.", "skidt")]


def as_jsonl(rows):
    return "".join(json.dumps({"id": 7, "text": text, "label": label}) + "\n" for text, label in rows)


def as_csv(rows):
    return "id,text,label\n" + "".join(f'7,"{text}",{label}\n' for text, label in rows)


def as_tsv(rows):
    return "Label\tText\n" + as_bare_tsv([(label, text) for text, label in rows])


def as_bare_tsv(rows):
    return "".join(f"{text}\t{label}\n" for text, label in rows)


def read(source, name="mood:da"):
    return parse_task(f"{name}={source}").read(0)


def plain(rows):
    return [(row.text, row.label) for row in rows]


def refusal(source):
    with pytest.raises(GlossaeError) as error:
        read(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "form"),
    [("rows.jsonl", as_jsonl), ("rows.csv", as_csv), ("rows.tsv", as_tsv), ("bare.tsv", as_bare_tsv)],
)
def test_a_file_is_all_train(tmp_path, name, form):
    path = tmp_path / name
    path.write_text(form(ROWS), encoding="utf-8")
    task = read(path)
    assert (task.name, task.language, task.labels, task.test) == ("mood", "da", ("god", "skidt"), None)
    assert plain(task.train) == ROWS
    assert task.dropped == {"train": {}}


@pytest.mark.parametrize("validation", ["val", "validation", "dev"])
def test_a_folder_has_a_file_for_each_split(tmp_path, validation):
    (tmp_path / "train.jsonl").write_text(as_jsonl(ROWS))
    (tmp_path / "test.csv").write_text(as_csv(ROWS[:1]))
    (tmp_path / f"{validation}.tsv").write_text(as_tsv(ROWS[1:2]), encoding="utf-8")
    (tmp_path / "README.md").write_text("hello")
    task = read(tmp_path)
    found = {split: plain(rows) for split, rows in task.splits.items()}
    assert found == {"train": ROWS, "test": ROWS[:1], "val": ROWS[1:2]}
    # the same rows in another form hash alike, and others do not
    (tmp_path / "test.csv").rename(tmp_path / "test.tsv").write_text(as_tsv(ROWS[:1]), encoding="utf-8")
    assert read(tmp_path).sha256 == task.sha256
    (tmp_path / "train.jsonl").write_text(as_jsonl(ROWS[::-1]))
    assert read(tmp_path).sha256 != task.sha256


def test_words_are_chosen_before_numbers_and_numbers_become_words(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "a", "label": 0, "label_text": "no"}, {"text": "b", "label": 1.0, "label_text": "yes"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(path).labels == ("no", "yes")
    path.write_text("".join(json.dumps({k: row[k] for k in ("text", "label")}) + "\n" for row in rows))
    assert read(path).labels == ("0", "1")


def test_empty_texts_are_counted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('text,sentiment\n"  ",good\nfine,good\n,bad\nawful,bad\n')
    task = read(path)
    assert plain(task.train) == [("fine", "good"), ("awful", "bad")]
    assert task.dropped == {"train": {"empty": 2}}


BOTH = {"text": "a", "label": "x"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        *(
            ("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows), words)
            for rows, words in (
                ([{"text": "a", "mood": "x"}], ", line 1: has no column for the label"),
                ([{"words": "a", "label": "x"}], ", line 1: has no column for the text"),
                ([BOTH, {"text": 3, "label": "x"}], ", line 2: the text is 3"),
                ([BOTH, {"text": "b", "label": 0.5}], ", line 2: the label is 0.5"),
                ([BOTH, {"text": "b", "label": float("nan")}], ", line 2: the label is nan"),
                ([BOTH, {"text": "b", "label": [1]}], ", line 2: the label is [1]"),
                ([BOTH, {"text": "b", "label": None}], ", line 2: has no label: give every row one"),
                ([BOTH, BOTH], ": every row of train has the label 'x'"),
                ([{"text": " ", "label": "x"}], ": has no text in its split train"),
            )
        ),
        ("rows.tsv", "a\tx\nno tab\n", ", line 2: has no tab"),
        ("rows.tsv", "a\tx\nb\ty\rc\tx\n", ", line 2: holds a carriage return after a tab"),
        ("rows.tsv", "text\tlabel\na\tx\rb\ty\n", ", line 2: holds a carriage return after a tab"),
        ("rows.tsv", "text\tlabel\na\tx\ty\n", ", line 2: 3 columns where the header has 2"),
        ("x.conllu", "", ": is a treebank: write scala:"),
        ("x.xml", "", ": is no .jsonl, .csv or .tsv file"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_with_its_place(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}{words}")


def test_what_is_wrong_with_a_folder_or_a_source(tmp_path):
    assert "is neither a file nor a folder" in refusal(tmp_path / "none.csv")
    assert "names no file" in refusal("scala:")
    (tmp_path / "test.jsonl").write_text(as_jsonl([("Hm.", "god"), ("Tja.", "neutral")]))
    assert "has no train.jsonl" in refusal(tmp_path)
    (tmp_path / "train.csv").write_text(as_csv(ROWS))
    assert refusal(tmp_path) == (
        f"{tmp_path / 'test.jsonl'}, line 2: the label 'neutral' is not one of train's, 'god', 'skidt'"
    )
    (tmp_path / "train.tsv").write_text(as_tsv(ROWS))
    assert "has two files for train, train.csv and train.tsv" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "name", "language", "source"),
    [
        ("angry-tweets", "angry-tweets", "da", "hub:DDSC/angry-tweets"),
        ("scala_da", "scala-da", "da", "hub:alexandrainst/scala,config=da"),
        ("tweet-sentiment", "tweet-sentiment", "en", "hub:SetFit/tweet_sentiment_extraction"),
        ("angry_tweets=some/folder", "angry-tweets", "da", "some/folder"),
        ("toy-sentiment:sv", "toy-sentiment", "sv", "toy:sentiment"),
        ("mood:en_GB=a=b.csv", "mood", "en", "a=b.csv"),
    ],
)
def test_names(text, name, language, source):
    task = parse_task(text)
    assert (task.name, task.language, task.source) == (name, language, source)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mood", "does not say where it is"),
        ("angry-twets", "did you mean angry-tweets?"),
        ("mood=x.csv", "does not say its language"),
        ("mood:swedish=x.csv", "'swedish' is not a language code"),
        ("toy-sentiment", "does not say its language"),
        ("a b", "is no task"),
    ],
)
def test_names_that_are_not_understood(text, said):
    with pytest.raises(GlossaeError, match=said.replace("?", r"\?")):
        parse_task(text)


def test_several_are_separated_by_blanks_and_named_once():
    assert [task.name for task in split_tasks("angry-tweets mood:da='a b.csv'")] == ["angry-tweets", "mood"]
    with pytest.raises(GlossaeError, match="angry-tweets: is named twice"):
        split_tasks("angry-tweets angry_tweets=x.csv")


rows = st.lists(st.tuples(st.text(max_size=9), st.sampled_from(["a", "b", "c"])), max_size=20)


@given(rows.filter(bool), rows)
def test_rows_are_kept_or_counted(train, test):
    def made(given):
        return [Row(text, label, f"line {number}") for number, (text, label) in enumerate(given)]

    splits = {"test": made(test), "train": made(train)} if test else {"train": made(train)}
    labels = {label for text, label in train if text.strip()}
    try:
        task = assemble_task("t", "da", "s", splits)
    except GlossaeError:
        texts_of_test = [label for text, label in test if text.strip()]
        assert len(labels) < 2 or (test and (not texts_of_test or set(texts_of_test) - labels))
        return
    assert set(task.labels) == labels
    for split, given_rows in splits.items():
        assert len(task.splits[split]) + task.dropped[split].get("empty", 0) == len(given_rows)
        assert all(row.label in labels and row.text.strip() for row in task.splits[split])


MARKS = {"PUNCT", "SYM"}
KEPT = {"ADJ", "ADV", "DET", "NUM", "PART", *MARKS}
NOUNS = {"NOUN", "PROPN"}
GOOD = Tagged(
    ("Hun", "så", "en", "stor", "hund", "igår", "."), ("PRON", "VERB", "DET", "ADJ", "NOUN", "ADV", "PUNCT")
)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("Hej , du !", "Hej, du!"),
        ("( se [ her ] ) ; ja : nej ?", "(se [her]); ja: nej?"),
        ('Han sagde " nej tak " .', 'Han sagde "nej tak".'),
        ('" A " og " b "', '"A" og "b"'),
        # an odd one is left as it is
        ('Han sagde " nej .', 'Han sagde " nej.'),
        ("{ a }", "{a}"),
    ],
)
def test_tokens_become_text(tokens, text):
    assert detokenise(tokens.split()) == text


def test_every_filter_takes_what_it_should():
    def first(word):
        return GOOD._replace(tokens=(word, *GOOD.tokens[1:]))

    other = first("Han")
    short = Tagged(GOOD.tokens[:5], GOOD.tags[:5])
    few = first("To")._replace(tags=("NOUN", "VERB", "DET", "ADJ", "NOUN", "NOUN", "PUNCT"))
    mark = Tagged(("-", *GOOD.tokens), ("PUNCT", *GOOD.tags))
    left, counts = eligible(
        [GOOD, other, GOOD, short, few, first('"'), mark, first("a=b=c"), first("SLUTORD")]
    )
    assert left == [GOOD, other]
    assert counts == [9, 8, 7, 6, 5, 4, 3, 2]
    # what the treebank keeps of the raw text counts, not the words put together
    raw = [GOOD._replace(text=text) for text in ("one", "two", '" odd')]
    assert eligible(raw)[0] == raw[:2]


@given(
    st.lists(st.sampled_from([*KEPT, *NOUNS, "VERB", "AUX", "PRON", "ADP", "X"]), min_size=1, max_size=10),
    st.integers(0, 2**32),
)
def test_a_corruption_is_one_deletion_or_one_swap_and_legal(tags, seed):
    tokens = [f"w{place}" for place in range(len(tags))]
    assert detokenise(tokens).replace(" ", "") == "".join(tokens)
    made = corrupt(tokens, tags, Random(seed))
    assert made == corrupt(tokens, tags, Random(seed))
    if made is None:
        return
    kind, broken = made
    if kind == "delete":
        (place,) = [i for i in range(len(tokens)) if tokens[:i] + tokens[i + 1 :] == broken]
        assert tags[place] not in KEPT
        if tags[place] in NOUNS:
            assert NOUNS.isdisjoint(tags[max(0, place - 1) : place] + tags[place + 1 : place + 2])
        return
    lowered = [word.lower() for word in broken]
    first, second = (place for place, word in enumerate(lowered) if word != tokens[place])
    assert second == first + 1
    assert (lowered[first], lowered[second]) == (tokens[second], tokens[first])
    # the one that was drawn is no mark, and has a neighbour to go to
    assert any(
        tags[place] not in MARKS
        and any(
            0 <= other < len(tags) and tags[other] not in MARKS and tags[other] != tags[place]
            for other in (place - 1, place + 1)
        )
        for place in (first, second)
    )


def outcomes(tokens, tags, kind):
    """What becomes of a sentence, over many seeds."""
    made = (corrupt(tokens, tags, Random(seed)) for seed in range(300))
    return {tuple(found[1]) for found in made if found is not None and found[0] == kind}


def test_every_legal_place_is_deleted_and_no_other():
    tokens = ["Hun", "så", "Ole", "Hansen", "i", "den", "hund", "."]
    tags = ["PRON", "VERB", "PROPN", "PROPN", "ADP", "DET", "NOUN", "PUNCT"]
    gone = {next(word for word in tokens if word not in left) for left in outcomes(tokens, tags, "delete")}
    assert gone == {"Hun", "så", "i", "hund"}


@pytest.mark.parametrize(
    ("tags", "swaps"),
    [
        ("VERB NOUN", {(0, 1)}),
        # a mark on the right sends the token left; marks themselves are not drawn
        ("VERB ADV PUNCT", {(0, 1)}),
        ("PUNCT VERB ADV", {(1, 2)}),
        # the same tag on one side sends it to the other
        ("ADV VERB VERB ADV", {(0, 1), (2, 3)}),
        # PRON before AUX: the pronoun goes left, whatever is there, and the auxiliary has a free choice
        ("PUNCT PRON AUX ADV", {(0, 1), (1, 2), (2, 3)}),
        # nothing differs: no swap
        ("VERB VERB VERB", set()),
        ("VERB PUNCT NOUN", set()),
    ],
)
def test_where_a_token_goes(tags, swaps):
    tokens = [f"w{place}" for place in range(len(tags.split()))]
    found = {
        tuple(place for place, word in enumerate(broken) if word.lower() != tokens[place])
        for broken in outcomes(tokens, tags.split(), "flip_neighbours")
    }
    assert found == swaps


@pytest.mark.parametrize(
    ("tokens", "swapped"), [("Nu tre", "Tre nu"), ("USA o'hara", "O'Hara USA"), ("Nu EU", "EU nu")]
)
def test_capitals_change_places(tokens, swapped):
    assert outcomes(tokens.split(), ["ADV", "NUM"], "flip_neighbours") == {tuple(swapped.split())}


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


def test_treebanks_with_their_tags(tmp_path):
    path = tmp_path / "x.conllu"
    path.write_text(CONLLU, encoding="utf-8")
    first, second = read_treebank(path)
    # a range is one token with the tag of its first word
    assert first.tokens == ("Vi", "ku'kke", "se", "hunden", ".")
    assert first.tags == ("PRON", "AUX", "VERB", "NOUN", "PUNCT")
    assert first.text == "Vi ku'kke se hunden."
    assert second == (("Ja",), ("INTJ",), "Ja")
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"tokens": GOOD.tokens, "pos_tags": GOOD.tags}) + "\n")
    assert list(read_treebank(path)) == [GOOD]
    path.write_text('{"tokens": ["a"], "pos_tags": []}\n')
    with pytest.raises(GlossaeError, match=r"x.jsonl, line 1: has 1 tokens and 0 pos_tags"):
        list(read_treebank(path))
    path.write_text('{"tokens": ["a"]}\n')
    with pytest.raises(GlossaeError, match=r"x.jsonl, line 1: pos_tags is None"):
        list(read_treebank(path))
    with pytest.raises(GlossaeError, match="is no treebank"):
        list(read_treebank(tmp_path / "x.txt"))
