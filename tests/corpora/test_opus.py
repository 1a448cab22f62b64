"""Corpora of OPUS by name: fetched once however a transfer goes wrong, kept, checked and read where they lie."""

import hashlib
import io
import json
import random
import resource
import shutil
import socket
import stat
import subprocess
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glossae.corpora import build_roles, clean_text, parse_source, read_source
from glossae.errors import GlossaeError
from opus_server import PAGE, OpusServer, archive

LANGUAGES = ("da", "en")
PAIRS = [(f"Sætning nummer {i}.", f"Sentence number {i}.") for i in range(40)]
EXPECTED = [(code, text) for pair in PAIRS for code, text in zip(LANGUAGES, pair, strict=True)]
SMALL = archive(PAIRS)
PATH = "/OPUS-Tiny/v1/moses/da-en.txt.zip"


def long_pairs(seed):
    """Text that hardly shrinks: some 100 kB as an archive."""
    rng = random.Random(seed)
    return [
        tuple("".join(rng.choices("abcdefghijklmnoprstuvæøå ", k=90)) for _ in range(2)) for _ in range(1000)
    ]


ARCHIVE, OTHER = archive(long_pairs(1)), archive(long_pairs(2))


def read(source="opus:Tiny", languages=LANGUAGES):
    corpus = read_source(source, languages=languages).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


def refusal(source="opus:Tiny", languages=LANGUAGES):
    with pytest.raises(GlossaeError) as caught:
        read(source, languages)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


def roles(**specs):
    return build_roles(specs, target="da", reference="en", seed=0)


@pytest.fixture
def cached(tmp_path):
    """Where the archive is kept."""
    return tmp_path / "cache" / "opus" / "Tiny" / "v1" / "da-en.txt.zip"


@pytest.fixture
def record(cached):
    """Where the archive's record is kept."""
    return cached.with_name("da-en.txt.zip.json")


@pytest.fixture
def part(cached):
    """Where the archive lies while it comes."""
    return cached.with_name("da-en.txt.zip.part")


def place(cached, content):
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(content)


def ranges(opus):
    return [wanted for _, wanted in opus.asked]


def test_a_corpus_by_its_name(opus, cached, record):
    content = opus.put(SMALL)
    corpus = read_source("opus:Tiny", languages=("en", "da", "sv")).corpus
    assert [(s.language, s.text) for s in corpus.sentences] == EXPECTED
    assert corpus.sources == ("opus:Tiny",)
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert opus.asked == [(PATH, None)]
    # the second time needs no server, and writes nothing
    opus.close()
    cached.with_name(".da-en.txt.zip.lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in (*cached.parent.iterdir(), cached.parent)}
    assert set(before) == {cached, record, cached.parent}
    assert read() == EXPECTED
    assert {path: path.stat().st_mtime_ns for path in (*cached.parent.iterdir(), cached.parent)} == before
    facts = {"url": opus.address + PATH, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert json.loads(record.read_text()) == facts


def test_another_version(opus):
    opus.put(SMALL)
    opus.put(archive(PAIRS[:3]), version="v2018")
    corpus = read_source("opus:Tiny@v2018", languages=LANGUAGES).corpus
    assert (len(corpus), corpus.sources) == (6, ("opus:Tiny@v2018",))
    assert parse_source("opus:Tiny@v1") == parse_source("opus:Tiny")


def test_roles_know_where_it_came_from(opus, tmp_path):
    content = opus.put(SMALL)
    shown = []

    @contextmanager
    def bar(what):
        shown.append(what)
        yield shown.append

    specs = {"train": "opus:Tiny"}
    found = build_roles(specs, target="da", reference="en", others=["sv"], seed=0, progress=bar)
    url, sha256 = opus.address + PATH, hashlib.sha256(content).hexdigest()
    assert found.provenance == {"opus:Tiny": {"url": url, "bytes": len(content), "sha256": sha256}}
    assert (shown[0], shown[-1]) == (url, 1.0)
    assert not found.translations_may_straddle
    path = tmp_path / "x.tsv"
    path.write_text("".join(f"{('tekst', 'text')[i % 2]} {i}\t{i % 2}\n" for i in range(40)))
    assert roles(train=str(path)).provenance == {}


def test_all_is_fetched_before_anything_is_read_and_after_files_were_looked_for(opus, tmp_path):
    (tmp_path / "x.tsv").write_text("no tab\n")
    with pytest.raises(GlossaeError, match="answered 404"):
        roles(train=str(tmp_path / "x.tsv"), test="opus:Tiny")
    opus.asked.clear()
    with pytest.raises(GlossaeError, match="no such file"):
        roles(train="opus:Tiny", test=str(tmp_path / "none.tsv"))
    assert not opus.asked


def test_two_runs_do_not_fetch_the_same_at_once(opus):
    opus.put(SMALL)
    opus.pause = 0.2
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: read(), range(3))) == [EXPECTED] * 3
    assert len(opus.asked) == 1


