"""Text read, cleaned and divided into roles: how fast, and in how much memory, for each kind of source.

    python benchmarks/read_text.py [--json] [--sentences 500000] [--repeats 3] [--forms tsv,columns,jsonl,csv,tmx,opus]

Every reading is a process of its own, so that its peak memory is its own. The text is made up: words of two to eleven
letters, 8 to 24 of them a sentence, some 60 MB for half a million sentences; half of it is Danish to the reader. There
is no peer. `opus` is a Moses archive that already lies in the cache, checksum and all; nothing is fetched.
"""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

READING = """
import json, resource, sys, time
from glossae.corpora import build_roles
start = time.perf_counter()
roles = build_roles({"train": sys.argv[1]}, target="da", reference="en", seed=0)
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([sum(map(len, roles.corpora.values())), seconds, peak / 1e6]))
"""
CODES = ("da", "en")


def sentences(number: int) -> Iterator[str]:
    """Made-up sentences; the same ones every time."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvæøå", k=rng.randint(2, 11))) for _ in range(20_000)]
    for _ in range(number):
        yield " ".join(rng.choices(words, k=rng.randint(8, 24)))


def pairs(number: int) -> Iterator[tuple[str, str]]:
    """The same, two by two."""
    made = sentences(number)
    return zip(made, made, strict=False)


def write_tsv(path: Path, number: int) -> None:
    """Sentence and label."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\t{i % 2}\n" for i, text in enumerate(sentences(number)))


def write_columns(path: Path, number: int) -> None:
    """A header of language codes, and aligned columns."""
    with path.open("w", encoding="utf-8") as file:
        file.write("da\ten\n")
        file.writelines(f"{danish}\t{english}\n" for danish, english in pairs(number))


def write_jsonl(path: Path, number: int) -> None:
    """An object a line, with a pair number."""
    with path.open("w", encoding="utf-8") as file:
        for i, text in enumerate(sentences(number)):
            record = {"text": text, "language": CODES[i % 2], "pair": i // 2}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_csv(path: Path, number: int) -> None:
    """Sentence and label, with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows((text, i % 2) for i, text in enumerate(sentences(number)))


def write_tmx(path: Path, number: int) -> None:
    """A translation memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write('<tmx version="1.4"><body>\n')
        for danish, english in pairs(number):
            units = (
                f'<tuv xml:lang="da"><seg>{danish}</seg></tuv><tuv xml:lang="en"><seg>{english}</seg></tuv>'
            )
            file.write(f"<tu>{units}</tu>\n")
        file.write("</body></tmx>\n")


def write_opus(path: Path, number: int) -> None:
    """A Moses archive."""
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for code, texts in zip(CODES, zip(*pairs(number), strict=True), strict=True):
            archive.writestr(f"Made.da-en.{code}", "".join(f"{text}\n" for text in texts))


FORMS: dict[str, tuple[str, str | None, Callable[[Path, int], None]]] = {
    "tsv": ("labelled.tsv", None, write_tsv),
    "columns": ("columns.tsv", None, write_columns),
    "jsonl": ("x.jsonl", None, write_jsonl),
    "csv": ("x.csv", None, write_csv),
    "tmx": ("x.tmx", None, write_tmx),
    "opus": ("opus/Made/v1/da-en.txt.zip", "opus:Made", write_opus),
}
"""For each form the file, the source if it is not the file's path, and what writes it."""


def measure(form: str, number: int, repeats: int, folder: Path) -> dict[str, object]:
    """Median seconds and the largest peak of some readings."""
    name, source, write = FORMS[form]
    write(folder / name, number)
    environment = {**os.environ, "GLOSSAE_CACHE": str(folder), "GLOSSAE_OFFLINE": "1"}
    command = [sys.executable, "-c", READING, source or str(folder / name)]
    runs = [json.loads(subprocess.check_output(command, text=True, env=environment)) for _ in range(repeats)]
    read, seconds, peak = zip(*runs, strict=True)
    if set(read) != {number}:
        raise SystemExit(f"{form}: {set(read)} sentences were read, and {number} were written")
    return {
        "form": form,
        "sentences": number,
        "megabytes": (folder / name).stat().st_size / 1e6,
        "seconds": statistics.median(seconds),
        "sentences_per_second": number / statistics.median(seconds),
        "peak_megabytes": max(peak),
    }


def main() -> None:
    """Measure every form and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line for programs")
    parser.add_argument("--sentences", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--forms", default=",".join(FORMS), help="which, with commas between them")
    options = parser.parse_args()
    results = []
    for form in options.forms.split(","):
        with tempfile.TemporaryDirectory() as folder:
            result = measure(form, options.sentences, options.repeats, Path(folder))
        results.append(result)
        print(
            f"{form:8} {result['megabytes']:6.1f} MB {result['seconds']:6.1f} s "
            f"{result['sentences_per_second']:9,.0f} sentences/s {result['peak_megabytes']:6.0f} MB peak",
            flush=True,
        )
    if options.json:
        print(json.dumps({"cases": results}))


if __name__ == "__main__":
    main()
