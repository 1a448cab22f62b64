"""Texts as rows of numbers, and telling their languages apart by those: one fit, and as many tests as there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from glossae.find.identify.evaluation import Identified, evaluate
from glossae.find.identify.regression import Regression, check_halves
from glossae.text import Corpus, cluster_names


@dataclass(frozen=True)
class Rows:
    """What is known of some sentences or tokens.

    Attributes:
        x: a row of numbers for each.
        languages: the code of each.
        sources: the source of each.
        pairs: the pair of each; rows of one pair depend on each other.
        docs: the document of each, likewise; empty where none is told, None where none is told of any.
    """

    x: Float[np.ndarray, "rows columns"]
    languages: Shaped[np.ndarray, " rows"]
    sources: Shaped[np.ndarray, " rows"]
    pairs: Shaped[np.ndarray, " rows"]
    docs: Shaped[np.ndarray, " rows"] | None = None

    @staticmethod
    def of(x: Float[np.ndarray, "rows columns"], corpus: Corpus) -> "Rows":
        """Those of the sentences of a corpus."""
        sentences = corpus.sentences
        columns = ([getattr(s, name) for s in sentences] for name in ("language", "source", "pair", "doc"))
        rows = Rows(x, *(np.array(column, dtype=np.str_) for column in columns))
        return rows if any(s.doc for s in sentences) else replace(rows, docs=None)

    def __len__(self) -> int:
        return len(self.languages)

    def take(self, rows: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " rows"]) -> "Rows":
        """The rows with these numbers, or those that are marked."""
        docs = None if self.docs is None else self.docs[rows]
        return Rows(self.x[rows], self.languages[rows], self.sources[rows], self.pairs[rows], docs)

    def only(self, languages: Sequence[str]) -> "Rows":
        """Those in some languages."""
        return self.take(np.isin(self.languages, list(languages)))

    def with_values(self, x: Float[np.ndarray, "rows columns"]) -> "Rows":
        """The same texts, and other numbers of each."""
        return replace(self, x=x)

    @cached_property
    def clusters(self) -> Shaped[np.ndarray, " rows"]:
        """What each is drawn with: its pair, with the pairs and documents that it shares rows with."""
        if self.docs is None:
            return self.pairs
        return np.array(cluster_names(self.pairs.tolist(), self.docs.tolist()), dtype=np.str_)

    @property
    def named(self) -> list[tuple[str, str, str]]:
        """Language, source and pair of each."""
        return list(zip(self.languages.tolist(), self.sources.tolist(), self.pairs.tolist(), strict=True))


def identify_rows(
    find: Rows, held_out: Sequence[Rows], *, draws: int = 1000, seed: int = 0
) -> list[Identified]:
    """Tell languages apart by a multinomial logistic regression on the standardised columns.

    Args:
        find: what it is fitted to (see `Regression.fit`).
        held_out: texts that it is tested on, each by itself.
        draws: resamples of the clusters of each, for the intervals.
        seed: of folds and resamples.

    Raises:
        GlossaeError: they share a pair; one to test on has a language that `find` lacks; or there is too little text.
    """
    for each in held_out:
        check_halves(find.named, each.named)
    regression = Regression.fit(find.x.astype(np.float64), find.languages, find.clusters, seed=seed)
    return [
        replace(
            evaluate(
                each.languages,
                regression.identify(each.x.astype(np.float64)),
                each.clusters,
                draws=draws,
                seed=seed,
            ),
            converged=regression.converged,
            strength=regression.strength,
        )
        for each in held_out
    ]
