"""Source strings and the readers behind them: what is written is read back, whatever the bytes."""

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import Corpus, Sentence, clean_text, read_source
from glossae.text.corpus import language_code

LANGUAGES = ("da", "en")


def read(source, languages=LANGUAGES, **options):
    """(language, text) of every sentence."""
    corpus = read_source(str(source), languages=languages, **options).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("written", "code"),
    [("da", "da"), ("da_DK", "da"), ("en-GB", "en"), ("NB", "nb"), (" dan ", "dan"), ("zh-Hans-CN", "zh")],
)
def test_language_codes(written, code):
    assert language_code(written) == code


@pytest.mark.parametrize("written", ["", "d", "danish", "d4", "da-", "da DK", "*all*", "æø"])
def test_not_language_codes(written):
    assert language_code(written) is None


def test_labels(folder):
    path = write(folder / "x.tsv", "Hej.\t0\nHello.\t1\nHallå.\tsv\nGod dag.\tda-DK\nSkip.\tfr\n")
    assert read(path) == [("da", "Hej."), ("en", "Hello."), ("da", "God dag.")]
    assert read(path, ("sv", "da")) == [
        ("sv", "Hej."),
        ("da", "Hello."),
        ("sv", "Hallå."),
        ("da", "God dag."),
    ]


def test_label_stands_after_the_last_tab(folder):
    assert read(write(folder / "x.tsv", "Hej\tmed\tdig.\t0\n")) == [("da", "Hej med dig.")]


@pytest.mark.parametrize("header", ["sentence\tlabel", "Text\tLanguage", "text\tlang"])
def test_header_of_names(folder, header):
    assert read(write(folder / "x.tsv", f"{header}\nHej.\t0\n")) == [("da", "Hej.")]


def test_header_of_codes(folder):
    path = write(folder / "x.tsv", "en\tda-DK\tsv\nWho?\tHvem?\tVem?\n\nGo.\tGå!\t\n")
    assert read(path) == [("en", "Who?"), ("da", "Hvem?"), ("en", "Go."), ("da", "Gå!")]


@pytest.mark.parametrize("second", ["Farvel\tda", "Bye\ten", "Farvel\t0", "\nBonjour\tfr"])
def test_a_short_sentence_is_no_header(folder, second):
    assert read(write(folder / "x.tsv", f"Hej\tda\n{second}\n"))[0] == ("da", "Hej")


def test_columns(folder):
    path = write(folder / "x.txt", "Hi.\tHej.\tCC-BY 2.0\nGo.\tGå!\tCC-BY 2.0\n")
    corpus = read_source(f"cols:en,da,-:{path}", languages=LANGUAGES).corpus
    assert [s.text for s in corpus.sentences] == ["Hi.", "Hej.", "Go.", "Gå!"]
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert corpus.sources == ("x.txt",)


def test_aligned_files(folder):
    danish, english = (
        write(folder / "a,b.da", "Hej.\n\nTak.\n"),
        write(folder / "x=y.en", "Hi.\nBye.\nThanks."),
    )
    corpus, tallies = read_source(f"da-DK={danish},en={english}", languages=LANGUAGES)
    assert [s.text for s in corpus.sentences] == ["Hej.", "Hi.", "Bye.", "Tak.", "Thanks."]
    assert corpus.sentences[3].pair == corpus.sentences[4].pair
    assert corpus.sources == ("a,b.da+x=y.en",)
    assert tallies["da"].dropped == {"empty": 1}


def test_one_language(folder):
    path = write(folder / "x.tsv", "Hej\t1\nTak.\n")
    assert read(f"da={path}") == [("da", "Hej 1"), ("da", "Tak.")]


def test_generator():
    def toy(languages, seed):
        return Corpus.of(Sentence(f"{code} {seed}", code, "pair 1", "") for code in languages)

    corpus = read_source("toy", languages=("da", "en", "sv"), seed=7, generators={"toy": toy}).corpus
    assert corpus.sentences[2] == Sentence("sv 7", "sv", "pair 1", "toy")


