"""Text: sentences with their language, pair and source, read, cleaned and divided into roles."""

from sprog.corpora.cleaning import MAX_CHARACTERS, Tally, clean_text
from sprog.corpora.hub import HubDataSet
from sprog.corpora.languages import language_code
from sprog.corpora.naming import parse_source, split_sources
from sprog.corpora.opus import Opus
from sprog.corpora.reading import Reading, read_source
from sprog.corpora.roles import ROLES, RoleCount, Roles, build_roles
from sprog.corpora.sentences import Corpus, Sentence
from sprog.corpora.sources import Aligned, Generated, Generator, Source

__all__ = [
    "MAX_CHARACTERS",
    "ROLES",
    "Aligned",
    "Corpus",
    "Generated",
    "Generator",
    "HubDataSet",
    "Opus",
    "Reading",
    "RoleCount",
    "Roles",
    "Sentence",
    "Source",
    "Tally",
    "build_roles",
    "clean_text",
    "language_code",
    "parse_source",
    "read_source",
    "split_sources",
]
