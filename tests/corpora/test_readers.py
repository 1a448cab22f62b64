"""Text files of every form: what is written is read back, whatever the bytes; and which of them tell documents."""

import codecs
import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glossae.corpora import Corpus, Sentence, clean_text, parse_task, read_source
from glossae.errors import GlossaeError
from glossae.languages import language_code, overlapping

LANGUAGES = ("da", "en")
ROWS = [("da", "Hej, du."), ("en", 'Hello "you".'), ("da", "Farvel;\nog tak.")]
CLEAN = [(code, clean_text(text)) for code, text in ROWS]


def read(source, languages=LANGUAGES, **options):
    """(language, text) of every sentence."""
    corpus = read_source(str(source), languages=languages, **options).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_jsonl(records, **options):
    return "".join(f"{json.dumps(record, **options)}\n" for record in records)


def as_csv(records, **options):
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(records[0]), **options)
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


FORMATS = {"x.jsonl": as_jsonl, "x.csv": as_csv}


@pytest.fixture(params=FORMATS)
def put(request, folder):
    """A function that writes records as one format or the other, and gives the path."""
    return lambda records: write(folder / request.param, FORMATS[request.param](records))


def labelled(rows, text="text", language="language"):
    return [{text: sentence, language: code} for code, sentence in rows]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        *(
            ("da", "da"),
            ("da_DK", "da"),
            ("en-GB", "en"),
            ("NB", "nb"),
            (" dan ", "da"),
            ("zh-Hans-CN", "zh"),
            ("zho", "zh"),
            ("chi", "zh"),
            ("arb_Arab", "arb"),
            ("fo", "fo"),
            ("nob", "nb"),
            ("no", "no"),
            ("iw", "he"),
            ("sh", "sh"),
            ("NaN", "nan"),
            ("i-klingon", "tlh"),
            ("x-none", "und"),
            ("qaa-x-slang", "qaa"),
        ),
        *(
            (odd, None)
            for odd in ("", "d", "danish", "d4", "da-", "da DK", "*all*", "æø", "dk", "null", "none")
        ),
    ],
)
def test_language_codes(written, code):
    assert language_code(written) == code


@given(st.text() | st.from_regex(r"[A-Za-z]{1,4}([-_][A-Za-z0-9]{1,8}){0,3}", fullmatch=True))
def test_a_language_code_is_its_own_code(written):
    code = language_code(written)
    assert code is None or (language_code(code) == code and 2 <= len(code) <= 3)


def test_norwegian_has_the_text_of_bokmål_and_nynorsk(folder):
    path = write(folder / "x.tsv", "Hei du.\tnb\nHei på deg.\tnn\nHello.\ten\nHallå.\tsv\n")
    assert read(path, ("no", "en")) == [("no", "Hei du."), ("no", "Hei på deg."), ("en", "Hello.")]
    assert read(path, ("nb", "en")) == [("nb", "Hei du."), ("en", "Hello.")]
    assert overlapping(("da", "nn", "no")) == ("no", "nn")
    assert overlapping(("da", "nn", "nb")) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "Hej.\t0\nHello.\t1\nHallå.\tsv\nGod dag.\tda-DK\n",
            [("da", "Hej."), ("en", "Hello."), ("da", "God dag.")],
        ),
        # the label stands after the last tab
        ("Hej\tmed\tdig.\t0\n", [("da", "Hej med dig.")]),
        *(
            (f"{head}\nHej.\t0\n", [("da", "Hej.")])
            for head in ("sentence\tlabel", "Text\tLanguage", "text\tlang")
        ),
        (
            "en\tda-DK\tsv\nWho?\tHvem?\tVem?\n\nGo.\tGå!\t\n",
            [("en", "Who?"), ("da", "Hvem?"), ("en", "Go."), ("da", "Gå!")],
        ),
        # a short labelled sentence is no header of codes
        ("Hej\tda\nBye\ten\n", [("da", "Hej"), ("en", "Bye")]),
        ("Hej\tda\nFarvel\t0\n", [("da", "Hej"), ("da", "Farvel")]),
        ("Hej\tda\n\nBonjour\tfr\n", [("da", "Hej")]),
    ],
)
def test_lines_with_tabs(folder, content, expected):
    assert read(write(folder / "x.tsv", content)) == expected


