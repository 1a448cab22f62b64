"""Transfers that go wrong: carried on with, begun anew, or refused in one line; never half an archive."""

import random
import resource
import shutil
from contextlib import contextmanager

import pytest

from glossae.errors import GlossaeError
from glossae.text import read_source
from opus_server import PAGE, archive

LANGUAGES = ("da", "en")
PATH = "/OPUS-Tiny/v1/moses/da-en.txt.zip"


def pairs(seed):
    """Text that hardly shrinks: some 100 kB as an archive."""
    rng = random.Random(seed)
    return [
        tuple("".join(rng.choices("abcdefghijklmnoprstuvæøå ", k=90)) for _ in range(2)) for _ in range(1000)
    ]


ARCHIVE, OTHER = archive(pairs(1)), archive(pairs(2))
SIZE = len(ARCHIVE)


def read():
    return read_source("opus:Tiny", languages=LANGUAGES).corpus


def refusal():
    with pytest.raises(GlossaeError) as caught:
        read()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


@pytest.fixture
def cached(tmp_path):
    return tmp_path / "cache" / "opus" / "Tiny" / "v1" / "da-en.txt.zip"


@pytest.fixture
def part(cached):
    return cached.with_name("da-en.txt.zip.part")


def ranges(opus):
    return [wanted for _, wanted in opus.asked]


# ---- it stops


