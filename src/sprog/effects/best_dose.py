"""The edit that lowers the target's loss most on one text, tested on another: the paper's hope (section 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sprog.effects.bootstrap import Clusters, interval, resampled_ratios
from sprog.effects.next_token import Measured
from sprog.lm import TokenizedCorpus


@dataclass(frozen=True)
class BestDose:
    """The error-preserving edit of a sweep with the lowest loss on `tune`, and what it does on `test`.

    Attributes:
        tune_delta: the change of the loss on `tune`, nats per token; the lowest of many, so biased down.
        delta: the change on `test`, with its 95 % interval.
        helps: whether the interval is below 0.
    """

    units: str
    kind: str
    edit: str
    value: float | None
    tune_delta: float
    delta: float
    ci_low: float
    ci_high: float
    helps: bool


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
    """Choose on one text, report on the other; None if there is no edit to choose.

    Args:
        tuned: a sweep on `tune`.
        tune: its text.
        measured: the same sweep on `test`.
        test: its text.
        target: the language.
        name: of the set of units.
        kind: of the units.
        draws: resamples behind an interval.
        seed: of the resamples.
    """
    changes = _changes(tuned, tune, target)
    if not changes:
        return None
    place = min(changes, key=lambda number: float(changes[number].sum()))
    chosen = tuned[place].edit
    assert chosen is not None
    own, other = _own(tune, target), _own(test, target)
    here = next(m for m in measured if m.edit == chosen)
    change = here.losses[other] - _base(measured).losses[other]
    predicted = test.predicted[other]
    clusters = Clusters.within(test.corpus, other)
    low, high = interval(
        resampled_ratios([change], predicted, draws=draws, seed=seed, clusters=clusters)[:, 0]
    )
    return BestDose(
        name,
        kind,
        chosen.operation,
        chosen.value,
        float(changes[place].sum() / tune.predicted[own].sum()),
        float(change.sum() / predicted.sum()),
        low,
        high,
        bool(high < 0),
    )


def _own(tokens: TokenizedCorpus, target: str) -> np.ndarray:
    return np.flatnonzero([s.language == target for s in tokens.corpus.sentences])


def _base(measured: Sequence[Measured]) -> Measured:
    return next(m for m in measured if m.edit and m.edit.operation == "none" and not m.edit.splice)


def _changes(measured: Sequence[Measured], tokens: TokenizedCorpus, target: str) -> dict[int, np.ndarray]:
    """By place in the sweep, the change of each of the target's sentences under every error-preserving edit."""
    own = _own(tokens, target)
    return {
        number: m.losses[own] - _base(measured).losses[own]
        for number, m in enumerate(measured)
        if m.edit is not None and m.edit.operation != "none" and not m.edit.splice and len(own)
    }
