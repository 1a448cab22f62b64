"""A planted world: activations whose features are known, and with them the truth about every language."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.find.planted.law import SentenceLaw, auroc_of
from glossae.find.planted.profiles import Profiles, draw_profiles
from glossae.find.planted.settings import Kinds, groups_of, names_of


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
        return names_of(self.languages)

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
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The groups of languages that have features of their own."""
        return tuple(tuple(self.codes[i] for i in group) for group in groups_of(self.languages))

    @property
    def kind(self) -> Shaped[np.ndarray, " features"]:
        """What each feature was planted as."""
        return self.profiles.kind


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
