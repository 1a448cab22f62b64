"""Compare edits at the same damage to the target, by interpolation: selectivity, side effects; and the best dose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glossae.effects.edits import Edit
from glossae.effects.sets import OFF, Step, Sweep, UnitSet
from glossae.effects.sweep import Keep, Measured, base_of, keep_nothing, measure_growing
from glossae.lm import LanguageModel, Site, TokenizedCorpus
from glossae.results import BestDose, Selectivity, SideEffect
from glossae.stats import Clusters, interval, resampled_ratios, resampled_sums
from glossae.units import Kind

# rises of the target's loss at which languages are compared, nats per token
MATCHED_DAMAGE = (0.1, 0.3)
# the level of the one-sided lower limit
LIMIT = 0.95
# rises below this share of the loss are rounding of float32
ROUNDING = 1e-6
# the names of comparisons with several languages
MEAN_OF_OTHERS, NEAREST = "mean of others", "nearest"


@dataclass(frozen=True)
class _Path:
    """The edits of one operation in order of strength, from no edit on.

    Attributes:
        operation: `set` (down from 0), `scale` (down from 1) or `add` (down from 0).
        splice: whether they are spliced.
        steps: the measured edits, no edit first.
        values: the doses; None for no edit if the operation has no dose for it.
    """

    operation: str
    splice: bool
    steps: tuple[Measured, ...]
    values: tuple[float | None, ...]


# a number along a path: the estimate in row 0, then its bootstrap resamples
_Curve = Float[np.ndarray, "rows steps"]
_Number = Float[np.ndarray, " rows"]


@dataclass(frozen=True)
class _Place:
    """The place on a path where a curve reaches a height, row by row: the segment, and the fraction of it."""

    below: Int[np.ndarray, " rows"]
    share: Float[np.ndarray, " rows"]

    def on(self, curve: _Curve) -> _Number:
        """The value of another curve of the path at this place."""
        rows = np.arange(len(curve))
        left, right = (curve[rows, self.below + step] for step in (0, 1))
        found: _Number = left + self.share * (right - left)
        return found

    def value(self, path: _Path) -> float | None:
        """The interpolated dose; None between no edit and the dose 0 of `set`."""
        before, after = path.values[self.below[0]], path.values[self.below[0] + 1]
        share = float(self.share[0])
        return None if before is None or after is None else before + share * (after - before)


def selectivity(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    target: str,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: Kind = "latent",
    text: str = "test",
) -> list[Selectivity]:
    """Compare languages along every path of the sweep, by interpolation.

    Intervals resample clusters, jointly for languages that share clusters (`Clusters.across`).
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    others = [language for language in tokens.corpus.languages if language != target]
    if target not in languages or not others:
        return []
    sizes = {"": tokens.predicted, "_per_byte": tokens.predicted_bytes}
    own = np.flatnonzero(languages == target)
    clusters = {code: Clusters.across(tokens.corpus, code) for code in tokens.corpus.languages}
    # resampled like the curves: the same seed and sentences give the same weights
    tokens_of = {
        unit: _ratios([tokens.predicted[own]], [size[own]], draws, seed, clusters[target])
        for unit, size in sizes.items()
    }
    versus = {other: [other] for other in others}
    if len(others) > 1:
        versus |= {MEAN_OF_OTHERS: others, NEAREST: others}
    rows = []
    for path in _paths(measured, kind):
        damage = _rise(path, tokens.predicted, own, draws, seed, clusters[target])
        curves = {
            (code, unit): _rise(path, size, np.flatnonzero(languages == code), draws, seed, clusters[code])
            for code in others
            for unit, size in sizes.items()
        }
        for at in MATCHED_DAMAGE:
            place = _reaches(damage, at)
            for against, compared in versus.items():
                numbers: dict[str, Any] = {}
                if place is not None:
                    numbers["value"] = place.value(path)
                    reduce = np.max if against == NEAREST else np.mean
                    for unit in sizes:
                        # of several languages the mean or the largest, resample by resample
                        rises = np.stack([place.on(curves[code, unit]) for code in compared])
                        other = reduce(rises, axis=0)
                        # NumPy adds up a row in another order than a column
                        other[0] = reduce(rises[:, 0].copy())
                        numbers |= _compared(at * tokens_of[unit][:, 0], other, unit)
                rows.append(
                    Selectivity(
                        units=name,
                        kind=kind,
                        edit=path.operation,
                        splice=path.splice,
                        text=text,
                        at=at,
                        versus=against,
                        reached=place is not None,
                        **numbers,
                    )
                )
    return rows


def _compared(own: _Number, other: _Number, unit: str) -> dict[str, float | None]:
    """Both rises, their difference and their ratio."""
    margin, shares = own - other, other / own
    margin_low, margin_high = interval(margin[1:])
    least_share, most_share = interval(shares[1:])
    return {
        f"target_delta{unit}": float(own[0]),
        f"other_delta{unit}": float(other[0]),
        f"margin{unit}": float(margin[0]),
        f"margin{unit}_low": margin_low,
        f"margin{unit}_high": margin_high,
        f"ratio{unit}": _over(float(shares[0])),
        f"ratio{unit}_low": _over(most_share),
        f"ratio{unit}_high": _over(least_share),
        f"ratio{unit}_least": _over(float(np.quantile(shares[1:], LIMIT))),
    }


