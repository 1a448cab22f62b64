"""Where along a dose-response the target's loss has risen by so much: damage at which all else is compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from glossae.effects.bootstrap import Clusters, resampled_sums
from glossae.effects.next_token import OFF, Measured

# nats per token on the target at which languages are compared
MATCHED_DAMAGE = (0.1, 0.3)

Point = tuple[float, float]


@dataclass(frozen=True)
class Path:
    """Edits of one operation, from none on, ever stronger.

    Attributes:
        operation: `set` (down from 0), `scale` (down from 1) or `add` (down from nothing).
        splice: whether they are spliced.
        steps: what was measured, no edit first.
        values: the doses; None for no edit where it is none of the operation's.
    """

    operation: str
    splice: bool
    steps: tuple[Measured, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """Something along a path, by step, with its bootstrap resamples."""

    point: Float[np.ndarray, " steps"]
    samples: Float[np.ndarray, "draws steps"]


@dataclass(frozen=True)
class Place:
    """Where on a path a curve reaches a height: which segment, how far into it; likewise for each resample."""

    below: int
    share: float
    sample_below: Int[np.ndarray, " draws"]
    sample_share: Float[np.ndarray, " draws"]

    def on(self, curve: Curve) -> tuple[float, Float[np.ndarray, " draws"]]:
        """What another curve of the path is there."""
        before, after = curve.point[self.below], curve.point[self.below + 1]
        rows = np.arange(len(curve.samples))
        left, right = (curve.samples[rows, self.sample_below + step] for step in (0, 1))
        return float(before + self.share * (after - before)), left + self.sample_share * (right - left)

    def value(self, path: Path) -> float | None:
        """The interpolated dose; None between no edit and the dose 0 of `set`."""
        before, after = path.values[self.below], path.values[self.below + 1]
        return None if before is None or after is None else before + self.share * (after - before)


def paths(measured: Sequence[Measured], kind: str = "latent") -> list[Path]:
    """The ways down that a sweep has, error-preserving ones first."""
    found = []
    for splice in (False, True):
        own = [m for m in measured if m.edit is not None and m.edit.splice == splice]
        none = [m for m in own if m.edit and m.edit.operation == "none"]
        for operation, start in (("set", None), ("scale", 1.0), ("add", 0.0)):
            most = 1.0 if operation == "scale" else 0.0
            by_dose: dict[float, Measured] = {}
            for m in own:
                if (value := _dose(m, operation, kind)) is not None and value <= most:
                    # the same edit by another name is on the path once
                    by_dose.setdefault(value, m)
            steps = sorted(by_dose.items(), key=lambda step: -step[0])
            if none and steps:
                found.append(
                    Path(
                        operation,
                        splice,
                        (none[0], *(m for _, m in steps)),
                        (start, *(value for value, _ in steps)),
                    )
                )
    return found


def rise(
    path: Path,
    size: Int[np.ndarray, " sentences"],
    chosen: Int[np.ndarray, " chosen"],
    draws: int,
    seed: int,
    clusters: Clusters,
) -> Curve:
    """The rise of the loss of some sentences along a path, over their size: predicted tokens, or UTF-8 bytes."""
    changes = [m.losses[chosen] - path.steps[0].losses[chosen] for m in path.steps]
    return ratios(changes, [size[chosen]] * len(changes), draws, seed, clusters)


def ratios(
    numerators: Sequence[np.ndarray],
    denominators: Sequence[np.ndarray],
    draws: int,
    seed: int,
    clusters: Clusters,
) -> Curve:
    """Ratios of sums over sentences; all share the resamples. A resample without any of the sentences is NaN."""
    count = len(numerators)
    sums = resampled_sums([*numerators, *denominators], draws=draws, seed=seed, clusters=clusters)
    point = np.array([a.sum() / b.sum() for a, b in zip(numerators, denominators, strict=True)])
    below = sums[:, count:]
    return Curve(point, sums[:, :count] / np.where(below > 0, below, np.nan))


def reaches(curve: Curve, at: float) -> Place | None:
    """The first segment in which a curve reaches `at`; None if it never does.

    A resample that never gets there is carried on along its last segment, and takes the curve's own place where
    that one falls.
    """
    reached = np.flatnonzero(curve.point >= at)
    if not len(reached):
        return None
    below = max(1, int(reached[0])) - 1
    share = _into(curve.point[None], np.array([below]), at)[0]
    if not np.isfinite(share):
        return None
    over = curve.samples >= at
    last = curve.samples.shape[1] - 1
    after = np.maximum(np.where(over.any(1), over.argmax(1), last), 1)
    shares = _into(curve.samples, after - 1, at)
    falls = ~np.isfinite(shares)
    return Place(below, float(share), np.where(falls, below, after - 1), np.where(falls, share, shares))


def _into(rows: np.ndarray, below: np.ndarray, at: float) -> np.ndarray:
    """How far into its segment each row reaches `at`; NaN where the segment does not rise."""
    number = np.arange(len(rows))
    left, right = rows[number, below], rows[number, below + 1]
    up = right > left
    return np.where(up, (at - left) / np.where(up, right - left, 1.0), np.nan)


def _dose(m: Measured, operation: str, kind: str) -> float | None:
    """The dose of a measured edit on the path of an operation, if it is on it."""
    assert m.edit is not None
    if m.edit.operation == operation:
        return m.edit.value
    # latents that are switched off are fixed at 0, too
    off = operation == "scale" or (operation == "set" and kind == "latent")
    return 0.0 if off and m.edit.operation == OFF.get(kind) else None
