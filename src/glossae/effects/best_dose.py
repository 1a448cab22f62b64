"""The edit that lowers the target's loss most on one text, tested on another: the paper's hope (section 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glossae.effects.bootstrap import Clusters, interval, resampled_ratios
from glossae.effects.next_token import Measured
from glossae.lm import TokenizedCorpus


@dataclass(frozen=True)
class BestDose:
    """The edit of a sweep with the lowest loss on `tune`, and what it does on `test`.

    Attributes:
        splice: whether the edits are of the reconstruction, and changes from the one without an edit.
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
        tuned: a sweep on `tune`, all of it spliced or all error-preserving, with the edit `none`.
        tune: its text.
        measured: no edit and the chosen one on `test`, with others or without.
        test: its text.
        target: the language.
        name: of the set of units.
        kind: of the units.
        draws: resamples behind an interval.
        seed: of the resamples.
    """
    place = lowest(tuned, tune, target)
    if place is None:
        return None
    chosen = tuned[place].edit
    assert chosen is not None
    tuned_change = tuned[place].losses - _base(tuned).losses
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
        chosen.splice,
        float(tuned_change[own].sum() / tune.predicted[own].sum()),
        float(change.sum() / predicted.sum()),
        low,
        high,
        bool(high < 0),
    )


def lowest(measured: Sequence[Measured], tokens: TokenizedCorpus, target: str) -> int | None:
    """The place in a sweep of the edit with the target's lowest loss; None if there is no edit."""
    own = _own(tokens, target)
    sums = {
        number: float(m.losses[own].sum())
        for number, m in enumerate(measured)
        if m.edit is not None and m.edit.operation != "none" and len(own)
    }
    return min(sums, key=lambda number: sums[number]) if sums else None


def _own(tokens: TokenizedCorpus, target: str) -> np.ndarray:
    return np.flatnonzero([s.language == target for s in tokens.corpus.sentences])


def _base(measured: Sequence[Measured]) -> Measured:
    return next(m for m in measured if m.edit and m.edit.operation == "none")
