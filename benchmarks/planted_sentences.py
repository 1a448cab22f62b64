"""Sentences drawn from a planted world, and selections of units scored against its truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import coo_array, csc_array, csr_array, vstack
from torch import Tensor

from glossae.evidence.stability import SAME, cosines, one_to_one
from glossae.units import SentenceTable, Units
from planted_world import PlantedWorld, lengths_of

# groups of translations drawn at once; sentences x features is dense for so many, tokens x features never is
BLOCK = 64
# how far the lengths of translations are correlated, on the logarithm
LENGTHS_SHARED = 0.7
SOURCE = "planted"


@dataclass(frozen=True)
class PlantedSentences:
    """Sentences of a planted world, token by token.

    Attributes:
        world: what they were drawn from.
        codes: `(tokens, features)` float32, by row: what each feature reads where it fires.
        tokens: of each sentence.
        language: the number of each sentence's language.
        pair: the number of each sentence's group of translations.
        seed: what they were drawn with.
    """

    world: PlantedWorld
    codes: csr_array
    tokens: Int[np.ndarray, " sentences"]
    language: Int[np.ndarray, " sentences"]
    pair: Int[np.ndarray, " sentences"]
    seed: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sentence(self) -> Int[np.ndarray, " tokens"]:
        """The sentence of each token."""
        return np.repeat(np.arange(len(self.tokens)), self.tokens)

    def table(self) -> SentenceTable:
        """The exact table of the planted features, each a unit."""
        found = self.codes.tocoo()
        return self._of(found.row, found.col, found.data, self.world.features, self.world.identity)

    def read(self, units: Units, size: int = 4096) -> SentenceTable:
        """The table of any units that read the activations, such as the latents of an autoencoder."""
        parts, first = [], 0
        for x in self.activations(size):
            fired = units.fired(x)
            parts.append([part.cpu().numpy() for part in fired])
            parts[-1][0] = parts[-1][0] + first
            first += len(x)
        token, unit, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        return self._of(token, unit, value, len(units), units.identity)

    def _of(
        self,
        token: Int[np.ndarray, " n"],
        unit: Int[np.ndarray, " n"],
        value: Shaped[np.ndarray, " n"],
        units: int,
        identity: str,
    ) -> SentenceTable:
        """The table of units that fire at these tokens."""
        where, shape = (self.sentence[token], unit), (len(self), units)
        total = csc_array(coo_array((value.astype(np.float64), where), shape=shape))
        count = csc_array(coo_array((np.ones(len(unit), dtype=np.int32), where), shape=shape))
        for matrix in (total, count):
            matrix.sum_duplicates()
        mean = (total.data / self.tokens[total.indices]).astype(np.float32)
        return SentenceTable(
            values=csc_array((mean, total.indices, total.indptr), shape=shape),
            fired=count,
            tokens=self.tokens,
            languages=np.array(self.world.codes)[self.language],
            sources=np.full(len(self), SOURCE),
            pairs=np.array([f"{self.seed}-{pair}" for pair in self.pair]),
            identity=identity,
        )

    def activations(self, size: int = 4096) -> Iterator[Float[Tensor, "_ d_in"]]:
        """The activations in order, so many tokens at a time."""
        world = self.world
        generator = torch.Generator().manual_seed(int(world.random(8, self.seed).integers(2**62)))
        for first in range(0, self.codes.shape[0], size):
            part = self.codes[first : first + size]
            x = torch.nn.functional.embedding_bag(
                torch.from_numpy(part.indices.astype(np.int64)),
                world.directions,
                torch.from_numpy(part.indptr[:-1].astype(np.int64)),
                mode="sum",
                per_sample_weights=torch.from_numpy(part.data),
            )
            noise = torch.randn(x.shape, generator=generator)
            yield x.add_(noise, alpha=world.noise).add_(world.mean)


def draw_sentences(
    world: PlantedWorld, pairs: int, seed: int = 0, *, paired: bool = True
) -> PlantedSentences:
    """So many groups of translations with a sentence of every language in each, one language after the other.

    Args:
        world: where from.
        pairs: how many; also the number of sentences of each language.
        seed: of the sentences; the same ones come first whatever their number.
        paired: whether sentences of a group share topic and length; otherwise every sentence is a pair of its own.
    """
    parts = [
        _draw_block(world, min(BLOCK, pairs - first), paired, world.random(7, seed, first))
        for first in range(0, pairs, BLOCK)
    ]
    group = np.repeat(np.arange(pairs), world.languages)
    return PlantedSentences(
        world=world,
        codes=_stacked([codes for _, codes in parts], world.features),
        tokens=np.concatenate([np.zeros(0, np.int64), *(tokens for tokens, _ in parts)]),
        language=np.tile(np.arange(world.languages), pairs),
        pair=group if paired else np.arange(len(group)),
        seed=seed,
    )


def _draw_block(
    world: PlantedWorld, pairs: int, paired: bool, random: np.random.Generator
) -> tuple[Int[np.ndarray, " sentences"], csr_array]:
    """Lengths and codes of a few groups of translations."""
    # a block is always drawn in full, so that a shorter sample is the beginning of a longer one
    count = BLOCK * world.languages
    group, language = np.divmod(np.arange(count), world.languages)
    if not paired:
        group = np.arange(count)
    groups = group[-1] + 1
    normal = np.sqrt(LENGTHS_SHARED) * random.normal(size=groups)[group]
    tokens = lengths_of(normal + np.sqrt(1 - LENGTHS_SHARED) * random.normal(size=count))
    z = np.sqrt(world.shared) * random.normal(size=(groups, world.topics))[group]
    z = (z + np.sqrt(world.own) * random.normal(size=(count, world.topics)))[:, world.topic]
    z += np.sqrt(1 - world.shared - world.own) * random.normal(size=z.shape)
    follows = np.flatnonzero(world.leader >= 0)
    z[:, follows] = z[:, world.leader[follows]]
    intensity = world.profiles.intensity.T[language]
    intensity = intensity * np.exp(world.spread * z - world.spread**2 / 2)
    # a follower's own events are fewer, by as many as it takes from its leader
    r, c = -np.expm1(-intensity[:, follows]), world.copied
    intensity[:, follows] = -np.log1p(-r * (1 - c) / (1 - c * r))
    token, unit = _fire(intensity, tokens, random)
    token, unit = _follow(token, unit, world, random)
    value = world.magnitude[unit] * random.gamma(world.shape, 1 / world.shape, size=len(unit))
    codes = csr_array((value.astype(np.float32), (token, unit)), shape=(int(tokens.sum()), world.features))
    kept = pairs * world.languages
    tokens = tokens[:kept]
    return tokens, codes[: int(tokens.sum())]


def _fire(
    intensity: Float[np.ndarray, "sentences features"],
    tokens: Int[np.ndarray, " sentences"],
    random: np.random.Generator,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Where features fire: events fall on a sentence's tokens as a Poisson process, and one is enough to fire.

    So each token has an event with probability 1 - exp(-intensity), independently, and only events are stored.
    """
    events = random.poisson(intensity * tokens[:, None])
    sentence, unit = np.nonzero(events)
    times = events[sentence, unit]
    sentence, unit = np.repeat(sentence, times), np.repeat(unit, times)
    start = np.cumsum(tokens) - tokens
    place = (random.random(len(sentence)) * tokens[sentence]).astype(np.int64)
    return _distinct(start[sentence] + place, unit, intensity.shape[1])


