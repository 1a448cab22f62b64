"""Streams of text: every kind of file in order, sources in equal shares, places to go on from, faults in one line."""

import gzip
import json
import os
import random
import struct
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from glossae.corpora import Sentence, Taken, parse_stream, sentence_keys
from glossae.errors import GlossaeError

TEXTS = [f"Sætning nummer {number}." for number in range(700)]
PACKING = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def as_lines(texts, column="text"):
    return "".join(json.dumps({"id": 1, column: text}) + "\n" for text in texts).encode()


def write(path, texts, column="text"):
    """Texts as a file of the kind that its name says."""
    kind = next(end for end in (".txt", ".jsonl", ".json", ".parquet") if end in path.name)
    if kind == ".parquet":
        parquet.write_table(pa.table({"id": [1] * len(texts), column: texts}), path, row_group_size=100)
        return path
    data = "".join(f"{text}\n" for text in texts).encode() if kind == ".txt" else as_lines(texts, column)
    path.write_bytes(PACKING[path.suffix if path.suffix in PACKING else ""](data))
    return path


def texts_of(said, *places):
    return [document.text for document in parse_stream(str(said)).documents(places)]


def refusal(said):
    with pytest.raises(GlossaeError) as caught:
        texts_of(said)
    line = str(caught.value)
    assert "\n" not in line
    return line


