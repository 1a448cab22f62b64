"""Files of every format with one fault each: the command line refuses each in one line, and writes nothing."""

import bz2
import gzip
import io
import lzma
import os
import resource
import subprocess
import sys
import zipfile
from typing import NamedTuple

import pytest

from glossae.cli import main
from glossae.corpora import read_source

# each with a word of its own, or they would be near duplicates
NAMES = [first + second for first in "bdfghklm" for second in "aeiouy"]
SENTENCES = [(f"Hunden {name} er på dansk.", f"The dog {name} is English.") for name in NAMES]
# the place of the fault: after so many lines
BEFORE = 5


def words(sentence):
    forms = sentence.split()
    return [
        "\t".join([str(place), form, *["_"] * 8])
        for place, form in enumerate(forms, 1)
    ]  # fmt: skip


def unit(danish, english, code="da"):
    return f'<tu><tuv xml:lang="{code}"><seg>{danish}</seg></tuv><tuv xml:lang="en"><seg>{english}</seg></tuv></tu>'


TREEBANK = [line for danish, _ in SENTENCES for line in (f"# text = {danish}", *words(danish), "")]
FORMS = {
    "labelled.tsv": (
        "{}",
        [f"{text}\t{label}" for pair in SENTENCES for label, text in enumerate(pair)],
    ),
    "header.tsv": ("{}", ["da\ten", *("\t".join(pair) for pair in SENTENCES)]),
    "documents.tsv": ("{}", ["da\ten\tdoc", *("\t".join([*pair, "talk"]) for pair in SENTENCES)]),
    "columns.txt": ("cols:da,en,-:{}", [f"{danish}\t{english}\tCC-BY" for danish, english in SENTENCES]),
    "aligned.txt": ("da={},en={}.en", [danish for danish, _ in SENTENCES]),
    "records.jsonl": (
        "{}",
        [f'{{"text": "{text}", "label": {label}}}' for pair in SENTENCES for label, text in enumerate(pair)],
    ),
    "languages.jsonl": ("{}", [f'{{"da": "{danish}", "en": "{english}"}}' for danish, english in SENTENCES]),
    "records.csv": (
        "{}",
        ["text,label", *(f'"{text}",{label}' for pair in SENTENCES for label, text in enumerate(pair))],
    ),
    "languages.csv": ("{}", ["da;en", *(f"{danish};{english}" for danish, english in SENTENCES)]),
    "treebank.conllu": ("da={} en={}.en", TREEBANK),
    "memory.tmx": (
        "{}",
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<tmx version="1.4"><header/><body>',
            *(unit(danish, english) for danish, english in SENTENCES),
            "</body></tmx>",
        ],
    ),
}


class Fault(NamedTuple):
    form: str
    content: bytes
    line: int | None
    says: str


def lines_of(form):
    return list(FORMS[form][1])


def as_bytes(lines):
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)


def inserted(form, says, *lines, line=BEFORE + 1, place=BEFORE):
    """A fault in lines that stand after the first `BEFORE`."""
    own = lines_of(form)
    return Fault(form, as_bytes([*own[:place], *lines, *own[place:]]), line, says)


def packed():
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x", "Hej.")
    return {
        "gzip": gzip.compress(b"Hej."),
        "bzip2": bz2.compress(b"Hej."),
        "xz": lzma.compress(b"Hej."),
        "zip": zipped.getvalue(),
        "zstd": b"\x28\xb5\x2f\xfd" + b"x" * 20,
    }