@pytest.mark.parametrize("variable", ["GLOSSAE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(opus, monkeypatch, cached, variable):
    opus.put(SMALL)
    monkeypatch.setenv(variable, "1")
    message = refusal()
    assert message.startswith(f"opus:Tiny: {variable} keeps glossae from fetching {opus.address}{PATH}: ")
    assert f"put it at {cached}, or give files, da=FILE,en=FILE" in message
    assert (opus.asked, cached.parents[3].exists()) == ([], False)


def test_no_network(opus, cached):
    opus.close()
    message = refusal()
    assert message.startswith(f"opus:Tiny: {opus.address}{PATH}: cannot be reached (")
    assert f"put it at {cached}, or give files, da=FILE,en=FILE" in message


def test_an_archive_put_there_by_hand(opus, cached, record):
    opus.put(SMALL)
    own = archive(PAIRS[:30])
    place(cached, own)
    assert len(read()) == 60
    assert roles(train="opus:Tiny").provenance["opus:Tiny"]["url"] is None
    assert json.loads(record.read_text())["sha256"] == hashlib.sha256(own).hexdigest()
    # it is never written over
    cached.write_bytes(own[:-1])
    assert "is not the file of before, its SHA-256 has changed, and was put there, not fetched" in refusal()
    assert cached.read_bytes() == own[:-1]
    assert opus.asked == []


@pytest.mark.parametrize("content", [b"", b"<html>Log in</html>", archive(PAIRS, codes=("en", "sv"))])
def test_something_else_put_there_by_hand(opus, cached, content):
    place(cached, content)
    message = refusal()
    assert str(cached) in message
    assert "delete it to have it fetched again" in message
    assert cached.read_bytes() == content


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:50] + b"?" + c[51:], lambda _: b""])
def test_a_changed_archive_is_fetched_again(opus, cached, change):
    content = opus.put(SMALL)
    read()
    cached.write_bytes(change(content))
    assert read() == EXPECTED
    assert cached.read_bytes() == content
    assert len(opus.asked) == 2


def test_a_changed_archive_stays_until_another_is_there(opus, cached):
    opus.put(SMALL)
    read()
    cached.write_bytes(b"changed")
    opus.close()
    assert "cannot be reached" in refusal()
    assert cached.read_bytes() == b"changed"


def test_a_changed_archive_is_refused_without_a_network(opus, cached, record, monkeypatch):
    opus.put(SMALL)
    read()
    changed = archive(PAIRS[:5])
    cached.write_bytes(changed)
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    start = f"{cached}: is not the file of before, its SHA-256 has changed, and GLOSSAE_OFFLINE"
    assert refusal().startswith(start)
    assert cached.read_bytes() == changed
    record.unlink()
    assert len(read()) == 10


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"url": null}', '{"url": null, "bytes": "many", "sha256": 3}']
)
def test_a_broken_record(opus, record, text):
    opus.put(SMALL)
    read()
    record.write_text(text)
    assert read() == EXPECTED
    assert len(opus.asked) == 2


