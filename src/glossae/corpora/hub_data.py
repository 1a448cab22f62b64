"""Data sets of the Hugging Face Hub as text, read with the library `datasets`."""

import difflib
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from glossae.corpora.corpus import Pair, Progress, Source
from glossae.corpora.lines import short_repr
from glossae.corpora.readers import DOC_NAME, LANGUAGE_NAMES, PAIR_NAME, TEXT_NAMES
from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.hub import Repository, commit_of, hub_errors, silent_client
from glossae.languages import UNDETERMINED, language_code, suggested_code

SCHEME = "hub:"
ROWS = 1000
"""Rows of a table read at a time."""
TRIES = 3
"""How often a block of a stream is asked for again, by a client that itself tries for half a minute each time."""
# this file is fetched first, to learn the commit; a data set need not have it
_CARD = "README.md"
_KEYS = ("config", "split", "text", "label", "language", "pair", "doc")
_LABEL_OF = re.compile(r"(?:label|language)\.(.+)", re.DOTALL)
_TRANSLATION = "translation."
_STRINGS = ("string", "large_string", "string_view", "null")


@dataclass(frozen=True)
class Columns:
    """The columns of a data set, as far as a source names them; see `parse_hub`.

    Attributes:
        languages: (code, column) of text in one language; the columns of a row translate each other.
        labels: (value, code): the language code that a label's value stands for.
    """

    text: str | None = None
    label: str | None = None
    pair: str | None = None
    doc: str | None = None
    languages: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def parse_hub(text: str) -> "HubDataSet":
    """Parse `hub:OWNER/NAME[@REVISION][,KEY=VALUE]...`.

    Keys are `config`, `split`, `text`, `label` or `language` (the column with a row's language), `pair`, `doc`,
    `label.VALUE` (the language code that the value VALUE of that column stands for), and language codes, for
    columns in one language. A nested column is written `OUTER.INNER`.
    """
    place, *settings = text.removeprefix(SCHEME).split(",")
    given: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key or not value:
            raise GlossaeError(
                f"{short_repr(text, 200)}: {short_repr(setting)} says nothing: write KEY=VALUE between commas"
            )
        key = "label" if key == "language" else key
        if key in given:
            raise GlossaeError(f"{short_repr(text, 200)}: {key} is said twice: say it once")
        given[key] = value
    try:
        repository = Repository.parse(place, "dataset")
        config, split = given.pop("config", None), given.pop("split", None)
        return HubDataSet(repository, config, split, _named_columns(given))
    except GlossaeError as error:
        raise GlossaeError(f"{short_repr(text, 200)}: {error}") from error


def _named_columns(given: dict[str, str]) -> Columns:
    """The columns that the settings name; an error says what is wrong, and the caller adds the place."""
    text, label, pair, doc = (given.pop(key, None) for key in ("text", "label", "pair", "doc"))
    labels: list[tuple[str, str]] = []
    languages: list[tuple[str, str]] = []
    for key, value in given.items():
        if match := _LABEL_OF.fullmatch(key):
            code = language_code(value)
            if code is None:
                raise GlossaeError(
                    f"{short_repr(value)} is not a language code: write one such as {suggested_code(value)} (BCP 47)"
                )
            labels.append((match[1], code))
        elif code := language_code(key):
            languages.append((code, value))
        else:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)} and language codes"
            raise GlossaeError(f"there is no key {short_repr(key)}: {hint}")
    if languages and (text or label or labels):
        raise GlossaeError(
            "names a column for a language and a column of text with a label: say one of the two"
        )
    if len({code for code, _ in languages}) < len(languages):
        raise GlossaeError("a language is named twice: name each once")
    return Columns(text, label, pair, doc, tuple(languages), tuple(labels))


@dataclass(frozen=True)
class HubDataSet(Source):
    """A split of a data set on the hub.

    Attributes:
        repository: the repository on the hub.
        config: the configuration; None for the default one.
        split: the split; None for `train`, or the only one.
        columns: the columns, as far as the source names them.
    """

    repository: Repository
    config: str | None
    split: str | None
    columns: Columns

    @property
    def name(self) -> str:
        """The short name for tables: the repository's, without config, split and columns."""
        return f"{SCHEME}{self.repository.name}"

    def fetch(self, _languages: Sequence[str], _progress: Progress) -> dict[str, Any]:
        """Look the data set up on the hub, to refuse a missing one before other sources take time to read.

        Returns:
            The provenance, with the commit.
        """
        _library()
        repository = self.repository
        with hub_errors(repository, self.name):
            commit = commit_of(repository, _CARD)
        return {
            "url": repository.page,
            "repository": repository.name,
            "revision": repository.revision,
            "commit": commit,
            "config": self.config,
            "split": self.split,
        }

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """Yield the rows, fetched into the caches of the hub's client and of `datasets`.

        If the source names no columns, the first of these that fits is used: a `translation` with a text per
        language code; `text` or `sentence` with a `language`, `lang` or `label`; columns named by the codes of
        `languages`. A missing text is empty; a text without a label has the language `und`.
        """
        datasets = _library()
        with _quiet(datasets):
            rows = _split(self, _prepared(datasets, self)).flatten()
        return _pairs(self.name, rows, self.columns, languages)

    def tables(self) -> dict[str, Any]:
        """Every split as a flattened table of `datasets`."""
        datasets = _library()
        with _quiet(datasets):
            builder = _prepared(datasets, self)
            return {split: builder.as_dataset(split=split).flatten() for split in builder.info.splits}


