"""How much more an edit costs the target than another language, at the same damage to the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sprog.effects.bootstrap import interval
from sprog.effects.matched import MATCHED_DAMAGE, Curve, Path, Place, paths, reaches, rise
from sprog.effects.next_token import Measured
from sprog.lm import TokenizedCorpus

# below this a ratio says nothing but "large"
FLOOR = 0.01
# what stands in the place of a language where several are compared with
MEAN_OF_OTHERS, NEAREST = "mean of others", "nearest"


@dataclass(frozen=True)
class Selectivity:
    """Target against one other language where the target's loss has risen by `at` nats per token.

    The numbers are None where no dose of the sweep raises the target's loss that far (`reached`).

    Attributes:
        versus: another language; or, of several, the mean of their rises, or the largest (`nearest`), found in every
            resample anew, so that its interval is that of the largest.
        text: `test`, or `panel`: the half of the panel that units were not found on.
        ratio: at / max(rise of the other, 0.01), with its 95 % interval; `floored` if the 0.01 was needed.
        margin: at - rise of the other, with its 95 % interval.
        value: the interpolated dose; None if it lies between no edit and the dose 0.
        target_delta, other_delta: the rises themselves.
    """

    units: str
    kind: str
    edit: str
    splice: bool
    text: str
    at: float
    versus: str
    reached: bool
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    floored: bool
    margin: float | None
    margin_low: float | None
    margin_high: float | None
    value: float | None
    target_delta: float | None
    other_delta: float | None


def selectivity(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    target: str,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: str = "latent",
    text: str = "test",
) -> list[Selectivity]:
    """Compare along every way down that the sweep has (`paths`), by interpolation.

    Intervals resample clusters, of languages that share some together (`Clusters.across`).
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    others = [language for language in tokens.corpus.languages if language != target]
    if target not in languages or not others:
        return []
    rows = []
    for path in paths(measured, kind):
        curves = {language: rise(path, tokens, language, draws, seed) for language in tokens.corpus.languages}
        for at in MATCHED_DAMAGE:
            place = reaches(curves[target], at)
            names = (name, kind, text)
            rows += [_row(names, path, place, at, curves, target, [other], other) for other in others]
            if len(others) > 1:
                rows += [
                    _row(names, path, place, at, curves, target, others, versus)
                    for versus in (MEAN_OF_OTHERS, NEAREST)
                ]
    return rows


def _row(
    names: tuple[str, str, str],
    path: Path,
    place: Place | None,
    at: float,
    curves: dict[str, Curve],
    target: str,
    others: Sequence[str],
    versus: str,
) -> Selectivity:
    name, kind, text = names
    head = (name, kind, path.operation, path.splice, text, at, versus)
    if place is None:
        return Selectivity(*head, False, *(None,) * 3, False, *(None,) * 6)
    found = [place.on(curves[other]) for other in others]
    points, samples = np.array([point for point, _ in found]), np.stack([rises for _, rises in found])
    reduce = np.max if versus == NEAREST else np.mean
    delta, rises = float(reduce(points)), reduce(samples, axis=0)
    ratio_low, ratio_high = interval(at / np.maximum(rises, FLOOR))
    margin_low, margin_high = interval(at - rises)
    return Selectivity(
        *head,
        reached=True,
        ratio=at / max(delta, FLOOR),
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        floored=bool(delta < FLOOR),
        margin=at - delta,
        margin_low=margin_low,
        margin_high=margin_high,
        value=place.value(path),
        target_delta=place.on(curves[target])[0],
        other_delta=delta,
    )
