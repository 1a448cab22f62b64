"""Give a reader bytes that atheris makes up: it has to yield cleaned sentences, or one `GlossaeError` of one line.

    python tests/fuzz/fuzz_readers.py FORM [-max_total_time=60] [other options of libFuzzer]

FORM is a file of `test_hostile_texts.FORMS`, such as memory.tmx, or `task.tsv`, `task.jsonl`, `task.csv`. The files of
the hostile texts are where it begins. It stops at the first fault, and writes the input that has it to `crash-*`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))
with atheris.instrument_imports(include=["glossae.corpora", "glossae.languages"]):
    from glossae.corpora import clean_text, parse_source, parse_task
    from glossae.corpora.cleaning import clean
    from glossae.errors import GlossaeError
from test_hostile_texts import FAULTS, FORMS, as_bytes, lines_of

TASKS = ("task.tsv", "task.jsonl", "task.csv")
LANGUAGES = ("da", "en")


def read(path: Path) -> None:
    """Read a file as its name says, and check every sentence, or the refusal."""
    try:
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


def main() -> None:
    """Fuzz one reader."""
    form = sys.argv.pop(1)
    if form not in (*FORMS, *TASKS):
        raise SystemExit(f"{form}: there are {', '.join((*FORMS, *TASKS))}")
    with tempfile.TemporaryDirectory() as folder:
        path, seeds = Path(folder) / form, Path(folder) / "seeds"
        seeds.mkdir()
        alike = form.replace("task", "labelled" if form.endswith("tsv") else "records")
        texts = [as_bytes(lines_of(alike)), *(fault.content for fault in FAULTS if fault.form == alike)]
        for place, text in enumerate(texts):
            (seeds / str(place)).write_bytes(text[:4000])

        def test_one(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        atheris.Setup([*sys.argv, str(seeds)], test_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
