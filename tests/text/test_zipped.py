"""Archives that are no good, read where they lie: refused in one line, and nothing is ever unpacked."""

import io
import stat
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import clean_text, read_source
from opus_server import archive

LANGUAGES = ("da", "en")
PAIRS = [(f"Sætning nummer {i}.", f"Sentence number {i}.") for i in range(40)]
GOOD = archive(PAIRS)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Where the archive lies."""
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path))
    return tmp_path / "opus" / "Tiny" / "v1" / "da-en.txt.zip"


def read(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.json").unlink(missing_ok=True)
    path.write_bytes(content)
    corpus = read_source("opus:Tiny", languages=LANGUAGES).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


def refusal(path, content):
    with pytest.raises(GlossaeError) as caught:
        read(path, content)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert message.startswith(str(path))
    return message


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, content); a name may be a whole ZipInfo."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


TEXTS = (("Tiny.da-en.da", "Hej.\n"), ("Tiny.da-en.en", "Hello.\n"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated(cached, method):
    assert read(cached, zipped(*TEXTS, method=method)) == [("da", "Hej."), ("en", "Hello.")]
    assert {path.name for path in cached.parent.iterdir()} <= {
        cached.name, f"{cached.name}.json", f".{cached.name}.lock"
    }  # fmt: skip


def test_encoding_and_lines_are_those_of_a_file(cached):
    content = zipped(
        ("Tiny.da-en.da", b"\xef\xbb\xbfHej\xe2\x80\xa8med dig.\r\nTak."),
        ("Tiny.da-en.en", "Hello.\nThanks.\n"),
    )
    assert read(cached, content) == [
        ("da", "Hej med dig."),
        ("en", "Hello."),
        ("da", "Tak."),
        ("en", "Thanks."),
    ]


@pytest.mark.parametrize(
    ("danish", "words"),
    [
        ("Rødgrød.\n".encode("latin-1"), "/Tiny.da-en.da, line 1: byte 2 (0xF8) is not UTF-8"),
        (b"Hej.\nHe\0j.\n", "/Tiny.da-en.da, line 2: holds a NUL byte"),
        (b"Hej.\nTak.\n", "/Tiny.da-en.en has 1 lines: files aligned by line need the same number"),
    ],
)
def test_what_is_wrong_with_a_text_names_it_and_the_line(cached, danish, words):
    assert words in refusal(cached, zipped(("Tiny.da-en.da", danish), TEXTS[1]))


def test_an_archive_without_a_text(cached):
    assert "has 0 texts that end in .da-en.en" in refusal(cached, zipped(TEXTS[0], ("README", "x")))
    assert "(it holds nothing)" in refusal(cached, zipped())


def test_an_archive_with_a_text_twice(cached):
    assert "has 2 texts that end in .da-en.da" in refusal(
        cached, zipped(*TEXTS, ("x/Tiny.da-en.da", "Hej.\n"))
    )


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\\\host\\evil"]
)
def test_a_path_that_leads_out(cached, tmp_path, name):
    info = zipfile.ZipInfo("x")
    info.filename = name
    assert "which leads out of the archive: that is no archive of text" in refusal(
        cached, zipped(*TEXTS, (info, "evil"))
    )
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link(cached):
    info = zipfile.ZipInfo("Tiny.da-en.da")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "'Tiny.da-en.da', which is a link" in refusal(cached, zipped((info, "/etc/hostname"), TEXTS[1]))


def central(content, offset, value):
    """The archive with bytes of its first member's entry in the central directory changed."""
    at = content.index(b"PK\x01\x02") + offset
    return content[:at] + value + content[at + len(value) :]


