"""Every way a text file can be wrong ends in one line that names the file and the line."""

import bz2
import gzip
import io
import lzma
import re
import zipfile

import pytest

from glossae.errors import GlossaeError
from glossae.text import Corpus, build_roles, read_source

LANGUAGES = ("da", "en")
GOOD = "Hej med dig.\t0\nHello there.\t1\n"


def refusal(source, languages=LANGUAGES, **options):
    with pytest.raises(GlossaeError) as caught:
        read_source(str(source), languages=languages, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def tmx(body, declaration=""):
    return f'<?xml version="1.0"?>\n{declaration}<tmx version="1.4"><header/><body>\n{body}\n</body></tmx>\n'


UNIT = '<tu><tuv xml:lang="da"><seg>Hej</seg></tuv><tuv xml:lang="en"><seg>Hello</seg></tuv></tu>'


@pytest.mark.parametrize("form", ["{}.tsv", "{}.tmx", "da={}", "cols:da,en:{}", "da={},en={}"])
def test_missing_file(tmp_path, form):
    message = refusal(form.replace("{}", str(tmp_path / "talks")))
    assert str(tmp_path / "talks") in message
    assert "no such file" in message


def test_missing_file_names_the_nearest(write):
    path = write("tedtalks_train.tsv", GOOD)
    assert f"did you mean {path}?" in refusal(path.with_name("tedtalk_train.tsv"))


def test_missing_folder_is_named(tmp_path):
    assert f"nor a folder {tmp_path / 'corpora'}" in refusal(tmp_path / "corpora" / "x.tsv")


@pytest.mark.parametrize("form", ["{}", "da={}", "cols:da,en:{}", "{}.tsv", "{}.tmx"])
def test_folder(tmp_path, form):
    for name in ("d", "d.tsv", "d.tmx"):
        (tmp_path / name).mkdir()
    message = refusal(form.format(tmp_path / "d"))
    assert "is a folder: name a file in it" in message


def test_not_a_regular_file():
    assert "not a regular file" in refusal("da=/dev/zero")


@pytest.mark.parametrize("form", ["{}.tsv", "{}.tmx", "da={}.tsv"])
def test_empty_file(write, form):
    path = write("x.tsv", "")
    write("x.tmx", "")
    message = refusal(form.format(path.with_suffix("")))
    assert message.startswith(str(path.with_suffix("")))
    assert "is empty" in message


def test_file_without_a_sentence(write):
    assert "no sentence in da or en (found: none at all)" in refusal(write("x.tsv", "\n \n\n"))
    assert "no sentence in da or en (found: none at all)" in refusal(write("x.tmx", tmx("")))


def test_latin_1(write):
    path = write("x.tsv", "Hej.\t0\nRødgrød.\t0\n".encode("latin-1"))
    message = refusal(path)
    assert f"{path}, line 2: byte 2 (0xF8) is not UTF-8" in message
    assert "iconv -f LATIN1 -t UTF-8" in message


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "iconv -f UTF-32 -t UTF-8"),
    ],
)
def test_utf_16(write, encoding, named):
    path = write("x.tsv", GOOD.encode(encoding))
    message = refusal(path)
    assert f"{path}, line 1: " in message
    assert named in message


def test_nul_byte(write):
    path = write("x.tsv", "Hej.\t0\nHe\0j.\t0\n")
    assert f"{path}, line 2: holds a NUL byte" in refusal(path)


def test_line_without_a_tab(write):
    path = write("x.tsv", "Hej.\t0\nHello there 1\n")
    assert f"{path}, line 2: no tab in 'Hello there 1'" in refusal(path)


def test_header_does_not_shift_the_line_numbers(write):
    path = write("x.tsv", "sentence\tlabel\nHej.\t0\n\nHello there 1\n")
    assert f"{path}, line 4: no tab" in refusal(path)
    path = write("y.tsv", "en\tda\nHello.\tHej.\nBye.\n")
    assert f"{path}, line 3: 1 columns where 2 are named" in refusal(path)


@pytest.mark.parametrize("label", ["2", "positiv", "-1", "0.0", "", "da en"])
def test_unknown_label(write, label):
    path = write("x.tsv", f"Hej.\t0\nHello.\t{label}\n")
    assert f"{path}, line 2: unknown label {label!r}" in refusal(path)


def test_unknown_label_is_escaped_and_shortened(write):
    message = refusal(write("x.tsv", "Hej.\t\x1b[31m" + "æ" * 10_000))
    assert "\x1b" not in message
    assert "\\x1b[31m" in message
    assert len(message) < 300


def test_wrong_number_of_columns(write):
    path = write("x.txt", "Hi.\tHej.\tCC-BY\nGo.\tGå!\n")
    assert f"{path}, line 2: 2 columns where 3 are named" in refusal(f"cols:en,da,-:{path}")
    assert f"{path}, line 1: 3 columns where 2 are named" in refusal(f"cols:en,da:{path}")