def _over(share: float) -> float | None:
    """1 / share; None if the share is not above 0."""
    return 1 / share if share > ROUNDING else None


def side_effects(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    target: str,
    language: str,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: Kind = "latent",
) -> list[SideEffect]:
    """The side effects, interpolated between doses as by `selectivity`, on every error-preserving path."""
    own, chosen = _own(tokens, target), _own(tokens, language)
    if not len(own) or not len(chosen):
        return []
    predicted, clusters = tokens.predicted[chosen], Clusters.across(tokens.corpus, language)
    rows = []
    for path in _paths(measured, kind):
        if path.splice:
            continue
        damage = _rise(path, tokens.predicted, own, draws, seed, Clusters.across(tokens.corpus, target))
        moved = [m.moved for m in path.steps if m.moved is not None]
        assert len(moved) == len(path.steps), "measure_growing(..., side_effects_on=language)"
        sums = {
            "kl": ([m.kl for m in moved], [predicted] * len(moved)),
            "agreement": ([m.agreed for m in moved], [predicted] * len(moved)),
            "change": ([m.moved for m in moved], [m.size[chosen] for m in moved]),
        }
        curves = {
            what: _ratios([own[chosen] for own in over], under, draws, seed, clusters)
            for what, (over, under) in sums.items()
        }
        for at in MATCHED_DAMAGE:
            place = _reaches(damage, at)
            numbers: dict[str, float] = {}
            for what, curve in curves.items():
                if place is not None:
                    there = place.on(curve)
                    low, high = interval(there[1:])
                    numbers |= {what: float(there[0]), f"{what}_low": low, f"{what}_high": high}
            rows.append(
                SideEffect(
                    units=name,
                    kind=kind,
                    edit=path.operation,
                    splice=False,
                    at=at,
                    language=language,
                    reached=place is not None,
                    **numbers,
                )
            )
    return rows