def streamed_rows(source: HubDataSet) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a data set from the hub as they come, of its commit at the first; nothing is kept on disk.

    Raises:
        GlossaeError: there is no such split, or the hub refuses or breaks off.
    """
    datasets = _library()
    with _streaming(datasets, source):
        builder = _builder(datasets, source, commit_of(source.repository, _CARD))
        splits = builder.as_streaming_dataset()
        rows = iter(splits[_split_of(source, list(splits))])
    while True:
        # the settings of the hub's client are ours only as long as it works
        with _streaming(datasets, source):
            some = list(islice(rows, ROWS))
        if not some:
            return
        yield from some


@contextmanager
def _streaming(datasets: Any, source: HubDataSet) -> Iterator[None]:
    """As `hub_errors` and `_quiet`, with few enough tries that a lost connection is told within minutes."""
    config = datasets.config
    tries = config.STREAMING_READ_MAX_RETRIES
    config.STREAMING_READ_MAX_RETRIES = TRIES
    try:
        with hub_errors(source.repository, source.name), _quiet(datasets):
            yield
    finally:
        config.STREAMING_READ_MAX_RETRIES = tries


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise GlossaeError(
            f"{SCHEME} needs the package datasets ({error}): {install('hub')}, or pip install datasets"
        ) from error
    return datasets


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Silence the log of `datasets`, and its progress bars where the hub's client draws none."""
    from huggingface_hub.utils import are_progress_bars_disabled

    log = datasets.utils.logging
    level, bare = log.get_verbosity(), datasets.are_progress_bars_disabled()
    with silent_client():
        log.set_verbosity(log.CRITICAL)
        if are_progress_bars_disabled():
            datasets.disable_progress_bars()
        try:
            yield
        finally:
            log.set_verbosity(level)
            (datasets.disable_progress_bars if bare else datasets.enable_progress_bars)()


def _prepared(datasets: Any, source: HubDataSet) -> Any:
    """The builder of a data set at the commit of its revision, after its files are fetched."""
    made: Path | None = None
    try:
        with hub_errors(source.repository, source.name):
            commit = commit_of(source.repository, _CARD)
            builder = _builder(datasets, source, commit)
            folder = Path(builder.cache_dir)
            made = None if folder.exists() else folder
            builder.download_and_prepare()
    except GlossaeError:
        # the cached tables were made from a file that turned out to be broken
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise
    return builder


def _builder(datasets: Any, source: HubDataSet, commit: str) -> Any:
    name = source.repository.name
    try:
        builder = datasets.load_dataset_builder(name, source.config, revision=commit)
    except ValueError as error:
        configs = datasets.get_dataset_config_names(name, revision=commit)
        if source.config in configs or len(configs) < 2:
            raise
        what = "several configurations"
        if source.config is not None:
            what = f"no configuration {short_repr(source.config)}"
        choice = _choice("config", configs, source.config or "")
        raise GlossaeError(f"{source.name}: has {what}: {choice}") from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise GlossaeError(
            f"{source.name}: needs a script of its own, which glossae does not run: try its conversion by the hub, "
            f"{SCHEME}{name}@refs/convert/parquet"
        ) from error
    if builder.hash != commit:
        # without the hub, `datasets` takes the latest that it has prepared, of any commit
        raise GlossaeError(
            f"{source.name}: the hub cannot be reached, and what was prepared before is of another commit "
            f"({builder.hash}): name that one with @, or run this once with a network"
        )
    return builder


def _split(source: HubDataSet, builder: Any) -> Any:
    """The wanted split, as a table."""
    splits = list(builder.info.splits)
    split = source.split or _split_of(source, splits)
    try:
        return builder.as_dataset(split=split)
    except (ValueError, AssertionError) as error:
        raise _no_split(source, splits) from error


def _split_of(source: HubDataSet, splits: Sequence[str]) -> str:
    """The name of the wanted split: the one that the source names, or `train`, or the only one."""
    split = source.split or ("train" if "train" in splits else splits[0] if len(splits) == 1 else None)
    if split is None:
        raise GlossaeError(f"{source.name}: has several splits and none is train: {_choice('split', splits)}")
    if split not in splits:
        raise _no_split(source, splits)
    return split


def _no_split(source: HubDataSet, splits: Sequence[str]) -> GlossaeError:
    split = source.split or ""
    return GlossaeError(f"{source.name}: has no split {short_repr(split)}: {_choice('split', splits, split)}")


def _choice(key: str, names: Sequence[str], meant: str = "") -> str:
    """The advice to add `key`, with the most likely values first."""
    near = difflib.get_close_matches(meant, names, n=3) or list(names)[:8]
    more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
    return f"add ,{key}= one of {', '.join(near)}{more}"