def test_a_cache_that_cannot_be_made(opus, monkeypatch, tmp_path):
    opus.put(SMALL)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "file"))
    assert "set GLOSSAE_CACHE to a folder that can" in refusal()


@pytest.mark.parametrize("name", ["", "@v1", "Tiny@", "../etc", "a/b", "Tiny@../v1", "Tiny v1"])
def test_names_that_are_none(name):
    assert "names no corpus: write opus:NAME or opus:NAME@VERSION" in refusal(f"opus:{name}")
    assert "give a target and a reference language" in refusal(languages=("da",))


@pytest.mark.parametrize(
    ("source", "listed", "words"),
    [
        ("tinytalk", [("TinyTalks",)], "404 Not Found: OPUS has no corpus tinytalk: did you mean TinyTalks?"),
        ("Zzz", [("TinyTalks",)], "OPUS has no corpus Zzz: https://opus.nlpl.eu lists all"),
        (
            "Tiny",
            [("Tiny", "da", "en", "v3"), ("Tiny", "da", "en", "v2"), ("Tiny", "de", "en", "v1")],
            "OPUS has no version 'v1' of this pair: there are v2, v3",
        ),
        (
            "Tiny",
            [("Tiny", "en", "sv"), ("Tiny", "bg", "da"), ("Tiny", "fi", "sv")],
            "OPUS does not have the pair da-en of it: with one of the two there are bg, sv",
        ),
        ("Tiny", [("Tiny", "en", None)], "OPUS has the corpus Tiny, but not this version or this pair of languages"),
        ("Tiny", [("Tiny", "it", "sv"), ("Tiny", "bg", "fi")], "in neither of da and en, but in bg, fi, it, sv"),
        ("Tiny", [("Tiny",)], "OPUS lists it, but does not give it out"),
        ("Tiny", [("Tiny\x1b\n",)], "OPUS has no corpus Tiny"),
    ],
)  # fmt: skip
def test_why_there_is_no_archive(opus, source, listed, words):
    for row in listed:
        opus.list(*row)
    assert words in refusal(f"opus:{source}")


def test_no_catalogue(opus, monkeypatch):
    opus.catalogue = None
    message = refusal("opus:NeuLab-TedTalk")
    assert "its list of corpora cannot be reached: did you mean NeuLab-TedTalks?" in message
    assert refusal("opus:Zzzzzzz").endswith("its list of corpora cannot be reached")
    monkeypatch.setenv("GLOSSAE_OPUS_API", f"{opus.address}/catalogue")
    for answer in (b"[]", b"{", b'{"corpora": 3}', b"<html>", b"[" * 100_000):
        opus.files["/catalogue/"] = answer
        assert "cannot be reached" in refusal()


@pytest.mark.parametrize(
    "base", ["nowhere", "ftp://x", "file:///etc", "http://", "http://a b", "http://x:port"]
)
def test_addresses_that_are_none(monkeypatch, base):
    monkeypatch.setenv("GLOSSAE_OPUS_BASE", base)
    assert refusal().startswith(f"GLOSSAE_OPUS_BASE: is not an address {base!r}: write one such as https://")


def test_a_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("GLOSSAE_OPUS_BASE", "https://me:secret@mirror.example")
    assert "without a password" in (message := refusal())
    assert "secret" not in message


@pytest.mark.parametrize("chunked", [False, True])
def test_a_transfer_that_stops_is_carried_on(opus, cached, part, chunked):
    opus.put(ARCHIVE)
    opus.chunked = chunked
    opus.stops = [50_000, 20_000]
    assert len(read()) == 2000
    assert ranges(opus) == [None, "bytes=50000-", "bytes=70000-"]
    assert cached.read_bytes() == ARCHIVE
    assert not part.exists()