def test_labels_follow_the_languages_of_the_run(folder):
    path = write(folder / "x.tsv", "Hej.\t0\nHello.\t1\nHallå.\tsv\n")
    assert read(path, ("sv", "da")) == [("sv", "Hej."), ("da", "Hello."), ("sv", "Hallå.")]
    path = write(folder / "x.jsonl", as_jsonl([{"text": "Hej.", "label": 0}, {"text": "Hei.", "label": 1.0}]))
    assert read(path, ("sv", "nb")) == [("sv", "Hej."), ("nb", "Hei.")]


def test_columns(folder):
    path = write(folder / "x.txt", "Hi.\tHej.\tCC-BY 2.0\nGo.\tGå!\tCC-BY 2.0\n")
    corpus = read_source(f"cols:en,da,-:{path}", languages=LANGUAGES).corpus
    assert [s.text for s in corpus.sentences] == ["Hi.", "Hej.", "Go.", "Gå!"]
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert corpus.sources == ("x.txt",)


def test_aligned_files(folder):
    danish = write(folder / "a,b.da", "Hej.\n\nTak.\n")
    english = write(folder / "x=y.en", "Hi.\nBye.\nThanks.")
    corpus, tallies = read_source(f"da-DK={danish},en={english}", languages=LANGUAGES)
    assert [s.text for s in corpus.sentences] == ["Hej.", "Hi.", "Bye.", "Tak.", "Thanks."]
    assert corpus.sentences[3].pair == corpus.sentences[4].pair
    assert corpus.sources == ("a,b.da+x=y.en",)
    assert tallies["da"].dropped == {"empty": 1}


def test_files_aligned_by_record(folder):
    danish = write(folder / "x.jsonl", as_jsonl([{"text": "Hej,\ndu."}, {"text": "Tak."}]))
    english = write(folder / "x.csv", 'text\n"Hello,\nyou."\nThanks.\n')
    expected = [("da", "Hej, du."), ("en", "Hello, you."), ("da", "Tak."), ("en", "Thanks.")]
    assert read(f"da={danish},en={english}") == expected


def test_text_in_one_language(folder, put, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    write(folder / "x.txt", "Hej\t1\nTak.\n")
    assert read("da=~/x.txt") == [("da", "Hej 1"), ("da", "Tak.")]
    path = put([{"label": "neutral", "text": sentence} for _, sentence in ROWS])
    assert read(f"da={path}") == [("da", text) for _, text in CLEAN]


def test_records_of_a_file_in_one_language_may_name_it(put):
    codes = ("nb", "", "no", "x-none")
    path = put([{"text": f"Hei {code}.", "language": code, "label": "en"} for code in codes])
    assert read(f"no={path}", ["no", "en"]) == [("no", f"Hei {code}.") for code in codes]
    put([{"text": "Hei.", "language": "nb"}, {"text": "Hej.", "language": "dan"}])
    with pytest.raises(
        GlossaeError, match="line [23]: is in da, and the file was given as no: write the file's name"
    ):
        read(f"no={path}", ["no", "en"])


def test_a_generator_gets_languages_and_seed():
    def toy(languages, seed):
        return Corpus.of(Sentence(f"{code} {seed}", code, "pair 1", "") for code in languages)

    corpus = read_source("toy", languages=("da", "en", "sv"), seed=7, generators={"toy": toy}).corpus
    assert corpus.sentences[2] == Sentence("sv 7", "sv", "pair 1", "toy")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_ends_and_byte_order_mark(folder, put, end, mark):
    path = write(folder / "x.txt", mark + f"Hej.{end}Tak.".encode())
    assert read(f"da={path}") == [("da", "Hej."), ("da", "Tak.")]
    path = put(labelled(ROWS))
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end.encode())
    assert read(write(path, mark + content)) == CLEAN


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_newline_ends_a_line(folder, character):
    assert read(write(folder / "x.tsv", f"Hej{character}med dig.\t0\n")) == [("da", "Hej med dig.")]


