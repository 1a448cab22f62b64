"""Telling languages apart by a few units a language."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from glossae.errors import GlossaeError
from glossae.find.identify.evaluation import Identified, evaluate
from glossae.find.identify.regression import Scaling, check_halves
from glossae.find.identify.rows import Rows, identify_rows
from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.units import SentenceTable


def pick(auroc: AurocTable, n: int, languages: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
    """The n best units of each language, best first; all of them where there are fewer.

    A unit is as good for a language as its smallest AUROC against any other: it has to tell the language from
    its closest neighbour. Of equals, the one with the larger mean AUROC, then the first.

    Args:
        auroc: of the units.
        n: how many.
        languages: those that are to be told apart; all of the table's if none are named.

    Raises:
        GlossaeError: n is less than 1, there is one language only, or the table has not all of them.
    """
    if n < 1:
        raise GlossaeError(f"identification: {n} units a language: it takes at least 1")
    wanted = auroc.languages if languages is None else tuple(sorted(languages))
    if len(wanted) < 2:
        raise GlossaeError("identification: text in two languages or more is needed to tell them apart")
    if unknown := sorted(set(wanted) - set(auroc.languages)):
        raise GlossaeError(f"identification: {', '.join(unknown)}: no unit was compared on such text")
    index = [auroc.languages.index(language) for language in wanted]
    chosen = {}
    for number, language in zip(index, wanted, strict=True):
        others = auroc.estimate[:, number, [other for other in index if other != number]]
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
        GlossaeError: the tables have different units or share a pair; `held_out` has a language that `find` lacks;
            or there is too little text.
    """
    units = _pick_on(find, held_out, per_language)
    return identify_sentences(units, find, [held_out], draws=draws, seed=seed)[0]


def identify_sentences(
    chosen: Mapping[str, tuple[int, ...]],
    find: SentenceTable,
    held_out: Sequence[SentenceTable],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> list[Identified]:
    """The same with units that are chosen already, and several texts to test on, each by itself.

    Raises:
        GlossaeError: as for `identify_languages`.
    """
    for each in held_out:
        _check_units(find, each)
    columns = sorted({unit for own in chosen.values() for unit in own})
    found = identify_rows(
        _rows(find, columns), [_rows(each, columns) for each in held_out], draws=draws, seed=seed
    )
    return [replace(each, units=dict(chosen)) for each in found]


def identify_by_largest(
    find: SentenceTable, held_out: SentenceTable, *, per_language: int, draws: int = 1000, seed: int = 0
) -> Identified:
    """The same without a regression: the language whose units' mean standardised value is largest.

    Only means and deviations are taken from `find`, and which units.

    Raises:
        GlossaeError: as for `identify_languages`.
    """
    units = _pick_on(find, held_out, per_language)
    return identify_sentences_by_largest(units, find, [held_out], draws=draws, seed=seed)[0]


def identify_sentences_by_largest(
    chosen: Mapping[str, tuple[int, ...]],
    find: SentenceTable,
    held_out: Sequence[SentenceTable],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> list[Identified]:
    """The same with units that are chosen already, and several texts to test on, each by itself.

    Raises:
        GlossaeError: as for `identify_languages`.
    """
    languages = tuple(chosen)
    scalings = [Scaling.of(_dense(find, own), find.languages) for own in chosen.values()]
    found = []
    for each in held_out:
        _check_units(find, each)
        check_halves(_named(find), _named(each))
        scores = [
            scaling(_dense(each, own)).mean(1) for scaling, own in zip(scalings, chosen.values(), strict=True)
        ]
        said = [languages[number] for number in np.stack(scores, axis=1).argmax(1)]
        evaluated = evaluate(each.languages, said, each.clusters, draws=draws, seed=seed)
        found.append(replace(evaluated, units=dict(chosen)))
    return found


def _pick_on(find: SentenceTable, held_out: SentenceTable, n: int) -> dict[str, tuple[int, ...]]:
    _check_units(find, held_out)
    check_halves(_named(find), _named(held_out))
    return pick(auroc_table(find), n)


def _check_units(find: SentenceTable, held_out: SentenceTable) -> None:
    if find.identity != held_out.identity:
        raise GlossaeError(f"these are different units: {find.identity} and {held_out.identity}")


def _rows(table: SentenceTable, units: list[int]) -> Rows:
    return Rows(_dense(table, units), table.languages, table.sources, table.pairs, table.docs)


def _named(table: SentenceTable) -> list[tuple[str, str, str]]:
    columns = (table.languages.tolist(), table.sources.tolist(), table.pairs.tolist())
    return list(zip(*columns, strict=True))


def _dense(table: SentenceTable, units: list[int] | tuple[int, ...]) -> Float[np.ndarray, "sentences chosen"]:
    return np.asarray(table.columns(units).values.toarray(), dtype=np.float64)
