"""Labelled tasks: parse `NAME[:LANGUAGE][=SOURCE]`, and read rows from files, the hub or a treebank."""

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from glossae.corpora.corpus import no_progress
from glossae.corpora.hub_data import ROWS, SCHEME, HubDataSet, class_name, parse_hub, unless_nan
from glossae.corpora.lines import Record, name_list, path_text, records, short_repr, text_lines
from glossae.corpora.readers import read_conllu
from glossae.corpora.scala import Tagged, scala_splits
from glossae.corpora.sources import split_sources
from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.languages import language_code

TRAIN, TEST = "train", "test"
SCALA = "scala:"
KNOWN: dict[str, tuple[str | None, str]] = {
    "angry-tweets": ("da", "hub:DDSC/angry-tweets"),
    "scala-da": ("da", "hub:alexandrainst/scala,config=da"),
    "tweet-sentiment": ("en", "hub:SetFit/tweet_sentiment_extraction"),
    "toy-sentiment": (None, "toy:sentiment"),
    "toy-acceptability": (None, "toy:acceptability"),
}
"""Tasks that need no source: the paper's three and the toy's, each with its language if that is fixed."""

LabelledGenerator: TypeAlias = Callable[[str, str, int], Mapping[str, Iterable["Row"]]]
"""Generates a task's splits from its name, a language and a seed."""

