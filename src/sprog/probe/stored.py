"""One pass of a model, and every layer's activations on disk, to be read a layer at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sprog.lm import LanguageModel, Site, activations, batches, finite
from sprog.probe.path import ProbePath
from sprog.probe.sample import ProbeSample


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
    with TemporaryDirectory(dir=scratch, prefix=".activations-") as name:
        folder = Path(name)
        sentence = _store(lm, sample, sites, folder, budget, progress)
        language = [s.language for s in sample.tokens.corpus.sentences]
        english = torch.tensor([code == reference for code in language]).to(sentence.device)[sentence]
        yield StoredLayers(
            layers={place.layer: partial(_read, lm, place, folder, len(sentence)) for place in sites},
            sentence=sentence,
            cluster=torch.tensor(sample.tokens.corpus.clusters).to(sentence.device)[sentence],
            english=english,
            held_out=torch.from_numpy(sample.held_out).T.to(sentence.device)[sentence],
        )


def _store(
    lm: LanguageModel,
    sample: ProbeSample,
    sites: list[Site],
    folder: Path,
    budget: int,
    progress: Callable[[float], None],
) -> Int[Tensor, " tokens"]:
    """Write a file a layer; gives each token's sentence."""
    rows = int(sample.tokens.lengths.sum())
    sentence = torch.empty(rows, dtype=torch.int64, device=lm.device)
    start = 0
    with ExitStack() as stack:
        # written, not mapped: a mapping of every layer would count as this process's memory
        files = {site: stack.enter_context((folder / f"{site.layer}").open("wb")) for site in sites}
        for part in finite(lm, activations(lm, batches(sample.tokens, budget, seed=0), sites), sample.tokens):
            end = start + len(part.sentence)
            sentence[start:end] = part.sentence
            for site, file in files.items():
                # as bytes: numpy has no bfloat16
                file.write(part.sites[site].cpu().contiguous().view(torch.uint8).numpy().data)
            start = end
            progress(end / rows)
    return sentence


def _read(lm: LanguageModel, site: Site, folder: Path, rows: int) -> Tensor:
    stored = torch.from_file(str(folder / f"{site.layer}"), size=rows * lm.width(site), dtype=lm.model.dtype)
    return stored.view(rows, -1).to(lm.device)
