"""Text: sentences with their language, pair and source, read, cleaned and divided into roles."""

from glossae.text.ambiguity import (
    ambiguous,
    count_ambiguous,
    identical_texts,
    refuse_one_text_as_two_languages,
    refuse_one_text_in_two_roles,
)
from glossae.text.cleaning import MAX_CHARACTERS, Tally, clean_text
from glossae.text.conllu import read_tagged
from glossae.text.hub import SCHEME, HubDataSet
from glossae.text.hub_source import parse_hub
from glossae.text.languages import language_code
from glossae.text.lexicons import Lexicon, Telltale, build_lexicons, telltale, words_of
from glossae.text.lines import named, shown, text_lines
from glossae.text.naming import parse_source, split_sources
from glossae.text.opus import Opus
from glossae.text.reading import Reading, read_source
from glossae.text.roles import OPTIONAL, ROLES, SHARES, RoleCount, Roles, build_roles, untested
from glossae.text.sentences import Corpus, Sentence, cluster, cluster_names
from glossae.text.sources import Aligned, Generated, Generator, Source
from glossae.text.splits import cut, first_of_each, rank
from glossae.text.tables import records
from glossae.text.tasks.naming import TaskSource, parse_task, split_tasks
from glossae.text.tasks.scala import corrupt, detokenise, eligible, scala_splits
from glossae.text.tasks.task import Example, Row, Task, assemble_task
from glossae.text.tasks.treebank import Tagged, read_treebank

__all__ = [
    "MAX_CHARACTERS",
    "OPTIONAL",
    "ROLES",
    "SCHEME",
    "SHARES",
    "Aligned",
    "Corpus",
    "Example",
    "Generated",
    "Generator",
    "HubDataSet",
    "Lexicon",
    "Opus",
    "Reading",
    "RoleCount",
    "Roles",
    "Row",
    "Sentence",
    "Source",
    "Tagged",
    "Tally",
    "Task",
    "TaskSource",
    "Telltale",
    "ambiguous",
    "assemble_task",
    "build_lexicons",
    "build_roles",
    "clean_text",
    "cluster",
    "cluster_names",
    "corrupt",
    "count_ambiguous",
    "cut",
    "detokenise",
    "eligible",
    "first_of_each",
    "identical_texts",
    "language_code",
    "named",
    "parse_hub",
    "parse_source",
    "parse_task",
    "rank",
    "read_source",
    "read_tagged",
    "read_treebank",
    "records",
    "refuse_one_text_as_two_languages",
    "refuse_one_text_in_two_roles",
    "scala_splits",
    "shown",
    "split_sources",
    "split_tasks",
    "telltale",
    "text_lines",
    "untested",
    "words_of",
]