NAMES = [
    "a.txt",
    "a.jsonl",
    "a.parquet",
    *(f"a{kind}{end}" for kind in (".txt", ".json") for end in (".gz", ".zst")),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("taken", [0, 255, 256, 699, 700])
def test_every_kind_of_file_comes_in_order_from_any_place(tmp_path, name, taken):
    assert texts_of(write(tmp_path / name, TEXTS), Taken(taken, 0)) == TEXTS[taken:]


@pytest.mark.parametrize("end", [".gz", ".zst"])
def test_packed_files_that_were_joined_are_read_to_the_end(tmp_path, end):
    path = tmp_path / f"a.txt{end}"
    path.write_bytes(b"".join(PACKING[end](f"{text}\n".encode()) for text in TEXTS[:3]))
    assert texts_of(path) == TEXTS[:3]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for number, name in enumerate(["b.parquet", "c.txt.zst", "a.jsonl.gz"]):
        write(tmp_path / name, [str(number)])
    (tmp_path / "README.md").write_text("no text of the stream")
    assert texts_of(tmp_path) == ["2", "0", "1"]


def test_documents_say_their_file(tmp_path):
    for place in ("a.txt", "web/a.txt", "web/b.jsonl", "more/a.txt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write(tmp_path / place, [place, place])
    stream = parse_stream(" ".join(str(tmp_path / name) for name in ("a.txt", "web", "more/a.txt")))
    assert stream.files == ["a.txt", "web/a.txt", "web/b.jsonl", "a.txt (source 3)"]
    files = {document.text: stream.files[document.file] for document in stream.documents()}
    assert files == {
        "a.txt": "a.txt",
        "web/a.txt": "web/a.txt",
        "web/b.jsonl": "web/b.jsonl",
        "more/a.txt": "a.txt (source 3)",
    }


def test_the_column_is_named(tmp_path):
    for name in ("a.jsonl.gz", "b.parquet"):
        path = write(tmp_path / name, TEXTS[:3], column="content")
        assert texts_of(f"{path},text=content") == TEXTS[:3]
        lacking = "has no column text or sentence, but 'id', 'content': name the column of the text, as in ,text=COLUMN"
        assert refusal(path) == f"{path}{', line 1' if '.jsonl' in name else ''}: {lacking}"


def test_documents_are_cleaned_line_by_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines(["  En\u200b linje \n\n(DA) To\tlinjer\r\n", " \n", "Tre"]))
    assert texts_of(path) == ["En linje To linjer", "Tre"]


def test_sources_come_in_equal_shares_until_one_ends(tmp_path):
    short, long = write(tmp_path / "a.txt", ["aa"] * 30), write(tmp_path / "b.txt", ["bbbbbb"] * 90)
    texts = texts_of(f"{short} {long}")
    shares = [sum(map(len, (t for t in texts[:40] if t[0] == one))) for one in "ab"]
    assert abs(shares[0] - shares[1]) <= 6
    assert sorted(texts) == ["aa"] * 30 + ["bbbbbb"] * 90


@given(st.lists(st.lists(st.text("ab \n", max_size=5), max_size=12), min_size=1, max_size=3), st.data())
def test_a_stream_left_at_any_document_goes_on_as_if_it_had_not_been(tmp_path_factory, sources, data):
    folder = tmp_path_factory.mktemp("s")
    for number, texts in enumerate(sources):
        (folder / f"{number}.jsonl").write_bytes(as_lines([*texts, "end"]))
    stream = parse_stream(" ".join(str(folder / f"{number}.jsonl") for number in range(len(sources))))
    whole = list(stream.documents())
    left = data.draw(st.integers(0, len(whole)))
    places = [Taken(0, 0)] * len(sources)
    for document in islice(stream.documents(), left):
        places[document.source] = document.place
    assert list(stream.documents(places)) == whole[left:]
    own = [[" ".join(t.split()) for t in [*texts, "end"] if t.split()] for texts in sources]
    for number, texts in enumerate(own):
        assert [document.text for document in whole if document.source == number] == texts


# ---- the sentences that a stream shares with the roles


def shared(document, *sentences):
    """The sentences of a document whose words the sentences of a role have."""
    keys = sentence_keys(Sentence(text, "da", "", "") for text in sentences)
    (only,) = parsed(document)
    starts = [0, *only.ends]
    return [
        only.text[first:last].strip()
        for first, last, key in zip(starts, only.ends, only.keys, strict=False)
        if key in keys
    ]


def parsed(document):
    with TemporaryDirectory() as name:
        path = Path(name) / "a.jsonl"
        path.write_bytes(as_lines([document]))
        return list(parse_stream(str(path)).documents())


DOC = "Hr. Hansen kom hjem i går. Det regnede hele dagen!\nTak. Og så var det hele slut »for altid.« Ja"


@pytest.mark.parametrize(
    ("role", "found"),
    [
        ("Det regnede hele dagen.", ["Det regnede hele dagen!"]),
        ("det regnede, HELE dagen 12", ["Det regnede hele dagen!"]),
        ("Og så var det hele slut for altid", ["Og så var det hele slut »for altid.«"]),
        # a role's sentence may hold several
        ("Noget andet end det. Det regnede hele dagen.", ["Det regnede hele dagen!"]),
        # of so few words, sentences are the same in many texts
        ("Tak.", []),
        ("Det regnede hele natten.", []),
    ],
)
def test_sentences_of_a_role_are_found_inside_a_document(role, found):
    assert shared(DOC, role) == found


@pytest.mark.parametrize("text", ["Tak.", "Ja. Tak. Nej.", "3", "Hr. Hansen", DOC.replace("\n", " ")])
def test_a_text_that_is_a_roles_sentence_is_found(text):
    found = shared(text, text)
    assert found
    # what is left are scraps of fewer than four words
    rest = text
    for sentence in found:
        rest = rest.replace(sentence, "|")
    assert all(len(scrap.split()) < 4 for scrap in rest.split("|"))


# ---- what tells a stream from another


def test_the_identity_is_of_names_and_contents(tmp_path):
    path = write(tmp_path / "a.txt", TEXTS)
    first = parse_stream(str(path)).identity
    path.touch()
    assert parse_stream(str(path)).identity == first
    content = path.read_bytes()
    path.write_bytes(content.replace(b"699", b"996"))
    assert parse_stream(str(path)).identity != first
    path.write_bytes(content)
    moved = path.rename(tmp_path / "b.txt")
    assert parse_stream(str(moved)).identity != first
    assert parse_stream(str(moved)).identity != parse_stream(f"{moved},text=x").identity


def test_a_large_file_is_known_by_its_size_and_time(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    first = parse_stream(str(path)).identity
    assert parse_stream(str(path)).identity == first
    path.touch()
    assert parse_stream(str(path)).identity != first


# ---- faults


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_that_is_cut_short_names_the_place(tmp_path, name):
    random.seed(1)
    texts = ["".join(random.choices("abcdefghij ", k=300)) for _ in range(2000)]
    path = write(tmp_path / name, texts)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    line = refusal(path)
    assert line.startswith(f"{path}, {'row 1' if name == 'a.parquet' else 'line '}")
    assert "is broken or cut short (" in line
    if name != "a.parquet":
        assert int(line.partition(", line ")[2].partition(":")[0]) > 100


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.parquet"])
def test_a_file_with_a_broken_middle_is_one_line(tmp_path, name):
    path = write(tmp_path / name, TEXTS)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    assert str(path) in refusal(path)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_that_is_something_else_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"plain text and nothing else\n" * 100)
    assert "is broken or cut short (" in refusal(path)


def test_what_is_missing_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.txt")
    assert "has no file that can be read" in refusal(tmp_path)
    for number in (0, 1, 3, 5):
        write(tmp_path / f"train-{number:05d}-of-00006.parquet", TEXTS[:2])
    assert refusal(tmp_path) == (
        f"{tmp_path}: lacks 2 of 6 files, the first of them 'train-00002-of-00006.parquet': fetch them, or rename the "
        "others"
    )
    for number in (2, 4):
        write(tmp_path / f"train-{number:05d}-of-00006.parquet", TEXTS[:2])
    assert len(texts_of(tmp_path)) == 12
    (tmp_path / "z.txt").touch()
    assert "z.txt: is empty" in refusal(tmp_path)


@pytest.mark.parametrize(
    "said", ["a.tsv", "a.parquet.gz", "da=a.txt", "opus:TED2020", "a.txt a.txt", '"a.txt']
)
def test_other_sources_are_refused(said):
    assert refusal(said)


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name, TEXTS[:2])
    original = Path.open

    def refused(path, *arguments, **options):
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(GlossaeError, match=r"b\.txt: cannot be read \(Permission denied\)"):
        assert parse_stream(str(tmp_path)).identity
    assert "cannot be read (Permission denied)" in refusal(tmp_path)