_TASK = re.compile(r"([\w-]+)(?::([\w-]+))?(?:=(.+))?", re.DOTALL)
_FORMS = "FOLDER, PATH.jsonl, PATH.csv, PATH.tsv, hub:OWNER/NAME, scala:PATH.conllu"
_SUFFIXES = (".jsonl", ".csv", ".tsv")
_VALIDATION = {"val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS = {TRAIN: TRAIN, TEST: TEST, "full_train": "full_train", **_VALIDATION}
_TEXT_NAMES = ("text", "sentence", "tweet")
# words before numbers, for data sets that have both
_LABEL_NAMES = ("label_text", "label", "sentiment", "class")


class Row(NamedTuple):
    """A row as it was read, before checks.

    Attributes:
        text: the text; a blank one is dropped and counted.
        label: its name; None or empty if the source hides it.
        where: the file and line, or the data set and row, for messages.
        pair: rows with the same value stay together; None for a row that stands alone.
    """

    text: str
    label: str | None
    where: str
    pair: str | None = None


class Example(NamedTuple):
    """A text with its label; rows with the same `pair` stay in one split."""

    text: str
    label: str
    pair: str


@dataclass(frozen=True)
class Task:
    """A labelled task.

    Attributes:
        name: the name in tables.
        language: the code of the texts' language.
        source: the source string.
        splits: the rows by split; `train` always exists, `test` if the source has one.
        dropped: for each split, the number of dropped rows by reason.
        provenance: the origin, such as a commit.
    """

    name: str
    language: str
    source: str
    splits: Mapping[str, tuple[Example, ...]]
    dropped: Mapping[str, Mapping[str, int]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of `train`, sorted."""
        return tuple(sorted({row.label for row in self.train}))

    @property
    def train(self) -> tuple[Example, ...]:
        """The rows to train on."""
        return self.splits[TRAIN]

    @property
    def test(self) -> tuple[Example, ...] | None:
        """The rows to test on; None if the source has no such split."""
        return self.splits.get(TEST)

    @property
    def sha256(self) -> str:
        """A hash of every row of every split, in order."""
        digest = hashlib.sha256()
        for split, rows in self.splits.items():
            digest.update(f"{split}\0{len(rows)}\0".encode())
            for row in rows:
                # lengths first, so that no two tables give the same bytes
                for part in row:
                    data = part.encode()
                    digest.update(f"{len(data)}\0".encode() + data)
        return digest.hexdigest()


def assemble_task(
    name: str,
    language: str,
    source: str,
    splits: Mapping[str, Iterable[Row]],
    provenance: Mapping[str, Any] | None = None,
) -> Task:
    """Make a task of rows. Rows without text are dropped and counted as `empty`.

    Raises:
        GlossaeError: there is no `train`, a split has no rows, a row has no label, another split has a label that
            `train` lacks, or `train` has one label only. The line names the row, or the task.
    """
    if TRAIN not in splits:
        raise GlossaeError(f"{source}: has no split train; there are {', '.join(splits) or 'none'}")
    kept: dict[str, tuple[Example, ...]] = {}
    dropped: dict[str, dict[str, int]] = {}
    known: set[str] = set()
    # train first: its labels are the task's
    for split in sorted(splits, key=lambda key: key != TRAIN):
        count: Counter[str] = Counter()
        rows = []
        for number, row in enumerate(splits[split]):
            if not row.label:
                raise GlossaeError(f"{row.where}: has no label: give every row one")
            if not row.text.strip():
                count["empty"] += 1
                continue
            if split != TRAIN and row.label not in known:
                some = name_list([short_repr(label) for label in sorted(known)], 8)
                raise GlossaeError(
                    f"{row.where}: the label {short_repr(row.label)} is not one of train's, {some}"
                )
            # half of a surrogate pair, which JSON can hold and UTF-8 cannot
            text = row.text.encode("utf-8", "replace").decode()
            rows.append(Example(text, row.label, row.pair or f"{split} {number}"))
        if not rows:
            raise GlossaeError(f"{source}: has no text in its split {split}")
        kept[split], dropped[split] = tuple(rows), dict(count)
        if split == TRAIN:
            known = {row.label for row in rows}
            if len(known) < 2:
                raise GlossaeError(
                    f"{source}: every row of train has the label {short_repr(rows[0].label)}: a task needs two"
                )
    return Task(name, language, source, kept, dropped, provenance or {})


@dataclass(frozen=True)
class TaskSource:
    """A task before it is read: its name, the code of its language, and its source."""

    name: str
    language: str
    source: str

    def read(self, seed: int, generators: Mapping[str, LabelledGenerator] | None = None) -> Task:
        """Read, fetch or generate the task.

        Args:
            seed: for generated tasks.
            generators: generators of labelled sets, by the word before the colon.
        """
        provenance: dict[str, Any] = {}
        word, colon, what = self.source.partition(":")
        splits: Mapping[str, Iterable[Row]]
        if self.source.startswith(SCHEME):
            data = parse_hub(self.source)
            provenance = data.fetch((), no_progress)
            splits = _hub_splits(data)
        elif self.source.startswith(SCALA):
            splits = self._scala_splits()
        elif colon and generators and word in generators:
            splits = generators[word](what, self.language, seed)
        else:
            splits = _file_splits(self.source)
        return assemble_task(self.name, self.language, self.source, splits, provenance)

    def _scala_splits(self) -> dict[str, list[Row]]:
        paths = [path_named(part) for part in self.source.removeprefix(SCALA).split(",") if part]
        if not paths:
            raise GlossaeError(f"{self.source}: names no file: write scala:PATH.conllu")
        sentences = [sentence for path in paths for sentence in read_treebank(path)]
        return {
            split: [
                Row(text, label, f"{self.source}, sentence {number}", f"sentence {number}")
                for text, label, number in rows
            ]
            for split, rows in scala_splits(sentences, self.source).items()
        }


def split_tasks(text: str) -> list[TaskSource]:
    """Parse every task of a recipe's string, separated by blanks.

    Raises:
        GlossaeError: a task cannot be parsed, or two have the same name.
    """
    found = [parse_task(word) for word in split_sources(text)]
    for name, number in Counter(task.name for task in found).items():
        if number > 1:
            raise GlossaeError(f"{name}: is named twice: give each task a name of its own")
    return found


def parse_task(text: str) -> TaskSource:
    """Parse `NAME[:LANGUAGE][=SOURCE]`; tasks in `KNOWN` have a source, and most of them a language.

    Raises:
        GlossaeError: the form is wrong, or the source or the language is missing.
    """
    match = _TASK.fullmatch(text)
    if match is None:
        raise GlossaeError(
            f"{short_repr(text, 200)}: is no task: write NAME:LANGUAGE=SOURCE, with {_FORMS} as a source"
            f"{'; blanks separate tasks' if ',' in text else ''}"
        )
    name, written, source = match.groups()
    name = name.replace("_", "-")
    settled, usual = KNOWN.get(name, (None, None))
    if source is None and usual is None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise GlossaeError(
            f"{short_repr(text, 200)}: does not say where it is: {hint}write {name}:LANGUAGE=SOURCE, or one of "
            f"{', '.join(KNOWN)}"
        )
    language = settled if written is None else language_code(written)
    if language is None:
        what = (
            "does not say its language"
            if written is None
            else f"{short_repr(written)} is not a language code"
        )
        raise GlossaeError(
            f"{short_repr(text, 200)}: {what}: write {name}:CODE{'' if source is None else '=' + source}"
        )
    return TaskSource(name, language, source or str(usual))


class _Names(NamedTuple):
    """The names of the columns that matter, as the table writes them."""

    text: str
    label: str
    pair: str | None


def _names(columns: Sequence[str], where: str, text: str | None = None, label: str | None = None) -> _Names:
    """The columns of text, label and pair: as given, or found by their names without regard to case."""
    by_name: dict[str, str] = {}
    for name in columns:
        by_name.setdefault(name.strip().lower(), name)
    there = name_list([short_repr(name) for name in columns]) or "nothing"
    found = []
    for given, known in ((text, _TEXT_NAMES), (label, _LABEL_NAMES)):
        if given is not None and given not in columns:
            raise GlossaeError(f"{where}: has no column {short_repr(given)}; it has {there}")
        found.append(given or next((by_name[name] for name in known if name in by_name), None))
    if found[0] is None or found[1] is None:
        what, known = ("text", _TEXT_NAMES) if found[0] is None else ("label", _LABEL_NAMES)
        raise GlossaeError(f"{where}: has no column for the {what} ({', '.join(known)}); it has {there}")
    return _Names(found[0], found[1], by_name.get("pair"))


def _row(text: Any, label: Any, pair: Any, where: str) -> Row:
    """Make a row of values of any type; a missing text is empty, a missing label None."""
    if text is not None and not isinstance(text, str):
        raise GlossaeError(f"{where}: the text is {short_repr(text)}: write it as a string")
    if isinstance(label, str | bool):
        label = str(label).strip()
    elif label is not None:
        # some programs write a column of integers as 1.0
        if not isinstance(label, int) and not (isinstance(label, float) and label.is_integer()):
            raise GlossaeError(f"{where}: the label is {short_repr(label)}: write a word or a whole number")
        label = str(int(label))
    pair = unless_nan(pair)
    return Row(text or "", label, where, None if pair is None or pair == "" else str(pair))


def _file_splits(source: str) -> dict[str, Iterator[Row]]:
    """The splits of a file, which is all `train`, or of a folder with one file per split."""
    path = path_named(source)
    if not path.exists():
        raise GlossaeError(
            f"{short_repr(source, 200)}: is neither a file nor a folder; a task's source is {_FORMS}"
        )
    if path.suffix.lower() == ".conllu":
        raise GlossaeError(f"{source}: is a treebank: write scala:{source} to make a task of it")
    if not path.is_dir():
        return {TRAIN: _rows(path)}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        split = _SPLITS.get(file.stem.lower())
        if split is None or file.suffix.lower() not in _SUFFIXES:
            continue
        if split in found:
            raise GlossaeError(
                f"{path_text(path)}: has two files for {split}, {found[split].name} and {file.name}: leave one"
            )
        found[split] = file
    if TRAIN not in found:
        raise GlossaeError(f"{path_text(path)}: has no train.jsonl, train.csv or train.tsv")
    return {split: _rows(file) for split, file in found.items()}


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file with a column for the text and one for the label."""
    kind = path.suffix.lower()
    if kind not in _SUFFIXES:
        raise GlossaeError(
            f"{path_text(path)}: is no {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file, nor a folder of them"
        )
    columns: tuple[str, ...] | None = None
    for where, fields in _tsv(path) if kind == ".tsv" else records(path):
        # records nearly always have the same columns as the record before
        if (found := tuple(fields)) != columns:
            columns, names = found, _names(found, where)
        pair = None if names.pair is None else fields[names.pair]
        yield _row(fields[names.text], fields[names.label], pair, where)


def _tsv(path: Path) -> Iterator[Record]:
    """The lines of a file, with a header that names its columns or without; then the label is the last column."""
    header: list[str] | None = None
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path_text(path)}, line {number}"
        cells = line.split("\t")
        if any("\r" in cell for cell in cells[1:]):
            raise GlossaeError(f"{where}: holds a carriage return after a tab: end lines in \\n or \\r\\n")
        if header is None:
            words = {cell.strip().lower() for cell in cells}
            header = [] if words.isdisjoint((*_LABEL_NAMES, *_TEXT_NAMES)) else cells
            if header:
                _names(header, where)
                continue
        if header:
            if cells == header:
                # files that were joined have their headers in the middle
                continue
            if len(cells) != len(header):
                raise GlossaeError(f"{where}: {len(cells)} columns where the header has {len(header)}")
            yield Record(where, dict(zip(header, cells, strict=True)))
        elif len(cells) > 1:
            yield Record(where, {"text": "\t".join(cells[:-1]), "label": cells[-1]})
        else:
            raise GlossaeError(
                f"{where}: has no tab: write TEXT, a tab and LABEL, but found {short_repr(line)}"
            )


def _hub_splits(source: HubDataSet) -> dict[str, Iterator[Row]]:
    """Every split of a data set; if the source names a split, that split as `train`."""
    if source.columns.languages or source.columns.labels:
        raise GlossaeError(
            f"{source.name}: a task knows ,config= ,split= ,text= and ,label=, and no languages"
        )
    tables = source.tables()
    if source.split is not None:
        if source.split not in tables:
            raise GlossaeError(f"{source.name}: has no split {source.split}; there are {', '.join(tables)}")
        tables = {TRAIN: tables[source.split]}
    return {
        _VALIDATION.get(split, split): _table_rows(source, split, table) for split, table in tables.items()
    }


def _table_rows(source: HubDataSet, split: str, table: Any) -> Iterator[Row]:
    """The rows of a flattened table of `datasets`; class labels are replaced by their names."""
    name = f"{source.name}, split {split}"
    names = _names(list(table.features), name, source.columns.text, source.columns.label)
    classes = getattr(table.features[names.label], "names", None)
    number = 0
    for batch in table.select_columns([column for column in names if column is not None]).iter(
        batch_size=ROWS
    ):
        pairs = batch[names.pair] if names.pair else [None] * len(batch[names.text])
        for text, value, pair in zip(batch[names.text], batch[names.label], pairs, strict=True):
            number += 1
            yield _row(text, class_name(value, classes), pair, f"{name}, row {number}")


def read_treebank(path: Path) -> Iterator[Tagged]:
    """The sentences of a `.conllu` file, or of JSON Lines with `tokens` and `pos_tags`."""
    kind = path.suffix.lower()
    if kind == ".conllu":
        for tokens, tags, text, _ in read_conllu(path):
            yield Tagged(tokens, tags, text)
    elif kind == ".jsonl":
        for where, fields in records(path):
            tokens, tags = (_words(fields.get(key), key, where) for key in ("tokens", "pos_tags"))
            if len(tokens) != len(tags):
                raise GlossaeError(f"{where}: has {len(tokens)} tokens and {len(tags)} pos_tags")
            if tokens:
                said = fields.get("text")
                yield Tagged(tokens, tags, said if isinstance(said, str) else None)
    else:
        raise GlossaeError(
            f"{path_text(path)}: is no treebank: give a .conllu file, or .jsonl with tokens and pos_tags"
        )


def _words(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise GlossaeError(f"{where}: {key} is {short_repr(value)}: write a list of strings")
    return tuple(value)
