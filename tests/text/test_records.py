"""JSON Lines and CSV: the fields that are needed, in any order and case, and what is said where they are not."""

import codecs
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import clean_text, read_source

LANGUAGES = ("da", "en")
ROWS = [("da", "Hej, du."), ("en", 'Hello "you".'), ("da", "Farvel;\nog tak.")]


def read(source, languages=LANGUAGES):
    corpus = read_source(str(source), languages=languages).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


def refusal(source, languages=LANGUAGES):
    with pytest.raises(GlossaeError) as caught:
        read(source, languages)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


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
def write(request, folder):
    """A function that writes records as one format or the other, and gives the path."""

    def write(records, **options):
        path = folder / request.param
        path.write_text(FORMATS[request.param](records, **options), encoding="utf-8", newline="")
        return path

    return write


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- what is read

CLEAN = [(code, clean_text(text)) for code, text in ROWS]


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
def test_text_and_language(write, text, language):
    path = write([{text: sentence, language: code} for code, sentence in ROWS])
    assert read(path) == CLEAN


@pytest.mark.parametrize("labels", [(0, 1), ("0", "1"), (" 0", "1 "), ("da-DK", "EN")])
def test_labels(write, labels):
    label_of = dict(zip(LANGUAGES, labels, strict=True))
    path = write([{"id": 7, "text": sentence, "label": label_of[code]} for code, sentence in ROWS])
    assert read(path) == CLEAN


def test_labels_follow_the_languages_of_the_run(write):
    path = write([{"text": "Hej.", "label": 0}, {"text": "Hei.", "label": 1}])
    assert read(path, ("sv", "nb")) == [("sv", "Hej."), ("nb", "Hei.")]


def test_labels_that_were_a_column_of_numbers(folder):
    path = put(folder, "x.jsonl", '{"text": "Hej.", "label": 0.0}\n{"text": "Hello.", "label": 1.0}\n')
    assert read(path) == [("da", "Hej."), ("en", "Hello.")]


def test_a_language_is_asked_before_a_label(write):
    path = write([{"label": "positive", "text": sentence, "language": code} for code, sentence in ROWS])
    assert read(path) == CLEAN


def test_columns_of_languages(write):
    path = write(
        [
            {"id": 3, "DA": "Hej.", "url": "x", "en-GB": "Hello.", "fr": "Salut."},
            dict.fromkeys(("id", "DA", "url", "en-GB", "fr"), "Nej."),
        ]
    )
    corpus = read_source(str(path), languages=LANGUAGES).corpus
    assert [(s.language, s.text) for s in corpus.sentences] == [
        ("da", "Hej."), ("en", "Hello."), ("da", "Nej."), ("en", "Nej.")
    ]  # fmt: skip
    assert corpus.sentences[0].pair == corpus.sentences[1].pair != corpus.sentences[2].pair


def test_pairs(write):
    rows = [
        ("da", "Hej.", "1"),
        ("en", "Bye.", "b"),
        ("da", "Alene.", ""),
        ("en", "Hello.", "1"),
        ("da", "Farvel.", "b"),
    ]
    path = write([{"text": text, "language": code, "Pair": pair} for code, text, pair in rows])
    corpus = read_source(str(path), languages=LANGUAGES).corpus
    pair_of = {s.text: s.pair for s in corpus.sentences}
    assert pair_of["Hej."] == pair_of["Hello."]
    assert pair_of["Bye."] == pair_of["Farvel."]
    assert len(set(pair_of.values())) == 3


def test_a_pair_number_means_nothing_in_another_file(folder):
    one = put(folder, "one.jsonl", as_jsonl([{"da": "Hej.", "en": "Hello.", "pair": 1}]))
    two = put(folder, "two.jsonl", as_jsonl([{"da": "Farvel.", "en": "Bye.", "pair": 1}]))
    ids = [read_source(str(path), languages=LANGUAGES).corpus.sentences[0].pair for path in (one, two)]
    assert ids[0] != ids[1]


def test_text_in_one_language(write):
    path = write([{"label": "neutral", "text": sentence} for _, sentence in ROWS])
    assert read(f"da={path}") == [("da", text) for _, text in CLEAN]


def test_files_aligned_by_record(folder):
    danish = put(folder, "x.jsonl", as_jsonl([{"text": "Hej,\ndu."}, {"text": "Tak."}]))
    english = put(folder, "x.csv", 'text\n"Hello,\nyou."\nThanks.\n')
    assert read(f"da={danish},en={english}") == [
        ("da", "Hej, du."), ("en", "Hello, you."), ("da", "Tak."), ("en", "Thanks.")
    ]  # fmt: skip


