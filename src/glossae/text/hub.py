"""Reading data sets of the Hugging Face Hub by way of `datasets`."""

import difflib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.hub import Repository, asking, commit_of, quietly
from glossae.text.hub_columns import Columns, pairs
from glossae.text.keeping import Progress
from glossae.text.lines import shown
from glossae.text.readers import Pair
from glossae.text.sources import Source

SCHEME = "hub:"
# what is fetched first, to know the commit; a data set need not have it
_CARD = "README.md"


@dataclass(frozen=True)
class HubDataSet(Source):
    """A split of a data set on the hub.

    Attributes:
        repository: where it is.
        config: which of its configurations; None for the default one.
        split: which of its splits; None for `train`, or the only one there is.
        columns: which columns hold what, as far as the source says.
    """

    repository: Repository
    config: str | None
    split: str | None
    columns: Columns

    @property
    def name(self) -> str:
        """The short name for tables: the repository's, without what was chosen of it."""
        return f"{SCHEME}{self.repository.name}"

    def fetch(self, _languages: Sequence[str], _progress: Progress) -> dict[str, Any]:
        """Ask the hub for it, so that a missing one is found before another takes long to read.

        Returns:
            Where it comes from, the commit above all.

        Raises:
            GlossaeError: `datasets` is not installed, or the hub refuses.
        """
        _library()
        repository = self.repository
        with asking(repository, self.name):
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
        """The rows, fetched into the caches of the hub's client and of `datasets` unless they are there.

        Raises:
            GlossaeError: it cannot be fetched, has no such configuration, split or column, needs a script, or a
                row's label is not understood.
        """
        datasets = _library()
        with _quiet(datasets):
            rows = _split(self, _prepared(datasets, self)).flatten()
        return pairs(self.name, rows, self.columns, languages)

    def tables(self) -> dict[str, Any]:
        """Every split as a flattened table of `datasets`.

        Raises:
            GlossaeError: it cannot be fetched, has no such configuration, or needs a script.
        """
        datasets = _library()
        with _quiet(datasets):
            builder = _prepared(datasets, self)
            return {split: builder.as_dataset(split=split).flatten() for split in builder.info.splits}


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
    """Keep `datasets` from logging, and from bars where the hub's client draws none."""
    from huggingface_hub.utils import are_progress_bars_disabled

    log = datasets.utils.logging
    level, bare = log.get_verbosity(), datasets.are_progress_bars_disabled()
    with quietly():
        log.set_verbosity(log.CRITICAL)
        if are_progress_bars_disabled():
            datasets.disable_progress_bars()
        try:
            yield
        finally:
            log.set_verbosity(level)
            (datasets.disable_progress_bars if bare else datasets.enable_progress_bars)()


def _prepared(datasets: Any, source: HubDataSet) -> Any:
    """The builder of a data set whose files are here, of the commit that its revision is."""
    made: Path | None = None
    try:
        with asking(source.repository, source.name):
            commit = commit_of(source.repository, _CARD)
            builder = _builder(datasets, source, commit)
            folder = Path(builder.cache_dir)
            made = None if folder.exists() else folder
            builder.download_and_prepare()
    except GlossaeError:
        # tables that were made of a file which turned out to be broken
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
        if source.config is None:
            raise GlossaeError(
                f"{source.name}: has several configurations: {_choice('config', configs)}"
            ) from error
        raise GlossaeError(
            f"{source.name}: has no configuration {shown(source.config)}: {_choice('config', configs, source.config)}"
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise GlossaeError(
            f"{source.name}: needs a script of its own, which glossae does not run: try its conversion by the hub, "
            f"{SCHEME}{name}@refs/convert/parquet"
        ) from error
    if builder.hash != commit:
        # without the hub, `datasets` takes the latest that it has prepared, whichever commit that is of
        raise GlossaeError(
            f"{source.name}: the hub cannot be reached, and what was prepared before is of another commit "
            f"({builder.hash}): name that one with @, or run this once with a network"
        )
    return builder


def _split(source: HubDataSet, builder: Any) -> Any:
    """The split that is wanted, as a table."""
    splits = list(builder.info.splits)
    split = source.split or ("train" if "train" in splits else splits[0] if len(splits) == 1 else None)
    if split is None:
        raise GlossaeError(f"{source.name}: has several splits and none is train: {_choice('split', splits)}")
    try:
        return builder.as_dataset(split=split)
    except (ValueError, AssertionError) as error:
        raise GlossaeError(
            f"{source.name}: has no split {shown(split)}: {_choice('split', splits, split)}"
        ) from error


def _choice(key: str, names: Sequence[str], meant: str = "") -> str:
    """What to write instead, the most likely first."""
    near = difflib.get_close_matches(meant, names, n=3) or list(names)[:8]
    more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
    return f"add ,{key}= one of {', '.join(near)}{more}"