def test_a_transfer_that_stops_is_carried_on(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [50_000, 20_000]
    assert len(read()) == 2000
    assert ranges(opus) == [None, "bytes=50000-", "bytes=70000-"]
    assert cached.read_bytes() == ARCHIVE
    assert not part.exists()


def test_the_same_command_carries_on(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 10_000, 0, 10_000]
    message = refusal()
    assert message.startswith(
        f"opus:Tiny: {opus.address}{PATH}: the transfer broke off 4 times (last: it sent 50,000 of"
    )
    assert message.endswith("the same command carries on after the 50,000 bytes that came")
    assert part.read_bytes() == ARCHIVE[:50_000]
    assert not cached.exists()
    opus.asked.clear()
    assert len(read()) == 2000
    assert ranges(opus) == ["bytes=50000-"]
    assert cached.read_bytes() == ARCHIVE


def test_a_server_that_goes_away(opus, part, monkeypatch):
    opus.put(ARCHIVE)
    opus.stops = [30_000]
    monkeypatch.setattr("time.sleep", lambda seconds: opus.close() if seconds == 0.5 else None)
    monkeypatch.setattr("glossae.text.download.PAUSES", (0.5, 0.0, 0.0))
    message = refusal()
    assert "the transfer broke off 4 times (last: Connection refused)" in message
    assert part.stat().st_size == 30_000


def test_a_whole_part_needs_no_transfer(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [50_000, 0, 0, 0]
    refusal()
    part.write_bytes(ARCHIVE)
    opus.close()
    assert len(read()) == 2000


def test_a_server_that_falls_silent(opus, monkeypatch):
    opus.put(ARCHIVE)
    opus.pause = 0.5
    monkeypatch.setattr("glossae.text.download.TIMEOUT", 0.1)
    assert "the transfer broke off 4 times (last: timed out); try later" in refusal()


def test_a_slow_server(opus):
    opus.put(ARCHIVE)
    opus.pause = 0.02
    assert len(read()) == 2000


@pytest.mark.parametrize("chunked", [True, False])
def test_a_length_that_is_not_said(opus, cached, chunked):
    opus.put(ARCHIVE)
    opus.length, opus.chunked = False, chunked
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE


def test_a_chunked_transfer_that_stops_is_carried_on(opus, cached):
    opus.put(ARCHIVE)
    opus.chunked = True
    opus.stops = [50_000]
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE
    assert ranges(opus) == [None, "bytes=50000-"]


def test_a_transfer_without_length_that_stops_leaves_no_archive(opus, cached, part):
    opus.put(ARCHIVE)
    opus.length = False
    opus.stops = [50_000]
    message = refusal()
    assert f"{opus.address}{PATH}: is no zip archive, or a damaged one" in message
    assert (cached.exists(), part.exists()) == (False, False)


# ---- it is another file, or ranges are not what they should be


def test_a_server_without_ranges(opus, cached):
    opus.put(ARCHIVE)
    opus.stops = [50_000]
    opus.ranges = "ignored"
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE
    assert len(opus.asked) == 2


@pytest.mark.parametrize("behaviour", ["obeyed", "ignored", "blind"])
def test_a_file_that_changes_between_the_parts(opus, cached, behaviour):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    opus.put(OTHER)
    opus.ranges = behaviour
    assert len(read()) == 2000
    assert cached.read_bytes() == OTHER


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


def test_a_part_from_another_address_is_not_carried_on(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    about = part.with_name(f"{part.name}.json")
    about.write_text(about.read_text().replace("127.0.0.1", "127.0.0.2"))
    opus.asked.clear()
    read()
    assert ranges(opus) == [None]
    assert cached.read_bytes() == ARCHIVE


def test_a_part_that_is_longer_than_the_file(opus, cached, part):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    part.write_bytes(ARCHIVE + b"more")
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE


# ---- it lies about the size


def test_less_comes_than_was_said(opus, cached):
    opus.put(ARCHIVE)
    opus.lie = 1000
    message = refusal()
    assert f"of {SIZE + 1000:,} bytes" in message or "answered 416" in message
    assert not cached.exists()


def test_more_comes_than_was_said(opus, cached, part):
    opus.put(ARCHIVE)
    opus.lie = -1000
    message = refusal()
    assert message.startswith(f"{opus.address}{PATH}: is no zip archive, or a damaged one")
    assert (cached.exists(), part.exists()) == (False, False)


def test_more_than_the_disk_holds(opus, cached):
    opus.put(ARCHIVE)
    opus.lie = 10**18
    message = refusal()
    assert message.startswith(f"{opus.address}{PATH}: has 1,000,000,000,")
    assert "make room, or set GLOSSAE_CACHE to a folder on a larger disk" in message
    assert {path.name for path in cached.parent.iterdir()} <= {".da-en.txt.zip.lock"}


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
    assert message.startswith(f"opus:Tiny: {part}: cannot be written (File too large): make room")
    assert "the same command carries on where it stopped" in message
    come = part.stat().st_size
    assert 0 < come <= 40_000
    opus.asked.clear()
    assert len(read()) == 2000
    assert ranges(opus) == [f"bytes={come}-"]
    assert cached.read_bytes() == ARCHIVE


# ---- it answers with something else


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_trouble_that_passes(opus, status):
    opus.put(ARCHIVE)
    opus.answers = [status, status]
    assert len(read()) == 2000
    assert len(opus.asked) == 3


def test_trouble_that_stays(opus):
    opus.answers = [503] * 4
    assert (
        "the transfer broke off 4 times (last: it answered 503 Service Unavailable); try later" in refusal()
    )


@pytest.mark.parametrize("status", [400, 401, 407, 451])
def test_refusals_are_final(opus, status):
    opus.answers = [status]
    assert f"opus:Tiny: {opus.address}{PATH}: answered {status} " in refusal()
    assert len(opus.asked) == 1


def test_a_login_page(opus, cached, part):
    opus.put(ARCHIVE)
    opus.page = PAGE
    message = refusal()
    assert f"{PATH}: a zip archive should come from there, and what comes is a web page" in message
    assert (cached.exists(), part.exists()) == (False, False)
    opus.page = None
    assert len(read()) == 2000


def test_a_login_page_does_not_cost_what_has_come(opus, part):
    opus.put(ARCHIVE)
    opus.stops = [30_000, 0, 0, 0]
    refusal()
    opus.page = PAGE
    refusal()
    assert part.read_bytes() == ARCHIVE[:30_000]
    opus.page = None
    opus.asked.clear()
    assert len(read()) == 2000
    assert ranges(opus) == ["bytes=30000-"]


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty there"), (b"\x1b[31mHej", r"what comes is '\x1b[31mHej'")]
)
def test_something_that_is_no_archive(opus, content, words):
    opus.put(content)
    assert words in refusal()


def test_another_archive(opus, cached):
    opus.put(archive(pairs(1), codes=("en", "sv")))
    assert "has 0 texts that end in .da-en.da, and needs one" in refusal()
    assert not cached.exists()


def test_a_redirection(opus):
    opus.put(ARCHIVE)
    opus.redirect = f"{opus.address}/moved"
    opus.stops = [50_000]
    assert len(read()) == 2000
    assert [asked for asked in opus.asked if "moved" in asked[0]][-1] == (f"/moved{PATH}", "bytes=50000-")


@pytest.mark.parametrize("target", ["file:///etc/hostname#", "ftp://127.0.0.1", "data:text/plain,"])
def test_a_redirection_out_of_the_web(opus, target):
    opus.redirect = target
    message = refusal()
    assert message.startswith(f"opus:Tiny: {opus.address}{PATH}: ")
    assert "302" in message or "unknown url type" in message


def test_a_redirection_in_circles(opus):
    opus.redirect = opus.address
    assert "answered 302" in refusal()
    assert len(opus.asked) < 20


# ---- proxies


def test_a_proxy_is_asked(opus, monkeypatch):
    opus.put(ARCHIVE)
    monkeypatch.setenv("http_proxy", opus.address)
    monkeypatch.setenv("GLOSSAE_OPUS_BASE", "http://opus.invalid")
    assert len(read()) == 2000
    assert opus.asked == [(f"http://opus.invalid{PATH}", None)]


def test_no_proxy_is_asked_for_what_is_excepted(opus, monkeypatch):
    opus.put(ARCHIVE)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert len(read()) == 2000


def test_a_broken_off_run_leaves_the_cache_usable(opus, cached, part, monkeypatch):
    """Killed between the record and the archive's own name."""
    opus.put(ARCHIVE)
    read()
    shutil.move(cached, part)
    assert len(read()) == 2000
    assert cached.read_bytes() == ARCHIVE
