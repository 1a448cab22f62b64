"""A sample's activations at every layer from one pass of a model, to be read a layer at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.lm import LanguageModel, Site, stored_activations
from glossae.probe.path import ProbePath
from glossae.probe.sample import ProbeSample


@dataclass(frozen=True)
class StoredLayers:
    """The activations of a sample at every layer; they are gone with the block that asked for them.

    Attributes:
        layers: for each layer what reads its activations, `(tokens, d)` in the model's dtype.
        sentence: the number of each token's sentence in the sample.
        cluster: its cluster: sentences of one document or pair are no separate draws (`Corpus.clusters`).
        english: whether each token is of the reference language: the paper's y.
        held_out: which tokens each seed holds out.
    """

    layers: dict[int, Callable[[], Tensor]]
    sentence: Int[Tensor, " tokens"]
    cluster: Int[Tensor, " tokens"]
    english: Bool[Tensor, " tokens"]
    held_out: Bool[Tensor, "tokens seeds"]

    def path(self, x: Float[Tensor, "tokens d"], *, published: bool) -> ProbePath:
        """Probes on a layer's activations, a fit for each seed on what it does not hold out.

        Args:
            x: the activations.
            published: the bias is inside the norm, as in the paper's formula.
        """
        weights = (~self.held_out).double()
        return ProbePath(x, self.english.double(), weights / weights.sum(0), penalise_bias=published)


@contextmanager
def stored_layers(
    lm: LanguageModel,
    sample: ProbeSample,
    *,
    site: str,
    reference: str,
    budget: int,
    scratch: Path | None,
    progress: Callable[[float], None],
) -> Iterator[StoredLayers]:
    """Run the model once over a sample, and keep every layer's activations on disk for the block.

    Args:
        lm: the model.
        sample: the sentences.
        site: which tensor of each layer.
        reference: the language whose y is 1.
        budget: tokens in a batch.
        scratch: the folder to keep them in.
        progress: called with the finished share of the pass.
    """
    sites = [Site(site, layer) for layer in range(lm.layers)]
    with stored_activations(lm, sample.tokens, sites, scratch, budget=budget, progress=progress) as stored:
        sentence = stored.sentence
        language = [s.language for s in sample.tokens.corpus.sentences]
        english = torch.tensor([code == reference for code in language]).to(sentence.device)[sentence]
        yield StoredLayers(
            layers={place.layer: partial(stored.read, place) for place in sites},
            sentence=sentence,
            cluster=torch.tensor(sample.tokens.corpus.clusters).to(sentence.device)[sentence],
            english=english,
            held_out=torch.from_numpy(sample.held_out).T.to(sentence.device)[sentence],
        )
