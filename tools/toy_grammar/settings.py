"""How the toy model is made: everything that decides its weights, apart from the grammar itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _shares() -> Mapping[str, float]:
    # English-heavy, as the Pile is, with enough Danish to learn it well
    return MappingProxyType({"en": 0.52, "da": 0.27, "sv": 0.07, "nb": 0.07, "de": 0.07})


@dataclass(frozen=True)
class ModelSettings:
    """The toy model's shape and training.

    Tokens are short and documents long, so that the model has to find out a text's language and to remember it: a
    letter says little of its language, and the next sentence is in the same one.

    Attributes:
        steps: optimiser steps; together with `batch` it says how many documents are seen, each once.
        batch: documents a step.
        document: most sentences of a document, all of one language; the number is drawn from 1 to this.
        shares: part of the training documents that each language gets.
        seed: of the training documents, the weights and the order; no corpus should use it.
        vocabulary: tokens, the two special ones included.
        hidden: width of the residual stream.
        layers: blocks.
        heads: attention heads per block.
        intermediate: width of an MLP.
        positions: the longest sequence, in tokens.
        learning_rate: highest rate of AdamW.
        warmup: share of the steps in which the rate rises; then it falls as a cosine.
        weight_decay: of matrices; biases and norms have none.
    """

    steps: int = 2500
    batch: int = 12
    document: int = 6
    shares: Mapping[str, float] = field(default_factory=_shares)
    seed: int = 20_251_123
    vocabulary: int = 384
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 512
    positions: int = 256
    learning_rate: float = 3e-3
    warmup: float = 0.08
    weight_decay: float = 0.05