@pytest.mark.parametrize("form", ["da={}.txt", "{}.jsonl", "{}.csv"])
def test_a_megabyte_in_a_line(folder, form):
    texts = ["👩‍👩‍👧 familie", "שלום עולם", "cafe\u0301", "æ" * 1_000_000]
    for name, make in FORMATS.items():
        write(folder / name, make(labelled([("da", text) for text in texts])))
    write(folder / "x.txt", "\n".join(texts))
    corpus, tallies = read_source(form.format(folder / "x"), languages=LANGUAGES)
    assert [s.text for s in corpus.sentences] == ["👩‍👩‍👧 familie", "שלום עולם", "café"]
    assert tallies["da"].dropped == {"too_long": 1}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("text", "language"),
        ("text", "label"),
        ("sentence", "lang"),
        ("Text", "LABEL"),
        (" Sentence ", "Language"),
    ],
)
def test_records_with_text_and_language(put, text, language):
    assert read(put(labelled(ROWS, text, language))) == CLEAN


@pytest.mark.parametrize("labels", [(0, 1), ("0", "1"), (" 0", "1 "), ("da-DK", "EN")])
def test_records_with_labels(put, labels):
    label_of = dict(zip(LANGUAGES, labels, strict=True))
    assert read(put([{"id": 7, "text": text, "label": label_of[code]} for code, text in ROWS])) == CLEAN
    # a language is asked before a label
    assert read(put([{"label": "good", "text": text, "language": code} for code, text in ROWS])) == CLEAN


def test_records_with_columns_of_languages(put):
    names = ("id", "DA", "url", "en-GB", "fr")
    path = put(
        [dict(zip(names, (3, "Hej.", "x", "Hello.", "Salut."), strict=True)), dict.fromkeys(names, "Nej.")]
    )
    corpus = read_source(str(path), languages=LANGUAGES).corpus
    expected = [("da", "Hej."), ("en", "Hello."), ("da", "Nej."), ("en", "Nej.")]
    assert [(s.language, s.text) for s in corpus.sentences] == expected
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair


def test_records_that_share_a_pair(put, folder):
    rows = [
        ("da", "Hej.", "1"),
        ("en", "Bye.", "b"),
        ("da", "Alene.", ""),
        ("en", "Hello.", "1"),
        ("da", "Tak.", "b"),
    ]
    path = put([{"text": text, "language": code, "Pair": pair} for code, text, pair in rows])
    pair_of = {s.text: s.pair for s in read_source(str(path), languages=LANGUAGES).corpus.sentences}
    assert pair_of["Hej."] == pair_of["Hello."]
    assert pair_of["Bye."] == pair_of["Tak."]
    assert len(set(pair_of.values())) == 3
    # the same number in another file is another pair
    other = write(folder / "other.jsonl", as_jsonl([{"da": "Nej.", "en": "No.", "pair": 1}]))
    assert pair_of["Hej."] != read_source(str(other), languages=LANGUAGES).corpus.sentences[0].pair


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.jsonl", '\n{"text": "Hej.", "label": 0}\n  \n', [("da", "Hej.")]),
        ("x.csv", "\ntext,label\n\nHej.,0\n\n", [("da", "Hej.")]),
        # columns without a name
        ("x.csv", "text,label,,\nHej.,0,,\n", [("da", "Hej.")]),
        (
            "x.csv",
            'text,label\n"En,\nto, tre,\nfire, fem\nseks, og\nsyv.",0\n',
            [("da", "En, to, tre, fire, fem seks, og syv.")],
        ),
        # a spreadsheet's
        ("x.csv", as_csv(labelled(ROWS), delimiter=";"), CLEAN),
        # records may differ
        (
            "x.jsonl",
            '{"text": "Hej.", "label": 0}\n{"en": "Hello.", "da": "Dag."}\n{"label": "en", "a": [1], "text": "Bye."}\n',
            [("da", "Hej."), ("en", "Hello."), ("da", "Dag."), ("en", "Bye.")],
        ),
        (
            "x.jsonl",
            '{"da": null, "en": "Hello."}\n{"da": "Hej.", "en": ""}\n',
            [("en", "Hello."), ("da", "Hej.")],
        ),
        *(
            ("x.jsonl", as_jsonl([{"text": f"a {odd} b", "label": 0}]), [("da", clean_text(f"a {odd} b"))])
            for odd in ("\ud800", "a\udfffb", "\u202eab", "\u2028x", "\0x", "\ufeffx", "\rx")
        ),
    ],
)
def test_records_of_every_kind(folder, name, content, expected):
    assert read(write(folder / name, content)) == expected


