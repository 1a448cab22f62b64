"""Text: sentences with their language, pair and source, read, cleaned and divided into roles."""

from sprog.corpora.ambiguity import (
    ambiguous,
    count_ambiguous,
    identical_texts,
    refuse_one_text_as_two_languages,
    refuse_one_text_in_two_roles,
)
from sprog.corpora.cleaning import MAX_CHARACTERS, Tally, clean_text
from sprog.corpora.hub import HubDataSet
from sprog.corpora.languages import language_code
from sprog.corpora.lexicons import Lexicon, Telltale, build_lexicons, telltale, words_of
from sprog.corpora.naming import parse_source, split_sources
from sprog.corpora.opus import Opus
from sprog.corpora.reading import Reading, read_source
from sprog.corpora.roles import OPTIONAL, ROLES, RoleCount, Roles, build_roles
from sprog.corpora.sentences import Corpus, Sentence
from sprog.corpora.sources import Aligned, Generated, Generator, Source
from sprog.corpora.splits import cut, rank

__all__ = [
    "MAX_CHARACTERS",
    "OPTIONAL",
    "ROLES",
    "Aligned",
    "Corpus",
    "Generated",
    "Generator",
    "HubDataSet",
    "Lexicon",
    "Opus",
    "Reading",
    "RoleCount",
    "Roles",
    "Sentence",
    "Source",
    "Tally",
    "Telltale",
    "ambiguous",
    "build_lexicons",
    "build_roles",
    "clean_text",
    "count_ambiguous",
    "cut",
    "identical_texts",
    "language_code",
    "parse_source",
    "rank",
    "read_source",
    "refuse_one_text_as_two_languages",
    "refuse_one_text_in_two_roles",
    "split_sources",
    "telltale",
    "words_of",
]
