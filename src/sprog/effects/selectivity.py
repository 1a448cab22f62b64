"""How much more an edit costs the target than another language, at the same damage to the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sprog.effects.bootstrap import interval, resampled_ratios
from sprog.effects.next_token import Measured
from sprog.lm import TokenizedCorpus

# nats on the target at which languages are compared
MATCHED_DAMAGE = (0.1, 0.3)
# below this a ratio says nothing but "large"
FLOOR = 0.01


@dataclass(frozen=True)
class Selectivity:
    """Target against one other language where the target's loss has risen by `at` nats per token.

    The numbers are None where no dose of the sweep raises the target's loss that far (`reached`).

    Attributes:
        ratio: at / max(rise of the other, 0.01), with its 95 % interval; `floored` if the 0.01 was needed.
        margin: at - rise of the other, with its 95 % interval.
        value: the interpolated dose; None if it lies between no edit and the dose 0.
        target_delta, other_delta: the rises themselves.
    """

    units: str
    kind: str
    edit: str
    splice: bool
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
    measured: Sequence[Measured], tokens: TokenizedCorpus, target: str, *, name: str, draws: int, seed: int
) -> list[Selectivity]:
    """Compare along the dose-response from no edit over 0 to the most negative dose, by interpolation.

    Intervals resample sentences, within each language by itself.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    if target not in languages:
        return []
    rows = []
    for splice in (False, True):
        path = _path(measured, splice)
        if len(path) < 2:
            continue
        doses = [m.edit.value if m.edit else None for m in path]
        curves = {
            language: _curves(path, tokens, np.flatnonzero(languages == language), draws, seed)
            for language in tokens.corpus.languages
        }
        for at in MATCHED_DAMAGE:
            for versus in tokens.corpus.languages:
                if versus != target:
                    rows.append(_compare(curves[target], curves[versus], doses, at, splice, versus, name))
    return rows


def _path(measured: Sequence[Measured], splice: bool) -> list[Measured]:
    own = [m for m in measured if m.edit is not None and m.edit.splice == splice]
    none = [m for m in own if m.edit and m.edit.operation == "none"]
    down = [m for m in own if m.edit and m.edit.operation == "set" and (m.edit.value or 0.0) <= 0]
    return none + sorted(down, key=lambda m: -(m.edit.value or 0.0) if m.edit else 0.0)


def _curves(
    path: Sequence[Measured], tokens: TokenizedCorpus, chosen: np.ndarray, draws: int, seed: int
) -> tuple[Float[np.ndarray, " doses"], Float[np.ndarray, "draws doses"]]:
    """The rise of the loss at each dose, and its bootstrap resamples."""
    changes = [m.losses[chosen] - path[0].losses[chosen] for m in path]
    predicted = tokens.predicted[chosen]
    point = np.array([change.sum() for change in changes]) / predicted.sum()
    return point, resampled_ratios(changes, predicted, draws=draws, seed=seed)


def _compare(
    target: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    doses: Sequence[float | None],
    at: float,
    splice: bool,
    versus: str,
    name: str,
) -> Selectivity:
    place = _crossing(target[0], at)
    if place is None:
        return Selectivity(
            name, "latent", "set", splice, at, versus, False, *(None,) * 3, False, *(None,) * 6
        )
    rise = _at(other[0], place)
    # a resample that never gets there is carried on along its last segment
    rises = np.array(
        [
            _at(o, _crossing(t, at, extrapolate=True) or place)
            for t, o in zip(target[1], other[1], strict=True)
        ]
    )
    ratio_low, ratio_high = interval(at / np.maximum(rises, FLOOR))
    margin_low, margin_high = interval(at - rises)
    below, share = place
    before, after = doses[below], doses[below + 1]
    return Selectivity(
        units=name,
        kind="latent",
        edit="set",
        splice=splice,
        at=at,
        versus=versus,
        reached=True,
        ratio=at / max(rise, FLOOR),
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        floored=bool(rise < FLOOR),
        margin=at - rise,
        margin_low=margin_low,
        margin_high=margin_high,
        value=None if before is None or after is None else before + share * (after - before),
        target_delta=_at(target[0], place),
        other_delta=rise,
    )


def _crossing(curve: np.ndarray, at: float, *, extrapolate: bool = False) -> tuple[int, float] | None:
    """The first segment in which the curve reaches `at`, and how far into it."""
    reached = np.flatnonzero(curve >= at)
    if len(reached) == 0 and not extrapolate:
        return None
    after = max(1, int(reached[0]) if len(reached) else len(curve) - 1)
    rise = curve[after] - curve[after - 1]
    return (after - 1, float((at - curve[after - 1]) / rise)) if rise > 0 else None


def _at(curve: np.ndarray, place: tuple[int, float]) -> float:
    below, share = place
    return float(curve[below] + share * (curve[below + 1] - curve[below]))
