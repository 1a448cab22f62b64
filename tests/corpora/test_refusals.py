"""Every way in which a text, its name or a run's roles can be wrong ends in one line that says where."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from glossae.corpora import Corpus, build_roles, read_source
from glossae.errors import GlossaeError

LANGUAGES = ("da", "en")
GOOD = "Hej med dig.\t0\nHello there.\t1\n"
UNIT = '<tu><tuv xml:lang="da"><seg>Hej</seg></tuv><tuv xml:lang="en"><seg>Hello</seg></tuv></tu>'
ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as made:
    made.writestr("x.da", "Hej.")


def refusal(source, languages=LANGUAGES, **options):
    with pytest.raises(GlossaeError) as caught:
        read_source(str(source), languages=languages, **options)
    message = str(caught.value)
    assert message.isprintable()
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


def declaring(entity):
    return tmx(UNIT, declaration=f"<!DOCTYPE tmx [\n{entity}]>")


@pytest.mark.parametrize("form", ["{}.tsv", "{}.tmx", "da={}", "cols:da,en:{}", "da={},en={}"])
def test_a_missing_file(tmp_path, form):
    assert f"{tmp_path / 'talks'}" in (message := refusal(form.replace("{}", str(tmp_path / "talks"))))
    assert "no such file" in message


def test_a_missing_file_names_the_nearest_or_the_missing_folder(write, tmp_path):
    path = write("tedtalks_train.tsv", GOOD)
    assert f"did you mean {path}?" in refusal(path.with_name("tedtalk_train.tsv"))
    assert f"nor a folder {tmp_path / 'corpora'}" in refusal(tmp_path / "corpora" / "x.tsv")


@pytest.mark.parametrize("form", ["{}", "da={}", "cols:da,en:{}", "{}.tsv", "{}.tmx"])
def test_a_folder(tmp_path, form):
    for name in ("d", "d.tsv", "d.tmx"):
        (tmp_path / name).mkdir()
    assert "is a folder: name a file in it" in refusal(form.format(tmp_path / "d"))


def test_no_regular_file():
    assert "not a regular file" in refusal("da=/dev/zero")


@pytest.mark.parametrize("name", ["x.tsv", "x.tmx", "x.csv", "x.txt"])
def test_nothing_in_a_file(write, name):
    source = f"da={write(name, '')}" if name == "x.txt" else write(name, "")
    assert refusal(source).startswith(f"{source}".removeprefix("da=") + ": is empty")
    write(name, tmx("") if name == "x.tmx" else "\n \n\n")
    if name != "x.txt":
        assert "no sentence in da or en (found: none at all)" in refusal(source)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (gzip.compress(b"x"), "is gzip-compressed: unpack it (gunzip -k"),
        (bz2.compress(b"x"), "is bzip2-compressed: unpack it (bunzip2 -k"),
        (lzma.compress(b"x"), "is xz-compressed: unpack it (unxz -k"),
        (ZIPPED.getvalue(), "is a zip archive: unpack it (unzip"),
    ],
    # gzip writes the time of day, and tests have to be called alike in every process
    ids=["gzip", "bzip2", "xz", "zip"],
)
@pytest.mark.parametrize("form", ["{}.tsv", "{}.jsonl", "{}.tmx", "da={}.txt", "cols:da,en:{}.tsv"])
def test_compressed_files(write, packed, words, form):
    for suffix in (".tsv", ".jsonl", ".tmx", ".txt"):
        path = write(f"x{suffix}", packed)
    assert words in (message := refusal(form.format(path.with_suffix(""))))
    assert str(path.with_suffix("")) in message


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("x.tsv", "Hej.\t0\nRødgrød.\t0\n".encode("latin-1"), 2, "byte 2 (0xF8) is not UTF-8; if the file is Latin-1"),
        ("x.tsv", "Rødgrød.\t0\n".encode("latin-1"), 1, "iconv -f LATIN1 -t UTF-8"),
        *(("x.tsv", GOOD.encode(f"utf-16{order}"), 1, "UTF-16") for order in ("", "-le", "-be")),
        ("x.tsv", GOOD.encode("utf-32"), 1, "iconv -f UTF-32 -t UTF-8"),
        ("x.tsv", "Hej.\t0\nHe\0j.\t0\n", 2, "holds a NUL byte"),
        ("x.tsv", "Hej.\t0\nHello there 1\n", 2, "no tab in 'Hello there 1'"),
        # a header does not shift the numbers
        ("x.tsv", "sentence\tlabel\nHej.\t0\n\nHello there 1\n", 4, "no tab"),
        ("x.tsv", "en\tda\nHello.\tHej.\nBye.\n", 3, "1 columns where 2 are named"),
        ("x.tsv", "da\ten\tdoc\nHej.\tHello.\n", 2, "2 columns where the header has 3"),
        *(
            ("x.tsv", f"Hej.\t0\nHello.\t{label}\n", 2, f"unknown label {label!r}")
            for label in ("2", "positiv", "-1", "0.0", "", "da en")
        ),
        ("x.tsv", "Hej.\t\x1b[31m" + "æ" * 10_000, 1, "\\x1b[31m"),
        ("cols:en,da,-:x.txt", "Hi.\tHej.\tCC-BY\nGo.\tGå!\n", 2, "2 columns where 3 are named"),
        ("cols:en,da:x.txt", "Hi.\tHej.\tCC-BY\n", 1, "3 columns where 2 are named"),
        ("x.tmx", (tmx(UNIT + "\n" + UNIT))[:-40], 4, "is not well-formed XML"),
        ("x.tmx", GOOD, 1, "is not well-formed XML (syntax error)"),
        ("x.tmx", "<?xml version='1.0'?>\n<html><body>Hej</body></html>", 2, "is XML but not TMX"),
        *(
            ("x.tmx", declaring(entity), 3, "declares an XML entity, which is refused")
            for entity in (
                '<!ENTITY hi "hej">',
                '<!ENTITY file SYSTEM "file:///etc/hostname">',
                '<!ENTITY % parameter SYSTEM "file:///etc/hostname"> %parameter;',
                '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">',
            )
        ),
        (
            "x.tmx",
            tmx(UNIT.replace("Hello", "&other;"), declaration='<!DOCTYPE tmx SYSTEM "tmx14.dtd">'),
            3,
            "is not well-formed XML (undefined entity",
        ),
        ("x.tmx", tmx(UNIT).replace('"1.0"', '"1.0" encoding="klingon"'), 1, ""),
        *(
            ("x.tmx", tmx(f"<tu>\n<tuv {said}><seg>Hej</seg></tuv></tu>"), 4, "a tuv's xml:lang is")
            for said in ("", 'xml:lang="danish"', 'xml:lang="dk"', 'xml:lang=" "')
        ),
        *(
            ("da=x.conllu", f"# text = Hej.\n{line}\n", 2, "is no word of CoNLL-U")
            for line in ("Hej med dig.", "1\tHej", "\t".join("x" * 10), "1-" + "\tx" * 9, "1" + "\t1" * 10, "1" * 20)
        ),
        *(
            ("x.jsonl", '{"text": "Hej.", "label": 0}\n\n' + line + "\n", 3, words)
            for line, words in (
                ("Hej.", "is not JSON at column 1: write one object a line"),
                ('{"text": "Hej."', "is not JSON at column 16"),
                ("[1, 2]", "is no JSON object but '[1, 2]'"),
                ("null", "is no JSON object but 'null'"),
                ("[" * 100_000, "is not JSON"),
                ("1" * 5000, "is not JSON"),
                ('{"text": 7, "label": 0}', "'text' is 7: write the text as a string"),
                ('{"text": ["Hej"], "label": 0}', "'text' is ['Hej']: write the text as a string"),
                ('{"text": "Hej.", "label": 2}', "label is 2: write 0 (target), 1 (reference) or a language code"),
                ('{"text": "Hej.", "label": true}', "label is True"),
                ('{"text": "Hej.", "label": null}', "label is None"),
                ('{"text": "Hej.", "label": "positiv"}', "label is 'positiv'"),
                ('{"text": "Hej.", "label": {"a": 1}}', "label is {'a': 1}"),
                ('{"text": "Hej."}', "has 'text', and needs text and language or label, or da and en"),
                ('{"label": 0}', "has 'label', and needs text and language or label, or da and en"),
                ("{}", "has nothing, and needs text and language or label"),
                ('{"\\ud800\\n": 1}', r"has '\ud800\n', and needs"),
                ('{"da": "Hej.", "pair": [1]}', "pair is [1]: write a number or a string"),
                ('{"da": "Hej.", "pair": true}', "pair is True: write a number or a string"),
            )
        ),
        *(
            ("x.csv", content, line, words)
            for content, line, words in (
                ("text,label\nHej.,0\nHej, du.,0\n", 3, "3 columns where the header has 2: put text that holds a ','"),
                ("text;label\nHej.\n", 2, "1 columns where the header has 2: put text that holds a ';' in double"),
                ('text,label\n"Hej\ndu",0\n"Tak\nskal",2\n', 4, "label is '2': write 0 (target)"),
                ('text,label\nHej.,0\n"Tak.,0\nMere.,0\n', 3, "is not CSV (unexpected end of data): put text"),
                ('text,label\n"Hej" du.,0\n', 2, "is not CSV (',' expected after '\"'): put text"),
                ("text,label\nHej\rdu.,0\n", 2, "is not CSV (new-line character seen in unquoted field): put"),
                ("text,label,text\nHej.,0,x\n", 1, "the column 'text' is there twice: rename one"),
                ("sentence,class\nHej.,0\n", 2, "has 'sentence', 'class', and needs text and language or label"),
                (",".join(f"field {n}" for n in range(500)) + "\n" + "x," * 499 + "x", 2, "'field 11' and 488 more"),
            )
        ),
        ("da=x.jsonl", '{"tokens": ["Hej"]}\n', 1, "has tokens and no text"),
        ("da=x.csv", "sentiment\ngood\n", 2, "has 'sentiment', and needs text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line(write, name, content, line, words):
    file = name.rpartition("=" if "=" in name else ":")[2]
    path = write(file, content)
    message = refusal(name.replace(file, str(path)))
    assert message.startswith(f"{path}, line {line}: ")
    assert words in message


def test_a_line_without_an_end(write, monkeypatch):
    monkeypatch.setattr("glossae.corpora.lines._MAX_LINE", 1000)
    path = write("x.txt", "Hej.\n" + "a" * 1001)
    assert f"{path}, line 2: is longer than 1,000 bytes" in refusal(f"da={path}")
    assert "no sentence in en" in refusal(f"da={write('x.txt', 'a' * 1000)}", languages=("en",))


def test_unequal_aligned_files(write):
    danish, english = write("x.da", "Hej.\nFarvel.\nTak.\n"), write("x.en", "Hello.\nBye.")
    assert f"{danish} has 3, {english} has 2 lines" in refusal(f"da={danish},en={english}")


def test_no_sentence_in_a_wanted_language(write):
    path = write("x.tsv", "Hallo.\tde\nBonjour.\tfr\nTschüß.\tde\n")
    assert "x.tsv: no sentence in da or en (found: 2 in de, 1 in fr)" in refusal(path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        *(
            (odd, "sources are: PATH.tsv, PATH.jsonl, PATH.csv, PATH.tmx, cols:en,da,-:PATH")
            for odd in ("ops:ELRC_2923", "x.xlsx", "nonsense", "-")
        ),
        *(
            (name, f"{name!r}: is compressed: unpack it and name what comes out")
            for name in ("x.tsv.gz", "x.zip", "x.txt.xz")
        ),
        ("x.json", "write an object a line into a .jsonl file"),
        ("x.txt", "write da=x.txt for a sentence a line"),
        ("x.conllu", "does not say its language: write da=x.conllu"),
        (__file__, f"write da={__file__} for a sentence a line"),
        ("danish=x", "'danish' is not a language code"),
        ("dk=x", "'dk' is not a language code: write one such as da"),
        ("cz=x", "'cz' is not a language code: write one such as cs"),
        ("qz=x", "'qz' is not a language code: write one such as da"),
        ("da=x.tmx", "says itself which language a sentence is in: write x.tmx"),
        (
            "da=x.tsv",
            "has columns, and says itself which language a line is in: write x.tsv, or cols:da,-:x.tsv",
        ),
        ("da=x.txt,en=y.TSV", "write y.TSV"),
        ("da=x.json", "is JSON in one piece"),
        ("da=x.html", "is markup"),
        ("da=x.txt.gz", "is compressed"),
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
def test_sources_that_are_not_understood(source, reason):
    assert reason in refusal(source)


def test_a_misspelt_generator():
    assert "did you mean toy?" in refusal("toi", generators={"toy": lambda *_: Corpus(())})


@pytest.mark.parametrize("languages", [(), ("danish",), ("da", "")])
def test_languages_that_are_no_codes(languages):
    assert "give language codes such as da" in refusal("x.tsv", languages)


def roles_refusal(specs, *, target="da", reference="en", others=(), **options):
    with pytest.raises(GlossaeError) as caught:
        build_roles(specs, target=target, reference=reference, others=others, seed=0, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def lines(label, number, prefix="sætning"):
    return "".join(f"{prefix} {i}\t{label}\n" for i in range(number))


def test_one_language_only(write):
    path = write("x.tsv", lines(0, 40))
    assert "corpora.train: no en sentence (read from x.tsv; 0 read)" in roles_refusal({"train": str(path)})
    write("x.tsv", lines(1, 40))
    assert "corpora.train: no da sentence" in roles_refusal({"train": str(path)})
    write("x.tsv", lines(0, 40) + lines(1, 40))
    message = roles_refusal({"train": str(path), "test": str(write("y.tsv", lines(1, 9, "other")))})
    assert "corpora.test: no da sentence (read from y.tsv; 0 read)" in message


def test_a_role_that_repeats_an_earlier_one(write):
    train = str(write("x.tsv", lines(0, 40) + lines(1, 40)))
    assert roles_refusal({"train": train, "select": train}) == (
        "corpora.select: all 80 sentences of x.tsv are in corpora.train already: one text cannot be in two roles; "
        "give corpora.select other text"
    )


def test_too_little_to_cut(write):
    message = roles_refusal({"train": str(write("x.tsv", lines(0, 2) + lines(1, 2)))})
    cut = "20 % of what test leaves of select, cut by pair, seed 0; 0 read"
    assert f"corpora.tune: no da sentence ({cut})" in message


def test_a_missing_file_is_found_before_any_is_read(write):
    train, test = write("x.tsv", "no tab\n"), write("y.tsv", "")
    assert f"{test}: is empty" in roles_refusal({"train": str(train), "test": str(test)})


@pytest.mark.parametrize(
    ("specs", "options", "message"),
    [
        *(
            (specs, {}, "corpora.train: is missing")
            for specs in ({}, {"train": None}, {"train": None, "test": "x"})
        ),
        *(({"train": spec}, {}, "corpora.train: names no source") for spec in ("", "  ")),
        ({"train": "x", "tset": "y"}, {}, "corpora.tset: there is no such role: did you mean test?"),
        ({"train": "x", "dev": "y"}, {}, "the roles are train, select"),
        ({"train": "x.tsv", "tune": "opus:"}, {}, "corpora.tune: 'opus:': names no"),
        ({"train": "x.tsv x.tsv"}, {}, "corpora.train: 'x.tsv': is named twice"),
        ({"train": "'x.tsv"}, {}, "a quote is not closed"),
        ({"text": "nowhere.xyz"}, {}, "corpora.text: 'nowhere.xyz': is not a source"),
        (
            {"text": "x.tsv", "train": "y.tsv"},
            {},
            "corpora.train: is cut out of corpora.text: give one of the",
        ),
        (
            {"text": "x.tsv", "panel": "y.tsv"},
            {},
            "corpora.panel: is cut out of corpora.text: give one of the",
        ),
        *(({"train": "x.tsv"}, {"limit": odd}, f"corpora.limit: {odd}: write a number") for odd in (0, -3)),
        ({"text": "x.tsv"}, {"panel_limit": 0}, "corpora.panel_limit: 0: write a number"),
        ({"train": "x.tsv"}, {"target": "danish"}, "languages.target: 'danish'"),
        ({"train": "x.tsv"}, {"reference": "da-DK"}, "languages.reference: da is named twice"),
        ({"train": "x.tsv"}, {"others": ["no", "nb"]}, "languages.others: nb is part of no (Norwegian)"),
        ({"train": "x.tsv"}, {"others": ["sv", "en"]}, "languages.others: en is named twice"),
    ],
)
def test_what_is_wrong_with_a_runs_text(specs, options, message):
    assert message in roles_refusal(specs, **options)
