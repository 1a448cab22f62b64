"""Real corpora, read without conversion. They are not part of the project: absent, these tests skip."""

import re
from pathlib import Path

import pytest

from glossae.errors import GlossaeError
from glossae.text import build_roles, clean_text, read_source

DATA = Path(__file__).parents[2].parent / "shared" / "data"
LANGUAGES = ("da", "en")


def present(*names):
    paths = [DATA / name for name in names]
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path.name} is not there: it may not be given away with the project")
    return paths[0] if len(paths) == 1 else paths


def test_ted_talks():
    corpus, tallies = read_source(str(present("tedtalks_train.tsv")), languages=LANGUAGES)
    assert (tallies["da"].read, tallies["en"].read) == (9867, 9976)
    assert len(corpus) == 19_843 - 18
    assert tallies["da"].dropped == {"duplicate": 11}
    assert tallies["en"].dropped == {"duplicate": 7}


def test_elrc():
    corpus, tallies = read_source(str(present("ELRC_2923.tmx")), languages=LANGUAGES)
    assert (tallies["da"].read, tallies["en"].read) == (389, 389)
    assert corpus.sentences[0].text == "Corona Response Investment Initiative ."
    assert corpus.sentences[0].pair == corpus.sentences[1].pair


def test_europarl():
    danish, english = present("parallel/europarl_20k.da", "parallel/europarl_20k.en")
    corpus, tallies = read_source(f"da={danish},en={english}", languages=LANGUAGES)
    assert (tallies["da"].read, tallies["en"].read) == (20_000, 20_000)
    assert corpus.sources == ("europarl_20k.da+europarl_20k.en",)
    assert min(tally.kept for tally in tallies.values()) > 19_700


def test_tatoeba():
    source = f"cols:en,da,-:{present('parallel/tatoeba_en_da_dan.txt')}"
    _, tallies = read_source(source, languages=LANGUAGES)
    assert {code: tally.read for code, tally in tallies.items()} == {"da": 25_944, "en": 25_944}


def test_tatoeba_in_four_languages():
    path = present("parallel/tatoeba_multi_en_da_sv_nb.tsv")
    corpus, tallies = read_source(str(path), languages=("da", "en", "sv", "nb"))
    assert {code: tally.read for code, tally in tallies.items()} == dict.fromkeys(
        ("da", "en", "sv", "nb"), 259
    )
    assert len({s.pair for s in corpus.sentences}) == 259


def test_one_sentence_a_line():
    danish, dutch = present("languages/da.txt", "languages_ud/nl.txt")
    assert read_source(f"da={danish}", languages=LANGUAGES).tallies["da"].read == 1000
    assert read_source(f"nl={dutch}", languages=("nl",)).tallies["nl"].read > 2000


def test_treebanks():
    development, test = present("ud_danish_ddt/da_ddt-ud-dev.conllu", "ud_danish_ddt/da_ddt-ud-test.conllu")
    for path, number in ((development, 564), (test, 565)):
        said = re.findall(r"^# text = (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        corpus, tallies = read_source(f"da={path}", languages=LANGUAGES)
        assert tallies["da"].read == len(said) == number
        assert [s.text for s in corpus.sentences] == list(dict.fromkeys(map(clean_text, said)))


def test_treebanks_without_their_comments(tmp_path):
    """The words put together are what the comments say."""
    path = present("ud_danish_ddt/da_ddt-ud-dev.conllu")
    bare = tmp_path / "bare.conllu"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    bare.write_text("".join(line for line in lines if not line.startswith("#")), encoding="utf-8")
    whole, words = (read_source(f"da={file}", languages=LANGUAGES).corpus for file in (path, bare))
    assert [s.text for s in words.sentences] == [s.text for s in whole.sentences]


def test_tokens_point_to_the_treebank():
    path = present("ud_danish_ddt/ddt_test.jsonl")
    with pytest.raises(
        GlossaeError, match=r"line 1: has tokens and no text.* give the treebank's \.conllu file"
    ):
        read_source(f"da={path}", languages=LANGUAGES)


def test_tasks_texts():
    danish, english = present("tasks/angry_tweets/train.jsonl", "tasks/tweet_sentiment/train.csv")
    assert read_source(f"da={danish}", languages=LANGUAGES).tallies["da"].read == 2411
    tallies = read_source(f"en={english}", languages=LANGUAGES).tallies
    assert (tallies["en"].read, tallies["en"].dropped["empty"]) == (27_481, 1)
    with pytest.raises(GlossaeError, match=r"line 1: label is 'positiv'.*name the file da=PATH"):
        read_source(str(danish), languages=LANGUAGES)


def test_roles_of_the_real_run():
    train, select, test = present("tedtalks_train.tsv", "tedtalks_test.tsv", "ELRC_2923.tmx")
    roles = build_roles(
        {"train": str(train), "select": str(select), "test": str(test)}, target="da", reference="en", seed=0
    )
    assert roles.translations_may_straddle
    assert roles.cuts["tune"] == "20 % of select, cut by pair, seed 0"
    pairs = [{s.pair for s in corpus.sentences} for corpus in roles.corpora.values()]
    assert len(set.union(*pairs)) == sum(map(len, pairs))