def test_blank_lines(folder):
    assert read(put(folder, "x.jsonl", '\n{"text": "Hej.", "label": 0}\n  \n')) == [("da", "Hej.")]
    assert read(put(folder, "x.csv", "\ntext,label\n\nHej.,0\n\n")) == [("da", "Hej.")]


def test_columns_without_a_name(folder):
    assert read(put(folder, "x.csv", "text,label,,\nHej.,0,,\n")) == [("da", "Hej.")]


def test_records_may_differ(folder):
    records = [
        {"text": "Hej.", "label": 0},
        {"en": "Hello.", "da": "Goddag."},
        {"label": "en", "more": [1], "text": "Bye."},
    ]
    path = put(folder, "x.jsonl", as_jsonl(records))
    assert read(path) == [("da", "Hej."), ("en", "Hello."), ("da", "Goddag."), ("en", "Bye.")]


def test_no_text_is_an_empty_one(folder):
    path = put(folder, "x.jsonl", as_jsonl([{"da": None, "en": "Hello."}, {"da": "Hej.", "en": ""}]))
    tallies = read_source(str(path), languages=LANGUAGES).tallies
    assert {code: tally.dropped["empty"] for code, tally in tallies.items()} == {"da": 1, "en": 1}


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_byte_order_mark(write, mark, end):
    path = write([{"text": text, "language": code} for code, text in ROWS])
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end)
    path.write_bytes(mark + content)
    assert read(path) == CLEAN


def test_a_spreadsheets_csv(write, folder):
    path = put(
        folder, "x.csv", as_csv([{"text": text, "language": code} for code, text in ROWS], delimiter=";")
    )
    assert read(path) == CLEAN


@pytest.mark.parametrize(
    "text",
    ["\ud800", "a\udfffb", "\u202eab", "e\u0301", "👩‍👩‍👧", "שלום", "\u2028x", "\0x", "\ufeffx", "\rx"],
)
def test_odd_characters(folder, text):
    path = put(folder, "x.jsonl", as_jsonl([{"text": f"a {text} b", "label": 0}]))
    assert read(path) == [("da", clean_text(f"a {text} b"))]


@pytest.mark.parametrize("name", FORMATS)
def test_a_megabyte_in_a_line(folder, name):
    records = [{"text": "æ" * 1_000_000, "label": 0}, {"text": "Hej.", "label": 0}]
    corpus, tallies = read_source(str(put(folder, name, FORMATS[name](records))), languages=LANGUAGES)
    assert [s.text for s in corpus.sentences] == ["Hej."]
    assert tallies["da"].dropped == {"too_long": 1}


# ---- what is refused


@pytest.mark.parametrize(
    ("line", "words"),
    [
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
    ],
)
def test_what_is_wrong_with_a_line_of_json(folder, line, words):
    path = put(folder, "bad.jsonl", '{"text": "Hej.", "label": 0}\n\n' + line + "\n")
    message = refusal(path)
    assert message.startswith(f"{path}, line 3: ")
    assert words in message


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (
            "text,label\nHej.,0\nHej, du.,0\n",
            3,
            "3 columns where the header has 2: put text that holds a ',' in double",
        ),
        ("text;label\nHej.\n", 2, "1 columns where the header has 2: put text that holds a ';' in double"),
        ('text,label\n"Hej\ndu",0\n"Tak\nskal",2\n', 4, "label is '2': write 0 (target)"),
        ('text,label\nHej.,0\n"Tak.,0\nMere.,0\n', 3, "is not CSV (unexpected end of data): put text"),
        ('text,label\n"Hej" du.,0\n', 2, "is not CSV (',' expected after '\"'): put text"),
        ("text,label\nHej\rdu.,0\n", 2, "is not CSV (new-line character seen in unquoted field): put text"),
        ("text,label,text\nHej.,0,x\n", 1, "the column 'text' is there twice: rename one"),
        (
            "sentence,class\nHej.,0\n",
            2,
            "has 'sentence', 'class', and needs text and language or label, or da and en",
        ),
        ("Hej.,0\nTak.,0\n", 2, "has 'Hej.', '0', and needs text and language or label"),
    ],
)
def test_what_is_wrong_with_a_csv_file(folder, content, line, words):
    path = put(folder, "bad.csv", content)
    message = refusal(path)
    assert message.startswith(f"{path}, line {line}: ")
    assert words in message