def word(place, form, misc="_"):
    return "\t".join([str(place), form, *"______"[:6], "_", misc])


TREEBANK = "\n".join(
    [
        *(
            "# newdoc id = a",
            "# sent_id = 1",
            "# text = Hvor er  'Julemanden'?",
            "# text_en = Where is Santa?",
        ),
        *(word(1, "Hvor"), word(2, "er"), "", "# sent_id = 2"),
        *(word("1-2", "Kom'", "Lang=x|SpaceAfter=No"), word(1, "Kom"), word(2, "her"), word("2.1", "tom")),
        *(word(3, ",", "Lang=x"), word(4, "du"), word(5, "New York", "SpaceAfter=No"), word(6, "!"), ""),
        *("# newpar", ""),
    ]
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n\n"])
def test_treebanks(folder, end, last):
    path = write(folder / "x.conllu", (TREEBANK + last).replace("\n", end))
    assert read(f"da={path}") == [("da", "Hvor er 'Julemanden'?"), ("da", "Kom', du New York!")]
    english = write(folder / "y.conllu", f"{word(1, 'Where?')}\n\n{word(1, 'Come!')}\n")
    corpus = read_source(f"da={path},en={english}", languages=LANGUAGES).corpus
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair


TMX = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="da"><note>not text</note></header><body>
<tu><note>nor this</note>
 <tuv xml:lang="da-DK"><prop>nor this</prop><seg>Rødgrød &amp; <hi>fløde</hi>
   er<bpt i="1">{{\\b </bpt> godt<ept i="1">}}</ept><ph>note <sub>en fodnote</sub></ph>.</seg></tuv>
 <tuv lang="EN"><seg>Red porridge</seg></tuv><tuv xml:lang="fr"><seg>Bouillie</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg/></tuv><tuv xml:lang="da"><seg>Alene</seg></tuv></tu><tu/>
</body></tmx>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_translation_memories(folder, encoding):
    path = write(folder / "x.tmx", TMX.format(encoding=encoding).encode(encoding))
    corpus, tallies = read_source(str(path), languages=LANGUAGES)
    assert [(s.language, s.text) for s in corpus.sentences] == [
        ("da", "Rødgrød & fløde er godten fodnote."), ("en", "Red porridge"), ("da", "Alene")
    ]  # fmt: skip
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert tallies["fr"].dropped == {"other_language": 1}
    assert tallies["en"].dropped == {"empty": 1}


def test_a_translation_memory_of_any_depth(folder):
    deep = "<hi>" * 50_000 + "Hej" + "</hi>" * 50_000
    path = write(folder / "x.tmx", f'<tmx><body><tu><tuv lang="da"><seg>{deep}</seg></tuv></tu></body></tmx>')
    assert read(path) == [("da", "Hej")]


def documents(source):
    """(text, document without the source's name) of every sentence."""
    corpus = read_source(str(source), languages=LANGUAGES).corpus
    return [(s.text, s.doc.removeprefix(f"{s.source} ")) for s in corpus.sentences]


TREEBANK_OF_DOCUMENTS = "\n".join(
    [
        *(
            "# sent_id = doc0-1",
            word(1, "Nej"),
            "",
            "# newdoc id = news/1",
            "# sent_id = doc1-1",
            word(1, "Hej"),
            "",
        ),
        *("# sent_id = doc9-1", word(1, "Goddag"), "", "# newdoc", word(1, "Farvel"), ""),
    ]
)
UNITS = (
    '<tu tuid="a-1"><prop type="Txt::Doc. No.">32008R1333</prop><tuv xml:lang="da"><seg>Hej</seg></tuv></tu>'
    '<tu><tuv xml:lang="da"><prop type="source-document">x.eu/da</prop><prop type="source-document">y</prop>'
    '<seg>Dag</seg></tuv><tuv xml:lang="en"><prop type="source-document">x.eu/en</prop><seg>Good day</seg></tuv></tu>'
    '<tu tuid="b-1"><prop type="score">0.9</prop><tuv xml:lang="da"><seg>Farvel</seg></tuv></tu>'
)
HEADER = '<header><prop type="source-document">all</prop></header>'
TELLING = {
    "label.tsv": (
        "doc\tsentence\tlabel\nt1\tHej.\t0\nt1\tHello.\t1\n\tFarvel.\tda\n",
        [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "")],
    ),
    "codes.tsv": (
        "da\ten\tdoc\nHej.\tHello.\tt1\nFarvel.\tGoodbye.\t1\n",
        [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "1"), ("Goodbye.", "1")],
    ),
    "one.tsv": ("da\tdoc\nHej.\tt1\nFarvel.\t0\n", [("Hej.", "t1"), ("Farvel.", "0")]),
    # Northern Dong has the code doc: this is a labelled sentence
    "dong.tsv": ("da\tdoc og pdf\tda\nHej.\tda\n", [("da doc og pdf", ""), ("Hej.", "")]),
    "x.csv": (
        "text,label,doc\nHej.,0,t1\nHello.,1,t1\nFarvel.,0,\n",
        [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "")],
    ),
    "x.jsonl": (
        '{"da": "Hej.", "en": "Hello.", "Doc": 7}\n{"da": "Farvel.", "en": "Goodbye.", "Doc": null}\n',
        [("Hej.", "7"), ("Hello.", "7"), ("Farvel.", ""), ("Goodbye.", "")],
    ),
    # by newdoc, and not by sent_id
    "da=x.conllu": (
        TREEBANK_OF_DOCUMENTS,
        [("Nej", ""), ("Hej", "news/1"), ("Goddag", "news/1"), ("Farvel", "newdoc 2")],
    ),
    # by the properties in use, and not by tuid
    "x.tmx": (
        f'<tmx version="1.4">{HEADER}<body>{UNITS}</body></tmx>',
        [("Hej", "32008R1333"), ("Dag", "x.eu/da"), ("Good day", "x.eu/en"), ("Farvel", "")],
    ),
}


