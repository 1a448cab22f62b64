"""Labelled sets of the hub: the paper's three by name, with their columns and splits, and every refusal."""

import json

import pytest
from test_hub_data_sets import jsonl, parquet

TWEETS = {"text": ["Godt!", " ", "Skidt", "Nå"], "label": ["positiv", "negativ", "negativ", "neutral"]}


@pytest.fixture
def add(hub):
    """A function that puts a data set on the hub under a name."""

    def add(name, files, **options):
        hub.add(name, files, kind="datasets", **options)
        return f"hub:{name}"

    return add


def test_angry_tweets_by_name(hub, client, add):
    test = {"text": ["Fint nok"], "label": ["neutral"]}
    add("DDSC/angry-tweets", {"train.jsonl": jsonl(**TWEETS), "test.jsonl": jsonl(**test)})
    task = client("task", "angry-tweets")
    assert client.noise == ""
    assert task["language"] == "da"
    assert task["labels"] == ["negativ", "neutral", "positiv"]
    assert [row[:2] for row in task["splits"]["train"]] == [
        ["Godt!", "positiv"],
        ["Skidt", "negativ"],
        ["Nå", "neutral"],
    ]
    assert [row[:2] for row in task["splits"]["test"]] == [["Fint nok", "neutral"]]
    assert task["dropped"] == {"train": {"empty": 1}, "test": {}}
    assert task["provenance"]["commit"] == hub.repo("DDSC/angry-tweets", "datasets").commit_of("main")


def test_scala_by_name_is_its_danish_configuration(client, add):
    rows = {
        "text": ["Det er godt.", "Godt det er."],
        "corruption_type": [None, "flip_neighbours"],
        "label": ["correct", "incorrect"],
    }
    splits = ("train", "val", "test", "full_train")
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {config}/{split}.jsonl\n" for split in splits)
        for config in ("da", "sv")
    )
    files = {f"{config}/{split}.jsonl": jsonl(**rows) for config in ("da", "sv") for split in splits}
    add("alexandrainst/scala", files | {"README.md": card + "---\n"})
    task = client("task", "scala-da")
    assert set(task["splits"]) == set(splits)
    assert task["labels"] == ["correct", "incorrect"]


def test_tweet_sentiment_has_its_labels_in_words(client, add):
    rows = {
        "textID": ["a", "b"],
        "text": [" Sooo SAD", "great"],
        "label": [0, 2],
        "label_text": ["negative", "positive"],
    }
    add("SetFit/tweet_sentiment_extraction", {"train.jsonl": jsonl(**rows), "test.jsonl": jsonl(**rows)})
    task = client("task", "tweet-sentiment")
    assert task["language"] == "en"
    assert task["labels"] == ["negative", "positive"]


def test_classes_go_by_their_names_and_columns_can_be_named(client, add, name, tmp_path):
    from datasets import ClassLabel, Value

    features = {"said": Value("string"), "mood": ClassLabel(names=["bad", "good"]), "pair": Value("int64")}
    table = parquet(tmp_path, {"said": ["x", "y"], "mood": [1, 0], "pair": [7, 7]}, features)
    source = add(name, {"train.parquet": table})
    task = client("task", f"mood:da={source},text=said,label=mood")
    assert task["splits"]["train"] == [["x", "good", "7"], ["y", "bad", "7"]]


def test_refusals(refusal, add, name):
    source = add(
        name, {"train.jsonl": jsonl(**TWEETS), "test.jsonl": json.dumps({"text": "a", "label": "?"})}
    )
    assert refusal("task", f"x:da={source}") == (
        f"{source}, split test, row 1: the label '?' is not one of train's, 'negativ', 'neutral', 'positiv'"
    )
    said = refusal("task", f"x:da={source},label=mood")
    assert said == f"{source}, split train: has no column 'mood'; it has 'text', 'label'"
    assert "has no split dev; there are train, test" in refusal("task", f"x:da={source},split=dev")
    assert "knows ,config= ,split= ,text= and ,label=" in refusal("task", f"x:da={source},da=text")


def test_hidden_labels_are_refused(refusal, add, name, tmp_path):
    from datasets import ClassLabel, Value

    features = {"text": Value("string"), "label": ClassLabel(names=["bad", "good"])}
    table = parquet(tmp_path, {"text": ["x", "y", "z"], "label": [1, 0, -1]}, features)
    source = add(name, {"train.parquet": table})
    assert (
        refusal("task", f"x:da={source}") == f"{source}, split train, row 3: has no label: give every row one"
    )


def test_one_split_can_be_taken(client, add, name):
    source = add(name, {"train.jsonl": jsonl(**TWEETS), "test.jsonl": jsonl(**TWEETS)})
    task = client("task", f"x:da={source},split=test")
    assert list(task["splits"]) == ["train"]
