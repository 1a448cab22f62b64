"""The planted features: on which share of tokens each fires in each language, solved for the strength it must have."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.interpolate import RectBivariateSpline

from glossae.find.planted.law import SentenceLaw, auroc_of
from glossae.find.planted.settings import Kinds, Range, groups_of

# what solving for a strength may be off by: the bound is approached from below by so much, so that a near miss is one
SOLVED_WITHIN = 1e-4
# log intensities between which a strength is solved for
LEAST, MOST = -10.0, 1.5
GRID = 120
# how far below the strongest that a rate allows a feature stays
ROOM = 0.003


class Profiles(NamedTuple):
    """What each feature does in each language.

    Attributes:
        kind: `single`, `group`, `around`, `sibling` or `none`.
        home: a language the feature is on in; -1 for none.
        intensity: expected events a token, eta.
    """

    kind: Shaped[np.ndarray, " features"]
    home: Int[np.ndarray, " features"]
    intensity: Float[np.ndarray, "features languages"]


class Strengths:
    """The population AUROC as a smooth function of two log intensities, and its inverse.

    A spline through the exact law on a grid; what is planted is measured by the law itself afterwards.
    """

    def __init__(self, law: SentenceLaw) -> None:
        self.grid = np.linspace(LEAST, MOST, GRID)
        below = law.cdf(np.exp(self.grid))
        table = np.stack([auroc_of(row[None], below) for row in below])
        self.spline = RectBivariateSpline(self.grid, self.grid, table)

    def off(self, on: Float[np.ndarray, "*n"], strength: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """The log intensity against which one of log intensity `on` has this AUROC, by bisection.

        No AUROC is above that against silence; what asks for more gets almost that.
        """
        low, high = np.full(on.shape, LEAST), on.copy()
        strength = np.minimum(strength, self.spline.ev(on, low) - ROOM)
        for _ in range(40):
            middle = (low + high) / 2
            # the fainter the other language, the higher the AUROC
            over = self.spline.ev(on, middle) > strength
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        # the end at which it is not exceeded
        return np.asarray(high, dtype=np.float64)


def draw_profiles(
    law: SentenceLaw, kinds: Kinds, features: int, languages: int, random: np.random.Generator
) -> Profiles:
    """Draw the features of every kind; those that follow a leader are not among them."""
    homes: list[tuple[str, tuple[int, ...]]] = []
    for language in range(languages):
        homes += [("single", (language,))] * kinds.single
        homes += [("around", (language,))] * kinds.around
        homes += [("sibling", (language,))] * kinds.sibling
    for group in groups_of(languages):
        homes += [("group", group)] * kinds.groups
    special = len(homes)
    # a share of tokens becomes an intensity; an on-language is where the feature is at home
    rate = _log_uniform(kinds.on_rate, special, random)
    on = np.log(law.intensity(rate))
    strength = _strengths(kinds, homes, languages, random)
    intensity = np.empty((features, languages))
    if special:
        off = Strengths(law).off(np.repeat(on[:, None], languages, 1), strength)
        at_home = np.zeros((special, languages), dtype=bool)
        for row, (_, group) in enumerate(homes):
            at_home[row, list(group)] = True
        intensity[:special] = np.exp(np.where(at_home, on[:, None], off))
    rest = _log_uniform(kinds.off_rate, features - special, random)
    intensity[special:] = law.intensity(rest)[:, None]
    order = random.permutation(features)
    kind = np.array([kind for kind, _ in homes] + ["none"] * (features - special))
    home = np.array([group[0] for _, group in homes] + [-1] * (features - special), dtype=np.int64)
    return Profiles(kind[order], home[order], intensity[order])


def _strengths(
    kinds: Kinds, homes: list[tuple[str, tuple[int, ...]]], languages: int, random: np.random.Generator
) -> Float[np.ndarray, "special languages"]:
    """The AUROC each special feature must have against each language; what stands at its homes is not used."""
    strength = np.empty((len(homes), languages))
    low, high = kinds.strength
    for row, (kind, group) in enumerate(homes):
        others = [language for language in range(languages) if language not in group]
        weakest = random.uniform(low, high)
        strength[row] = random.uniform(weakest, high, size=languages)
        nearest = others[int(random.integers(len(others)))]
        strength[row, nearest] = weakest
        if kind == "sibling":
            strength[row, nearest] = kinds.bound - SOLVED_WITHIN
        elif kind == "around":
            below = random.uniform(*kinds.under, size=languages)
            strength[row] = np.minimum(below, kinds.bound - SOLVED_WITHIN)
    return strength


def _log_uniform(bounds: Range, size: int, random: np.random.Generator) -> Float[np.ndarray, " size"]:
    low, high = np.log(bounds)
    return np.asarray(np.exp(random.uniform(low, high, size=size)))
