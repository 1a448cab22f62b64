"""Data sets of the hub, as text and as tasks: shapes of columns, revisions, the caches, refusals in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import HubDataSet, parse_source
from glossae.errors import GlossaeError

DA = ["Hej.", "Pigen så æblet.", "Tak 😀"]
EN = ["Hello.", "The girl saw the apple.", "Thanks 😀"]
BOTH = [["da", "Hej."], ["en", "Hello."], ["da", DA[1]], ["en", EN[1]], ["da", DA[2]], ["en", EN[2]]]


def jsonl(*columns, **named):
    """Rows of the columns, as lines of JSON."""
    named |= dict(columns)
    rows = [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(tmp_path, columns, features):
    """A table with the features of `datasets`, as a file of Parquet."""
    import datasets

    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(tmp_path / "table.parquet")
    return (tmp_path / "table.parquet").read_bytes()


@pytest.fixture
def add(hub, name):
    """A function that puts a data set on the hub; gives its source string."""

    def add(files, **options):
        files = {"train.jsonl": files} if isinstance(files, str) else files
        hub.add(name, files, kind="datasets", **options)
        return f"hub:{name}"

    return add


LABELLED = {"text": [*DA, *EN], "label": [0, 0, 0, 1, 1, 1]}
ROWS = [["da", text] for text in DA] + [["en", text] for text in EN]
SHAPES = {
    "columns of codes": ({"da": DA, "en": EN, "id": [1, 2, 3]}, "", BOTH),
    "columns of codes with regions": ({"da-DK": DA, "en_GB": EN, "fr": EN}, "", BOTH),
    "one column of a code": ({"da": DA, "x": EN}, "", BOTH[::2]),
    "a translation": ({"translation": [{"da": d, "en": e} for d, e in zip(DA, EN, strict=True)]}, "", BOTH),
    "labels of TSV": (LABELLED, "", ROWS),
    "labels in words": (LABELLED | {"label": ["0", "0", "da", "1", "en", "en-GB"]}, "", ROWS),
    "language before label": (
        LABELLED | {"language": ["da"] * 3 + ["en"] * 3, "label": [1, 0] * 3},
        "",
        ROWS,
    ),
    "sentence and lang": ({"sentence": [*DA, *EN], "lang": ["da"] * 3 + ["en"] * 3}, "", ROWS),
    "columns named": ({"x": DA, "y": EN, "text": EN}, ",da=x,en=y", BOTH),
    "text in one language": ({"text": DA, "url": EN}, ",da=text", BOTH[::2]),
    "text and label named": ({"a": [*DA, *EN], "b": [0] * 3 + [1] * 3}, ",text=a,label=b", ROWS),
    "only the label named": (LABELLED | {"b": ["da"] * 3 + ["en"] * 3}, ",language=b", ROWS),
    "labels explained": (
        {"text": [*DA, *EN], "label": ["dan_Latn"] * 3 + ["Ge.en"] * 3},
        ",label.dan_Latn=da,language.Ge.en=en",
        ROWS,
    ),
    "a column inside another": ({"doc": [{"t": {"da": d}} for d in DA]}, ",da=doc.t.da", BOTH[::2]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_columns(client, add, shape):
    columns, settings, expected = SHAPES[shape]
    answer = client("read", add(jsonl(**columns)) + settings)
    assert answer["texts"] == expected
    assert client.noise == ""


def test_classes_go_by_their_names(client, add, tmp_path):
    from datasets import ClassLabel, Value

    named = ClassLabel(names=["en", "Danish", "fr"])
    columns = {"text": [*EN, *DA, "Bonjour.", "?"], "label": [0, 0, 0, 1, 1, 1, 2, -1]}
    source = add({"train.parquet": parquet(tmp_path, columns, {"text": Value("string"), "label": named})})
    answer = client("read", f"{source},label.Danish=da")
    assert answer["texts"] == [["en", text] for text in EN] + [["da", text] for text in DA]
    # a hidden label is -1; what nobody has said is undetermined, `und`
    assert answer["dropped"] == {"fr": {"other_language": 1}, "und": {"other_language": 1}}


def test_the_hubs_own_type_for_translations(client, add, tmp_path):
    from datasets import Translation, Value

    rows = {"id": ["a", "b", "c"], "translation": [{"da": d, "en": e} for d, e in zip(DA, EN, strict=True)]}
    data = parquet(
        tmp_path, rows, {"id": Value("string"), "translation": Translation(languages=["da", "en"])}
    )
    assert client("read", add({"data/train-00000-of-00001.parquet": data}))["texts"] == BOTH


def test_what_is_missing_is_counted(client, add):
    answer = client("read", add(jsonl(da=["Hej.", None, "Tak."], en=["Hello.", "Bye.", None], x=[None] * 3)))
    assert answer["texts"] == [["da", "Hej."], ["en", "Hello."], ["en", "Bye."], ["da", "Tak."]]
    assert answer["dropped"] == {"da": {"empty": 1}, "en": {"empty": 1}}
    answer = client("read", add(jsonl(text=["Hej.", "Hello.", "Hm."], label=["da", "en", None])))
    assert answer["texts"] == [["da", "Hej."], ["en", "Hello."]]
    assert answer["dropped"] == {"und": {"other_language": 1}}


def test_pairs_by_their_ids(client, add, hub, name):
    columns = {"text": ["Hej.", "Hello.", "Tak."], "lang": ["da", "en", "da"]}
    first = client("read", add(jsonl(**columns, pair=[7, 7, None])))
    assert first["pairs"][0] == first["pairs"][1] != first["pairs"][2]
    named = client("read", add(jsonl(**columns, key=["x", "x", "y"]), revision="other") + "@other,pair=key")
    assert named["pairs"][0] == named["pairs"][1] != named["pairs"][2]
    hub.add(f"{name}-more", {"train.jsonl": jsonl(**columns, pair=[7, 7, 8])}, kind="datasets")
    other = client("read", f"hub:{name}-more")
    # the same number in another data set is another pair
    assert not set(first["pairs"]) & set(other["pairs"])


def test_text_is_what_was_written(client, add):
    nasty = ["a\tb\nc", "\u2028x", "cafe\u0301", "שלום", "👩‍👩‍👧", " ", '"\\', "x" * 3000, "\x00y"]
    # more than are taken from the table at a time
    many = [f"Sætning {number}." for number in range(2500)]
    answer = client("read", add(jsonl(da=nasty + many)) + ",da=da")
    plain = ["a b c", "x", "café", "שלום", "👩‍👩‍👧", '"\\', "y"]
    assert answer["texts"] == [["da", text] for text in plain + many]
    assert answer["dropped"] == {"da": {"empty": 1, "too_long": 1}}
    rows = "".join(f'"{d}","{e}"\n' for d, e in zip(DA, EN, strict=True))
    assert client("read", add({"train.csv": f"da,en\n{rows}"}))["texts"] == BOTH


CARD = """---
configs:
- config_name: news
  data_files:
  - {split: train, path: news/train.jsonl}
  - {split: test, path: news/test.jsonl}
