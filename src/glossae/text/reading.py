"""One source, read and cleaned."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.text.cleaning import MAX_CHARACTERS, Tally, clean
from glossae.text.languages import language_code
from glossae.text.naming import parse_source
from glossae.text.sentences import Corpus, Sentence
from glossae.text.sources import Generator, Source


class Reading(NamedTuple):
    """One source, read and cleaned.

    Attributes:
        corpus: the sentences, in the order they came.
        tallies: per language that occurs, what was read, dropped and changed.
    """

    corpus: Corpus
    tallies: dict[str, Tally]


def read_source(
    source: str,
    *,
    languages: Sequence[str],
    seed: int = 0,
    generators: Mapping[str, Generator] | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> Reading:
    """Read and clean one source, fetching it first where it is to be fetched.

    Args:
        source: a source string, such as `talks.tsv`, `da=a.txt,en=b.txt` or `opus:ELRC_2923`.
        languages: the codes wanted; in labelled text, 0 is the first and 1 the second.
        seed: for a generator.
        generators: what makes text out of nothing, by name.
        max_characters: the longest sentence kept.

    Raises:
        GlossaeError: the source is not understood or cannot be read, or has no sentence in `languages`.
    """
    wanted = tuple(code for code in map(language_code, languages) if code is not None)
    if not wanted or len(wanted) < len(languages):
        raise GlossaeError(f"languages: {list(languages)!r}: give codes of two or three letters, as in da")
    parsed = parse_source(source, generators)
    sentences, tallies = read_clean(
        parsed, name=parsed.name, languages=wanted, seed=seed, max_characters=max_characters
    )
    return Reading(Corpus.of(sentences), tallies)


def read_clean(
    source: Source,
    *,
    name: str,
    languages: Sequence[str],
    seed: int,
    max_characters: int,
    earlier: Mapping[str, set[str]] | None = None,
) -> tuple[list[Sentence], dict[str, Tally]]:
    """Read `source` and `clean` what it gives.

    Raises:
        GlossaeError: it cannot be read, or has no sentence in `languages`.
    """
    sentences, tallies = clean(
        source.read(languages, seed),
        source=name,
        languages=languages,
        max_characters=max_characters,
        earlier=earlier,
    )
    if not tallies.keys() & set(languages):
        by_number = sorted(tallies.items(), key=lambda item: (-item[1].read, item[0]))
        found = ", ".join(f"{tally.read} in {code}" for code, tally in by_number[:5]) or "none at all"
        raise GlossaeError(
            f"{name}: no sentence in {' or '.join(languages)} (found: {found}): "
            f"give another file, or other languages"
        )
    return sentences, tallies