def test_truncated_tmx(write):
    path = write("x.tmx", tmx(UNIT + "\n" + UNIT)[:-40])
    assert re.search(re.escape(str(path)) + r", line \d+: is not well-formed XML", refusal(path))


def test_tmx_that_is_not_xml(write):
    path = write("x.tmx", GOOD)
    assert f"{path}, line 1: is not well-formed XML (syntax error)" in refusal(path)


def test_xml_that_is_not_tmx(write):
    path = write("x.tmx", "<?xml version='1.0'?>\n<html><body>Hej</body></html>")
    assert f"{path}, line 2: is XML but not TMX" in refusal(path)


@pytest.mark.parametrize(
    "entity",
    [
        '<!ENTITY hi "hej">',
        '<!ENTITY file SYSTEM "file:///etc/hostname">',
        '<!ENTITY % parameter SYSTEM "file:///etc/hostname"> %parameter;',
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">',
    ],
)
def test_tmx_with_an_entity(write, entity):
    path = write("x.tmx", tmx(UNIT, declaration=f"<!DOCTYPE tmx [\n{entity}]>"))
    assert f"{path}, line 3: declares an XML entity, which is refused" in refusal(path)


def test_tmx_with_an_undeclared_entity(write):
    body = UNIT.replace("Hello", "&other;")
    path = write("x.tmx", tmx(body, declaration='<!DOCTYPE tmx SYSTEM "tmx14.dtd">'))
    assert f"{path}, line 3: is not well-formed XML (undefined entity" in refusal(path)


def test_tmx_in_an_unknown_encoding(write):
    path = write("x.tmx", tmx(UNIT).replace('"1.0"', '"1.0" encoding="klingon"'))
    assert f"{path}, line 1: " in refusal(path)


@pytest.mark.parametrize("attribute", ["", 'xml:lang=""', 'xml:lang="danish"'])
def test_tmx_translation_without_a_language(write, attribute):
    path = write("x.tmx", tmx(f"<tu>\n<tuv {attribute}><seg>Hej</seg></tuv></tu>"))
    assert f"{path}, line 4: a tuv's xml:lang is" in refusal(path)


def test_unequal_aligned_files(write):
    danish, english = write("x.da", "Hej.\nFarvel.\nTak.\n"), write("x.en", "Hello.\nBye.")
    message = refusal(f"da={danish},en={english}")
    assert f"{danish} has 3, {english} has 2 lines" in message


def test_no_sentence_in_a_wanted_language(write):
    path = write("x.tsv", "Hallo.\tde\nBonjour.\tfr\nTschüß.\tde\n")
    assert "x.tsv: no sentence in da or en (found: 2 in de, 1 in fr)" in refusal(path)


@pytest.mark.parametrize("source", ["ops:ELRC_2923", "x.xlsx", "nonsense", "-"])
def test_source_that_is_not_understood(source):
    assert "sources are: PATH.tsv, PATH.jsonl, PATH.csv, PATH.tmx, cols:en,da,-:PATH" in refusal(source)


@pytest.mark.parametrize("name", ["x.tsv.gz", "x.zip", "x.txt.xz"])
def test_source_that_is_compressed(name):
    assert f"{name!r}: is compressed: unpack it and name what comes out" in refusal(name)


@pytest.mark.parametrize(
    ("packer", "words"),
    [
        (gzip.compress, "is gzip-compressed: unpack it (gunzip -k"),
        (bz2.compress, "is bzip2-compressed: unpack it (bunzip2 -k"),
        (lzma.compress, "is xz-compressed: unpack it (unxz -k"),
    ],
)
@pytest.mark.parametrize("form", ["{}.tsv", "{}.jsonl", "{}.csv", "{}.tmx", "da={}.tsv", "cols:da,en:{}.tsv"])
def test_compressed_file(write, packer, words, form):
    for suffix in (".tsv", ".jsonl", ".csv", ".tmx"):
        path = write(f"x{suffix}", packer(GOOD.encode()))
    message = refusal(form.format(path.with_suffix("")))
    assert words in message
    assert str(path.with_suffix("")) in message