def _follow(
    token: Int[np.ndarray, " n"],
    unit: Int[np.ndarray, " n"],
    world: PlantedWorld,
    random: np.random.Generator,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """The same with what followers take from their leaders."""
    follower = np.full(world.features, -1, dtype=np.int64)
    follows = np.flatnonzero(world.leader >= 0)
    follower[world.leader[follows]] = follows
    copied = (follower[unit] >= 0) & (random.random(len(unit)) < world.copied)
    both = np.concatenate([unit, follower[unit[copied]]])
    return _distinct(np.concatenate([token, token[copied]]), both, world.features)


def _distinct(
    token: Int[np.ndarray, " n"], unit: Int[np.ndarray, " n"], features: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Each token and feature once, in order."""
    # sorted by hand: numpy's own unique hashes, several times slower
    found = np.sort(token * features + unit)
    found = found[np.diff(found, prepend=-1) > 0]
    return found // features, found % features


def _stacked(codes: Sequence[csr_array], features: int) -> csr_array:
    """Rows of all, one after the other."""
    none = csr_array((0, features), dtype=np.float32)
    stacked = csr_array(vstack([none, *codes]))
    stacked.sort_indices()
    return stacked


class Score(NamedTuple):
    """One claim ("these units are for this language") against the truth.

    Attributes:
        discoveries: how many units were selected.
        false: how many of them are none.
        truths: how many there were to be found.
        found: how many of those were.
    """

    discoveries: int
    false: int
    truths: int
    found: int

    @property
    def fdp(self) -> float:
        """The false discovery proportion, 0 where nothing was discovered (Benjamini and Hochberg 1995)."""
        return self.false / max(1, self.discoveries)

    @property
    def power(self) -> float:
        """The share of true ones that were found; not a number where there were none."""
        return self.found / self.truths if self.truths else float("nan")


def score(selected: Sequence[int] | Int[np.ndarray, " n"], truth: Bool[np.ndarray, " units"]) -> Score:
    """A selection of the very units whose truth is known."""
    chosen = np.unique(np.asarray(selected, dtype=np.int64))
    right = int(truth[chosen].sum())
    return Score(len(chosen), len(chosen) - right, int(truth.sum()), right)


class Matching(NamedTuple):
    """Which latent writes which planted direction, by |cosine|.

    Attributes:
        feature: of each latent, the feature nearest to it.
        cosine: how near that is.
        latent: of each feature, the latent nearest to it.
        recovered: how near that is.
        partner: of each latent, its feature in the one-to-one matching of the largest total |cosine| (the Hungarian
            algorithm; Kuhn 1955), or -1 where there are more latents than features.
        partner_cosine: how near that is; 0 without one.
    """

    feature: Int[np.ndarray, " latents"]
    cosine: Float[np.ndarray, " latents"]
    latent: Int[np.ndarray, " features"]
    recovered: Float[np.ndarray, " features"]
    partner: Int[np.ndarray, " latents"]
    partner_cosine: Float[np.ndarray, " latents"]

    def of(self, way: Literal["best", "one-to-one"], same: float = SAME) -> Int[np.ndarray, " latents"]:
        """The feature that each latent stands for, or -1 where none is near enough."""
        feature, cosine = (
            (self.feature, self.cosine) if way == "best" else (self.partner, self.partner_cosine)
        )
        return np.where(cosine >= same, feature, -1)


def match(rows: Float[Tensor, "latents d_in"], directions: Float[Tensor, "features d_in"]) -> Matching:
    """Match decoder rows with planted directions; a row of zeros is near nothing."""
    near = cosines(rows, directions).abs().cpu().double().numpy()
    partner, partner_cosine = one_to_one(near)
    return Matching(
        feature=near.argmax(1),
        cosine=near.max(1),
        latent=near.argmax(0),
        recovered=near.max(0),
        partner=partner,
        partner_cosine=partner_cosine,
    )


def score_latents(
    selected: Sequence[int] | Int[np.ndarray, " n"],
    stands_for: Int[np.ndarray, " latents"],
    truth: Bool[np.ndarray, " features"],
    *,
    unmatched: Literal["false", "left out"] = "false",
) -> Score:
    """A selection of latents, where only the features' truth is known.

    A latent is right when the feature it stands for is truly so, and a feature found when a selected latent stands
    for it. So power counts what the autoencoder lost as well.

    Args:
        selected: latents.
        stands_for: the feature of each latent, -1 for none (`Matching.of`).
        truth: of the features.
        unmatched: a selected latent that stands for nothing counts as false, or is left out of the count.
    """
    chosen = np.unique(np.asarray(selected, dtype=np.int64))
    features = stands_for[chosen]
    if unmatched == "left out":
        features = features[features >= 0]
    right = (features >= 0) & truth[features]
    found = len(np.unique(features[right]))
    return Score(len(features), int((~right).sum()), int(truth.sum()), found)