@pytest.mark.parametrize("name", TELLING)
def test_formats_that_tell_documents(folder, name):
    content, told = TELLING[name]
    code, equals, file = name.rpartition("=")
    assert documents(f"{code}{equals}{write(folder / file, content)}") == told


def test_a_file_of_sentences_is_no_document_and_a_file_in_a_folder_is(folder):
    for code, texts in {"da": ["Hej.", "Farvel."], "en": ["Hello.", "Goodbye."]}.items():
        write(folder / code / "talk2.txt", f"{texts[1]}\n")
        write(folder / code / "talk1.txt", f"{texts[0]}\n")
        write(folder / code / "README.md", "about\n")
    assert documents(f"da={folder / 'da' / 'talk1.txt'}") == [("Hej.", "")]
    assert documents(f"da={folder / 'da'}") == [("Hej.", "talk1"), ("Farvel.", "talk2")]
    both = read_source(f"da={folder / 'da'},en={folder / 'en'}", languages=LANGUAGES).corpus
    assert [(s.text, s.doc) for s in both.sentences] == [
        *(("Hej.", "da+en talk1"), ("Hello.", "da+en talk1")),
        *(("Farvel.", "da+en talk2"), ("Goodbye.", "da+en talk2")),
    ]
    assert len({s.pair for s in both.sentences}) == 2
    write(folder / "en" / "talk3.txt", "More.\n")
    with pytest.raises(
        GlossaeError, match=r"da: has no 'talk3\.txt': folders that are aligned hold the same names"
    ):
        read_source(f"da={folder / 'da'},en={folder / 'en'}", languages=LANGUAGES)


