"""Activations of several sites from one pass of a model, on disk, to be read as often as wanted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import TEMPORARY
from glossae.lm.batches import TokenizedCorpus, batches
from glossae.lm.finite import finite
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Site
from glossae.lm.stream import activations


@dataclass(frozen=True)
class StoredSite:
    """The file that holds a site's activations.

    Attributes:
        path: the file, row by row.
        width: values of a row.
        dtype: of the values, as the model gave them.
    """

    path: Path
    width: int
    dtype: torch.dtype


@dataclass(frozen=True)
class StoredActivations:
    """The activations of a text at several sites; the files last as long as the `with` block that made them.

    Row i is the same token at every site. The order of rows is fixed by the text and the size of the model's batches;
    which tokens `batches` puts together, by the text alone. A token that `activations` leaves out, a BOS or an
    attention sink at any of the sites, has no row.

    Attributes:
        sites: where each site's activations lie.
        sentence: which sentence of the tokenized corpus each row belongs to, on the model's `device`.
        position: the row's place in its sentence, likewise.
    """

    sites: dict[Site, StoredSite]
    sentence: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]

    def __len__(self) -> int:
        return len(self.sentence)

    def read(self, site: Site) -> Float[Tensor, "tokens d"]:
        """All activations of a site, in the model's dtype and on its `device`.

        On a CPU this is a mapping of the file: pages are read when they are used.

        Raises:
            GlossaeError: the site was not stored.
        """
        return self._mapped(site).to(self.sentence.device)

    def batches(
        self, site: Site, size: int, *, epochs: int = 1, seed: int, start: int = 0
    ) -> Iterator[Float[Tensor, "batch d"]]:
        """Batches of `size` rows, every epoch all rows in a new random order.

        Epochs follow each other without a gap, so that only the last batch of all may be smaller; there are
        `ceil(epochs len(self) / size)`. The rows of a batch are the same at every site. `train_group` takes
        `lambda start: stored.batches(..., start=start)` with a mixer that lets batches through, and carries on from
        a checkpoint.

        Args:
            site: one of those that were stored.
            size: rows of a batch.
            epochs: how often each row is given.
            seed: the same seed gives the same batches.
            start: the number of the first batch that is given; earlier ones are not read.

        Raises:
            GlossaeError: the site was not stored, or `size` or `epochs` is below 1.
        """
        if size < 1 or epochs < 1:
            raise GlossaeError(
                f"activations: a size and epochs of at least 1 are needed, got {size} and {epochs}"
            )
        x, rows = self._mapped(site), len(self)
        # rows in the order of the text, whatever the model's batches were
        as_read = np.argsort(self.sentence.cpu().numpy(), kind="stable")
        epoch, order = -1, np.zeros(0, dtype=np.int64)
        for first in range(start * size, epochs * rows, size):
            chosen, place, end = [], first, min(first + size, epochs * rows)
            while place < end:
                if place // rows != epoch:
                    epoch = place // rows
                    order = as_read[np.random.default_rng([seed, epoch]).permutation(rows)]
                part = order[place % rows : place % rows + end - place]
                chosen.append(part)
                place += len(part)
            # in the file's order, which is faster to read; within a batch the order says nothing
            yield x[torch.from_numpy(np.sort(np.concatenate(chosen)))].to(self.sentence.device)

    def _mapped(self, site: Site) -> Tensor:
        if site not in self.sites:
            raise GlossaeError(
                f"activations: {site} was not stored; there are {', '.join(map(str, self.sites))}"
            )
        stored = self.sites[site]
        size = len(self) * stored.width
        return torch.from_file(str(stored.path), size=size, dtype=stored.dtype).view(len(self), stored.width)


@contextmanager
def stored_activations(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    sites: Sequence[Site],
    folder: Path | None = None,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[StoredActivations]:
    """Run a text through the model once, and keep the activations of all sites on disk for the `with` block.

    Disk: tokens x the sites' widths, in the model's dtype; memory: one batch of the model, and what is read.

    Args:
        lm: the model.
        tokens: the text.
        sites: what is stored.
        folder: where a temporary folder is made; None: the system's.
        budget: tokens in a batch of the model's pass.
        progress: called with the finished share of the pass.

    Raises:
        GlossaeError: the model has no such site, an activation is not finite, or there is no token.
    """
    with TemporaryDirectory(dir=folder, prefix=f"{TEMPORARY}activations-") as name:
        yield _store(lm, tokens, sites, Path(name), budget, progress)


def _store(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    sites: Sequence[Site],
    folder: Path,
    budget: int,
    progress: Callable[[float], None],
) -> StoredActivations:
    stored: dict[Site, StoredSite] = {}
    sentence, position = [], []
    lengths = tokens.lengths
    done, total = 0, max(1, int(lengths.sum()))
    # shuffled, so that the shares that progress is told are even; with a fixed seed, so that rows are always the same
    # they are kept here already
    lm = replace(lm, passes=None)
    parts = finite(lm, activations(lm, batches(tokens, budget, seed=0), sites), tokens)
    with ExitStack() as stack:
        # written, not mapped: a mapping of every site would count as this process's memory
        files: dict[Site, BinaryIO] = {}
        for part in parts:
            for site, x in part.sites.items():
                if site not in files:
                    path = folder / f"{site.name}-{site.layer}"
                    stored[site] = StoredSite(path, x.shape[1], x.dtype)
                    files[site] = stack.enter_context(path.open("wb"))
                # as bytes: numpy has no bfloat16
                files[site].write(x.cpu().contiguous().view(torch.uint8).numpy().data)
            sentence.append(part.sentence)
            position.append(part.position)
            done += int(lengths[part.batch.index.numpy()].sum())
            progress(done / total)
    if not any(map(len, sentence)):
        raise GlossaeError("activations: there is no text to run the model on")
    return StoredActivations(stored, torch.cat(sentence), torch.cat(position))
