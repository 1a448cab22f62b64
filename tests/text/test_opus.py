"""Corpora of OPUS by name: found, fetched once, kept, checked, and what is said where there is none."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from glossae.errors import GlossaeError
from glossae.text import build_roles, parse_source, read_source
from opus_server import archive

LANGUAGES = ("da", "en")
PAIRS = [(f"Sætning nummer {i}.", f"Sentence number {i}.") for i in range(40)]


def read(source="opus:Tiny", languages=LANGUAGES):
    corpus = read_source(source, languages=languages).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


EXPECTED = [(code, text) for pair in PAIRS for code, text in zip(LANGUAGES, pair, strict=True)]


def refusal(source="opus:Tiny", languages=LANGUAGES):
    with pytest.raises(GlossaeError) as caught:
        read(source, languages)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.fixture
def cached(tmp_path):
    """Where the archive is kept."""
    return tmp_path / "cache" / "opus" / "Tiny" / "v1" / "da-en.txt.zip"


def place(cached, content):
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)


def test_a_corpus_by_its_name(opus):
    opus.put(archive(PAIRS))
    corpus = read_source("opus:Tiny", languages=LANGUAGES).corpus
    assert [(s.language, s.text) for s in corpus.sentences] == EXPECTED
    assert corpus.sources == ("opus:Tiny",)
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert opus.asked == [("/OPUS-Tiny/v1/moses/da-en.txt.zip", None)]


def test_languages_stand_in_the_order_of_the_alphabet(opus):
    opus.put(archive(PAIRS))
    assert read(languages=("en", "da", "sv")) == EXPECTED
    assert len(opus.asked) == 1


def test_another_version(opus):
    opus.put(archive(PAIRS))
    opus.put(archive(PAIRS[:3]), version="v2018")
    corpus = read_source("opus:Tiny@v2018", languages=LANGUAGES).corpus
    assert (len(corpus), corpus.sources) == (6, ("opus:Tiny@v2018",))
    assert parse_source("opus:Tiny@v1") == parse_source("opus:Tiny")


def test_the_second_time_needs_no_server(opus, cached):
    content = opus.put(archive(PAIRS))
    read()
    opus.close()
    assert read() == EXPECTED
    assert json.loads(cached.with_name("da-en.txt.zip.json").read_text()) == {
        "url": f"{opus.address}/OPUS-Tiny/v1/moses/da-en.txt.zip",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    left = {path.name for path in cached.parent.iterdir()}
    assert left <= {"da-en.txt.zip", "da-en.txt.zip.json", ".da-en.txt.zip.lock"}


def test_reading_what_is_kept_writes_nothing(opus, cached):
    opus.put(archive(PAIRS))
    read()
    cached.with_name(".da-en.txt.zip.lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in (*cached.parent.iterdir(), cached.parent)}
    assert read() == EXPECTED
    assert {path: path.stat().st_mtime_ns for path in (*cached.parent.iterdir(), cached.parent)} == before


def test_roles_know_where_it_came_from(opus):
    content = opus.put(archive(PAIRS))
    shown = []

    class Bar:
        def __init__(self, what):
            shown.append(what)

        def __enter__(self):
            return shown.append

        def __exit__(self, *_):
            pass

    roles = build_roles(
        {"train": "opus:Tiny"}, target="da", reference="en", others=["sv"], seed=0, progress=Bar
    )
    url = f"{opus.address}/OPUS-Tiny/v1/moses/da-en.txt.zip"
    sha256 = hashlib.sha256(content).hexdigest()
    assert roles.provenance == {"opus:Tiny": {"url": url, "bytes": len(content), "sha256": sha256}}
    assert (shown[0], shown[-1]) == (url, 1.0)
    assert not roles.translations_may_straddle
    assert {row.name for row in roles.counts} == {"opus:Tiny"}


def test_a_file_of_ones_own_has_no_provenance(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("".join(f"tekst {i}\t{i % 2}\n" for i in range(40)))
    assert build_roles({"train": str(path)}, target="da", reference="en", seed=0).provenance == {}


def test_all_is_fetched_before_anything_is_read_and_after_files_were_looked_for(opus, tmp_path):
    (tmp_path / "x.tsv").write_text("no tab\n")
    specs = {"train": str(tmp_path / "x.tsv"), "test": "opus:Tiny"}
    with pytest.raises(GlossaeError, match="answered 404"):
        build_roles(specs, target="da", reference="en", seed=0)
    specs = {"train": "opus:Tiny", "test": str(tmp_path / "none.tsv")}
    opus.asked.clear()
    with pytest.raises(GlossaeError, match="no such file"):
        build_roles(specs, target="da", reference="en", seed=0)
    assert not opus.asked


def test_two_runs_do_not_fetch_the_same_at_once(opus):
    opus.put(archive(PAIRS))
    opus.pause = 0.2
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: read(), range(3))) == [EXPECTED] * 3
    assert len(opus.asked) == 1


# ---- without a network


@pytest.mark.parametrize("variable", ["GLOSSAE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(opus, monkeypatch, cached, variable):
    opus.put(archive(PAIRS))
    monkeypatch.setenv(variable, "1")
    message = refusal()
    assert message.startswith(
        f"opus:Tiny: {variable} keeps glossae from fetching {opus.address}/OPUS-Tiny/v1/"
    )
    assert f"put it at {cached}, or give files, da=FILE,en=FILE" in message
    assert (opus.asked, cached.parents[3].exists()) == ([], False)


def test_no_network(opus, cached):
    opus.close()
    message = refusal()
    assert message.startswith(
        f"opus:Tiny: {opus.address}/OPUS-Tiny/v1/moses/da-en.txt.zip: cannot be reached ("
    )
    assert f"put it at {cached}, or give files, da=FILE,en=FILE" in message


def test_an_archive_put_there_by_hand(opus, monkeypatch, cached):
    place(cached, archive(PAIRS))
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    roles = build_roles({"train": "opus:Tiny"}, target="da", reference="en", seed=0)
    assert roles.provenance["opus:Tiny"]["url"] is None
    assert roles.provenance["opus:Tiny"]["sha256"] == hashlib.sha256(archive(PAIRS)).hexdigest()
    assert opus.asked == []


@pytest.mark.parametrize("content", [b"", b"<html>Log in</html>", archive(PAIRS, codes=("en", "sv"))])
def test_something_else_put_there_by_hand(opus, cached, content):
    place(cached, content)
    message = refusal()
    assert str(cached) in message
    assert "delete it to have it fetched again" in message
    assert cached.read_bytes() == content


# ---- what was kept is checked


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:50] + b"?" + c[51:], lambda _: b""])
def test_a_changed_archive_is_fetched_again(opus, cached, change):
    content = opus.put(archive(PAIRS))
    read()
    cached.write_bytes(change(content))
    assert read() == EXPECTED
    assert cached.read_bytes() == content
    assert len(opus.asked) == 2


def test_a_changed_archive_is_refused_without_a_network(opus, cached, monkeypatch):
    opus.put(archive(PAIRS))
    read()
    changed = archive(PAIRS[:5])
    cached.write_bytes(changed)
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    message = refusal()
    assert message.startswith(
        f"{cached}: is not the file of before, its SHA-256 has changed, and GLOSSAE_OFFLINE"
    )
    assert cached.read_bytes() == changed
    cached.with_name("da-en.txt.zip.json").unlink()
    assert len(read()) == 10


def test_what_somebody_put_there_is_never_written_over(opus, cached):
    opus.put(archive(PAIRS))
    place(cached, archive(PAIRS[:5]))
    assert len(read()) == 10
    other = archive(PAIRS[:7])
    cached.write_bytes(other)
    assert "its SHA-256 has changed, and was put there, not fetched: delete" in refusal()
    assert (cached.read_bytes(), opus.asked) == (other, [])
    cached.with_name("da-en.txt.zip.json").unlink()
    assert len(read()) == 14


def test_a_changed_archive_stays_until_another_is_there(opus, cached):
    opus.put(archive(PAIRS))
    read()
    cached.write_bytes(b"changed")
    opus.close()
    assert "cannot be reached" in refusal()
    assert cached.read_bytes() == b"changed"


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"url": null, "bytes": "many", "sha256": 3}'])
def test_a_broken_record(opus, cached, record):
    opus.put(archive(PAIRS))
    read()
    cached.with_name("da-en.txt.zip.json").write_text(record)
    assert read() == EXPECTED
    assert len(opus.asked) == 2


def test_a_cache_that_cannot_be_made(opus, monkeypatch, tmp_path):
    opus.put(archive(PAIRS))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "file"))
    assert "set GLOSSAE_CACHE to a folder that can" in refusal()


# ---- names


@pytest.mark.parametrize(
    "source",
    ["opus:", "opus:@v1", "opus:Tiny@", "opus:../etc", "opus:a/b", "opus:Tiny@../v1", "opus:Tiny v1"],
)
def test_names_that_are_none(source):
    assert "names no corpus: write opus:NAME or opus:NAME@VERSION" in refusal(source)


def test_one_language():
    assert "give a target and a reference language" in refusal(languages=("da",))


def test_no_such_corpus(opus):
    opus.list("TinyTalks")
    opus.list("Europarl")
    message = refusal("opus:tinytalk")
    assert "answered 404 Not Found: OPUS has no corpus tinytalk: did you mean TinyTalks?" in message
    assert "OPUS has no corpus Zzz: https://opus.nlpl.eu lists all" in refusal("opus:Zzz")


@pytest.mark.parametrize("status", [403, 410])
def test_other_ways_to_say_that_there_is_none(opus, status):
    opus.answers = [status]
    assert f"answered {status}" in (message := refusal())
    assert "OPUS has no corpus Tiny" in message


def test_no_such_version(opus):
    opus.list("Tiny", version="v3")
    opus.list("Tiny", version="v2")
    opus.list("Tiny", "de", "en", version="v1")
    assert "OPUS has no version 'v1' of this pair: there are v2, v3" in refusal()


def test_no_such_pair(opus):
    opus.list("Tiny", "en", "sv")
    opus.list("Tiny", "bg", "da")
    opus.list("Tiny", "fi", "sv")
    message = refusal()
    assert "OPUS does not have the pair da-en of it: with one of the two there are bg, sv" in message
    assert "in neither of el and it, but in bg, da, en, fi, sv" in refusal(languages=("it", "el"))


def test_a_corpus_without_such_archives(opus):
    opus.catalogue = [{"corpus": "Tiny"}]
    assert "OPUS has the corpus Tiny, but not this version or this pair of languages" in refusal()


def test_listed_and_not_given_out(opus):
    opus.list("Tiny")
    assert "OPUS lists it, but does not give it out" in refusal()


def test_no_catalogue(opus):
    opus.catalogue = None
    message = refusal("opus:NeuLab-TedTalk")
    assert "its list of corpora cannot be reached: did you mean NeuLab-TedTalks?" in message
    assert refusal("opus:Zzzzzzz").endswith("its list of corpora cannot be reached")


@pytest.mark.parametrize(
    "rows", [[{"corpus": "Tiny\x1b\n"}], [{"corpus": 3}], [{"corpus": "Tiny", "source": None}]]
)
def test_a_catalogue_of_nonsense(opus, rows):
    opus.catalogue = rows
    message = refusal()
    assert "answered 404" in message
    assert message.isprintable()


def test_a_catalogue_that_is_no_catalogue(opus, monkeypatch):
    for answer in (b"[]", b"{", b'{"corpora": 3}', b"<html>", b"[" * 100_000):
        opus.files["/catalogue/"] = answer
        monkeypatch.setenv("GLOSSAE_OPUS_API", f"{opus.address}/catalogue")
        assert "cannot be reached" in refusal()


@pytest.mark.parametrize(
    "base", ["nowhere", "ftp://x", "file:///etc", "http://", "http://a b", "http://x:port"]
)
def test_addresses_that_are_none(monkeypatch, base):
    monkeypatch.setenv("GLOSSAE_OPUS_BASE", base)
    assert refusal().startswith(f"GLOSSAE_OPUS_BASE: is not an address {base!r}: write one such as https://")


def test_a_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("GLOSSAE_OPUS_BASE", "https://me:secret@mirror.example")
    message = refusal()
    assert "without a password" in message
    assert "secret" not in message


def test_a_copy_of_the_cache_is_as_good(opus, monkeypatch, tmp_path):
    opus.put(archive(PAIRS))
    read()
    shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "copy"))
    assert read() == EXPECTED
    assert len(opus.asked) == 1
