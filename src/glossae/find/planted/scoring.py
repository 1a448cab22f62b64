"""A selection against the truth: false discoveries and power, for features given exactly and for latents between."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.find.cosine import SAME, cosines, one_to_one


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
