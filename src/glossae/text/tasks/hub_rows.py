"""Labelled rows from a data set of the hub."""

from collections.abc import Iterator
from typing import Any

from glossae.errors import GlossaeError
from glossae.text.hub import HubDataSet
from glossae.text.tasks.columns import choose_columns, label_of, pair_of, text_of
from glossae.text.tasks.task import TRAIN, Row

_NAMES = {"validation": "val", "dev": "val", "valid": "val"}
_ROWS = 1000


def hub_splits(source: HubDataSet) -> dict[str, Iterator[Row]]:
    """Every split of a data set; where the source names one, that is all `train`.

    Raises:
        GlossaeError: the hub refuses; or a split lacks a column.
    """
    if source.columns.languages or source.columns.labels:
        raise GlossaeError(
            f"{source.name}: a task knows ,config= ,split= ,text= and ,label=, and no languages"
        )
    tables = source.tables()
    if source.split is not None:
        if source.split not in tables:
            raise GlossaeError(f"{source.name}: has no split {source.split}; there are {', '.join(tables)}")
        tables = {TRAIN: tables[source.split]}
    return {_NAMES.get(split, split): table_rows(source, split, table) for split, table in tables.items()}


def table_rows(source: HubDataSet, split: str, table: Any) -> Iterator[Row]:
    """The rows of a flattened table of `datasets`; classes go by their names.

    Raises:
        GlossaeError: it lacks a column.
    """
    name = f"{source.name}, split {split}"
    columns = choose_columns(table.features, name, text=source.columns.text, label=source.columns.label)
    classes = getattr(table.features[columns.label], "names", None)
    return _rows(name, table, columns, classes)


def _rows(name: str, table: Any, columns: Any, classes: list[str] | None) -> Iterator[Row]:
    number = 0
    wanted = [column for column in columns if column is not None]
    for batch in table.select_columns(wanted).iter(batch_size=_ROWS):
        pairs = batch[columns.pair] if columns.pair else [None] * len(batch[columns.text])
        for text, value, pair in zip(batch[columns.text], batch[columns.label], pairs, strict=True):
            number += 1
            where = f"{name}, row {number}"
            if classes is not None and value is not None:
                # data sets that hide a label write -1
                value = classes[value] if value >= 0 else None
            yield Row(text_of(text, where), label_of(value, where), where, pair_of(pair))