def test_the_same_command_carries_on(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 10_000, 0, 10_000]
    message = refusal()
    start = f"opus:Tiny: {opus.address}{PATH}: the transfer broke off 4 times (last: it sent 50,000 of"
    assert message.startswith(start)
    assert message.endswith("the same command carries on after the 50,000 bytes that came")
    assert part.read_bytes() == ARCHIVE[:50_000]
    assert not cached.exists()
    # a login page does not cost what has come
    opus.page = PAGE
    assert f"{PATH}: a zip archive should come from there, and what comes is a web page" in refusal()
    opus.page = None
    opus.asked.clear()
    assert len(read()) == 2000
    assert ranges(opus) == ["bytes=50000-"]
    assert cached.read_bytes() == ARCHIVE


def test_a_server_that_goes_away(opus, part, monkeypatch):
    opus.put(ARCHIVE)
    opus.stops = [30_000]
    monkeypatch.setattr("time.sleep", lambda seconds: opus.close() if seconds == 0.5 else None)
    monkeypatch.setattr("glossae.corpora.download.PAUSES", (0.5, 0.0, 0.0))
    assert "the transfer broke off 4 times (last: Connection refused)" in refusal()
    assert part.stat().st_size == 30_000
    # a whole part needs no transfer
    part.write_bytes(ARCHIVE)
    assert len(read()) == 2000


def test_a_server_that_falls_silent_and_a_slow_one(opus, monkeypatch):
    opus.put(ARCHIVE)
    opus.pause = 2.0
    with monkeypatch.context() as patch:
        patch.setattr("glossae.corpora.download.TIMEOUT", 0.1)
        assert "the transfer broke off 4 times (last: timed out); try later" in refusal()
    opus.pause = 0.02
    assert len(read()) == 2000


@pytest.mark.parametrize("chunked", [True, False])
def test_a_length_that_is_not_said(opus, cached, part, chunked):
    opus.put(ARCHIVE)
    opus.length, opus.chunked = False, chunked
    if not chunked:
        opus.stops = [50_000]
        assert f"{opus.address}{PATH}: is no zip archive, or a damaged one" in refusal()
        assert (cached.exists(), part.exists()) == (False, False)
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE


@pytest.mark.parametrize("behaviour", ["obeyed", "ignored", "blind"])
@pytest.mark.parametrize("content", [ARCHIVE, OTHER])
def test_a_file_that_may_change_between_the_parts(opus, cached, behaviour, content):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    if content is OTHER:
        opus.put(OTHER)
    opus.ranges = behaviour
    assert len(read()) == 2000
    assert cached.read_bytes() == content


@pytest.mark.parametrize(
    ("headers", "second"),
    [
        ({"Last-Modified": "then"}, "bytes=50000-"),
        ({"ETag": 'W/"weak"', "Last-Modified": "then"}, "bytes=50000-"),
        ({"ETag": 'W/"weak"'}, None),
        ({}, None),
    ],
)
def test_only_what_can_be_known_again_is_carried_on(opus, cached, headers, second):
    opus.validators = lambda _: headers
    opus.put(ARCHIVE)
    opus.stops = [50_000]
    assert len(read()) == 2000
    assert ranges(opus) == [None, second]
    assert cached.read_bytes() == ARCHIVE


@pytest.mark.parametrize("what", ["another address", "longer than the file"])
def test_a_part_that_is_not_carried_on(opus, cached, part, what):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    opus.asked.clear()
    if what == "another address":
        about = part.with_name(f"{part.name}.json")
        about.write_text(about.read_text().replace("127.0.0.1", "127.0.0.2"))
    else:
        part.write_bytes(ARCHIVE + b"more")
    assert len(read()) == 2000
    assert ranges(opus)[-1] is None
    assert cached.read_bytes() == ARCHIVE