def test_zip_archive_of_ones_own(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.da", "Hej.")
    path = write("x.txt", file.getvalue())
    assert f"{path}: is a zip archive: unpack it (unzip {path})" in refusal(f"da={path}")


def test_json_in_one_piece(write):
    assert "write an object a line into a .jsonl file" in refusal(write("x.json", "[]"))


def test_line_without_an_end(write, monkeypatch):
    monkeypatch.setattr("glossae.text.lines._MAX_LINE", 1000)
    path = write("x.txt", "Hej.\n" + "a" * 1001)
    assert f"{path}, line 2: is longer than 1,000 bytes" in refusal(f"da={path}")
    assert "no sentence in en" in refusal(f"da={write('x.txt', 'a' * 1000)}", languages=("en",))


def test_misspelt_generator():
    assert "did you mean toy?" in refusal("toi", generators={"toy": lambda *_: Corpus(())})


def test_text_that_does_not_say_its_language(write):
    for name in ("x.txt", "x.da"):
        assert f"write da={write(name, 'Hej.')} for a sentence a line" in refusal(write(name, "Hej."))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("danish=x", "'danish' is not a language code"),
        ("da=x,english=y", "'english' is not a language code"),
        ("da=", "no file after da="),
        ("da=x,en=", "no file after en="),
        ("da=x,da-DK=y", "a language is named twice"),
        ("cols:en,da", "write cols:CODE"),
        ("cols::x", "write cols:CODE"),
        ("cols:en,en:x", "a language is named twice"),
        ("cols:-,-:x", "every column is passed over"),
        ("cols:en,2:x", "'2' is not a language code"),
    ],
)
def test_malformed_source(source, reason):
    assert reason in refusal(source)


@pytest.mark.parametrize("languages", [(), ("danish",), ("da", "")])
def test_languages_that_are_no_codes(languages):
    with pytest.raises(GlossaeError, match=r"languages: .*two or three letters"):
        read_source("x.tsv", languages=languages)


# what only a whole run can get wrong


def roles_refusal(specs, *, target="da", reference="en", others=(), **options):
    with pytest.raises(GlossaeError) as caught:
        build_roles(specs, target=target, reference=reference, others=others, seed=0, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(label, number, prefix="sætning"):
    return "".join(f"{prefix} {i}\t{label}\n" for i in range(number))


def test_one_language_only(write):
    path = write("x.tsv", lines(0, 40))
    message = roles_refusal({"train": str(path)})
    assert "corpora.train: no en sentence (read from x.tsv; 0 read)" in message
    write("x.tsv", lines(1, 40))
    assert "corpora.train: no da sentence" in roles_refusal({"train": str(path)})


def test_one_language_only_in_a_later_role(write):
    train, test = write("x.tsv", lines(0, 40) + lines(1, 40)), write("y.tsv", lines(1, 9, "other"))
    message = roles_refusal({"train": str(train), "test": str(test)})
    assert "corpora.test: no da sentence (read from y.tsv; 0 read)" in message


def test_role_that_repeats_an_earlier_one(write):
    train = write("x.tsv", lines(0, 40) + lines(1, 40))
    message = roles_refusal({"train": str(train), "select": str(train)})
    assert message == (
        "corpora.select: all 80 sentences of x.tsv are in corpora.train already: one text cannot be in two roles; "
        "give corpora.select other text"
    )


def test_too_little_to_cut(write):
    train = write("x.tsv", lines(0, 2) + lines(1, 2))
    message = roles_refusal({"train": str(train)})
    assert (
        "corpora.tune: no da sentence (20 % of what test leaves of select, cut by pair, seed 0; 0 read)"
        in message
    )


@pytest.mark.parametrize("specs", [{}, {"train": None}, {"train": None, "test": "x.tsv"}])
def test_train_missing(specs):
    assert "corpora.train: is missing" in roles_refusal(specs)


@pytest.mark.parametrize("spec", ["", "  "])
def test_no_source_named(spec):
    assert "corpora.train: names no source" in roles_refusal({"train": spec})


def test_unknown_role(write):
    assert "corpora.tset: there is no such role: did you mean test?" in roles_refusal(
        {"train": "x", "tset": "y"}
    )
    assert "the roles are train, select" in roles_refusal({"train": "x", "dev": "y"})


def test_source_mistake_names_its_role():
    assert roles_refusal({"train": "x.tsv", "tune": "opus:"}).startswith("corpora.tune: 'opus:': names no")


def test_missing_file_is_found_before_any_is_read(write):
    train, test = write("x.tsv", "no tab\n"), write("y.tsv", "")
    assert f"{test}: is empty" in roles_refusal({"train": str(train), "test": str(test)})


def test_source_twice_and_open_quote():
    assert "corpora.train: 'x.tsv': is named twice" in roles_refusal({"train": "x.tsv x.tsv"})
    assert "a quote is not closed" in roles_refusal({"train": "'x.tsv"})


@pytest.mark.parametrize("limit", [0, -3])
def test_impossible_limit(limit):
    assert f"corpora.limit: {limit}" in roles_refusal({"train": "x.tsv"}, limit=limit)


def test_languages_of_a_run():
    assert "languages.target: 'danish'" in roles_refusal({"train": "x.tsv"}, target="danish")
    assert "languages.reference: da is named twice" in roles_refusal({"train": "x.tsv"}, reference="da-DK")
    assert "languages.others: en is named twice" in roles_refusal({"train": "x.tsv"}, others=["sv", "en"])