# what a line-based format can hold: anything but its separators, and NUL, which no text file has
texts = st.text(st.characters(exclude_characters="\n\t\0", exclude_categories=["Cs"]), min_size=1)
sentences = texts.map(clean_text).filter(bool)
aligned = st.lists(
    st.tuples(sentences, sentences), min_size=1, unique_by=(lambda row: row[0], lambda row: row[1])
)
xml_texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1
).map(clean_text)


@given(st.lists(st.tuples(sentences, st.sampled_from(["da", "en"])), min_size=1, unique=True))
def test_labelled_text_is_read_back(folder, rows):
    path = write(folder / "p.tsv", "sentence\tlabel\n" + "".join(f"{text}\t{code}\n" for text, code in rows))
    assert read(path) == [(code, text) for text, code in rows]


@given(aligned)
def test_aligned_text_is_read_back(folder, rows):
    expected = [(code, text) for row in rows for code, text in zip(LANGUAGES, row, strict=True)]
    columns = write(folder / "p.txt", "".join(f"{danish}\t{english}\r\n" for danish, english in rows))
    assert read(f"cols:da,en:{columns}") == expected
    lines = "".join(f"{danish}\t{english}\tSalut.\n" for danish, english in rows)
    assert read(write(folder / "p.tsv", f"da\ten\tfr\n{lines}")) == expected
    danish = write(folder / "p.da", codecs.BOM_UTF8 + "\n".join(row[0] for row in rows).encode())
    english = write(folder / "p.en", "".join(f"{row[1]}\n" for row in rows))
    assert read(f"da={danish},en={english}") == expected
    for name, make in FORMATS.items():
        path = write(folder / name, make([dict(zip(LANGUAGES, row, strict=True)) for row in rows]))
        assert read(path) == expected


@given(st.lists(xml_texts.filter(bool), min_size=1, unique=True))
def test_a_translation_memory_is_read_back(folder, rows):
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in rows]
    units = "".join(f'<tu><tuv xml:lang="da"><seg>{text}</seg></tuv></tu>' for text in escaped)
    assert read(write(folder / "p.tmx", f"<tmx><body>{units}</body></tmx>")) == [
        ("da", text) for text in rows
    ]


@given(st.lists(st.tuples(sentences, st.lists(st.tuples(sentences, st.booleans()), min_size=1)), min_size=1))
def test_a_treebank_is_read_back(folder, rows):
    """As its comments say, and where there is none, as its words are put together."""
    blocks, expected = [], []
    for said, words in rows:
        lines = [word(n, form, "_" if blank else "SpaceAfter=No") for n, (form, blank) in enumerate(words, 1)]
        together = clean_text("".join(form + " " * blank for form, blank in words))
        blocks += [f"# text = {said}", *lines, "", *lines, ""]
        expected += [said, together]
    path = write(folder / "p.conllu", "\n".join(blocks))
    assert read(f"da={path}") == [("da", text) for text in dict.fromkeys(expected)]