def test_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    write(folder / "x.tsv", "Hej.\t0\n")
    assert read("~/x.tsv") == [("da", "Hej.")]
    assert read("da=~/x.tsv") == [("da", "Hej. 0")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_ends_and_byte_order_mark(folder, end, mark):
    path = write(folder / "x.tsv", mark + f"Hej.{end}Tak.".encode())
    assert read(f"da={path}") == [("da", "Hej."), ("da", "Tak.")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_newline_ends_a_line(folder, character):
    path = write(folder / "x.tsv", f"Hej{character}med dig.\t0\n")
    assert read(path) == [("da", "Hej med dig.")]


def test_unicode_and_long_lines(folder):
    texts = ["👩‍👩‍👧 familie", "שלום עולם", "cafe\u0301", "æ" * 1_000_000]
    path = write(folder / "x.txt", "\n".join(texts))
    corpus, tallies = read_source(f"da={path}", languages=LANGUAGES)
    assert [s.text for s in corpus.sentences] == ["👩‍👩‍👧 familie", "שלום עולם", "café"]
    assert tallies["da"].dropped == {"too_long": 1}


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
def test_tmx(folder, encoding):
    path = write(folder / "x.tmx", TMX.format(encoding=encoding).encode(encoding))
    corpus, tallies = read_source(str(path), languages=LANGUAGES)
    assert [(s.language, s.text) for s in corpus.sentences] == [
        ("da", "Rødgrød & fløde er godten fodnote."),
        ("en", "Red porridge"),
        ("da", "Alene"),
    ]
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair
    assert tallies["fr"].dropped == {"other_language": 1}
    assert tallies["en"].dropped == {"empty": 1}


def test_tmx_of_any_depth(folder):
    deep = "<hi>" * 50_000 + "Hej" + "</hi>" * 50_000
    path = write(folder / "x.tmx", f'<tmx><body><tu><tuv lang="da"><seg>{deep}</seg></tuv></tu></body></tmx>')
    assert read(path) == [("da", "Hej")]


# properties

# what a line-based format can hold: anything but its separators, and NUL, which no text file has
texts = st.text(st.characters(exclude_characters="\n\t\0", exclude_categories=["Cs"]), min_size=1)
sentences = texts.map(clean_text).filter(bool)


@given(st.lists(st.tuples(sentences, st.sampled_from(["da", "en"])), min_size=1, unique=True))
def test_labelled_text_is_read_back(folder, rows):
    path = write(folder / "p.tsv", "sentence\tlabel\n" + "".join(f"{text}\t{code}\n" for text, code in rows))
    assert read(path) == [(code, text) for text, code in rows]


@given(
    st.lists(st.tuples(sentences, sentences), min_size=1, unique_by=(lambda row: row[0], lambda row: row[1]))
)
def test_aligned_text_is_read_back(folder, rows):
    expected = [(code, text) for row in rows for code, text in zip(LANGUAGES, row, strict=True)]
    columns = write(folder / "p.txt", "".join(f"{danish}\t{english}\r\n" for danish, english in rows))
    assert read(f"cols:da,en:{columns}") == expected
    lines = "".join(f"{danish}\t{english}\tSalut.\n" for danish, english in rows)
    assert read(write(folder / "p.tsv", f"da\ten\tfr\n{lines}")) == expected
    danish = write(folder / "p.da", codecs.BOM_UTF8 + "\n".join(row[0] for row in rows).encode())
    english = write(folder / "p.en", "".join(f"{row[1]}\n" for row in rows))
    assert read(f"da={danish},en={english}") == expected


xml_texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1
).map(clean_text)


@given(st.lists(xml_texts.filter(bool), min_size=1, unique=True))
def test_tmx_is_read_back(folder, rows):
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in rows]
    units = "".join(f'<tu><tuv xml:lang="da"><seg>{text}</seg></tuv></tu>' for text in escaped)
    path = write(folder / "p.tmx", f"<tmx><body>{units}</body></tmx>")
    assert read(path) == [("da", text) for text in rows]


pieces = st.sampled_from(
    [
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
    ]
)
xml_pieces = st.sampled_from(
    [
        *TMX.encode().replace(b"\n", b" ").replace(b">", b">\n").split(b"\n"),
        *(b"<!DOCTYPE tmx [", b"]>", b"<!ENTITY a 'b'>", b"&a;", b"&#0;", b"&#xD800;", b"<![CDATA[", b"]]>"),
    ]
)
anything = st.binary() | st.lists(pieces).map(b"".join) | st.lists(xml_pieces).map(b"".join)


@given(
    anything, st.sampled_from(["{}.tsv", "{}.tmx", "da={}.txt", "cols:da,en:{}.txt", "da={}.txt,en={}.tsv"])
)
def test_arbitrary_bytes_never_crash_a_reader(folder, content, form):
    for suffix in (".tsv", ".tmx", ".txt"):
        write(folder / f"any{suffix}", content)
    try:
        corpus = read_source(form.format(*[folder / "any"] * 2), languages=LANGUAGES).corpus
    except GlossaeError as error:
        message = str(error)
    else:
        assert set(corpus.languages) <= set(LANGUAGES)
        return
    assert "\n" not in message


@given(st.text() | st.text("ø/", min_size=100, max_size=5000))
@example("ø" * 200)
def test_arbitrary_source_strings_never_crash(source):
    with pytest.raises(GlossaeError) as caught:
        read_source(source, languages=LANGUAGES)
    assert "\n" not in str(caught.value)
