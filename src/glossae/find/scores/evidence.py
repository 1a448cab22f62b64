"""All that the scores for one language are computed from, each part of it once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.find.scores.areas import Areas, sentence_areas, token_areas
from glossae.find.scores.attribution import Attribution
from glossae.find.scores.counts import TokenCounts, against_others, rates
from glossae.find.scores.information import LogOdds, log_odds
from glossae.find.scores.sparse_probe import AdaptiveProbe, ProbeFit, adaptive_probe, l1_probe
from glossae.units import SentenceTable


@dataclass(frozen=True)
class Evidence:
    """What is known of units, to score them for one language; what is None is not known.

    Attributes:
        target: the language they are scored for.
        counts: sums over tokens, by language.
        table: what they did sentence by sentence.
        attribution: the predicted change of the loss without them.
        random_rate: the share of random tokens on which each unit fires.
        seed: of the probes' split and solver.
    """

    target: str
    counts: TokenCounts | None = None
    table: SentenceTable | None = None
    attribution: Attribution | None = None
    random_rate: Float[np.ndarray, " units"] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that all of it is of the same number of units.

        Raises:
            GlossaeError: it is not.
        """
        sizes = {}
        if self.counts is not None:
            sizes["counts"] = self.counts.units
        if self.table is not None:
            sizes["table"] = self.table.units
        if self.attribution is not None:
            sizes["attribution"] = self.attribution.effect.shape[1]
        if self.random_rate is not None:
            sizes["random_rate"] = len(self.random_rate)
        if len(set(sizes.values())) > 1:
            raise GlossaeError(
                "scores: these are not the same units: "
                + ", ".join(f"{number} in {name}" for name, number in sizes.items())
            )

    @property
    def known(self) -> frozenset[str]:
        """What there is: `counts`, `histogram`, `table`, `attribution`, `random_rate`."""
        parts = {
            "counts": self.counts,
            "histogram": None if self.counts is None else self.counts.histogram,
            "table": self.table,
            "attribution": self.attribution,
            "random_rate": self.random_rate,
        }
        return frozenset(name for name, part in parts.items() if part is not None)

    # Scores ask for what they need, and the registry asks them only where it is there.

    @property
    def of_tokens(self) -> TokenCounts:
        """The counts."""
        assert self.counts is not None
        return self.counts

    @property
    def histogram(self) -> Int[np.ndarray, "languages units bins"]:
        """The counts' histogram."""
        assert self.of_tokens.histogram is not None
        return self.of_tokens.histogram

    @property
    def row(self) -> int:
        """The target's row of the counts."""
        return self.of_tokens.row(self.target)

    @property
    def sentences(self) -> SentenceTable:
        """The table."""
        assert self.table is not None
        return self.table

    @property
    def gradients(self) -> Attribution:
        """The attribution."""
        assert self.attribution is not None
        return self.attribution

    @property
    def two_rows(self) -> tuple[Int[np.ndarray, "2 units"], Int[np.ndarray, " 2"]]:
        """On how many tokens of the target and of all others together units fire, and how many there are."""
        counts = self.of_tokens
        fired, tokens = (against_others(of, self.row) for of in (counts.fired, counts.tokens))
        return fired, tokens

    @property
    def token_rate(self) -> Float[np.ndarray, " units"]:
        """The share of the target's tokens on which each unit fires."""
        rate: np.ndarray = rates(self.of_tokens.fired, self.of_tokens.tokens)[self.row]
        return rate

    @cached_property
    def token_areas(self) -> Areas:
        """Units as detectors of the target's tokens."""
        counts = self.of_tokens
        return token_areas(
            histogram=self.histogram,
            tokens=counts.tokens,
            target=self.row,
            negative_bins=counts.negative_bins,
        )

    @cached_property
    def sentence_areas(self) -> Areas:
        """Units as detectors of the target's sentences."""
        return sentence_areas(self.sentences, self.target)

    @cached_property
    def log_odds(self) -> LogOdds:
        """Of firing on the target's tokens."""
        counts = self.of_tokens
        return log_odds(fired=counts.fired, tokens=counts.tokens, target=self.row)

    @cached_property
    def l1(self) -> ProbeFit:
        """A probe on all units."""
        return l1_probe(self.sentences, self.target, seed=self.seed)

    @cached_property
    def adaptive(self) -> AdaptiveProbe:
        """Probes on fewer and fewer units."""
        return adaptive_probe(self.sentences, self.target, seed=self.seed)
