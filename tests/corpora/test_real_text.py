"""Real corpora, read without conversion. They are not part of the project: absent, these tests skip."""

import re

import pytest

from glossae.corpora import build_roles, clean_text, parse_task, read_source
from glossae.corpora.scala import eligible
from glossae.corpora.tasks import read_treebank
from glossae.errors import GlossaeError

LANGUAGES = ("da", "en")


@pytest.fixture
def present(shared):
    """A function that gives the path of one of the texts."""

    def present(name):
        path = shared / "data" / name
        if not path.exists():
            pytest.skip(f"{path.name} is not there: it may not be given away with the project")
        return path

    return present


@pytest.mark.parametrize(
    ("form", "files", "languages", "read"),
    [
        ("{}", ["tedtalks_train.tsv"], LANGUAGES, {"da": 9867, "en": 9976}),
        ("{}", ["ELRC_2923.tmx"], LANGUAGES, {"da": 389, "en": 389}),
        (
            "da={},en={}",
            ["parallel/europarl_20k.da", "parallel/europarl_20k.en"],
            LANGUAGES,
            {"da": 20_000, "en": 20_000},
        ),
        ("cols:en,da,-:{}", ["parallel/tatoeba_en_da_dan.txt"], LANGUAGES, {"da": 25_944, "en": 25_944}),
        (
            "{}",
            ["parallel/tatoeba_multi_en_da_sv_nb.tsv"],
            ("da", "en", "sv", "nb"),
            dict.fromkeys(("da", "en", "sv", "nb"), 259),
        ),
        ("da={}", ["languages/da.txt"], LANGUAGES, {"da": 1000}),
        ("da={}", ["tasks/angry_tweets/train.jsonl"], LANGUAGES, {"da": 2411}),
        ("en={}", ["tasks/tweet_sentiment/train.csv"], LANGUAGES, {"en": 27_481}),
    ],
)  # fmt: skip
def test_texts(present, form, files, languages, read):
    corpus, tallies = read_source(form.format(*map(present, files)), languages=languages)
    assert {code: tally.read for code, tally in tallies.items()} == read
    assert max(tally.dropped.total() / tally.read for tally in tallies.values()) < 0.16
    if len(read) > 1 and "tedtalks" not in files[0]:
        assert corpus.sentences[0].pair == corpus.sentences[1].pair


@pytest.mark.parametrize(("part", "number"), [("dev", 564), ("test", 565)])
def test_treebanks(present, tmp_path, part, number):
    path = present(f"ud_danish_ddt/da_ddt-ud-{part}.conllu")
    content = path.read_text(encoding="utf-8")
    said = re.findall(r"^# text = (.*)$", content, re.MULTILINE)
    corpus, tallies = read_source(f"da={path}", languages=LANGUAGES)
    assert tallies["da"].read == len(said) == number
    assert [s.text for s in corpus.sentences] == list(dict.fromkeys(map(clean_text, said)))
    # the words put together are what the comments say
    bare = tmp_path / "bare.conllu"
    bare.write_text(
        "".join(line for line in content.splitlines(keepends=True) if line[0] != "#"), encoding="utf-8"
    )
    words = read_source(f"da={bare}", languages=LANGUAGES).corpus
    assert [s.text for s in words.sentences] == [s.text for s in corpus.sentences]


@pytest.mark.parametrize(
    ("form", "file", "message"),
    [
        ("da={}", "ud_danish_ddt/ddt_test.jsonl", r"line 1: has tokens and no text.* give the treebank's"),
        ("{}", "tasks/angry_tweets/train.jsonl", r"line 1: label is 'positiv'.*name the file da=PATH"),
    ],
)  # fmt: skip
def test_what_is_no_text(present, form, file, message):
    with pytest.raises(GlossaeError, match=message):
        read_source(form.format(present(file)), languages=LANGUAGES)


def test_roles_of_the_real_run(present):
    files = {"train": "tedtalks_train.tsv", "select": "tedtalks_test.tsv", "test": "ELRC_2923.tmx"}
    specs = {role: str(present(file)) for role, file in files.items()}
    roles = build_roles(specs, target="da", reference="en", seed=0)
    assert roles.translations_may_straddle
    assert roles.cuts["tune"] == "20 % of select, cut by pair, seed 0"
    pairs = [{s.pair for s in corpus.sentences} for corpus in roles.corpora.values()]
    assert len(set.union(*pairs)) == sum(map(len, pairs))


@pytest.mark.parametrize(
    ("task", "source", "sizes", "labels"),
    [
        ("angry-tweets", "tasks/angry_tweets", {"train": 2411, "test": 1047}, ("negativ", "neutral", "positiv")),
        ("scala-da", "tasks/scala_da", {"train": 1024, "test": 512, "val": 256}, ("correct", "incorrect")),
        ("tweet-sentiment", "tasks/tweet_sentiment/train.csv", {"train": 27_480}, ("negative", "neutral", "positive")),
    ],
)  # fmt: skip
def test_tasks(present, task, source, sizes, labels):
    found = parse_task(f"{task}={present(source)}").read(0)
    assert {split: len(rows) for split, rows in found.splits.items()} == sizes
    assert found.labels == labels


def test_scala_from_the_danish_treebank(present):
    files = [present(f"ud_danish_ddt/ddt_{part}.jsonl") for part in ("train_plus_dev", "test")]
    _, counts = eligible(sentence for file in files for sentence in read_treebank(file))
    assert counts == [5512, 5501, 4953, 4599, 4160, 3823, 3823, 3823]
    task = parse_task(f"scala-da=scala:{','.join(map(str, files))}").read(0)
    sizes = {split: len(rows) for split, rows in task.splits.items()}
    assert sizes == {"train": 1024, "val": 256, "test": 2048, "full_train": 5342}
    labels = [row.label for row in task.train]
    assert labels.count("correct") == labels.count("incorrect") == 512
