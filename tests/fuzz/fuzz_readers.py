"""Give a reader bytes that atheris makes up: it has to yield cleaned text, or one `GlossaeError` of one line.

    python tests/fuzz/fuzz_readers.py FORM [-max_total_time=60] [other options of libFuzzer]

FORM is a file of `test_hostile_texts.FORMS`, such as memory.tmx, or `task.tsv`, `task.jsonl`, `task.csv`, or a source
of a stream, such as `stream.txt.gz`; `stream` is a folder of two files, each with half of the bytes. The files of the
hostile texts are where it begins. It stops at the first fault, and writes the input that has it to `crash-*`.
"""

import gzip
import io
import sys
import tempfile
from pathlib import Path

import atheris
import pyarrow
from pyarrow import parquet

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))
with atheris.instrument_imports(include=["glossae.corpora", "glossae.languages"]):
    from glossae.corpora import clean_text, parse_source, parse_stream, parse_task
    from glossae.corpora.cleaning import clean
    from glossae.errors import GlossaeError
from test_hostile_texts import FAULTS, FORMS, as_bytes, lines_of

TASKS = ("task.tsv", "task.jsonl", "task.csv")
STREAMS = ("stream.txt", "stream.jsonl", "stream.txt.gz", "stream.jsonl.zst", "stream.parquet", "stream")
LANGUAGES = ("da", "en")


def read_stream(path: Path) -> None:
    """Read a stream, and check every document."""
    stream = parse_stream(str(path))
    stream.look()
    for document in stream.documents():
        cleaned = clean_text(document.text)
        assert document.text == cleaned, repr(document.text)
        document.text.encode()
        assert document.ends[-1] == len(document.text), document
        assert list(document.ends) == sorted(set(document.ends)), document
        assert len(document.keys) == len(document.ends), document


def read(path: Path) -> None:
    """Read a file as its name says, and check every sentence, or the refusal."""
    try:
        if path.name in STREAMS:
            read_stream(path)
            return
        if path.name in TASKS:
            parse_task(f"mine:da={path}").read(0)
            return
        # of the sources of a form the first holds the file
        source = parse_source(FORMS[path.name][0].split()[0].partition(",en=")[0].format(path))
        sentences, _ = clean(source.read(LANGUAGES, 0), path.name, LANGUAGES, {})
    except GlossaeError as error:
        refusal = str(error)
        if not refusal.isprintable() or str(path) not in refusal:
            raise SystemError(repr(refusal)) from error
        return
    for sentence in sentences:
        assert sentence.text == clean_text(sentence.text), repr(sentence.text)
        sentence.text.encode()


def streams(form: str) -> list[bytes]:
    """What a form of stream begins with: whole files, and those of the hostile texts."""
    alike = "aligned.txt" if "txt" in form else "records.jsonl"
    texts = [
        as_bytes(lines_of(alike)[:9]),
        *(fault.content[:4000] for fault in FAULTS if fault.form == alike),
    ]
    if form.endswith(".gz"):
        return [gzip.compress(text) for text in texts]
    if form.endswith(".zst"):
        return [pyarrow.compress(text, "zstd", asbytes=True) for text in texts]
    if form.endswith(".parquet"):
        file = io.BytesIO()
        parquet.write_table(pyarrow.table({"text": ["En hund.", "A dog. It barks.", None]}), file)
        return [file.getvalue()]
    return texts


def main() -> None:
    """Fuzz one reader."""
    form = sys.argv.pop(1)
    if form not in (*FORMS, *TASKS, *STREAMS):
        raise SystemExit(f"{form}: there are {', '.join((*FORMS, *TASKS, *STREAMS))}")
    with tempfile.TemporaryDirectory() as folder:
        path, seeds = Path(folder) / form, Path(folder) / "seeds"
        seeds.mkdir()
        alike = form.replace("task", "labelled" if form.endswith("tsv") else "records")
        texts = streams(form) if form in STREAMS else [as_bytes(lines_of(alike))]
        texts += [fault.content for fault in FAULTS if fault.form == alike]
        for place, text in enumerate(texts):
            (seeds / str(place)).write_bytes(text[:4000])
        if form == "stream":
            path.mkdir()

        def test_one(data: bytes) -> None:
            if path.is_dir():
                half = len(data) // 2
                for number, part in enumerate((data[:half], data[half:])):
                    (path / f"train-{number}-of-2.jsonl").write_bytes(part)
            else:
                path.write_bytes(data)
            read(path)

        atheris.Setup([*sys.argv, str(seeds)], test_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
