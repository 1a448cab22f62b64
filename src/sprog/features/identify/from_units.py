"""Telling languages apart by a few units a language."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from sprog.errors import SprogError
from sprog.features.identify.evaluation import Identified, evaluate
from sprog.features.identify.regression import Regression, Scaling, check_halves
from sprog.features.table import SentenceTable
from sprog.features.testing import AurocTable, auroc_table


def pick(auroc: AurocTable, n: int) -> dict[str, tuple[int, ...]]:
    """The n best units of each language, best first; all of them where there are fewer.

    A unit is as good for a language as its smallest AUROC against any other: it has to tell the language from
    its closest neighbour. Of equals, the one with the larger mean AUROC, then the first.

    Raises:
        SprogError: n is less than 1, or there is one language only.
    """
    if n < 1:
        raise SprogError(f"identification: {n} units a language: it takes at least 1")
    if len(auroc.languages) < 2:
        raise SprogError("identification: text in two languages or more is needed to tell them apart")
    chosen = {}
    for number, language in enumerate(auroc.languages):
        others = np.delete(auroc.estimate[:, number, :], number, axis=1)
        order = np.lexsort((-others.mean(1), -others.min(1)))
        chosen[language] = tuple(order[:n].tolist())
    return chosen


def identify_languages(
    find: SentenceTable, held_out: SentenceTable, *, per_language: int, draws: int = 1000, seed: int = 0
) -> Identified:
    """Tell the languages of sentences apart by at most `per_language` units a language.

    The units are those that `pick` chooses on `find`; a multinomial logistic regression on their standardised
    sentence values (see `Regression.fit`) is fitted on `find` too. `held_out` is opened to test only.

    Args:
        per_language: the most units that a language is given; the regression sees those of all languages.
        draws: resamples of the pairs of `held_out`, for the intervals.
        seed: of folds and resamples.

    Raises:
        SprogError: the tables have different units or share a pair; `held_out` has a language that `find` lacks;
            or there is too little text.
    """
    units = _pick_on(find, held_out, per_language)
    columns = sorted({unit for chosen in units.values() for unit in chosen})
    regression = Regression.fit(_dense(find, columns), find.languages, find.pairs, seed=seed)
    found = regression.identify(_dense(held_out, columns))
    return replace(
        evaluate(held_out.languages, found, held_out.pairs, draws=draws, seed=seed),
        units=units,
        converged=regression.converged,
        strength=regression.strength,
    )


def identify_by_largest(
    find: SentenceTable, held_out: SentenceTable, *, per_language: int, draws: int = 1000, seed: int = 0
) -> Identified:
    """The same without a regression: the language whose units' mean standardised value is largest.

    Only means and deviations are taken from `find`, and which units.

    Raises:
        SprogError: as for `identify_languages`.
    """
    units = _pick_on(find, held_out, per_language)
    scores = []
    for chosen in units.values():
        scaling = Scaling.of(_dense(find, chosen), find.languages)
        scores.append(scaling(_dense(held_out, chosen)).mean(1))
    languages = tuple(units)
    found = [languages[number] for number in np.stack(scores, axis=1).argmax(1)]
    return replace(evaluate(held_out.languages, found, held_out.pairs, draws=draws, seed=seed), units=units)


def _pick_on(find: SentenceTable, held_out: SentenceTable, n: int) -> dict[str, tuple[int, ...]]:
    if find.identity != held_out.identity:
        raise SprogError(f"these are different units: {find.identity} and {held_out.identity}")
    check_halves(_named(find), _named(held_out))
    return pick(auroc_table(find), n)


def _named(table: SentenceTable) -> list[tuple[str, str, str]]:
    columns = (table.languages.tolist(), table.sources.tolist(), table.pairs.tolist())
    return list(zip(*columns, strict=True))


def _dense(table: SentenceTable, units: list[int] | tuple[int, ...]) -> Float[np.ndarray, "sentences chosen"]:
    return np.asarray(table.columns(units).values.toarray(), dtype=np.float64)
