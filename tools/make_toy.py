"""Write what glossae ships as its toy: text, labelled sets, and a little language model trained on such text.

    python tools/make_toy.py

Everything follows from `toy_grammar`. The model takes ten minutes on one core; on another CPU, or with another
torch, its weights come out a little different.
"""

import shutil
from pathlib import Path
from random import Random

from toy_grammar import LANGUAGES, acceptability, documents, sentiment
from toy_grammar.settings import ModelSettings
from toy_grammar.training import train

DATA = Path(__file__).parents[1] / "src" / "glossae" / "toy"
TEXTS, MOST_SENTENCES, LABELLED_ROWS, SEED = 2000, 5, 2000, 0
LABELLED = {"sentiment": sentiment, "acceptability": acceptability}


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A TSV of `rows`; no cell may hold a tab or a line break."""
    assert not any(set(cell) & set("\t\r\n") for row in rows for cell in row)
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


def tables() -> dict[str, str]:
    """The shipped TSV files by name."""
    made = {
        name: table(
            ("language", "pair", "label", "text"),
            [
                (language, row.pair, row.label, row.text)
                for language in LANGUAGES
                for row in write(LABELLED_ROWS, SEED, language)
            ],
        )
        for name, write in LABELLED.items()
    }
    random = Random(SEED)
    lengths = [random.randint(1, MOST_SENTENCES) for _ in range(TEXTS)]
    rows = [tuple(texts[language] for language in LANGUAGES) for texts in documents(lengths, SEED)]
    return {"sentences": table(LANGUAGES, rows), **made}


def main() -> None:
    """Write everything."""
    for name, text in tables().items():
        (DATA / f"{name}.tsv").write_text(text, encoding="utf-8", newline="")
    shutil.rmtree(DATA / "model", ignore_errors=True)
    (DATA / "model").mkdir()
    train(ModelSettings(), DATA / "model", lambda done: print(f"\r{done:.0%}", end="", flush=True))


if __name__ == "__main__":
    main()