def test_a_run_that_was_killed_before_the_archive_had_its_name(opus, cached, part):
    opus.put(ARCHIVE)
    read()
    shutil.move(cached, part)
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (1000, f"{PATH}: the transfer broke off 4 times"),
        (-1000, f"{PATH}: is no zip archive, or a damaged one"),
        (10**18, "has more than 4,294,967,296 bytes, which are the most that are fetched"),
    ],
)
def test_a_size_that_is_a_lie(opus, cached, lie, words):
    opus.put(ARCHIVE)
    opus.lie = lie
    assert words in refusal()
    assert not cached.exists()


@contextmanager
def files_of_at_most(size):
    """The system refuses to let any file grow over this size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_on_the_way(opus, cached, part):
    opus.put(ARCHIVE)
    with files_of_at_most(40_000):
        message = refusal()
    assert message.startswith(f"opus:Tiny: {part}: cannot be written (File too large): free some disk space")
    assert "the same command carries on where it stopped" in message
    come = part.stat().st_size
    assert 0 < come <= 40_000
    opus.asked.clear()
    assert len(read()) == 2000
    assert ranges(opus) == [f"bytes={come}-"]
    assert cached.read_bytes() == ARCHIVE


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_trouble_that_passes_or_stays(opus, status):
    opus.put(SMALL)
    opus.answers = [status] * 4
    assert f"the transfer broke off 4 times (last: it answered {status} " in refusal()
    opus.answers = [status] * 2
    assert read() == EXPECTED
    assert len(opus.asked) == 7


@pytest.mark.parametrize("status", [400, 401, 403, 407, 410, 451])
def test_refusals_are_final(opus, status):
    opus.answers = [status]
    message = refusal()
    assert f"opus:Tiny: {opus.address}{PATH}: answered {status} " in message
    assert len(opus.asked) == 1
    assert ("OPUS has no corpus Tiny" in message) == (status in (403, 410))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty there"),
        (b"\x1b[31mHej", r"what comes is '\x1b[31mHej'"),
        (archive(PAIRS, codes=("en", "sv")), "has 0 texts that end in .da-en.da, and needs one"),
    ],
)
def test_something_that_is_no_archive_of_the_corpus(opus, cached, part, content, words):
    opus.put(content)
    assert words in refusal()
    assert (cached.exists(), part.exists()) == (False, False)


def test_a_redirection(opus):
    opus.put(ARCHIVE)
    opus.redirect = f"{opus.address}/moved"
    opus.stops = [50_000]
    assert len(read()) == 2000
    assert [asked for asked in opus.asked if "moved" in asked[0]][-1] == (f"/moved{PATH}", "bytes=50000-")
    # in circles
    opus.redirect = opus.address
    opus.asked.clear()
    assert "answered 302" in refusal("opus:Other")
    assert len(opus.asked) < 20


@pytest.mark.parametrize("target", ["file:///etc/hostname#", "ftp://127.0.0.1", "data:text/plain,"])
def test_a_redirection_out_of_the_web(opus, target):
    opus.redirect = target
    message = refusal()
    assert message.startswith(f"opus:Tiny: {opus.address}{PATH}: ")
    assert "302" in message or "unknown url type" in message


def test_proxies(opus, monkeypatch):
    opus.put(SMALL)
    with monkeypatch.context() as patch:
        patch.setenv("http_proxy", opus.address)
        patch.setenv("GLOSSAE_OPUS_BASE", "http://opus.invalid")
        assert read() == EXPECTED
        assert opus.asked == [(f"http://opus.invalid{PATH}", None)]
    # a proxy is not asked for this machine
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    opus.put(SMALL, corpus="Other")
    assert read("opus:Other") == EXPECTED


def test_a_file_that_the_disk_has_no_room_for(opus, monkeypatch):
    opus.put(ARCHIVE)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "1,000 free: delete some files, or set GLOSSAE_CACHE to a folder on a larger disk" in refusal()


@pytest.mark.parametrize("length", [True, False])
def test_a_file_larger_than_any_archive_is_not_fetched(opus, cached, part, monkeypatch, length):
    monkeypatch.setattr("glossae.corpora.opus._MAX_BYTES", len(ARCHIVE) - 1)
    opus.put(ARCHIVE)
    opus.length = length
    assert f"has more than {len(ARCHIVE) - 1:,} bytes, which are the most that are fetched" in refusal()
    assert (cached.exists(), part.exists()) == (False, False)


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_comes_too_slowly_is_broken_off_and_carried_on(opus, monkeypatch, length):
    opus.put(ARCHIVE)
    opus.length = length
    with monkeypatch.context() as patch:
        patch.setattr("glossae.corpora.download.GRACE", 0.0)
        patch.setattr("glossae.corpora.download.SLOWEST", 1e12)
        message = refusal()
    # on a busy machine even the answer's first line may be too late
    assert "the transfer broke off 4 times (last: " in message or "no whole answer within" in message
    assert len(read()) == 2000


def test_an_answer_that_never_ends_its_first_line_is_broken_off(opus, monkeypatch):
    monkeypatch.setattr("glossae.corpora.download.GRACE", 0.3)
    monkeypatch.setattr("glossae.corpora.download.SLOWEST", 1e12)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("GLOSSAE_OPUS_BASE", f"http://127.0.0.1:{listening.getsockname()[1]}")

        def drip():
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                while not done.wait(0.02):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert "cannot be reached (" in refusal()
        finally:
            done.set()
            thread.join()


def test_a_redirection_from_https_to_http_is_not_followed(opus, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    opus.put(SMALL)
    with OpusServer(certificate, key) as secure:
        secure.put(SMALL)
        monkeypatch.setenv("GLOSSAE_OPUS_BASE", secure.address)
        secure.redirect = f"{opus.address}/moved"
        assert "it redirects from https to an address without" in refusal()
        assert opus.asked == []
        secure.redirect = None
        assert read() == EXPECTED


@pytest.fixture
def lying(monkeypatch, tmp_path, cached, record):
    """A function that reads an archive put there by hand, without a network."""
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))

    def lying(content):
        record.unlink(missing_ok=True)
        place(cached, content)
        return read()

    return lying


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, content); a name may be a whole ZipInfo."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


DANISH, ENGLISH = ("Tiny.da-en.da", "Hej.\n"), ("Tiny.da-en.en", "Hello.\n")
BOTH = zipped(DANISH, ENGLISH)


def named(filename, **attributes):
    info = zipfile.ZipInfo("x")
    for key, value in {"filename": filename, **attributes}.items():
        setattr(info, key, value)
    return info


def central(content, offset, value):
    """The archive with bytes of its first member's entry in the central directory changed."""
    at = content.index(b"PK\x01\x02") + offset
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_are_read_where_they_lie(lying, cached, record, method):
    bom = b"\xef\xbb\xbfHej\xe2\x80\xa8med dig.\r\nTak."
    # a small text that repeats itself is no bomb
    again = "Det er en linje.\n" * 20_000
    lines = [("da", "Hej med dig."), ("en", "Hello."), ("da", "Tak."), ("en", "Thanks.")]
    assert lying(zipped((DANISH[0], bom), (ENGLISH[0], "Hello.\nThanks.\n"), method=method)) == lines
    assert lying(zipped((DANISH[0], again), (ENGLISH[0], again), method=method))
    there = {cached, record, cached.with_name(f".{cached.name}.lock")}
    assert set(cached.parent.iterdir()) <= there


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *(
            (zipped((DANISH[0], danish), ENGLISH), words)
            for danish, words in (
                ("Rødgrød.\n".encode("latin-1"), "/Tiny.da-en.da, line 1: byte 2 (0xF8) is not UTF-8"),
                (b"Hej.\nHe\0j.\n", "/Tiny.da-en.da, line 2: holds a NUL byte"),
                (b"Hej.\nTak.\n", "/Tiny.da-en.en has 1 lines: files aligned by line need the same number"),
            )
        ),
        (zipped(DANISH, ("README", "x")), "has 0 texts that end in .da-en.en"),
        (zipped(), "(it holds nothing)"),
        (zipped(DANISH, ENGLISH, (f"x/{DANISH[0]}", "Hej.\n")), "has 2 texts that end in .da-en.da"),
        *(
            (zipped(DANISH, ENGLISH, (named(name), "evil")), "which leads out of the archive: that is no archive")
            for name in ("../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\\\host\\evil")
        ),
        (
            zipped((named(DANISH[0], external_attr=(stat.S_IFLNK | 0o777) << 16), "/etc/hostname"), ENGLISH),
            "'Tiny.da-en.da', which is a link",
        ),
        (central(BOTH, 8, b"\x01\x00"), "which is encrypted"),
        *(
            (zipped(DANISH, ENGLISH, method=method), f"compressed by method {method}, neither stored nor deflated")
            for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        ),
        (central(BOTH, 10, b"\x4d\x00"), "compressed by method 77"),
        (zipped((DANISH[0], bytes(2**26 + 1)), ENGLISH), "bytes unpack to 67,108,865: that is no archive of text"),
        (central(BOTH, 24, b"\xfe\xff\xff\xff"), "whose 7 bytes unpack to 4,294,967,294"),
        (
            central(zipped((DANISH[0], "Hej.\n" * 1000), ENGLISH), 24, (5).to_bytes(4, "little")),
            "is no zip archive, or a damaged one (Bad CRC-32 for file 'Tiny.da-en.da')",
        ),
        (
            central(BOTH, 24, (50).to_bytes(4, "little")),
            "is no zip archive, or a damaged one ('Tiny.da-en.da' is shorter than written down)",
        ),
        (
            zipped((DANISH[0], "Hej.\n" * 9), ENGLISH, method=zipfile.ZIP_STORED).replace(b"Hej.", b"Nej.", 1),
            "Bad CRC-32 for file 'Tiny.da-en.da'); where it was kept, delete it to have it fetched again",
        ),
        *((SMALL[:size], "is no zip archive, or a damaged one") for size in (1, 100, len(SMALL) // 2, len(SMALL) - 1)),
    ],
)  # fmt: skip
def test_archives_that_are_no_good(lying, cached, tmp_path, content, words):
    with pytest.raises(GlossaeError) as caught:
        lying(content)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert message.startswith(str(cached))
    assert words in message
    assert not list(tmp_path.rglob("*evil*"))


