"""How much more an edit costs the target than another language, at the same damage to the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from glossae.effects.bootstrap import Clusters, interval
from glossae.effects.matched import MATCHED_DAMAGE, Curve, Place, paths, ratios, reaches, rise
from glossae.effects.next_token import Measured
from glossae.lm import TokenizedCorpus

# the level of a one-sided lower limit
LIMIT = 0.95
# the share of a rise that losses in float32 cannot tell from 0
ROUNDING = 1e-6
# what stands in the place of a language where several are compared with
MEAN_OF_OTHERS, NEAREST = "mean of others", "nearest"


@dataclass(frozen=True)
class Selectivity:
    """Target against one other language where the target's loss has risen by `at` nats per token.

    A token has more bytes in one language than in another, so languages compare by nats per UTF-8 byte of predicted
    tokens: at the same dose the target's rise is `at` times its tokens per byte. The numbers per token are beside
    them. All are None where no dose of the sweep raises the target's loss that far (`reached`).

    Attributes:
        versus: another language; or, of several, the mean of their rises, or the largest (`nearest`), found in every
            resample anew, so that its interval is that of the largest.
        text: `test`, or `panel`: the half of the panel that units were not found on.
        value: the interpolated dose; None if it lies between no edit and the dose 0.
        target_delta_per_byte, other_delta_per_byte: the rises, nats per byte.
        margin_per_byte: the target's rise less the other's, with its 95 % interval.
        ratio_per_byte: the target's rise over the other's, with its 95 % interval; a number is None where it is
            infinite, since the other's loss does not rise.
        ratio_per_byte_least: the one-sided lower 95 % confidence limit of the ratio: 1 over the 95 % quantile, over
            resamples, of the other's rise as a share of the target's; None where that quantile is not above 0.
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
class _Rise:
    """A rise at the matched dose, with its bootstrap resamples."""

    point: float
    samples: Float[np.ndarray, " draws"]


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
    sizes = {"": tokens.predicted, "_per_byte": tokens.predicted_bytes}
    own = np.flatnonzero(languages == target)
    clusters = {code: Clusters.across(tokens.corpus, code) for code in tokens.corpus.languages}
    # resampled as the curves are: the same seed and sentences give the same weights
    tokens_of = {
        unit: ratios([tokens.predicted[own]], [size[own]], draws, seed, clusters[target])
        for unit, size in sizes.items()
    }
    rows = []
    for path in paths(measured, kind):
        damage = rise(path, tokens.predicted, own, draws, seed, clusters[target])
        curves = {
            (code, unit): rise(path, size, np.flatnonzero(languages == code), draws, seed, clusters[code])
            for code in others
            for unit, size in sizes.items()
        }
        for at in MATCHED_DAMAGE:
            place = reaches(damage, at)
            versus = {other: [other] for other in others}
            if len(others) > 1:
                versus |= {MEAN_OF_OTHERS: others, NEAREST: others}
            for against, compared in versus.items():
                numbers: dict[str, float | None] = {}
                if place is not None:
                    numbers["value"] = place.value(path)
                    for unit in sizes:
                        per_token = tokens_of[unit]
                        rises = (
                            _Rise(at * float(per_token.point[0]), at * per_token.samples[:, 0]),
                            _other(place, [curves[code, unit] for code in compared], against),
                        )
                        numbers |= {key.format(unit): value for key, value in _compared(*rises).items()}
                rows.append(
                    Selectivity(
                        name,
                        kind,
                        path.operation,
                        path.splice,
                        text,
                        at,
                        against,
                        place is not None,
                        **numbers,
                    )
                )
    return rows


def _other(place: Place, curves: Sequence[Curve], versus: str) -> _Rise:
    """The rise of one language, or the mean or the largest of several, resample by resample."""
    found = [place.on(curve) for curve in curves]
    reduce = np.max if versus == NEAREST else np.mean
    return _Rise(
        float(reduce([point for point, _ in found])), reduce(np.stack([rises for _, rises in found]), axis=0)
    )


def _compared(own: _Rise, other: _Rise) -> dict[str, float | None]:
    """Both rises, their difference and their ratio; `{}` in a name is where the unit goes."""
    margin_low, margin_high = interval(own.samples - other.samples)
    shares = other.samples / own.samples
    least_share, most_share = interval(shares)
    return {
        "target_delta{}": own.point,
        "other_delta{}": other.point,
        "margin{}": own.point - other.point,
        "margin{}_low": margin_low,
        "margin{}_high": margin_high,
        "ratio{}": _over(other.point / own.point),
        "ratio{}_low": _over(most_share),
        "ratio{}_high": _over(least_share),
        "ratio{}_least": _over(float(np.quantile(shares, LIMIT))),
    }


def _over(share: float) -> float | None:
    """1 / share; None where the share is not above 0."""
    return 1 / share if share > ROUNDING else None
