"""Labelled tasks: every form of file and name, what is counted, and every refusal in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import Row, assemble_task, parse_task, split_tasks

ROWS = [("Dejligt!", "god"), ("Øv, en dag.", "skidt"), ("Fint, synes jeg", "god"), ("Nej.", "skidt")]


def as_jsonl(rows):
    return "".join(json.dumps({"id": 7, "text": text, "label": label}) + "\n" for text, label in rows)


def as_csv(rows):
    return "id,text,label\n" + "".join(f'7,"{text}",{label}\n' for text, label in rows)


def as_tsv(rows):
    return "Label\tText\n" + "".join(f"{label}\t{text}\n" for text, label in rows)


def as_bare_tsv(rows):
    return "".join(f"{text}\t{label}\n" for text, label in rows)


FORMS = {"jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}


def read(source, name="mood:da"):
    return parse_task(f"{name}={source}").read(0)


def plain(rows):
    return [(row.text, row.label) for row in rows]


def refusal(source):
    with pytest.raises(GlossaeError) as error:
        read(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_all_train(tmp_path, form):
    path = tmp_path / f"rows.{form}"
    path.write_text(FORMS[form](ROWS), encoding="utf-8")
    task = read(path)
    assert (task.name, task.language, task.labels, task.test) == ("mood", "da", ("god", "skidt"), None)
    assert plain(task.train) == ROWS
    assert task.dropped == {"train": {}}


def test_tsv_without_a_header(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text(as_bare_tsv(ROWS), encoding="utf-8")
    assert plain(read(path).train) == ROWS


@pytest.mark.parametrize("validation", ["val", "validation", "dev"])
def test_a_folder_has_a_file_for_each_split(tmp_path, validation):
    for split, form, rows in (
        ("train", "jsonl", ROWS),
        ("test", "csv", ROWS[:1]),
        (validation, "tsv", ROWS[1:2]),
    ):
        (tmp_path / f"{split}.{form}").write_text(FORMS[form](rows), encoding="utf-8")
    (tmp_path / "README.md").write_text("hello")
    task = read(tmp_path)
    assert {split: plain(rows) for split, rows in task.splits.items()} == {
        "train": ROWS,
        "test": ROWS[:1],
        "val": ROWS[1:2],
    }


def test_the_files_of_two_folders_that_say_the_same_hash_alike(tmp_path):
    hashes = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(as_jsonl(ROWS))
        hashes.add(read(tmp_path / name).sha256)
    (tmp_path / "b" / "train.jsonl").write_text(as_jsonl(ROWS[::-1]))
    assert len(hashes) == 1
    assert read(tmp_path / "b").sha256 not in hashes


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


def test_what_is_wrong_with_a_file_is_one_line_with_its_place(tmp_path):
    path = tmp_path / "rows.jsonl"

    def said(*lines):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return refusal(path)

    assert said({"text": "a", "mood": "x"}).startswith(f"{path}, line 1: has no column for the label")
    assert said({"words": "a", "label": "x"}).startswith(f"{path}, line 1: has no column for the text")
    both = {"text": "a", "label": "x"}
    assert said(both, {"text": 3, "label": "x"}).startswith(f"{path}, line 2: the text is 3")
    assert said(both, {"text": "b", "label": 0.5}).startswith(f"{path}, line 2: the label is 0.5")
    assert said(both, {"text": "b", "label": None}) == f"{path}, line 2: has no label: give every row one"
    assert "every row of train has the label 'x'" in said(both, both)
    assert said({"text": " ", "label": "x"}) == f"{path}: has no text in its split train"
    tsv = tmp_path / "rows.tsv"
    tsv.write_text("a\tx\nno tab\n")
    assert refusal(tsv).startswith(f"{tsv}, line 2: has no tab")
    tsv.write_text("text\tlabel\na\tx\ty\n")
    assert refusal(tsv) == f"{tsv}, line 2: 3 columns where the header has 2"


def test_a_label_of_test_that_train_lacks_is_refused_by_its_line(tmp_path):
    (tmp_path / "train.jsonl").write_text(as_jsonl(ROWS))
    (tmp_path / "test.jsonl").write_text(as_jsonl([("Hm.", "god"), ("Tja.", "neutral")]))
    assert refusal(tmp_path) == (
        f"{tmp_path / 'test.jsonl'}, line 2: the label 'neutral' is not one of train's, 'god', 'skidt'"
    )


def test_a_folder_without_train_or_with_two(tmp_path):
    (tmp_path / "test.csv").write_text(as_csv(ROWS))
    assert "has no train.jsonl" in refusal(tmp_path)
    (tmp_path / "train.csv").write_text(as_csv(ROWS))
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


def test_sources_that_are_not_there(tmp_path):
    assert "is neither a file nor a folder" in refusal(tmp_path / "none.csv")
    (tmp_path / "x.conllu").write_text("")
    assert "write scala:" in refusal(tmp_path / "x.conllu")
    (tmp_path / "x.xml").write_text("")
    assert "is no .jsonl, .csv or .tsv file" in refusal(tmp_path / "x.xml")
    assert "names no file" in refusal("scala:")


def test_several_are_separated_by_blanks_and_named_once():
    assert [task.name for task in split_tasks("angry-tweets mood:da='a b.csv'")] == ["angry-tweets", "mood"]
    with pytest.raises(GlossaeError, match="angry-tweets: is named twice"):
        split_tasks("angry-tweets angry_tweets=x.csv")


@given(
    st.lists(st.tuples(st.text(max_size=9), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=30),
    st.lists(st.tuples(st.text(max_size=9), st.sampled_from(["a", "b", "c"])), max_size=9),
)
def test_rows_are_kept_or_counted(train, test):
    def rows(given):
        return [Row(text, label, f"line {number}") for number, (text, label) in enumerate(given)]

    splits = {"test": rows(test), "train": rows(train)} if test else {"train": rows(train)}
    labels = {label for text, label in train if text.strip()}
    try:
        task = assemble_task("t", "da", "s", splits)
    except GlossaeError:
        texts_of_test = [label for text, label in test if text.strip()]
        assert len(labels) < 2 or (test and (not texts_of_test or set(texts_of_test) - labels))
        return
    assert set(task.labels) == labels
    for split, given_rows in (("train", train), ("test", test)):
        if split in task.splits:
            assert len(task.splits[split]) + task.dropped[split].get("empty", 0) == len(given_rows)
            assert all(row.label in labels and row.text.strip() for row in task.splits[split])


def test_the_real_tasks(shared):
    folder = shared / "data" / "tasks"
    if not folder.is_dir():
        pytest.skip("shared/data/tasks is not here")
    angry = parse_task(f"angry-tweets={folder / 'angry_tweets'}").read(0)
    assert {split: len(rows) for split, rows in angry.splits.items()} == {"train": 2411, "test": 1047}
    assert angry.labels == ("negativ", "neutral", "positiv")
    scala = parse_task(f"scala-da={folder / 'scala_da'}").read(0)
    assert {split: len(rows) for split, rows in scala.splits.items()} == {
        "train": 1024,
        "test": 512,
        "val": 256,
    }
    tweets = parse_task(f"tweet-sentiment={folder / 'tweet_sentiment' / 'train.csv'}").read(0)
    assert len(tweets.train) == 27_480
    assert tweets.dropped == {"train": {"empty": 1}}
    assert tweets.labels == ("negative", "neutral", "positive")
