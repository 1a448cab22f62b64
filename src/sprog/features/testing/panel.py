"""Whether a table can carry a comparison of languages at all."""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from sprog.errors import SprogError
from sprog.features.table import SentenceTable
from sprog.features.testing.auroc import AurocTable
from sprog.features.testing.minimum import perfect_p

Within: TypeAlias = Literal["source", "all"]

APART = 0.05
"""The share of a language's sentences that may come from other sources than the first language's do."""


def check_panel(table: SentenceTable, within: Within = "source") -> None:
    """Refuse languages from different sources: talks told from news would pass for a language.

    Raises:
        SprogError: a language has more than a twentieth of its sentences from other sources than another has.
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
            raise SprogError(
                f"{language} and {first}: their sentences come from different sources "
                f"({here} is {shares[language][difference.argmax()]:.0%} of {language} and "
                f"{shares[first][difference.argmax()]:.0%} of {first}, {there} the other way round): "
                f"test a table of one source, or say within='all'"
            )


def check_power(
    auroc: AurocTable, comparisons: Sequence[tuple[str, str]], units: int, minimum: float, q: float
) -> None:
    """Refuse so few sentences that even a unit without exception could not pass.

    Such a unit's exact p-value is minimum^m with m independent comparisons (see `minimum`), and the first discovery
    among the units has to have at most q / units.

    Raises:
        SprogError: naming the languages, and how many sentences it takes.
    """
    for target, reference in comparisons:
        if perfect_p(auroc, target, reference, minimum) <= q / units:
            continue
        needed = math.ceil(math.log(q / units) / math.log(minimum))
        have = max(way.blocks for way in auroc.independence(target, reference))
        sizes = [int(auroc.n[auroc.languages.index(language)]) for language in (target, reference)]
        raise SprogError(
            f"{target} and {reference}: {sizes[0]} and {sizes[1]} sentences are too few: no unit of {units:,} "
            f"could show an AUROC over {minimum} at q = {q}; that takes {needed} independent comparisons and "
            f"here are {have}: {needed} sentences of each language, or {2 * needed} pairs"
        )