def _pairs(name: str, table: Any, given: Columns, languages: Sequence[str]) -> Iterator[Pair]:
    """The rows of a flattened table as pairs."""
    plan = _plan(name, table.features, given, languages)
    texts = dict(plan.languages)
    used = (plan.text, plan.label, plan.pair, plan.doc, *texts.values())
    wanted = list(dict.fromkeys(column for column in used if column is not None))
    language_of = dict(zip("01", languages, strict=False)) | dict(plan.labels)
    classes = getattr(table.features.get(plan.label), "names", None)
    number = 0
    for batch in table.select_columns(wanted).iter(batch_size=ROWS):
        for row in range(len(batch[wanted[0]])):
            number += 1
            if plan.text is None:
                said = tuple((code, batch[column][row] or "") for code, column in texts.items())
            else:
                label = unless_nan(class_name(batch[plan.label][row], classes))
                said = ((_language(name, number, label, language_of), batch[plan.text][row] or ""),)
            identity = unless_nan(batch[plan.pair][row]) if plan.pair else None
            doc = unless_nan(batch[plan.doc][row]) if plan.doc else None
            # the same number in two data sets is not the same pair
            yield Pair(
                said,
                None if identity is None else f"{name} {identity}",
                () if doc is None else (str(doc),) * len(said),
            )


def unless_nan(value: Any) -> Any:
    """`value`; None for NaN, which is how pandas writes a missing one."""
    return None if isinstance(value, float) and math.isnan(value) else value


def class_name(value: Any, classes: Sequence[str] | None) -> Any:
    """The name of a label in a column of classes; any other value unchanged; None for a hidden label, which is -1."""
    if classes is None or value is None:
        return value
    return classes[value] if value >= 0 else None


def _language(name: str, number: int, label: Any, language_of: dict[str, str]) -> str:
    if label is None:
        return UNDETERMINED
    label = str(label).strip()
    known = language_of.get(label)
    if known is None:
        known = language_code(label)
        if known is None:
            raise GlossaeError(
                f"{name}, row {number}: unknown label {short_repr(label)}: it is not 0 (target), 1 (reference) or a "
                f"language code; say what it stands for with ,label.{label}=CODE"
            )
        language_of[label] = known
    return known


def _plan(name: str, features: Mapping[str, Any], given: Columns, languages: Sequence[str]) -> Columns:
    """Complete `given` with the columns found by their names, and check that all exist."""
    text, label = given.text or _first(TEXT_NAMES, features), given.label or _first(LANGUAGE_NAMES, features)
    pair, doc = given.pair or _first([PAIR_NAME], features), given.doc or _first([DOC_NAME], features)
    there = short_repr(", ".join(features), 200)
    lacking = None
    if text is None:
        lacking = "where its text is"
    elif label is None:
        lacking = f"the language of its text (,label=COLUMN, or ,CODE={text} if it is all in one)"
    if given.languages:
        plan = Columns(pair=pair, doc=doc, languages=given.languages)
    elif given.text or given.label or given.labels:
        if lacking is not None:
            lacking = lacking if text else "which column holds the text (,text=COLUMN)"
            raise GlossaeError(f"{name}: does not say {lacking}; it has the columns {there}")
        plan = Columns(text, label, pair, doc, labels=given.labels)
    elif inner := _by_code(
        name, {c.removeprefix(_TRANSLATION): c for c in features if c.startswith(_TRANSLATION)}
    ):
        plan = Columns(pair=pair, doc=doc, languages=inner)
    elif lacking is None:
        plan = Columns(text, label, pair, doc)
    # only the wanted codes: a column `id` is seldom Indonesian
    elif own := _by_code(name, {c: c for c in features if language_code(c) in languages}):
        plan = Columns(pair=pair, doc=doc, languages=own)
    else:
        raise GlossaeError(
            f"{name}: does not say {lacking}; it has the columns {there}: name them, as in "
            ",da=COLUMN or ,text=COLUMN,label=COLUMN"
        )
    texts = (plan.text, *(column for _, column in plan.languages))
    for column in (plan.text, plan.label, plan.pair, plan.doc, *texts):
        if column is not None and column not in features:
            raise GlossaeError(f"{name}: has no column {short_repr(column)}; it has {there}")
    for column in texts:
        if column is not None and getattr(features[column], "dtype", None) not in _STRINGS:
            raise GlossaeError(
                f"{name}: its column {short_repr(column)} holds no text (but {short_repr(str(features[column]))}); "
                f"it has {there}"
            )
    return plan


def _by_code(name: str, columns: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(code, column) of the columns whose names are language codes."""
    found: dict[str, str] = {}
    for written, column in columns.items():
        if code := language_code(written):
            if code in found:
                raise GlossaeError(
                    f"{name}: has two columns of {code}, {short_repr(found[code])} and {short_repr(column)}: "
                    f"name the columns, as in ,{code}={column}"
                )
            found[code] = column
    return tuple(found.items())


def _first(names: Sequence[str], features: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in features), None)
