"""Whether a table can carry a comparison of languages at all."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from glossae.errors import GlossaeError
from glossae.find.testing.auroc import AurocTable
from glossae.find.testing.claims import claims
from glossae.find.testing.independence import independence
from glossae.find.testing.minimum import perfect_p
from glossae.units import SentenceTable

Within: TypeAlias = Literal["source", "all"]

APART = 0.05
"""The share of a language's sentences that may come from other sources than the first language's do."""


def check_panel(table: SentenceTable, within: Within = "source") -> None:
    """Refuse languages from different sources: talks told from news would pass for a language.

    Raises:
        GlossaeError: a language has more than a twentieth of its sentences from other sources than another has.
    """
    if within == "all":
        return
    names, source = np.unique(table.sources.astype(str), return_inverse=True)
    shares = {
        language: np.bincount(source[table.rows(language)], minlength=len(names)) / len(table.rows(language))
        for language in table.present
    }
    first, *others = table.present
    for language in others:
        difference = shares[language] - shares[first]
        # of 95 and 5 sentences the share is a twentieth, but for rounding
        if np.abs(difference).sum() / 2 > APART + 1e-9:
            here, there = names[difference.argmax()], names[difference.argmin()]
            raise GlossaeError(
                f"{language} and {first}: their sentences come from different sources "
                f"({here} is {shares[language][difference.argmax()]:.0%} of {language} and "
                f"{shares[first][difference.argmax()]:.0%} of {first}, {there} the other way round): "
                f"test a table of one source, or say within='all'"
            )


def comparisons_needed(units: int, minimum: float = 0.8, q: float = 0.05) -> int:
    """The fewest independent comparisons with which one unit out of `units` can pass.

    They are ceil(log(q / units) / log(minimum)). The p-value of a unit without exception is minimum^m with m
    independent comparisons (see `minimum.perfect_p`), and the first discovery of Benjamini and Hochberg (1995) among
    the units has to have at most q / units. m sentences of each language are m comparisons, and m pairs of translations
    are m / 2 (see `independence`).
    """
    return max(1, math.ceil(math.log(q / units) / math.log(minimum)))


def carried_languages(
    pairs: Mapping[str, Sequence[str]],
    target: str,
    reference: str,
    units: int,
    minimum: float = 0.8,
    q: float = 0.05,
) -> tuple[str, ...]:
    """The languages of a text that a test of `units` units can be of, before any unit is computed.

    Args:
        pairs: by language, the pair of each sentence; sentences that share one are translations of each other.
        target: the language that units are to stand for.
        reference: the language that they are told from in any case.
        units: how many are tested together.
        minimum: the AUROC that a unit has to exceed.
        q: the rate of false discoveries.

    Returns:
        The target, the reference, and each other language that every claim's comparisons have enough sentences for;
        nothing where target and reference have not.
    """
    kept: tuple[str, ...] = (target, reference)
    if not set(kept) <= pairs.keys():
        return ()
    names, cluster = np.unique([pair for own in pairs.values() for pair in own], return_inverse=True)
    parts = np.split(cluster, np.cumsum([len(own) for own in pairs.values()])[:-1])
    counts = {code: np.bincount(part, minlength=len(names)) for code, part in zip(pairs, parts, strict=True)}
    needed, known = comparisons_needed(units, minimum, q), dict[tuple[str, str], bool]()

    def enough(languages: tuple[str, ...]) -> bool:
        for comparison in (pair for claim in claims(target, languages) for pair in claim.comparisons):
            if comparison not in known:
                ways = independence(np.stack([counts[code] for code in comparison], axis=1))
                known[comparison] = max(way.blocks for way in ways) >= needed
            if not known[comparison]:
                return False
        return True

    if not enough(kept):
        return ()
    for code in counts:
        if code not in kept and enough((*kept, code)):
            kept = (*kept, code)
    return kept


def check_power(
    auroc: AurocTable, comparisons: Sequence[tuple[str, str]], units: int, minimum: float, q: float
) -> None:
    """Refuse so few sentences that even a unit without exception could not pass.

    How many sentences it takes: `comparisons_needed`.

    Raises:
        GlossaeError: naming the languages, and how many sentences it takes.
    """
    for target, reference in comparisons:
        if perfect_p(auroc, target, reference, minimum) <= q / units:
            continue
        needed = comparisons_needed(units, minimum, q)
        have = max(way.blocks for way in auroc.independence(target, reference))
        sizes = [int(auroc.n[auroc.languages.index(language)]) for language in (target, reference)]
        raise GlossaeError(
            f"{target} and {reference}: {sizes[0]} and {sizes[1]} sentences are too few: no unit of {units:,} "
            f"could show an AUROC over {minimum} at q = {q}; that takes {needed} independent comparisons and "
            f"here are {have}: {needed} sentences of each language, or {2 * needed} pairs"
        )