def of_every_format():
    """Faults of bytes, which every reader has to notice."""
    for form in FORMS:
        own = as_bytes(lines_of(form))
        yield Fault(form, b"", None, "is empty")
        for kind, content in packed().items():
            yield Fault(
                form, content, None, f"is {'a zip archive' if kind == 'zip' else kind + '-compressed'}"
            )
        if form == "memory.tmx":
            yield Fault(form, own[: len(own) // 2], None, "is not well-formed XML")
            yield inserted(form, "is not well-formed XML", b"<tu>\xe6</tu>")
            yield inserted(form, "is not well-formed XML", "<tu>\0</tu>")
            yield Fault(form, own.decode().encode("utf-32"), 1, "is not well-formed XML")
            continue
        # line 2, because a reader may look ahead of the first
        yield inserted(form, "is not UTF-8", b"R\xf8dgr\xf8d", place=1, line=2)
        yield inserted(form, "is not UTF-8", "Rødgrød".encode()[:2], place=1, line=2)
        yield inserted(form, "holds a NUL byte", "Rød\0grød", place=1, line=2)
        yield Fault(form, own.replace(b"\n", b"\r"), 1, "carriage returns alone")
        for encoding in ("utf-16", "utf-32"):
            yield Fault(form, own.decode().encode(encoding), 1, f"is {encoding.upper()}")
        yield Fault(form, own.decode().encode("utf-16-le"), 1, "UTF-16")


def of_one_format():
    tsv, header, documents = "labelled.tsv", "header.tsv", "documents.tsv"
    for line, says in {
        "Hej med dig": "no tab",
        "Hej med dig\t2": "unknown label '2'",
        "Hej med dig\t": "unknown label ''",
        "Hej med dig\tdansk": "unknown label 'dansk'",
        "Hej med dig\tdk": "unknown label 'dk'",
        "Hej med dig\tnull": "unknown label 'null'",
        "Hej\t0\rMere\t1": "carriage return",
        '"Hej med': "no tab",
    }.items():
        yield inserted(tsv, says, line)
    for line, says in {
        "Hej": "1 columns where 2 are named",
        "Hej\tHello\tSalut": "3 columns where 2 are named",
        "Hej\tHello\rTak\tThanks": "3 columns where 2 are named",
        "en\tda": "is a header with the languages in another order",
    }.items():
        yield inserted(header, says, line)
    yield Fault(
        header,
        as_bytes(["da\tda-DK\ten", *("\t".join(["x", *pair]) for pair in SENTENCES)]),
        1,
        "two columns of da",
    )
    yield inserted(documents, "2 columns where the header has 3", "Hej\tHello")
    yield inserted(documents, "4 columns where the header has 3", "Hej\tHello\tSalut\ttalk")
    yield inserted("columns.txt", "2 columns where 3 are named", "Hej\tHello")
    yield inserted("columns.txt", "is a header with the languages in another order", "en\tda\tlicense")
    yield Fault("aligned.txt", as_bytes([*lines_of("aligned.txt"), "Hej"]), None, "need the same number")
    for line, says in {
        "Hej": "is not JSON",
        '{"text": "Hej", "label": 0': "is not JSON",
        '{"text": "Hej", "label": 0} {"text": "Tak", "label": 0}': "is not JSON",
        '["Hej", 0]': "is no JSON object",
        "NaN": "is no JSON object",
        "[" * 100_000: "is not JSON",
        '{"text": "Hej", "label": ' + "9" * 5_000 + "}": "is not JSON",
        '{"text": "Hej", "text": "Tak", "label": 0}': "has the field 'text' twice",
        '{"text": "Hej"}': "needs text and language or label",
        '{"label": 0}': "needs text and language or label",
        '{"text": NaN, "label": 0}': "'text' is nan",
        '{"text": 7, "label": 0}': "'text' is 7",
        '{"text": ["Hej"], "label": 0}': "'text' is ['Hej']",
        '{"text": "Hej", "label": NaN}': "label is nan",
        '{"text": "Hej", "label": null}': "label is None",
        '{"text": "Hej", "label": "null"}': "label is 'null'",
        '{"text": "Hej", "label": Infinity}': "label is inf",
        '{"text": "Hej", "label": 0.5}': "label is 0.5",
        '{"text": "Hej", "label": true}': "label is True",
        '{"text": "Hej", "label": 0, "pair": NaN}': "pair is nan",
        '{"text": "Hej", "label": 0, "pair": []}': "pair is []",
        '{"text": "Hej", "label": 0, "doc": {}}': "doc is {}",
    }.items():
        yield inserted("records.jsonl", says, line)
    yield inserted(
        "languages.jsonl", "has two fields of one language", '{"da": "Hej", "da-DK": "Tak", "en": "Hello"}'
    )
    yield inserted("languages.jsonl", "'en' is 7", '{"da": "Hej", "en": 7}')
    for line, says in {
        '"Hej",0,1': "3 columns where the header has 2",
        '"Hej"': "1 columns where the header has 2",
        '"Hej" du,0': "is not CSV",
        '"Hej,0': "is not CSV",
        "Hej\rdu,0": "is not CSV",
        '"Hej",2': "label is '2'",
        '"Hej",': "label is ''",
        '"Hej",null': "label is 'null'",
        "label,text": "is a header with the columns in another order",
    }.items():
        yield inserted("records.csv", says, line)
    opened = ['"Hej', *(f"Mere {number},{number % 2}" for number in range(3)), 'Tak",0']
    yield inserted("records.csv", "runs on over 5 lines that look like rows of their own", *opened)
    yield inserted("languages.csv", "3 columns where the header has 2", "Hej;Hello;Salut")
    yield inserted("languages.csv", "is a header with the columns in another order", "en;da")
    for name, own in {"twice": ["da;da", "Hej;Hej"], "of one": ["da;da-DK;en", "Hej;Hej;Hello"]}.items():
        yield Fault(
            "languages.csv",
            as_bytes(own),
            None,
            {"twice": "is there twice", "of one": "has two fields"}[name],
        )
    blanks = "\t".join(["_"] * 8)
    for lines, says in {
        ("Hej med dig",): "is no word of CoNLL-U",
        ("1\tHej",): "is no word of CoNLL-U",
        (f"1.\tHej\t{blanks}",): "is no word of CoNLL-U",
        (f"2\tHej\t{blanks}",): "2 follows the word 0",
        (f"2-1\tHej\t{blanks}",): "2-1 follows the word 0",
    }.items():
        # a sentence of the treebank has 7 lines
        yield inserted("treebank.conllu", says, *lines, place=7, line=8)
    own = lines_of("treebank.conllu")
    yield Fault("treebank.conllu", as_bytes([*own[:6], *own[7:]]), 7, "a comment follows a word")
    unsaid = [line for line in own if not line.startswith("#")]
    yield Fault("treebank.conllu", as_bytes([*unsaid[:5], *unsaid[6:]]), 6, "1 follows the word 5")
    yield inserted(
        "treebank.conllu", "a sentence has a second text", "# text = Hej", "# text = Tak", place=7, line=9
    )
    yield inserted("treebank.conllu", "a text and no words", "# text = Hej", "", place=7, line=9)
    good = unit("Hej", "Hello")
    for line, says in {
        good.replace("</tu>", ""): "a tu begins inside a tu",
        good.replace("</tuv>", "", 1): "a tuv begins inside a tuv",
        good.replace("</seg>", "", 1): "is not well-formed XML",
        good.replace("</seg></tuv>", "", 1): "a tuv begins inside a tuv",
        '<tu><tuv xml:lang="da"><seg>Hej<seg>Tak</seg></seg></tuv></tu>': "a seg begins inside a seg",
        '<tu><tuv xml:lang="da"><seg>Hej</seg><seg>Tak</seg></tuv></tu>': "a tuv has two segments",
        '<tuv xml:lang="da"><seg>Hej</seg></tuv>': "a tuv stands outside of a tu",
        "<tu><tuv><seg>Hej</seg></tuv></tu>": "a tuv's xml:lang is ''",
        unit("Hej", "Hello", "dansk"): "a tuv's xml:lang is 'dansk'",
        unit("Hej", "Hello", "dk"): "a tuv's xml:lang is 'dk'",
        unit("Hej &mdash; du", "Hello"): "is not well-formed XML (undefined entity",
        unit("Hej & du", "Hello"): "is not well-formed XML",
        unit("1 < 2", "Hello"): "is not well-formed XML",
        unit("&#0;", "Hello"): "is not well-formed XML",
        "<![CDATA[": "is not well-formed XML",
        "</tmx>": "is not well-formed XML",
    }.items():
        # the parser may notice it at the end of the unit, or on the next line
        yield inserted("memory.tmx", says, line, line=None)
    for said, says in {
        '<!DOCTYPE tmx [<!ENTITY a "ha">]>': "declares an XML entity",
        '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>': "declares an XML entity",
        '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/hostname">]>': "declares an XML entity",
        "<html>": "is XML but not TMX",
    }.items():
        yield inserted("memory.tmx", says, said, place=1, line=2)
    yield Fault("memory.tmx", b'<?xml version="1.0" encoding="klingon"?><tmx/>', 1, "")


FAULTS = [*of_every_format(), *of_one_format()]


def command(folder, fault):
    path = folder / fault.form
    path.write_bytes(fault.content)
    path.with_name(f"{fault.form}.en").write_bytes(as_bytes([english for _, english in SENTENCES]))
    source = FORMS[fault.form][0].format(path, path)
    languages = ["--target", "da", "--reference", "en"]
    return ["run", "find", "--model", "no-model", "--text", source, *languages, "--out", str(folder / "out")]


def assert_refused(fault, folder, status, said):
    assert status == 2
    # a slow machine says what it waits for, too
    said = "".join(line for line in said.splitlines(keepends=True) if " text: reading, cleaning" not in line)
    assert said.startswith("glossae: ")
    assert said.endswith("\n")
    assert said[:-1].isprintable()
    assert len(said) < 800
    assert fault.says in said
    assert f"{folder / fault.form}" in said
    if fault.line is not None:
        assert f"{fault.form}, line {fault.line}: " in said
    assert {path.name for path in folder.iterdir()} == {fault.form, f"{fault.form}.en"}


def test_there_are_two_hundred_faults_in_files_that_are_read_without_them(tmp_path):
    assert len(FAULTS) > 200
    for form in FORMS:
        *_, sources, _, _, _, _, _, _ = command(tmp_path, Fault(form, as_bytes(lines_of(form)), None, ""))
        for source in sources.split():
            corpus = read_source(source, languages=("da", "en")).corpus
            assert set(map(len, map(corpus.only, corpus.languages))) == {len(SENTENCES)}


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_is_one_line_and_status_2_and_nothing_is_written(tmp_path, capsys, form):
    for place, fault in enumerate(each for each in FAULTS if each.form == form):
        folder = tmp_path / str(place)
        folder.mkdir()
        assert_refused(fault, folder, main(command(folder, fault)), capsys.readouterr().err)


LARGE = [
    # elements 300,000 deep, and a quote that is not closed in 20 MB
    Fault("memory.tmx", b"<tmx>" + b"<a>" * 300_000, 1, "is not well-formed XML"),
    Fault("records.csv", b'text,label\n"' + b"x,0\n" * 5_000_000, 2, "is not CSV"),
]


@pytest.mark.parametrize("fault", LARGE, ids=lambda fault: fault.form)
def test_a_large_fault_needs_no_more_than_2_gb(tmp_path, fault):
    limit = 2 * 2**30
    done = subprocess.run(
        [sys.executable, "-m", "glossae", *command(tmp_path, fault)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert_refused(fault, tmp_path, done.returncode, done.stderr)
