"""Compare edits at the same damage to the target, by interpolation: selectivity, side effects; and the best dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glossae.effects.edits import Edit
from glossae.effects.sweep import Measured, base_of
from glossae.effects.units import OFF
from glossae.lm import TokenizedCorpus
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
class Selectivity:
    """Target against one other language at the dose where the target's loss has risen by `at` nats per token.

    A token has more bytes in one language than in another, so languages are compared in nats per UTF-8 byte of
    predicted
    tokens: at that dose the target's rise per byte is `at` times its tokens per byte. Numbers per token are
    given as well. All are None if no dose of the sweep raises the target's loss that far (`reached`).

    Attributes:
        versus: another language; or, over several, the mean of their rises, or the largest (`nearest`), chosen
            in every resample, so that the interval is that of the largest.
        text: `test`, or `panel`: the half of the panel on which units were not selected.
        value: the interpolated dose; None if it lies between no edit and the dose 0.
        target_delta_per_byte, other_delta_per_byte: the rises, nats per byte.
        margin_per_byte: the target's rise less the other's, with its 95 % interval.
        ratio_per_byte: the target's rise over the other's, with its 95 % interval; None for infinite numbers,
            if the other's loss does not rise.
        ratio_per_byte_least: the one-sided lower 95 % confidence limit of the ratio: 1 over the 95 % quantile,
            over resamples, of the other's rise as a share of the target's; None if that quantile is not above
            0.
        target_delta, other_delta, margin, ratio: the same, nats per token.
    """

    units: str
    kind: str
    edit: str
    splice: bool
    text: str
    at: float
    versus: str
    reached: bool
    value: float | None = None
    target_delta_per_byte: float | None = None
    other_delta_per_byte: float | None = None
    margin_per_byte: float | None = None
    margin_per_byte_low: float | None = None
    margin_per_byte_high: float | None = None
    ratio_per_byte: float | None = None
    ratio_per_byte_low: float | None = None
    ratio_per_byte_high: float | None = None
    ratio_per_byte_least: float | None = None
    target_delta: float | None = None
    other_delta: float | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ratio_least: float | None = None


@dataclass(frozen=True)
class SideEffect:
    """Changes of a language's predictions and activations at the dose where the target's loss has risen by `at`.

    `at` is in nats per token. The numbers are None if no dose reaches it; each has its 95 % interval over
    clusters.

    Attributes:
        kl: KL(p || p under the edit), nats per predicted token.
        agreement: the share of predicted tokens whose most probable prediction stays.
        change: the norm of the change at the site, relative to the activation's, summed over tokens.
    """

    units: str
    kind: str
    edit: str
    splice: bool
    at: float
    language: str
    reached: bool
    kl: float | None = None
    kl_low: float | None = None
    kl_high: float | None = None
    agreement: float | None = None
    agreement_low: float | None = None
    agreement_high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None


@dataclass(frozen=True)
class BestDose:
    """The edit of a sweep with the lowest loss on `tune`, and its effect on `test`.

    Attributes:
        splice: whether the edits are of the reconstruction; changes are then from the reconstruction without
            an edit.
        tune_delta: the change of the loss on `tune`, nats per token; the lowest of many, so biased down.
        delta: the change on `test`, with its 95 % interval.
        helps: whether the interval is below 0.
    """

    units: str
    kind: str
    edit: str
    value: float | None
    splice: bool
    tune_delta: float
    delta: float
    ci_low: float
    ci_high: float
    helps: bool


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
                way = (name, kind, path.operation, path.splice, text, at, against, place is not None)
                rows.append(Selectivity(*way, **numbers))
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
        curves = [
            _ratios([getattr(m, what)[chosen] for m in moved], sizes, draws, seed, clusters)
            for what, sizes in (
                ("kl", [predicted] * len(moved)),
                ("agreed", [predicted] * len(moved)),
                ("moved", [m.size[chosen] for m in moved]),
            )
        ]
        for at in MATCHED_DAMAGE:
            place = _reaches(damage, at)
            there = [] if place is None else [place.on(curve) for curve in curves]
            found = [value for each in there for value in (float(each[0]), *interval(each[1:]))]
            way = (name, kind, path.operation, False, at, language, place is not None)
            rows.append(SideEffect(*way, *found))
    return rows


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
        name,
        kind,
        chosen.operation,
        chosen.value,
        chosen.splice,
        float(tuned_change[own].sum() / tune.predicted[own].sum()),
        float(change.sum() / predicted.sum()),
        low,
        high,
        bool(high < 0),
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
