"""A planted world: activations whose features are known, and with them the truth about every language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.interpolate import RectBivariateSpline
from scipy.special import gammainc, gammaln, ndtr
from torch import Tensor

from glossae.errors import GlossaeError

CODES = ("da", "nb", "sv", "de", "en", "nl", "fr", "fi")
"""Names of the planted languages, in order; they mean nothing."""
# lengths of sentences, in tokens: log-normal, rounded, cut off at both ends
SHORTEST, LONGEST = 4, 40
MEDIAN_LENGTH, LENGTH_SPREAD = 14.0, 0.45
# Gauss-Hermite nodes for the sentence's random effect, and points where a distribution function is kept; twice as
# many of both move no AUROC by 1e-5 (tests/evidence/test_planted_world.py)
NODES = 32
POINTS = 1024
SMALLEST, LARGEST = 1e-4, 10.0
# what solving for a strength may be off by: the bound is approached from below by so much, so that a near miss is one
SOLVED_WITHIN = 1e-4
# log intensities between which a strength is solved for
LEAST, MOST = -10.0, 1.5
GRID = 120
# how far below the strongest that a rate allows a feature stays
BELOW_LARGEST = 0.003

Range = tuple[float, float]


@dataclass(frozen=True)
class Kinds:
    """How many features of each kind, and their rates. What is left over is for no language: equal everywhere.

    A feature's strength is the population AUROC, over sentences, of its languages against each other one.

    Attributes:
        single: features for one language, of each language.
        groups: features for several languages, of each group: the first 3, the first 4, the last 2.
        around: near misses of each language whose AUROC is in `under` against every other language.
        sibling: near misses of each language whose AUROC is the bound against one other language, and as for one
            language against the rest: the least favourable nulls of an intersection test.
        together: features that fire together with another one, their leader, of whatever kind that is.
        strength: AUROC against the nearest language; against the others it is anything from there on upwards.
        under: AUROC of near misses that are near everywhere; drawn evenly.
        bound: AUROC of near misses that are as near as can be.
        on_rate: share of tokens on which a feature fires in its own languages; log-uniform.
        off_rate: share of tokens on which a feature for no language fires; log-uniform.
    """

    single: int = 24
    groups: int = 12
    around: int = 12
    sibling: int = 12
    together: int = 64
    strength: Range = (0.88, 0.995)
    under: Range = (0.75, 0.8)
    bound: float = 0.8
    on_rate: Range = (0.15, 0.5)
    off_rate: Range = (0.0005, 0.02)

    def check(self, features: int, languages: int) -> None:
        """Refuse what cannot be planted.

        Raises:
            GlossaeError: more features than there are, or a range that is none.
        """
        if languages < 2:
            raise GlossaeError(f"planted.languages: at least 2 are needed, got {languages}")
        each = self.single + self.around + self.sibling
        taken = languages * each + len(groups_of(languages)) * self.groups + self.together
        if taken >= features:
            raise GlossaeError(f"planted.features: {features} are too few for {taken} of the kinds asked for")
        for name in ("strength", "under", "on_rate", "off_rate"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                raise GlossaeError(
                    f"planted.{name}: has to rise and lie between 0 and 1, got ({low}, {high})"
                )


def groups_of(languages: int) -> tuple[tuple[int, ...], ...]:
    """The groups that have features of their own: the first 3, the first 4, the last 2, as far as there are others."""
    found = (tuple(range(3)), tuple(range(4)), (languages - 2, languages - 1))
    return tuple(group for group in found if max(group) < languages and len(group) < languages)


@dataclass(frozen=True)
class SentenceLaw:
    """The distribution of one feature's sentence mean, for any intensity.

    On a sentence of T tokens a feature of intensity eta (expected events a token) reads

        W = exp(spread z - spread^2 / 2),  z ~ N(0, 1)         the sentence's random effect, of mean 1
        N | W, T ~ Binomial(T, 1 - exp(-eta W))                tokens where it fires
        V | N, T ~ Gamma(shape N, mean N) / T                  the sentence mean, in units of the feature's magnitude

    with T log-normal, rounded and cut off. W and T are integrated out by quadrature, N by its sum.

    Attributes:
        spread: standard deviation of the logarithm of the random effect.
        shape: of the gamma distribution of a single reading; its variation coefficient is shape^-1/2.
        nodes: quadrature nodes for W.
        points: where the distribution function is kept, besides 0.
    """

    spread: float
    shape: float
    nodes: int = NODES
    points: int = POINTS

    @cached_property
    def effect(self) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
        """Nodes and weights of the random effect W."""
        z, weight = np.polynomial.hermite_e.hermegauss(self.nodes)
        return np.exp(self.spread * z - self.spread**2 / 2), weight / weight.sum()

    @cached_property
    def _cells(self) -> tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]:
        """Every length with every number of firing tokens: T and N."""
        cells = [(t, n) for t in range(SHORTEST, LONGEST + 1) for n in range(t + 1)]
        length, count = np.array(cells).T
        return length, count

    @cached_property
    def _below(self) -> Float[np.ndarray, "cells points"]:
        """P(V <= v | N, T) for every cell, at 0 and at points evenly spread over the logarithm."""
        length, count = self._cells
        v = np.concatenate([[0.0], np.geomspace(SMALLEST, LARGEST, self.points)])
        some = np.maximum(count, 1)[:, None]
        below = gammainc(self.shape * some, self.shape * v * length[:, None])
        return np.where(count[:, None] == 0, 1.0, below)

    def token_rate(self, intensity: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The share of tokens on which a feature of this intensity fires: E[1 - exp(-eta W)]."""
        node, weight = self.effect
        return np.asarray(-np.expm1(-intensity[:, None] * node) @ weight)

    def intensity(self, token_rate: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The intensity at which a feature fires on this share of tokens, by bisection."""
        low, high = np.full(len(token_rate), -25.0), np.full(len(token_rate), 10.0)
        for _ in range(60):
            middle = (low + high) / 2
            under = self.token_rate(np.exp(middle)) < token_rate
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return np.asarray(np.exp((low + high) / 2))

    def cdf(self, intensity: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n points"]:
        """P(V <= v) at 0 and at the points, for each intensity."""
        length, count = self._cells
        node, weight = self.effect
        known = _length_weights()[length - SHORTEST] * np.exp(
            gammaln(length + 1) - gammaln(count + 1) - gammaln(length - count + 1)
        )
        mixed = np.zeros((len(intensity), len(length)))
        for w, share in zip(node, weight, strict=True):
            eta = intensity[:, None] * w
            fires, silent = -np.expm1(-eta), np.exp(-eta)
            # powers by repeated multiplication, then looked up: an exponential a cell would be most of the time
            up = np.cumprod(np.concatenate([np.ones_like(eta), np.repeat(fires, LONGEST, 1)], 1), 1)
            down = np.cumprod(np.concatenate([np.ones_like(eta), np.repeat(silent, LONGEST, 1)], 1), 1)
            mixed += share * up[:, count] * down[:, length - count]
        return np.asarray((mixed * known) @ self._below)


def auroc_of(
    target: Float[np.ndarray, "*#n points"], other: Float[np.ndarray, "*#n points"]
) -> Float[np.ndarray, "*m"]:
    """P(V > V') + P(V = V') / 2 for independent sentences of two languages, from their distribution functions.

    The first point is the atom at 0, which is exact; between two others both are taken for evenly spread.
    """
    steps = np.diff(target, axis=-1, prepend=0.0)
    before = np.concatenate([np.zeros_like(other[..., :1]), other[..., :-1]], axis=-1)
    # what lies beyond the last point is not seen by either; it is less than 1e-9
    return np.asarray((steps * (before + other) / 2).sum(-1), dtype=np.float64)


def _length_weights() -> Float[np.ndarray, " lengths"]:
    """The probability of each length from the shortest to the longest."""
    edges = np.log(np.arange(SHORTEST, LONGEST) + 0.5)
    below = ndtr((edges - np.log(MEDIAN_LENGTH)) / LENGTH_SPREAD)
    return np.asarray(np.diff(np.concatenate([[0.0], below, [1.0]])))


def lengths_of(normal: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Lengths of that law from standard normal numbers."""
    length = np.exp(np.log(MEDIAN_LENGTH) + LENGTH_SPREAD * normal)
    return np.asarray(np.clip(np.rint(length), SHORTEST, LONGEST), dtype=np.int64)


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


def _faintest(
    law: SentenceLaw, on: Float[np.ndarray, "*n"], strength: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """The log intensity against which one of log intensity `on` has this population AUROC, by bisection.

    A spline through the exact law on a grid stands in for it; what is planted is measured by the law itself afterwards.
    No AUROC is above that against silence; what asks for more gets almost that.
    """
    grid = np.linspace(LEAST, MOST, GRID)
    below = law.cdf(np.exp(grid))
    spline = RectBivariateSpline(grid, grid, np.stack([auroc_of(row[None], below) for row in below]))
    low, high = np.full(on.shape, LEAST), on.copy()
    strength = np.minimum(strength, spline.ev(on, low) - BELOW_LARGEST)
    for _ in range(40):
        middle = (low + high) / 2
        # the fainter the other language, the higher the AUROC
        over = spline.ev(on, middle) > strength
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
        off = _faintest(law, np.repeat(on[:, None], languages, 1), strength)
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


@dataclass(frozen=True)
class PlantedWorld:
    r"""Sentences in several languages whose activations are sparse sums of known directions.

    With s a sentence of language l, g its group of translations, t a token of it, and j a feature of topic k(j):

        z_sj   = sqrt(a) P_g,k(j) + sqrt(b) Q_s,k(j) + sqrt(1 - a - b) R_sj      P, Q, R ~ N(0, 1) independent
        eta_sj = eta_jl exp(spread z_sj - spread^2 / 2)                          the sentence's own intensity
        f_tj   = 1 with probability 1 - exp(-eta_sj), independently over tokens  the feature fires
        v_tj   = magnitude_j f_tj G,   G ~ Gamma(shape, mean 1)                  what it reads
        x_t    = mean + sum_j v_tj d_j + noise e_t,   e_t ~ N(0, I)              the activation

    (a, b) = (`shared`, `own`): translations share the topic P, sentences their Q, and so tokens of one sentence depend
    on each other, features of one topic on each other, and translations on each other. Given z nothing else
    does, but for features that follow a leader: they fire at a share `copied` of its firings, and by themselves at

        r' = r (1 - c) / (1 - c r)          r = 1 - exp(-eta_sj) the leader's probability, c = `copied`

    so that their law is the leader's own and the correlation of the two at a token is c (1 - r) / (1 - c r).

    Directions are random unit vectors in superposition, `d_j ~ sqrt(rho) c_k(j) + sqrt(1 - rho) u_j` with c and u
    random unit vectors and rho = `aligned`, about the cosine within a topic. Lengths of sentences are log-normal,
    those of translations correlated. The token rate of feature j in language l is E[1 - exp(-eta_jl W)], W the
    factor exp(spread z - spread^2 / 2).

    **Truth.** `auroc[j, l, m]` is the population's sentence-level AUROC, of a sentence of l against an independent one
    of m, by quadrature (`SentenceLaw`; its error is below 2e-5). A feature is truly for l iff that exceeds the minimum
    against every other language.

    Args:
        d_in: width of the activations.
        features: how many are planted.
        languages: how many there are.
        seed: of the features; what is drawn from the world has seeds of its own.
        kinds: how many features of which kind, and how strong.
        topics: how many there are.
        spread: of a sentence's random effect on the logarithm of the intensity.
        shared, own: its shares of variance that translations share, and that a sentence's topic has.
        shape: of a single reading's gamma distribution.
        copied: share of a leader's firings at which its follower fires.
        aligned: cosine of the directions of one topic.
        noise: standard deviation of the noise in each dimension.
        offset: length of the mean.

    Raises:
        GlossaeError: the features asked for do not fit, or a share is none.
    """

    d_in: int = 512
    features: int = 2048
    languages: int = 5
    seed: int = 0
    kinds: Kinds = field(default_factory=Kinds)
    topics: int = 32
    spread: float = 0.7
    shared: float = 0.4
    own: float = 0.2
    shape: float = 4.0
    copied: float = 0.5
    aligned: float = 0.0
    noise: float = 0.02
    offset: float = 4.0

    def __post_init__(self) -> None:
        self.kinds.check(self.features, self.languages)
        for name in ("shared", "own", "copied", "aligned"):
            if not 0 <= getattr(self, name) < 1:
                raise GlossaeError(f"planted.{name}: has to lie between 0 and 1, got {getattr(self, name)}")
        if self.shared + self.own > 1:
            raise GlossaeError("planted.shared: together with planted.own it is above 1")

    @property
    def codes(self) -> tuple[str, ...]:
        """The names of the languages."""
        return tuple(CODES[i] if i < len(CODES) else f"x{i}" for i in range(self.languages))

    @property
    def identity(self) -> str:
        """Whose units the features are, as a table has it."""
        return f"direction planted {self.seed}-{self.features}x{self.d_in}"

    @cached_property
    def law(self) -> SentenceLaw:
        """The law of a sentence mean."""
        return SentenceLaw(self.spread, self.shape)

    def random(self, *stream: int) -> np.random.Generator:
        """Random numbers of one purpose, which no other purpose shares."""
        return np.random.default_rng([self.seed, *stream])

    @cached_property
    def leader(self) -> Int[np.ndarray, " features"]:
        """The feature that each follows, or -1: the last `kinds.together` features follow different ones."""
        own = self.features - self.kinds.together
        leader = np.full(self.features, -1, dtype=np.int64)
        leader[own:] = self.random(1).permutation(own)[: self.kinds.together]
        return leader

    @cached_property
    def profiles(self) -> Profiles:
        """What each feature does in each language."""
        own = self.features - self.kinds.together
        drawn = draw_profiles(self.law, self.kinds, own, self.languages, self.random(2))
        source = np.concatenate([np.arange(own), self.leader[own:]])
        return Profiles(*(part[source] for part in drawn))

    @cached_property
    def topic(self) -> Int[np.ndarray, " features"]:
        """The topic of each feature; a follower has its leader's."""
        topic = self.random(3).integers(self.topics, size=self.features)
        return np.where(self.leader >= 0, topic[self.leader], topic)

    @cached_property
    def magnitude(self) -> Float[np.ndarray, " features"]:
        """The mean reading of each feature where it fires."""
        return np.asarray(np.exp(self.random(4).normal(-0.02, 0.2, size=self.features)))

    @cached_property
    def token_rates(self) -> Float[np.ndarray, "features languages"]:
        """The share of a language's tokens on which each feature fires."""
        flat = self.law.token_rate(self.profiles.intensity.reshape(-1))
        return flat.reshape(self.features, self.languages)

    @cached_property
    def directions(self) -> Float[Tensor, "features d_in"]:
        """What each feature writes: unit rows."""
        random = self.random(5)
        common = _unit(random.normal(size=(self.topics, self.d_in)))
        each = _unit(random.normal(size=(self.features, self.d_in)))
        mixed = np.sqrt(self.aligned) * common[self.topic] + np.sqrt(1 - self.aligned) * each
        return torch.from_numpy(_unit(mixed).astype(np.float32))

    @cached_property
    def mean(self) -> Float[Tensor, " d_in"]:
        """What is added to every activation."""
        vector = _unit(self.random(6).normal(size=(1, self.d_in)))[0]
        return torch.from_numpy((self.offset * vector).astype(np.float32))

    @cached_property
    def auroc(self) -> Float[np.ndarray, "features languages languages"]:
        """The population's AUROC of sentences of the first language against those of the second."""
        distinct, where = np.unique(self.profiles.intensity, return_inverse=True)
        where = where.reshape(self.features, self.languages)
        auroc = np.full((self.features, self.languages, self.languages), 0.5)
        differs = np.flatnonzero((where != where[:, :1]).any(1))
        needed, place = np.unique(where[differs], return_inverse=True)
        below = self.law.cdf(distinct[needed])[place.reshape(len(differs), self.languages)]
        for first in range(self.languages):
            for second in range(first):
                unequal = where[differs, first] != where[differs, second]
                found = np.where(unequal, auroc_of(below[:, first], below[:, second]), 0.5)
                auroc[differs, first, second], auroc[differs, second, first] = found, 1 - found
        return auroc

    def against_all(self, language: str) -> tuple[tuple[str, str], ...]:
        """The comparisons of a language with every other."""
        return tuple((language, other) for other in self.codes if other != language)

    def weakest(self, comparisons: Sequence[tuple[str, str]]) -> Float[np.ndarray, " features"]:
        """Each feature's smallest population AUROC over some comparisons of languages."""
        found = [self.auroc[:, self.codes.index(a), self.codes.index(b)] for a, b in comparisons]
        return np.asarray(np.min(found, axis=0))

    def truth(
        self, claim: str | Sequence[tuple[str, str]], minimum: float = 0.8
    ) -> Bool[np.ndarray, " features"]:
        """Which features truly exceed the minimum for a language, or in every comparison of any other claim."""
        comparisons = self.against_all(claim) if isinstance(claim, str) else claim
        return np.asarray(self.weakest(comparisons) > minimum)

    @property
    def kind(self) -> Shaped[np.ndarray, " features"]:
        """What each feature was planted as."""
        return self.profiles.kind


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