def test_encryption(cached):
    assert "which is encrypted" in refusal(cached, central(zipped(*TEXTS), 8, b"\x01\x00"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(cached, method):
    assert f"compressed by method {method}, neither stored nor deflated" in refusal(
        cached, zipped(*TEXTS, method=method)
    )


def test_a_compression_that_nobody_knows(cached):
    assert "compressed by method 77" in refusal(cached, central(zipped(*TEXTS), 10, b"\x4d\x00"))


def test_a_bomb(cached):
    bomb = zipped(("Tiny.da-en.da", bytes(2**26 + 1)), TEXTS[1])
    assert len(bomb) < 100_000
    message = refusal(cached, bomb)
    assert "'Tiny.da-en.da', whose" in message
    assert "bytes unpack to 67,108,865: that is no archive of text" in message


def test_a_size_that_is_only_written_down(cached):
    message = refusal(cached, central(zipped(*TEXTS), 24, b"\xfe\xff\xff\xff"))
    assert "whose 7 bytes unpack to 4,294,967,294" in message


def test_a_text_larger_than_memory(cached, monkeypatch):
    monkeypatch.setattr("glossae.text.opus._MAX_BYTES", 10_000)
    assert read(cached, zipped(("Tiny.da-en.da", "a" * 10_000), ("Tiny.da-en.en", "a")))
    message = refusal(cached, zipped(("Tiny.da-en.da", "a" * 10_001), ("Tiny.da-en.en", "a")))
    assert "'Tiny.da-en.da', which has 10,001 bytes unpacked, and 10,000 are the most" in message


def test_a_small_text_that_repeats_itself_is_no_bomb(cached):
    lines = "Det er en linje.\n" * 20_000
    assert read(cached, zipped(("Tiny.da-en.da", lines), ("Tiny.da-en.en", lines)))


def test_more_unpacks_than_is_written_down(cached):
    text = ("Tiny.da-en.da", "Hej.\n" * 1000)
    message = refusal(cached, central(zipped(text, TEXTS[1]), 24, (5).to_bytes(4, "little")))
    assert "is no zip archive, or a damaged one (Bad CRC-32 for file 'Tiny.da-en.da')" in message


def test_less_unpacks_than_is_written_down(cached):
    message = refusal(cached, central(zipped(*TEXTS), 24, (50).to_bytes(4, "little")))
    assert "is no zip archive, or a damaged one ('Tiny.da-en.da' is shorter than written down)" in message


def test_damage_inside_a_text(cached):
    content = zipped(("Tiny.da-en.da", "Hej.\n" * 10), TEXTS[1], method=zipfile.ZIP_STORED)
    at = content.index(b"Hej.\nHej")
    message = refusal(cached, content[:at] + b"Nej." + content[at + 4 :])
    assert "Bad CRC-32 for file 'Tiny.da-en.da'" in message
    assert "where it was kept, delete it to have it fetched again" in message


@pytest.mark.parametrize("size", [1, 10, 100, len(GOOD) // 2, len(GOOD) - 1])
def test_a_truncated_archive(cached, size):
    assert "is no zip archive, or a damaged one" in refusal(cached, GOOD[:size])


# ---- properties

lines = st.text(st.characters(exclude_characters="\n\0\ufeff", exclude_categories=["Cs"]), min_size=1)
sentences = lines.map(clean_text).filter(bool)
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_disk
@given(
    st.lists(st.tuples(sentences, sentences), min_size=1, unique_by=(lambda row: row[0], lambda row: row[1]))
)
def test_an_archive_is_read_back(cached, rows):
    assert read(cached, archive(rows)) == [
        (code, text) for row in rows for code, text in zip(LANGUAGES, row, strict=True)
    ]


def one_line_or_none(path, content):
    try:
        read(path, content)
    except GlossaeError as error:
        return "\n" not in str(error)
    return True


@on_disk
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives_never_crash(cached, damage):
    content = bytearray(GOOD)
    for place, value in damage:
        content[place] = value
    assert one_line_or_none(cached, bytes(content))


@on_disk
@given(st.binary())
def test_arbitrary_bytes_never_crash(cached, content):
    for whole in (content, GOOD[:300] + content, content + GOOD):
        assert one_line_or_none(cached, whole)