@given(
    st.lists(
        st.tuples(st.sampled_from(LANGUAGES), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)),
        min_size=1,
    ),
    st.booleans(),
    st.sampled_from([",", ";"]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_records_are_read_back(folder, rows, escaped, delimiter, end, quoting):
    def expected(rows):
        return list(dict.fromkeys((code, clean_text(text)) for code, text in rows if clean_text(text)))

    path = write(folder / "p.jsonl", as_jsonl(labelled(rows), ensure_ascii=escaped))
    if expected(rows):
        assert read(path) == expected(rows)
    # a lone carriage return has to be in quotes, and the writer puts it there only with this end of a line
    lost = "\0" if end == "\r\n" or quoting == csv.QUOTE_ALL else "\0\r"
    rows = [(code, "".join(c for c in text if c not in lost)) for code, text in rows]
    path = write(
        folder / "p.csv", as_csv(labelled(rows), delimiter=delimiter, lineterminator=end, quoting=quoting)
    )
    if expected(rows):
        assert read(path) == expected(rows)


PIECES = [
    *(
        b"Hej",
        b"\t",
        b"\n",
        b"\r",
        b"0",
        b"1",
        b"da",
        b"en",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\0",
        b"\xe6",
        b"label",
    ),
    *(
        b'{"text": "Hej"',
        b', "label": 0',
        b', "label": "da"',
        b', "pair": 1',
        b"}",
        b'"',
        b'""',
        b"text",
        b",",
        b";",
    ),
    *(
        b"pair",
        b"tokens",
        b"\\ud800",
        b"\\u0000",
        b"[",
        b"]",
        b"\xe2\x80\xa8",
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"1e999",
    ),
    *(b"NaN", b"# text = ", b"_", b"-", b".", b"\n\n", word(1, "Hej").encode(), b"#", b"=", b"doc"),
]
XML_PIECES = [
    *TMX.encode().replace(b"\n", b" ").replace(b">", b">\n").split(b"\n"),
    *(b"<!DOCTYPE tmx [", b"]>", b"<!ENTITY a 'b'>", b"&a;", b"&#0;", b"&#xD800;", b"<![CDATA[", b"]]>"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
names = (
    st.sampled_from(["text", "Text", "label", "language", "pair", "doc", "da", "en", "tokens"]) | st.text()
)
anything = (
    st.binary()
    | st.lists(st.sampled_from(PIECES)).map(b"".join)
    | st.lists(st.sampled_from(XML_PIECES)).map(b"".join)
    | st.lists(st.dictionaries(names, values)).map(lambda records: as_jsonl(records).encode())
)
FORMS = [
    *(
        "{}.tsv",
        "{}.tmx",
        "{}.jsonl",
        "{}.csv",
        "da={}.txt",
        "da={}.conllu",
        "da={}.jsonl",
        "cols:da,en:{}.txt",
    ),
    *("da={}.txt,en={}.tsv", "da={}.csv,en={}.jsonl"),
]


@given(anything, st.sampled_from(FORMS))
def test_arbitrary_bytes_never_crash_a_reader(folder, content, form):
    for suffix in ("tsv", "tmx", "jsonl", "csv", "txt", "conllu"):
        write(folder / f"any.{suffix}", content)
    try:
        corpus = read_source(form.format(*[folder / "any"] * 2), languages=LANGUAGES).corpus
    except GlossaeError as error:
        message = str(error)
    else:
        assert set(corpus.languages) <= set(LANGUAGES)
        return
    assert message.isprintable()
    # the file, also where the message begins with the name of the source
    assert "any." in message


TASK_PIECES = [*PIECES, b"text\tlabel\n", b"text,label\n", b"god", b"pair", b'"']


@given(
    anything | st.lists(st.sampled_from(TASK_PIECES)).map(b"".join), st.sampled_from(["tsv", "jsonl", "csv"])
)
def test_arbitrary_bytes_are_rows_of_a_task_or_one_line(folder, content, suffix):
    path = write(folder / f"any.{suffix}", content)
    try:
        task = parse_task(f"mine:da={path}").read(0)
    except GlossaeError as error:
        message = str(error)
    else:
        assert len(task.labels) > 1
        assert all(row.text.strip() and row.label for row in task.train)
        return
    assert message.isprintable()
    assert str(path) in message


@given(st.text() | st.text("ø/", min_size=100, max_size=5000))
@example("ø" * 200)
def test_arbitrary_source_strings_never_crash(source):
    with pytest.raises(GlossaeError) as caught:
        read_source(source, languages=LANGUAGES)
    assert "\n" not in str(caught.value)