def test_a_value_that_is_no_text_names_the_line_or_column(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines(["a", 3]))
    assert refusal(path) == f"{path}, line 2: 'text' is 3, and has to be text"
    path.write_bytes(as_lines(["a"]) + b"{\n")
    assert refusal(path).startswith(f"{path}, line 2: is not JSON")
    table = write(tmp_path / "a.parquet", TEXTS[:3])
    assert refusal(f"{table},text=id") == f"{table}: its column 'id' holds no text (but int64)"
    assert "which has no column 'x'" in refusal(f"{write(tmp_path / 'b.txt', TEXTS)},text=x")
    packed = tmp_path / "c.txt"
    packed.write_bytes(gzip.compress(b"text"))
    assert "is gzip-compressed" in refusal(packed)


def test_text_of_a_table_that_is_no_utf_8_names_the_row(tmp_path):
    ends, letters = struct.pack("<4i", 0, 5, 10, 14), b"A dog" + b"A cat" + b"\xffcow"
    column = pa.StringArray.from_buffers(3, pa.py_buffer(ends), pa.py_buffer(letters))
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": column}), path)
    line = refusal(path)
    assert line.startswith(f"{path}, row 3: is broken or cut short ('utf-8' codec can't decode")


def test_what_a_broken_table_quotes_of_its_bytes_is_printable(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": [{"a\x1b[2J": "A dog"}]}), path)
    line = refusal(path)
    assert line.isprintable()
    assert "its column 'text' holds no text (but struct<a\\x1b[2J: string>)" in line


def test_a_file_in_a_folder_whose_name_is_no_utf_8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("A dog", encoding="utf-8")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("A cat", encoding="utf-8")
    line = refusal(tmp_path)
    assert line.endswith("caf\\udce9.txt': the name is not UTF-8: rename the file")