- config_name: talks
  data_files: talks.jsonl
---
# Two
"""


@pytest.fixture
def two(add):
    """A data set of two configurations, one of them with two splits."""
    files = {"README.md": CARD} | {
        path: jsonl(da=[f"{path} {n}" for n in range(4)])
        for path in ("news/train.jsonl", "news/test.jsonl", "talks.jsonl")
    }
    return add(files)


@pytest.mark.parametrize(
    ("settings", "first", "rows"),
    [
        (",config=news", "news/train.jsonl 0", 4),
        (",config=news,split=test", "news/test.jsonl 0", 4),
        (",split=train,config=talks", "talks.jsonl 0", 4),
        (",config=news,split=test[1:3]", "news/test.jsonl 1", 2),
        (",config=news,split=train+test", "news/train.jsonl 0", 8),
    ],
)
def test_configurations_and_splits(client, two, settings, first, rows):
    answer = client("read", two + settings)
    assert answer["texts"][0] == ["da", first]
    assert len(answer["texts"]) == rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "has several configurations: add ,config= one of news, talks"),
        (",config=talk", "has no configuration 'talk': add ,config= one of talks and 1 more"),
        (",config=news,split=tset", "has no split 'tset': add ,split= one of test and 1 more"),
        (",config=talks,split=dev", "has no split 'dev': add ,split= one of train"),
        (",config=talks,split=train[", "has no split 'train[': add ,split= one of train"),
    ],
)
def test_no_such_configuration_or_split(refusal, two, settings, message):
    assert refusal("read", two + settings) == f"{two}: {message}"


def test_a_split_is_train_or_the_only_one(client, refusal, add):
    assert client("read", add({"test.jsonl": jsonl(da=DA)}))["texts"] == BOTH[::2]
    source = add({"test.jsonl": jsonl(da=DA), "validation.jsonl": jsonl(da=DA)}, revision="more")
    message = f"{source}: has several splits and none is train: add ,split= one of validation, test"
    assert refusal("read", f"{source}@more") == message


def test_a_revision_and_where_a_text_came_from(hub, client, offline, add, name):
    add(jsonl(da=DA))
    commit = hub.add(
        name, {"README.md": "", "train.jsonl": jsonl(da=EN)}, kind="datasets", revision="v2", tag=True
    )
    source = f"hub:{name}@v2,split=train"
    answer = client("read", source)
    assert answer["texts"] == [["da", text] for text in EN]
    assert answer["sources"] == [f"hub:{name}"]
    assert answer["provenance"] == {
        "url": f"{hub.url}/datasets/{name}",
        "repository": name,
        "revision": "v2",
        "commit": commit,
        "config": None,
        "split": "train",
    }
    assert offline("read", source) == answer
    assert client("read", f"hub:{name}@{commit},split=train")["texts"] == answer["texts"]


def test_a_branch_that_moves(hub, client, offline, refusal, add, name):
    source = add(jsonl(da=DA))
    first = client("read", source)
    add(jsonl(da=EN))
    second = client("read", source)
    assert second["texts"] == [["da", text] for text in EN]
    assert second["provenance"]["commit"] != first["provenance"]["commit"]
    assert offline("read", source) == second
    # `datasets` would give the latest without a word
    message = refusal("read", f"{source}@{first['provenance']['commit']}", by=offline)
    assert "what was prepared before is of another commit" in message
    assert second["provenance"]["commit"] in message


def test_sources_of_one_data_set_have_names_of_their_own(client, add):
    numbers = range(20)
    files = {
        f"{split}.jsonl": jsonl(
            da=[f"{split} {n}." for n in numbers], en=[f"{split} no {n}." for n in numbers]
        )
        for split in ("train", "test")
    }
    source = add(files)
    rows = client("roles", {"train": f"{source} {source},split=train", "test": f"{source},split=test"})
    assert {tuple(row[:2]) for row in rows if row[0] in ("train", "test")} == {
        ("train", source),
        ("train", f"{source}#2"),
        ("test", f"{source}#3"),
    }


def test_what_is_cached_needs_no_network(hub, client, offline, add):
    source = add(jsonl(da=DA))
    answer = client("read", source)
    hub.asked.clear()
    assert offline("read", source) == answer
    assert (offline.noise, hub.asked) == ("", [])
    with hub.unreachable():
        assert client("read", source) == answer
        assert client.noise == ""


def test_what_is_not_cached_and_no_network(hub, client, offline, refusal, name):
    message = refusal("read", f"hub:{name}", by=offline)
    assert message.startswith(f"hub:{name} is not in the hub's cache, and HF_HUB_OFFLINE is set: unset it")
    assert (
        f"give files instead, or run this once on a machine with a network and copy {client.home}" in message
    )
    with hub.unreachable():
        message = refusal("read", f"hub:{name}")
    assert message.startswith(f"hub:{name} is not in the hub's cache, and the hub cannot be reached (")


def test_a_data_set_that_was_looked_up_but_never_read(client, offline, refusal, hub, add):
    source = add(jsonl(da=DA))
    refusal("roles", {"train": f"{source} hub:org/nothing"})
    assert "is not in the hub's cache, and HF_HUB_OFFLINE is set" in refusal("read", source, by=offline)
    with hub.unreachable():
        assert "is not in the hub's cache, and the hub cannot be reached (" in refusal("read", source)


@pytest.mark.parametrize(
    ("answer", "token", "message"),
    [
        ((401, {"X-Error-Code": "GatedRepo"}), None, "is gated: accept its terms at {page}, then log in with 'hf auth"),
        ((403, {"X-Error-Code": "GatedRepo"}), "hf_me", "is gated, and your token's account has no access: accept"),
        ((404, {"X-Error-Code": "RepoNotFound"}), "hf_me", "is not on the hub, or it is private: check the name at"),
        ((401, {}), "hf_bad", "cannot be fetched: the hub does not accept your token: renew it"),
        ((500, {}), None, "cannot be fetched: the hub answers 500: the fault is there: try again later"),
    ],
)  # fmt: skip
def test_refusals(hub, refusal, add, name, answer, token, message):
    source = add(jsonl(da=DA))
    hub.repo(name, "datasets").refuse = answer
    expected = f"{source} {message.format(page=f'{hub.url}/datasets/{name}')}"
    assert refusal("read", source, HF_TOKEN=token).startswith(expected)
    assert refusal("roles", {"train": source}, HF_TOKEN=token).startswith(expected)


def test_no_such_data_set_is_told_before_any_other_is_read(hub, client, refusal, add, name):
    source = add(jsonl(da=DA))
    hub.asked.clear()
    assert refusal("roles", {"train": f"{source} hub:org/nothing"}).startswith(
        "hub:org/nothing is not on the hub"
    )
    assert hub.asks("train.jsonl") == 0


def test_no_such_revision(hub, refusal, add, name):
    source = add(jsonl(da=DA), revision="v1")
    said = refusal("read", f"{source}@v2")
    assert said == f"{source} has no revision 'v2': there are v1: see {hub.url}/datasets/{name}"


def test_a_data_set_that_is_a_script(refusal, add, name):
    source = add({f"{name.partition('/')[2]}.py": "raise SystemExit", "train.jsonl": jsonl(da=DA)})
    assert refusal("read", source) == (
        f"{source}: needs a script of its own, which glossae does not run: try its conversion by the hub, "
        f"{source}@refs/convert/parquet"
    )


SAYS_NO_LANGUAGE = "does not say the language of its text (,label=COLUMN, or ,CODE=text if it is all in one)"


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"a": DA, "b": EN}, "", "does not say where its text is; it has the columns 'a, b': name them, as in ,da="),
        ({"text": DA, "b": EN}, "", SAYS_NO_LANGUAGE),
        ({"text": DA, "b": EN}, ",text=text", SAYS_NO_LANGUAGE),
        ({"a": DA, "b": EN}, ",label=b", "does not say which column holds the text (,text=COLUMN); it has the columns"),
        ({"a": DA, "b": EN}, ",da=c", "has no column 'c'; it has 'a, b'"),
        ({"a": DA, "b": EN}, ",text=a,label=c", "has no column 'c'; it has 'a, b'"),
        ({"a": DA, "b": EN}, ",da=a,pair=c", "has no column 'c'; it has 'a, b'"),
        ({"a": [1, 2, 3], "b": EN}, ",da=a", "its column 'a' holds no text (but \"Value('int64')\"); it has 'a, b'"),
        ({"a": [[d] for d in DA]}, ",da=a", "its column 'a' holds no text (but "),
        ({"a": [{"x": d} for d in DA]}, ",da=a", "has no column 'a'; it has 'a.x'"),
        ({"text": DA, "label": ["0", "danish", "1"]}, "", ", row 2: unknown label 'danish': it is not 0 (target), 1 ("),
        ({"text": DA, "label": [0, 1, 2]}, "", ", row 3: unknown label '2': it is not 0 (target), 1 (reference) or"),
        ({"text": DA, "label": ["fr"] * 3}, "", ": no sentence in da or en (found: 3 in fr)"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there(refusal, add, columns, settings, message):
    source = add(jsonl(**columns))
    said = refusal("read", source + settings)
    assert said.startswith(source)
    assert message in said


@pytest.mark.parametrize(
    "files",
    [
        {"notes.xyz": "nothing"},
        {},
        {"train.jsonl": "{"},
        {"train.jsonl": ""},
        {"train.csv": "a,b\n1,2\n1,2,3,4\n"},
        {"train.parquet": b"PAR1"},
        {"a.jsonl": '{"da": "x"}\n', "b.jsonl": '{"da": {"x": 1}, "q": 2}\n'},
        {"README.md": "---\nconfigs: 3\n---\n", "train.jsonl": '{"da": "x"}\n'},
        {"README.md": "---\n{\n---\n", "train.jsonl": '{"da": "x"}\n'},
    ],
)
def test_files_that_are_broken(refusal, add, files):
    source = add(files | {".gitattributes": ""})
    assert refusal("read", source).startswith(f"{source} ")


def test_other_bytes_than_announced_are_thrown_away_with_what_was_made_of_them(
    hub, client, offline, refusal, add, name, tmp_path
):
    from datasets import Value

    data = parquet(tmp_path, {"da": [text * 50 for text in DA]}, {"da": Value("string")})
    place = data.index(b"Hej.")
    source = add({"train.parquet": data})
    repo = hub.repo(name, "datasets")
    repo.spoil = lambda data: data[:place] + b"Haj." + data[place + 4 :]
    said = refusal("read", source)
    assert said.startswith(f"{source}: train.parquet arrived with other bytes than the hub announced")
    assert "is not in the hub's cache" in refusal("read", source, by=offline)
    repo.spoil = None
    assert client("read", source)["texts"][0] == ["da", "Hej." * 50]


def test_a_transfer_that_breaks_off(hub, client, refusal, add, name, tmp_path):
    from datasets import Value

    texts = [f"Sætning nummer {number} er ikke lang." for number in range(300)]
    source = add({"train.parquet": parquet(tmp_path, {"da": texts}, {"da": Value("string")})})
    repo = hub.repo(name, "datasets")
    repo.breaks = 1000
    assert "the transfer broke off (" in refusal("read", source)
    repo.breaks, repo.break_after = 2, 2000
    assert len(client("read", source)["texts"]) == 300


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:", "is no name that a repository on the hub can have"),
        ("hub:a/b/c", "is no name that a repository on the hub can have"),
        ("hub:a/b@", "there is no revision after the @"),
        ("hub:a/b,", "'' says nothing: write KEY=VALUE"),
        ("hub:a/b,train", "'train' says nothing: write KEY=VALUE"),
        ("hub:a/b,split=", "'split=' says nothing"),
        ("hub:a/b,spilt=train", "there is no key 'spilt': did you mean split?"),
        (
            "hub:a/b,quality=1",
            "there is no key 'quality': there are config, split, text, label, language, pair, doc",
        ),
        ("hub:a/b,split=x,split=y", "split is said twice"),
        ("hub:a/b,label=x,language=y", "label is said twice"),
        ("hub:a/b,da=x,text=y", "names a column for a language and a column of text with a label"),
        ("hub:a/b,da=x,label.y=en", "names a column for a language and a column of text with a label"),
        ("hub:a/b,da=x,da-DK=y", "a language is named twice"),
        ("hub:a/b,label.danish=danish", "'danish' is not a language code"),
    ],
)
def test_source_strings_that_are_not_understood(source, message):
    with pytest.raises(GlossaeError) as caught:
        parse_source(source)
    assert str(caught.value).startswith(f"'{source}': ")
    assert message in str(caught.value)


@given(
    st.text()
    | st.lists(st.sampled_from(["a/b", "@", "x", ",", "=", "da", "label", ".", "split", "[1:]"])).map("".join)
)
def test_arbitrary_source_strings(text):
    try:
        source = parse_source(f"hub:{text}")
    except GlossaeError as error:
        message = str(error)
    else:
        assert isinstance(source, HubDataSet)
        assert source.name == f"hub:{source.repository.name}"
        return
    assert "\n" not in message


def test_without_the_package(hub, refusal, name, tmp_path):
    from hub_client import Client

    hub.add(name, {"train.jsonl": jsonl(da=DA)}, kind="datasets")
    bare = Client(hub.url, tmp_path)
    try:
        bare("without", "datasets")
        said = refusal("read", f"hub:{name}", by=bare)
        assert said.startswith("hub: needs the package datasets (")
        assert "): pip install 'glossae[hub]' (in a checkout: pip install -e '.[hub]'), or pip" in said
        assert refusal("roles", {"train": f"hub:{name}"}, by=bare) == said
    finally:
        bare.close()


TWEETS = {"text": ["Godt!", " ", "Skidt", "Nå"], "label": ["positiv", "negativ", "negativ", "neutral"]}


def plain(task, split="train"):
    return [row[:2] for row in task["splits"][split]]


def test_angry_tweets_by_name(hub, client):
    files = {"train.jsonl": jsonl(**TWEETS), "test.jsonl": jsonl(text=["Fint nok"], label=["neutral"])}
    commit = hub.add("DDSC/angry-tweets", files, kind="datasets")
    task = client("task", "angry-tweets")
    assert client.noise == ""
    assert (task["language"], task["labels"]) == ("da", ["negativ", "neutral", "positiv"])
    assert plain(task) == [["Godt!", "positiv"], ["Skidt", "negativ"], ["Nå", "neutral"]]
    assert plain(task, "test") == [["Fint nok", "neutral"]]
    assert task["dropped"] == {"train": {"empty": 1}, "test": {}}
    assert task["provenance"]["commit"] == commit


def test_scala_by_name_is_its_danish_configuration(hub, client):
    rows = {"text": ["Det er godt.", "Godt det er."], "note": [None, "x"], "label": ["correct", "incorrect"]}
    splits = ("train", "val", "test", "full_train")
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {config}/{split}.jsonl\n" for split in splits)
        for config in ("da", "sv")
    )
    files = {f"{config}/{split}.jsonl": jsonl(**rows) for config in ("da", "sv") for split in splits}
    hub.add("alexandrainst/scala", files | {"README.md": card + "---\n"}, kind="datasets")
    task = client("task", "scala-da")
    assert set(task["splits"]) == set(splits)
    assert task["labels"] == ["correct", "incorrect"]


def test_tweet_sentiment_has_its_labels_in_words(hub, client):
    rows = {"text": [" Sooo SAD", "great"], "label": [0, 2], "label_text": ["negative", "positive"]}
    files = {"train.jsonl": jsonl(**rows), "test.jsonl": jsonl(**rows)}
    hub.add("SetFit/tweet_sentiment_extraction", files, kind="datasets")
    task = client("task", "tweet-sentiment")
    assert (task["language"], task["labels"]) == ("en", ["negative", "positive"])


def test_classes_of_a_task_go_by_their_names_and_columns_can_be_named(client, refusal, add, tmp_path):
    from datasets import ClassLabel, Value

    features = {"said": Value("string"), "mood": ClassLabel(names=["bad", "good"]), "pair": Value("int64")}
    table = parquet(tmp_path, {"said": ["x", "y"], "mood": [1, 0], "pair": [7, 7]}, features)
    task = client("task", f"mood:da={add({'train.parquet': table})},text=said,label=mood")
    assert task["splits"]["train"] == [["x", "good", "7"], ["y", "bad", "7"]]
    # a hidden label is -1
    table = parquet(tmp_path, {"said": ["x", "y", "z"], "mood": [1, 0, -1], "pair": [7, 7, 8]}, features)
    source = add({"train.parquet": table})
    said = refusal("task", f"x:da={source},text=said,label=mood")
    assert said == f"{source}, split train, row 3: has no label: give every row one"


def test_splits_and_refusals_of_a_task(client, refusal, add):
    source = add({"train.jsonl": jsonl(**TWEETS), "test.jsonl": jsonl(text=["a"], label=["?"])})
    assert refusal("task", f"x:da={source}") == (
        f"{source}, split test, row 1: the label '?' is not one of train's, 'negativ', 'neutral', 'positiv'"
    )
    said = refusal("task", f"x:da={source},label=mood")
    assert said == f"{source}, split train: has no column 'mood'; it has 'text', 'label'"
    assert "has no split dev; there are train, test" in refusal("task", f"x:da={source},split=dev")
    assert "knows ,config= ,split= ,text= and ,label=" in refusal("task", f"x:da={source},da=text")
    assert list(client("task", f"x:da={source},split=train")["splits"]) == ["train"]
