"""Data sets of the hub as streams: rows in order from any place, pinned by the commit, refusals in one line."""

import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

TEXTS = [f"Sætning nummer {number}." for number in range(2500)]


def lines(texts, column="text"):
    return "".join(json.dumps({column: text, "id": 1}) + "\n" for text in texts)


def table(texts):
    file = io.BytesIO()
    parquet.write_table(pa.table({"text": texts, "id": list(range(len(texts)))}), file)
    return file.getvalue()


@pytest.fixture
def add(hub, name):
    """A function that puts a data set on the hub; gives its source string."""

    def add(files, **options):
        hub.add(name, files, kind="datasets", **options)
        return f"hub:{name}"

    return add


@pytest.mark.parametrize(
    "files",
    [
        {"train-00000-of-00001.jsonl": lines(TEXTS)},
        {
            "data/train-00000-of-00002.parquet": table(TEXTS[:1200]),
            "data/train-00001-of-00002.parquet": table(TEXTS[1200:]),
        },
    ],
    ids=["lines", "parquet"],
)
@pytest.mark.parametrize("taken", [0, 1199])
def test_rows_come_in_order_from_any_place(client, add, files, taken):
    answer = client("streamed", add(files), taken)
    assert answer["texts"] == TEXTS[taken:]
    assert client.noise == ""


def test_a_stream_is_told_by_its_commit_and_column(client, add):
    first = client("streamed", add({"train.jsonl": lines(TEXTS[:3])}), 0)["identity"]
    again = client("streamed", add({"train.jsonl": lines(TEXTS[:3])}), 0)["identity"]
    (one,), (other,) = first, again
    assert one.pop("commit") != other.pop("commit")
    assert one == other


def test_split_and_column_are_named(client, add):
    source = add({"train.jsonl": lines(["a"], "content"), "test.jsonl": lines(["b"], "content")})
    assert client("streamed", f"{source},split=test,text=content", 0)["texts"] == ["b"]


def test_faults_are_one_line(add, refusal):
    source = add({"train.jsonl": lines(TEXTS[:5], "content")})
    assert refusal("streamed", source, 0) == (
        f"{source}, row 1: has no column text or sentence, but 'content', 'id': name the column of the text, as in "
        ",text=COLUMN"
    )
    assert refusal("streamed", f"{source},split=tset", 0).startswith(
        f"{source}: has no split 'tset': add ,split="
    )
    assert refusal("streamed", f"{source},text=id", 0) == f"{source}, row 1: 'id' is 1, and has to be text"
    assert "name config, split and text only" in refusal("streamed", f"{source},da=content", 0)


def test_a_hub_that_is_gone_is_one_line(hub, add, refusal, offline):
    source = add({"train.parquet": table(TEXTS[:600])})
    assert "HF_HUB_OFFLINE is set" in refusal("streamed", source, 0, by=offline)
    with hub.unreachable():
        assert "the hub cannot be reached" in refusal("streamed", source, 0)


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_again_and_again_is_one_line(hub, name, client, add, refusal, reset):
    source, repo = add({"train.parquet": table(TEXTS)}), hub.repo(name, "datasets")
    repo.breaks, repo.break_after, repo.reset = 10**6, 1000, reset
    line = refusal("streamed", source, 0)
    assert "Server Disconnected" in line
    # of waiting between tries, in seconds: nobody is left to wonder for long
    assert sum(client("slept")) < 180
    repo.breaks = 2
    assert client("streamed", source, 0)["texts"] == TEXTS