@pytest.mark.parametrize("name", FORMATS)
def test_many_fields_are_not_all_listed(folder, name):
    path = put(folder, name, FORMATS[name]([{f"field {n}": "x" * 100 for n in range(500)}]))
    assert "'field 11' and 488 more, and needs" in refusal(path)


def test_tokens_are_no_text(folder):
    path = put(folder, "x.jsonl", as_jsonl([{"tokens": ["Hej", "."], "pos_tags": ["INTJ", "PUNCT"]}]))
    message = refusal(f"da={path}")
    assert "line 1: has tokens and no text" in message
    assert "give the treebank's .conllu file" in message


def test_text_in_one_language_needs_text(folder):
    path = put(folder, "x.csv", "sentiment\ngood\n")
    assert refusal(f"da={path}").endswith("x.csv, line 2: has 'sentiment', and needs text")


@pytest.mark.parametrize("content", ["", "\n\n", "text,label\n"])
def test_a_file_without_a_record(folder, content):
    path = put(folder, "none.csv", content)
    assert ("is empty" if not content else "no sentence in da or en (found: none at all)") in refusal(path)


# ---- properties

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
sentences = anything.map(clean_text).filter(bool)
labelled = st.lists(st.tuples(st.sampled_from(LANGUAGES), anything), min_size=1)


def expected(rows):
    return list(dict.fromkeys((code, clean_text(text)) for code, text in rows if clean_text(text)))


@given(labelled, st.booleans())
def test_json_is_read_back(folder, rows, escaped):
    content = as_jsonl([{"text": text, "language": code} for code, text in rows], ensure_ascii=escaped)
    path = put(folder, "p.jsonl", content)
    if expected(rows):
        assert read(path) == expected(rows)


@given(
    labelled,
    st.sampled_from([",", ";"]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_is_read_back(folder, rows, delimiter, end, quoting):
    # a lone carriage return has to be in quotes, and the writer puts it there only with this end of a line
    lost = "\0" if end == "\r\n" or quoting == csv.QUOTE_ALL else "\0\r"
    rows = [(code, "".join(c for c in text if c not in lost)) for code, text in rows]
    records = [{"text": text, "language": code} for code, text in rows]
    content = as_csv(records, delimiter=delimiter, lineterminator=end, quoting=quoting)
    if expected(rows):
        assert read(put(folder, "p.csv", content)) == expected(rows)


@given(
    st.lists(st.tuples(sentences, sentences), min_size=1, unique_by=(lambda row: row[0], lambda row: row[1])),
    st.sampled_from(list(FORMATS)),
)
def test_columns_of_languages_are_read_back(folder, rows, name):
    path = put(folder, name, FORMATS[name]([dict(zip(LANGUAGES, row, strict=True)) for row in rows]))
    assert read(path) == [(code, text) for row in rows for code, text in zip(LANGUAGES, row, strict=True)]


pieces = st.sampled_from(
    [
        *(
            b'{"text": "Hej"',
            b', "label": 0',
            b', "label": "da"',
            b', "pair": 1',
            b"}",
            b"\n",
            b"\r",
            b'"',
            b'""',
        ),
        *(
            b"text",
            b"label",
            b",",
            b";",
            b"0",
            b"da",
            b"en",
            b"pair",
            b"tokens",
            b"\\ud800",
            b"\\u0000",
            b"[",
            b"]",
        ),
        *(
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\0",
            b"\xe6",
            b"\xe2\x80\xa8",
            b"\x1f\x8b",
            b"PK\x03\x04",
            b"1e999",
            b"NaN",
        ),
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
names = st.sampled_from(["text", "Text", "label", "language", "pair", "da", "en", "tokens"]) | st.text()
objects = st.lists(st.dictionaries(names, values)).map(lambda records: as_jsonl(records).encode())


@given(
    st.binary() | st.lists(pieces).map(b"".join) | objects,
    st.sampled_from(["{}.jsonl", "{}.csv", "da={}.jsonl", "da={}.csv,en={}.jsonl"]),
)
def test_arbitrary_bytes_never_crash_a_reader(folder, content, form):
    for suffix in (".jsonl", ".csv"):
        put(folder, f"any{suffix}", content)
    message = ""
    try:
        read(form.format(*[folder / "any"] * 2))
    except GlossaeError as error:
        message = str(error)
    assert "\n" not in message
