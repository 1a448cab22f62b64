"""What an edit does to text that it should leave alone, at the same damage to the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glossae.effects.bootstrap import Clusters, interval
from glossae.effects.matched import MATCHED_DAMAGE, Curve, Path, paths, ratios, reaches, rise
from glossae.effects.next_token import Measured
from glossae.lm import TokenizedCorpus


@dataclass(frozen=True)
class SideEffect:
    """How far a language's predictions and activations move where the target's loss has risen by `at` nats per token.

    The numbers are None where no dose gets there; each has its 95 % interval over clusters.

    Attributes:
        kl: KL(p || p under the edit), nats per predicted token.
        agreement: the share of predicted tokens whose most probable prediction stays.
        change: the length of the change at the site, relative to the activation's, summed over tokens.
    """

    units: str
    kind: str
    edit: str
    splice: bool
    at: float
    language: str
    reached: bool
    kl: float | None
    kl_low: float | None
    kl_high: float | None
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None


def side_effects(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    target: str,
    language: str,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: str = "latent",
) -> list[SideEffect]:
    """Interpolated between doses, as `selectivity` does, on every error-preserving way down.

    Args:
        measured: a sweep with `moved`.
        tokens: its text.
        target: the language whose damage is matched.
        language: whose side effects are asked for.
        name: of the set of units.
        draws: resamples behind an interval.
        seed: of the resamples.
        kind: of the units.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    own = np.flatnonzero(languages == target)
    if not {target, language} <= set(languages.tolist()):
        return []
    rows = []
    for path in paths(measured, kind):
        if path.splice:
            continue
        damage = rise(path, tokens.predicted, own, draws, seed, Clusters.across(tokens.corpus, target))
        curves = _curves(path, tokens, language, draws, seed)
        for at in MATCHED_DAMAGE:
            place = reaches(damage, at)
            found: list[float | None] = [None] * 9
            if place is not None:
                found = []
                for curve in curves:
                    point, samples = place.on(curve)
                    found += [point, *interval(samples)]
            rows.append(
                SideEffect(name, kind, path.operation, False, at, language, place is not None, *found)
            )
    return rows


def _curves(
    path: Path, tokens: TokenizedCorpus, language: str, draws: int, seed: int
) -> tuple[Curve, Curve, Curve]:
    chosen = np.flatnonzero([s.language == language for s in tokens.corpus.sentences])
    clusters = Clusters.across(tokens.corpus, language)
    moved = [m.moved for m in path.steps if m.moved is not None]
    assert len(moved) == len(path.steps), "measure_sweeps(..., side_effects=True)"
    predicted = [tokens.predicted[chosen]] * len(moved)

    def curve(name: str, denominators: list[np.ndarray]) -> Curve:
        return ratios([getattr(m, name)[chosen] for m in moved], denominators, draws, seed, clusters)

    sizes = [m.size[chosen] for m in moved]
    return curve("kl", predicted), curve("agreed", predicted), curve("moved", sizes)
