"""What a task is called and where it comes from, in one word: `NAME[:LANGUAGE][=SOURCE]`."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.text.hub import SCHEME as HUB
from glossae.text.hub_source import parse_hub
from glossae.text.languages import language_code
from glossae.text.lines import shown
from glossae.text.naming import split_sources
from glossae.text.tasks.files import file_splits
from glossae.text.tasks.hub_rows import hub_splits
from glossae.text.tasks.scala import scala_splits
from glossae.text.tasks.task import Row, Task, assemble_task
from glossae.text.tasks.treebank import read_treebank

SCALA = "scala:"
KNOWN: dict[str, tuple[str | None, str]] = {
    "angry-tweets": ("da", "hub:DDSC/angry-tweets"),
    "scala-da": ("da", "hub:alexandrainst/scala,config=da"),
    "tweet-sentiment": ("en", "hub:SetFit/tweet_sentiment_extraction"),
    "toy-sentiment": (None, "toy:sentiment"),
    "toy-acceptability": (None, "toy:acceptability"),
}
"""Tasks that need no source: the paper's three, and the toy's; with their language, where it is settled."""

LabelledGenerator: TypeAlias = Callable[[str, str, int], Mapping[str, Iterable[Row]]]
"""Makes a set's splits out of what it is called, a language and a seed."""

_TASK = re.compile(r"([\w-]+)(?::([\w-]+))?(?:=(.+))?", re.DOTALL)
_FORMS = "FOLDER, PATH.jsonl, PATH.csv, PATH.tsv, hub:OWNER/NAME, scala:PATH.conllu"


@dataclass(frozen=True)
class TaskSource:
    """A task that was asked for, before it is read.

    Attributes:
        name: what tables call it.
        language: of its texts.
        source: where it comes from.
    """

    name: str
    language: str
    source: str

    def read(self, seed: int, generators: Mapping[str, LabelledGenerator] | None = None) -> Task:
        """The task, read, fetched or made.

        Args:
            seed: for what is made.
            generators: what makes sets out of nothing, by the word before the colon.

        Raises:
            GlossaeError: it is not to be had, or is no labelled task. The line names the file and line, or the source.
        """
        splits, provenance = self._splits(seed, generators or {})
        return assemble_task(self.name, self.language, self.source, splits, provenance)

    def _splits(
        self, seed: int, generators: Mapping[str, LabelledGenerator]
    ) -> tuple[Mapping[str, Iterable[Row]], dict[str, Any]]:
        if self.source.startswith(HUB):
            data = parse_hub(self.source)
            provenance = data.fetch((), lambda _: nullcontext(lambda _: None))
            return hub_splits(data), provenance
        if self.source.startswith(SCALA):
            paths = [path_named(part) for part in self.source.removeprefix(SCALA).split(",") if part]
            if not paths:
                raise GlossaeError(f"{self.source}: names no file: write scala:PATH.conllu")
            sentences = [sentence for path in paths for sentence in read_treebank(path)]
            return scala_splits(sentences, self.source), {}
        word, colon, what = self.source.partition(":")
        if colon and word in generators:
            return generators[word](what, self.language, seed), {}
        path = path_named(self.source)
        if not path.exists():
            raise GlossaeError(
                f"{shown(self.source, 200)}: is neither a file nor a folder; a task's source is {_FORMS}"
            )
        if path.suffix.lower() == ".conllu":
            raise GlossaeError(
                f"{self.source}: is a treebank: write scala:{self.source} to make a task of it"
            )
        return file_splits(path), {}


def split_tasks(text: str) -> list[TaskSource]:
    """Every task of a recipe's string, separated by blanks.

    Raises:
        GlossaeError: one is not understood, or two have the same name.
    """
    found = [parse_task(word) for word in split_sources(text)]
    names = [task.name for task in found]
    for name in names:
        if names.count(name) > 1:
            raise GlossaeError(f"{name}: is named twice: give each task a name of its own")
    return found


def parse_task(text: str) -> TaskSource:
    """What `NAME[:LANGUAGE][=SOURCE]` names; `KNOWN` tasks have a source, and most of them a language.

    Raises:
        GlossaeError: it is not of that form, or its source or its language is nowhere said.
    """
    match = _TASK.fullmatch(text)
    if match is None:
        raise GlossaeError(
            f"{shown(text, 200)}: is no task: write NAME:LANGUAGE=SOURCE, with {_FORMS} as a source"
        )
    name, written, source = match.groups()
    name = name.replace("_", "-")
    settled, usual = KNOWN.get(name, (None, None))
    if source is None and usual is None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise GlossaeError(
            f"{shown(text, 200)}: does not say where it is: {hint}write {name}:LANGUAGE=SOURCE, or one of "
            f"{', '.join(KNOWN)}"
        )
    language = settled if written is None else language_code(written)
    if language is None:
        what = "does not say its language" if written is None else f"{shown(written)} is not a language code"
        raise GlossaeError(
            f"{shown(text, 200)}: {what}: write {name}:CODE{'' if source is None else '=' + source}"
        )
    return TaskSource(name, language, source or str(usual))
