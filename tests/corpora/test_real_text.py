"""Real corpora, read without conversion. They are not part of the project: absent, these tests skip."""

from pathlib import Path

import pytest

from sprog.corpora import build_roles, read_source

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


def test_roles_of_the_real_run():
    train, select, test = present("tedtalks_train.tsv", "tedtalks_test.tsv", "ELRC_2923.tmx")
    roles = build_roles(
        {"train": str(train), "select": str(select), "test": str(test)}, target="da", reference="en", seed=0
    )
    assert roles.translations_may_straddle
    assert roles.cuts["tune"] == "20 % of select, cut by pair, seed 0"
    pairs = [{s.pair for s in corpus.sentences} for corpus in roles.corpora.values()]
    assert len(set.union(*pairs)) == sum(map(len, pairs))
