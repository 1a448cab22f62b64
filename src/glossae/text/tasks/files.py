"""Labelled rows from files: JSON Lines, CSV, TSV, and folders with a file for each split."""

from collections.abc import Iterator
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.text.lines import named, shown, text_lines
from glossae.text.tables import records
from glossae.text.tasks.columns import LABEL, TEXT, LabelColumns, choose_columns, label_of, pair_of, text_of
from glossae.text.tasks.task import TEST, TRAIN, Row

SUFFIXES = (".jsonl", ".csv", ".tsv")
_SPLITS = {
    "train": TRAIN,
    "test": TEST,
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "full_train": "full_train",
}


def file_splits(path: Path) -> dict[str, Iterator[Row]]:
    """The splits of a file, which is all `train`, or of a folder with a file for each.

    Raises:
        GlossaeError: the folder has no file for `train`, or two for one split; or the file is of another kind.
    """
    if not path.is_dir():
        return {TRAIN: read_rows(path)}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        split = _SPLITS.get(file.stem.lower())
        if split is None or file.suffix.lower() not in SUFFIXES:
            continue
        if split in found:
            raise GlossaeError(
                f"{named(path)}: has two files for {split}, {found[split].name} and {file.name}: leave one"
            )
        found[split] = file
    if TRAIN not in found:
        raise GlossaeError(f"{named(path)}: has no train.jsonl, train.csv or train.tsv")
    return {split: read_rows(file) for split, file in found.items()}


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file with a column for the text and one for the label.

    A TSV file has a header with both names, or none: then the label stands after the last tab.

    Raises:
        GlossaeError: the file is of another kind or cannot be read; a column is missing; or (at its row) a value is of
            the wrong kind. The line names the file and line.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise GlossaeError(
            f"{named(path)}: is no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file, nor a folder of them"
        )
    return _tsv(path) if kind == ".tsv" else _records(path)


def _records(path: Path) -> Iterator[Row]:
    names: tuple[str, ...] = ()
    columns: LabelColumns | None = None
    for record in records(path):
        where = f"{named(path)}, line {record.line}"
        # nearly always those of the record before
        if columns is None or tuple(record.fields) != names:
            names = tuple(record.fields)
            columns = choose_columns(names, where)
        fields = record.fields
        yield Row(
            text_of(fields[columns.text], where),
            label_of(fields[columns.label], where),
            where,
            None if columns.pair is None else pair_of(fields[columns.pair]),
        )


def _tsv(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    columns: LabelColumns | None = None
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        where = f"{named(path)}, line {number}"
        cells = line.split("\t")
        if header is None:
            words = [cell.strip().lower() for cell in cells]
            header = cells if set(words) & set(LABEL) or set(words) & set(TEXT) else []
            if header:
                columns = choose_columns(header, where)
                continue
        if columns is None:
            text, tab, label = line.rpartition("\t")
            if not tab:
                raise GlossaeError(
                    f"{where}: has no tab: write TEXT, a tab and LABEL, but found {shown(line)}"
                )
            yield Row(text, label.strip(), where)
            continue
        if len(cells) != len(header):
            raise GlossaeError(f"{where}: {len(cells)} columns where the header has {len(header)}")
        row = dict(zip(header, cells, strict=True))
        pair = None if columns.pair is None else pair_of(row[columns.pair])
        yield Row(row[columns.text], row[columns.label].strip(), where, pair)
