"""Treebanks: the sentences as they were written, or put together from their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import clean_text, read_source

LANGUAGES = ("da", "en")


def word(place, form, misc="_"):
    return "\t".join([str(place), form, *"______"[:6], "_", misc])


BOTH = "\n".join(
    [
        "# newdoc id = a",
        "# sent_id = 1",
        "# text = Hvor er  'Julemanden'?",
        "# text_en = Where is Santa?",
        word(1, "Hvor"),
        word(2, "er"),
        "",
        "# sent_id = 2",
        word("1-2", "Kom'", "Lang=x|SpaceAfter=No"),
        word(1, "Kom"),
        word(2, "her"),
        word("2.1", "tom"),
        word(3, ",", "Lang=x"),
        word(4, "du"),
        word(5, "New York", "SpaceAfter=No"),
        word(6, "!"),
        "",
        "# newpar",
        "",
    ]
)


def read(source):
    corpus = read_source(source, languages=LANGUAGES).corpus
    return [(sentence.language, sentence.text) for sentence in corpus.sentences]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("treebanks")


def put(folder, content, name="x.conllu"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n\n"])
def test_sentences(folder, end, last):
    path = put(folder, (BOTH + last).replace("\n", end))
    assert read(f"da={path}") == [("da", "Hvor er 'Julemanden'?"), ("da", "Kom', du New York!")]


def test_treebanks_that_are_aligned(folder):
    danish = put(
        folder, f"# text = Hej.\n{word(1, 'Hej.')}\n\n# text = Tak.\n{word(1, 'Tak.')}\n\n", "x.conllu"
    )
    english = put(folder, f"{word(1, 'Hello.')}\n\n{word(1, 'Thanks.')}\n", "y.conllu")
    corpus = read_source(f"da={danish},en={english}", languages=LANGUAGES).corpus
    assert [s.text for s in corpus.sentences] == ["Hej.", "Hello.", "Tak.", "Thanks."]
    assert corpus.sentences[0].pair == corpus.sentences[1].pair


@pytest.mark.parametrize(
    "line",
    [
        "Hej med dig.",
        "1\tHej",
        "\t".join("x" * 10),
        "\t".join(["1-"] + ["x"] * 9),
        "\t".join(["1"] * 11),
        "1" * 20 + "\tx" * 9,
    ],
)
def test_a_line_that_is_none(folder, line):
    path = put(folder, f"# text = Hej.\n{line}\n")
    with pytest.raises(GlossaeError) as caught:
        read(f"da={path}")
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert "is no word of CoNLL-U" in str(caught.value)


def test_a_treebank_does_not_say_its_language(folder):
    path = put(folder, BOTH)
    with pytest.raises(GlossaeError, match=f"does not say its language: write da={path}"):
        read(str(path))


texts = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1).map(
    clean_text
)
forms = texts.filter(lambda text: text and "\t" not in text)


@given(st.lists(texts.filter(bool), min_size=1, unique=True))
def test_what_a_comment_says_is_read_back(folder, rows):
    path = put(folder, "".join(f"# text = {text}\n{word(1, '_')}\n\n" for text in rows))
    assert read(f"da={path}") == [("da", text) for text in rows]


@given(st.lists(st.lists(st.tuples(forms, st.booleans()), min_size=1), min_size=1))
def test_words_are_put_together(folder, rows):
    blocks = [
        "".join(
            f"{word(n, form, '_' if blank else 'SpaceAfter=No')}\n" for n, (form, blank) in enumerate(row, 1)
        )
        for row in rows
    ]
    expected = [clean_text("".join(form + " " * blank for form, blank in row)) for row in rows]
    assert read(f"da={put(folder, chr(10).join(blocks))}") == [
        ("da", text) for text in dict.fromkeys(expected)
    ]


pieces = st.sampled_from(
    [
        b"# text = ",
        b"Hej",
        b"\t",
        b"_",
        b"1",
        b"-",
        b".",
        b"\n",
        b"\n\n",
        word(1, "Hej").encode(),
        b"#",
        b"=",
        b"\0",
        b"\xff",
    ]
)


@given(st.binary() | st.lists(pieces).map(b"".join))
def test_arbitrary_bytes_never_crash(folder, content):
    message = ""
    try:
        read(f"da={put(folder, content)}")
    except GlossaeError as error:
        message = str(error)
    assert "\n" not in message
