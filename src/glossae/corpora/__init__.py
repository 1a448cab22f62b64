"""Read text as sentences with a language, pair and source; clean it; divide it into roles; read labelled tasks."""

from glossae.corpora.cleaning import (
    ambiguous,
    build_lexicons,
    clean_text,
    count_ambiguous,
    identical_texts,
    refuse_one_text_as_two_languages,
)
from glossae.corpora.corpus import Corpus, Sentence, cluster, cluster_names
from glossae.corpora.hub_data import HubDataSet
from glossae.corpora.opus import Opus
from glossae.corpora.roles import OPTIONAL, ROLES, SHARES, Roles, build_roles, untested_languages
from glossae.corpora.sources import Aligned, Generator, parse_source, read_source, split_sources
from glossae.corpora.splits import cut, first_of_each, shuffle_key
from glossae.corpora.streams import Document, Taken, TextStream, parse_stream, sentence_keys
from glossae.corpora.tasks import Example, Row, Task, TaskSource, assemble_task, parse_task, split_tasks

__all__ = [
    "OPTIONAL",
    "ROLES",
    "SHARES",
    "Aligned",
    "Corpus",
    "Document",
    "Example",
    "Generator",
    "HubDataSet",
    "Opus",
    "Roles",
    "Row",
    "Sentence",
    "Taken",
    "Task",
    "TaskSource",
    "TextStream",
    "ambiguous",
    "assemble_task",
    "build_lexicons",
    "build_roles",
    "clean_text",
    "cluster",
    "cluster_names",
    "count_ambiguous",
    "cut",
    "first_of_each",
    "identical_texts",
    "parse_source",
    "parse_stream",
    "parse_task",
    "read_source",
    "refuse_one_text_as_two_languages",
    "sentence_keys",
    "shuffle_key",
    "split_sources",
    "split_tasks",
    "untested_languages",
]