def best_doses(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tune: TokenizedCorpus,
    test: TokenizedCorpus,
    target: str,
    *,
    precision: float | None,
    draws: int,
    seed: int,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> list[BestDose]:
    """Of each set the edit with the target's lowest loss on `tune`, tested on `test`; likewise of spliced edits.

    Args:
        tune, test: sentences of the target.
        precision: half the width of an interval on `tune`, as in `measure_growing`; `test` is measured whole.
        keep: each sample is a part of the work.
    """
    if not len(tune) or not len(test):
        return []
    ways = [(each, _of_one_kind(each.sweep, splice)) for splice in (False, True) for each in sets]
    ways = [(each, sweep) for each, sweep in ways if sweep]

    def measured(
        name: str,
        sweeps: Sequence[Sweep],
        text: TokenizedCorpus,
        precision: float | None,
        shares: tuple[float, float],
    ) -> tuple[TokenizedCorpus, list[list[Measured]]]:
        start, end = shares
        return measure_growing(
            lm,
            site,
            sweeps,
            text,
            precision=precision,
            seed=seed,
            budget=budget,
            keep=lambda own, work: keep(f"{name}-{own}", work),
            progress=lambda share: progress(start + (end - start) * share),
        )

    sweeps = [sweep for _, sweep in ways]
    tune, tuned = measured("tune", sweeps, tune, precision, (0.0, 0.8))
    chosen: list[Sweep] = []
    for sweep, losses in zip(sweeps, tuned, strict=True):
        place = lowest_loss(losses, tune, target)
        none = Edit("none", splice=any(step.edit and step.edit.splice for step in sweep))
        best = [] if place is None else [sweep[place]._replace(in_range=None)]
        chosen.append([Step(sweep[place or 0].units, none), *best])
    _, tested = measured("tuned", chosen, test, None, (0.8, 1.0))
    rows = [
        best_dose(losses, tune, own, test, target, name=each.name, kind=each.kind, draws=draws, seed=seed)
        for (each, _), losses, own in zip(ways, tuned, tested, strict=True)
    ]
    return [row for row in rows if row is not None]


def _of_one_kind(sweep: Sweep, splice: bool) -> list[Step]:
    """The spliced or the error-preserving edits; nothing where there is none but the splice itself."""
    kept = [step for step in sweep if step.edit is not None and step.edit.splice == splice]
    return kept if any(step.edit and step.edit.operation != "none" for step in kept) else []


def best_dose(
    tuned: Sequence[Measured],
    tune: TokenizedCorpus,
    measured: Sequence[Measured],
    test: TokenizedCorpus,
    target: str,
    *,
    name: str,
    kind: str,
    draws: int,
    seed: int,
) -> BestDose | None:
    """Choose the edit that lowers the target's loss most on one text (the paper's hope, section 1); report on another.

    None if there is no edit to choose.

    Args:
        tuned: a sweep on `tune`, all spliced or all error-preserving, with the edit `none`.
    """
    place = lowest_loss(tuned, tune, target)
    if place is None:
        return None
    chosen = tuned[place].edit
    assert chosen is not None
    tuned_change = tuned[place].losses - base_of(tuned, tuned[place]).losses
    own, other = _own(tune, target), _own(test, target)
    here = next(m for m in measured if m.edit == chosen)
    change = here.losses[other] - base_of(measured, here).losses[other]
    predicted = test.predicted[other]
    clusters = Clusters.within(test.corpus, other)
    samples = resampled_ratios([change], predicted, draws=draws, seed=seed, clusters=clusters)
    low, high = interval(samples[:, 0])
    return BestDose(
        units=name,
        kind=kind,
        edit=chosen.operation,
        value=chosen.value,
        splice=chosen.splice,
        tune_delta=float(tuned_change[own].sum() / tune.predicted[own].sum()),
        delta=float(change.sum() / predicted.sum()),
        ci_low=low,
        ci_high=high,
        helps=bool(high < 0),
    )


def lowest_loss(measured: Sequence[Measured], tokens: TokenizedCorpus, target: str) -> int | None:
    """The place in a sweep of the edit with the target's lowest loss; None if there is no edit."""
    own = _own(tokens, target)
    sums = {
        number: float(m.losses[own].sum())
        for number, m in enumerate(measured)
        if m.edit is not None and m.edit.operation != "none" and len(own)
    }
    return min(sums, key=lambda number: sums[number]) if sums else None


def _own(tokens: TokenizedCorpus, language: str) -> Int[np.ndarray, " own"]:
    return np.flatnonzero([s.language == language for s in tokens.corpus.sentences])


def _paths(measured: Sequence[Measured], kind: Kind) -> list[_Path]:
    """The paths of a sweep, error-preserving ones first."""
    found = []
    for splice in (False, True):
        own = [(m, m.edit) for m in measured if m.edit is not None and m.edit.splice == splice]
        none = [m for m, edit in own if edit.operation == "none"]
        for operation, start in (("set", None), ("scale", 1.0), ("add", 0.0)):
            most = 1.0 if operation == "scale" else 0.0
            by_dose: dict[float, Measured] = {}
            for m, edit in own:
                if (value := _dose(edit, operation, kind)) is not None and value <= most:
                    # an edit that occurs under two names is on the path once
                    by_dose.setdefault(value, m)
            doses = sorted(by_dose, reverse=True)
            if none and doses:
                steps = (none[0], *(by_dose[dose] for dose in doses))
                found.append(_Path(operation, splice, steps, (start, *doses)))
    return found


def _dose(edit: Edit, operation: str, kind: Kind) -> float | None:
    """The dose of an edit on the path of an operation; None if it is not on it."""
    if edit.operation == operation:
        return edit.value
    # switched-off latents are also latents fixed at 0
    off = operation == "scale" or (operation == "set" and kind == "latent")
    return 0.0 if off and edit.operation == OFF[kind] else None


def _rise(
    path: _Path,
    size: Int[np.ndarray, " sentences"],
    chosen: Int[np.ndarray, " chosen"],
    draws: int,
    seed: int,
    clusters: Clusters,
) -> _Curve:
    """The rise of the loss of some sentences along a path, per unit of their size: predicted tokens, or UTF-8 bytes."""
    changes = [m.losses[chosen] - path.steps[0].losses[chosen] for m in path.steps]
    return _ratios(changes, [size[chosen]] * len(changes), draws, seed, clusters)


def _ratios(
    numerators: Sequence[np.ndarray],
    denominators: Sequence[np.ndarray],
    draws: int,
    seed: int,
    clusters: Clusters,
) -> _Curve:
    """Ratios of sums over sentences; all share the resamples. A resample without any of the sentences is NaN."""
    count = len(numerators)
    sums = resampled_sums([*numerators, *denominators], draws=draws, seed=seed, clusters=clusters)
    point = np.array([a.sum() / b.sum() for a, b in zip(numerators, denominators, strict=True)])
    below = sums[:, count:]
    return np.vstack([point, sums[:, :count] / np.where(below > 0, below, np.nan)])


def _reaches(curve: _Curve, at: float) -> _Place | None:
    """The first segment in which a curve reaches `at`; None if it never does.

    A resample that never reaches it is extrapolated along its last segment or, where that falls, takes the
    estimate's place.
    """
    over = curve >= at
    if not over[0].any():
        return None
    rows, last = np.arange(len(curve)), curve.shape[1] - 1
    below = np.maximum(np.where(over.any(1), over.argmax(1), last), 1) - 1
    left, right = curve[rows, below], curve[rows, below + 1]
    up = right > left
    share = np.where(up, (at - left) / np.where(up, right - left, 1.0), np.nan)
    if not np.isfinite(share[0]):
        return None
    falls = ~np.isfinite(share)
    return _Place(np.where(falls, below[0], below), np.where(falls, share[0], share))
