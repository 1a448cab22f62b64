"""Text: sentences with their language, pair and source, read, cleaned and divided into roles."""

from sprog.corpora.cleaning import MAX_CHARACTERS, Tally, clean_text
from sprog.corpora.languages import language_code
from sprog.corpora.reading import Reading, read_source
from sprog.corpora.roles import ROLES, RoleCount, Roles, build_roles
from sprog.corpora.sentences import Corpus, Sentence
from sprog.corpora.sources import Generator

__all__ = [
    "MAX_CHARACTERS",
    "ROLES",
    "Corpus",
    "Generator",
    "Reading",
    "RoleCount",
    "Roles",
    "Sentence",
    "Tally",
    "build_roles",
    "clean_text",
    "language_code",
    "read_source",
]
