"""Text: sentences with their language, pair and source, read, cleaned and divided into roles."""

from glossae.corpora.ambiguity import (
    ambiguous,
    count_ambiguous,
    identical_texts,
    refuse_one_text_as_two_languages,
    refuse_one_text_in_two_roles,
)
from glossae.corpora.cleaning import MAX_CHARACTERS, Tally, clean_text
from glossae.corpora.hub import HubDataSet
from glossae.corpora.languages import language_code
from glossae.corpora.lexicons import Lexicon, Telltale, build_lexicons, telltale, words_of
from glossae.corpora.naming import parse_source, split_sources
from glossae.corpora.opus import Opus
from glossae.corpora.reading import Reading, read_source
from glossae.corpora.roles import OPTIONAL, ROLES, SHARES, RoleCount, Roles, build_roles, untested
from glossae.corpora.sentences import Corpus, Sentence, cluster, cluster_names
from glossae.corpora.sources import Aligned, Generated, Generator, Source
from glossae.corpora.splits import cut, first_of_each, rank
from glossae.corpora.tasks import (
    Example,
    Row,
    Tagged,
    Task,
    TaskSource,
    assemble_task,
    corrupt,
    detokenise,
    eligible,
    parse_task,
    read_treebank,
    scala_splits,
    split_tasks,
)

__all__ = [
    "MAX_CHARACTERS",
    "OPTIONAL",
    "ROLES",
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
    "parse_source",
    "parse_task",
    "rank",
    "read_source",
    "read_treebank",
    "refuse_one_text_as_two_languages",
    "refuse_one_text_in_two_roles",
    "scala_splits",
    "split_sources",
    "split_tasks",
    "telltale",
    "untested",
    "words_of",
]