def test_a_text_larger_than_memory(lying, monkeypatch):
    monkeypatch.setattr("glossae.corpora.opus._MAX_BYTES", 10_000)
    assert lying(zipped((DANISH[0], "a" * 10_000), (ENGLISH[0], "a")))
    with pytest.raises(GlossaeError, match="which has 10,001 bytes unpacked, and 10,000 are the most"):
        lying(zipped((DANISH[0], "a" * 10_001), (ENGLISH[0], "a")))


lines = st.text(st.characters(exclude_characters="\n\0\ufeff", exclude_categories=["Cs"]), min_size=1)
sentences = lines.map(clean_text).filter(bool)
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_disk
@given(
    st.lists(st.tuples(sentences, sentences), min_size=1, unique_by=(lambda row: row[0], lambda row: row[1]))
)
def test_an_archive_is_read_back(lying, rows):
    assert lying(archive(rows)) == [
        (code, text) for row in rows for code, text in zip(LANGUAGES, row, strict=True)
    ]


@on_disk
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.binary(),
)
def test_damaged_archives_never_crash(lying, damage, noise):
    damaged = bytearray(SMALL)
    for at, value in damage:
        damaged[at] = value
    for content in (bytes(damaged), noise, SMALL[:300] + noise, noise + SMALL):
        message = ""
        try:
            lying(content)
        except GlossaeError as error:
            message = str(error)
        assert "\n" not in message
