"""Activations of a model: streamed from several sites in one pass, or stored on disk from one pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae import meter, ranks
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY
from glossae.lm.batches import BATCH_TOKENS, Batch, TokenizedCorpus, batches
from glossae.lm.model import LanguageModel
from glossae.lm.passes import Passes
from glossae.lm.sites import Activation, Site, StopPass, Tap, attach_all

BySite = dict[Site, Float[Tensor, "tokens _"]]


@dataclass(frozen=True)
class Activations:
    """The activations of one batch at the sites: text tokens only, without attention sinks, row by row.

    Attributes:
        sites: the tensor of each site, on the model's `device`.
        sentence: the number of each token's sentence in the tokenized corpus.
        position: the token's place in its sentence (position 0 is an attention sink in most models).
        batch: the batch.
    """

    sites: BySite
    sentence: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    batch: Batch


def activations(lm: LanguageModel, batches: Iterable[Batch], sites: Sequence[Site]) -> Iterator[Activations]:
    """Stream the activations at `sites`, with one forward pass per batch.

    In joint work (`glossae.ranks`), each rank runs the model over its own batches, and all ranks get all of them.

    The pass stops above the deepest site and never computes logits. A token that is an attention sink at one
    of the sites (`lm.sinks`) is left out at all of them, so that a row is the same token at every site. If the
    model has `passes`, a stored batch is read instead of run, and a sentence with a home is taken from there.

    Raises:
        GlossaeError: the model lacks a site.
    """
    if ranks.count() == 1:
        yield from own_activations(lm, batches, sites)
        return
    # every rank has all batches: only what the model gives is exchanged
    here, every = tee(batches)
    own = (
        (part.sentence, part.position, *(part.sites[site] for site in sites))
        for part in own_activations(lm, ranks.mine(here), sites)
    )
    exchanged = ranks.in_turn(own, lm.device, f"activations of {', '.join(map(str, sites))}")
    for batch, (sentence, position, *found) in zip(every, exchanged, strict=False):
        yield Activations(dict(zip(sites, found, strict=True)), sentence, position, batch)


@torch.no_grad()
def own_activations(
    lm: LanguageModel, batches: Iterable[Batch], sites: Sequence[Site]
) -> Iterator[Activations]:
    """`activations` for a caller that divides the batches among ranks itself: here the model runs over all of them."""
    taps = {site: lm.tap(site) for site in sites}
    for batch in batches:
        content = batch.content.to(lm.device)
        rows, positions = content.nonzero(as_tuple=True)
        found = _read(lm, batch, taps)
        limits = [(site, lm.sinks[site]) for site in sites if site in lm.sinks]
        if limits:
            kept = torch.stack([limit.holds(found[site]) for site, limit in limits]).all(0)
            if not bool(kept.all()):
                found = {site: x[kept] for site, x in found.items()}
                rows, positions = rows[kept], positions[kept]
        yield Activations(found, batch.index.to(lm.device)[rows], positions, batch)


def in_text_order(parts: Iterable[Activations]) -> BySite:
    """The tensors of all parts in the order of sentences, whatever the batches were.

    `parts` must not be empty.
    """
    seen = list(parts)
    order = torch.cat([part.sentence for part in seen]).argsort(stable=True)
    return {site: torch.cat([part.sites[site] for part in seen])[order] for site in seen[0].sites}


def _read(lm: LanguageModel, batch: Batch, taps: dict[Site, Tap]) -> BySite:
    """A batch's activations at its text tokens, row by row: of sentences with a home, those of their home."""
    passes = lm.passes
    if passes is None or not passes.hold(lm.model):
        return _run(lm, batch, taps)
    homes = passes.homes()
    places = [None] * len(batch.ids) if homes is None else homes.places(batch)
    lengths, depth = batch.content.sum(1).tolist(), 1 + max(site.layer for site in taps)
    # by number of a home, rows of this batch with their rows there; None: rows without a home, which stay together
    runs: dict[int | None, list[tuple[int, int]]] = {}
    for row, place in enumerate(places):
        if place is None:
            runs.setdefault(None, []).append((row, len(runs.get(None, ()))))
        else:
            runs.setdefault(place[0], []).append((row, place[1]))
    parts: list[BySite] = [{}] * len(places)
    for number, rows in runs.items():
        own = homes.batch(number) if number is not None else _rows(batch, [row for row, _ in rows])
        whole, stored = _kept(lm, passes, own, taps)
        if stored:
            meter.count(stored_token_blocks=depth * sum(int(batch.mask[row].sum()) for row, _ in rows))
        ends = own.content.sum(1).cumsum(0).tolist()
        for row, place in rows:
            parts[row] = {site: x[ends[place] - lengths[row] : ends[place]] for site, x in whole.items()}
    return {site: torch.cat([part[site] for part in parts]) for site in taps}


def _rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """The batch of these rows, without columns that only longer rows need."""
    longest = int(batch.mask[rows].sum(1).max())
    ids, mask, content = (part[rows, :longest] for part in (batch.ids, batch.mask, batch.content))
    return Batch(ids, mask, content, batch.index[rows])


def _kept(lm: LanguageModel, passes: Passes, batch: Batch, taps: dict[Site, Tap]) -> tuple[BySite, bool]:
    """A batch's activations as stored, or else run and stored; and whether they were stored."""
    paths = {site: passes.path([batch.ids, batch.mask, batch.content], site) for site in taps}
    known = {site: passes.read(path, lm.device) for site, path in paths.items()}
    found = {site: x for site, x in known.items() if x is not None}
    if len(found) == len(taps):
        return found, True
    found = _run(lm, batch, taps)
    for site, path in paths.items():
        if known[site] is None:
            passes.keep(path, found[site])
    return found, False


def _run(lm: LanguageModel, batch: Batch, taps: dict[Site, Tap]) -> BySite:
    """One forward pass up to the last of the taps."""
    seen: BySite = {}
    content = batch.content.to(lm.device)

    def keep(site: Site, x: Activation) -> None:
        # copied at once, because some blocks (Falcon's) later write into a sub-layer's output
        seen[site] = x[content.to(x.device)].to(lm.device)
        if len(seen) == len(taps):
            raise StopPass

    ids, mask = batch.ids.to(lm.device), batch.mask.to(lm.device).long()
    with attach_all([(tap, partial(keep, site)) for site, tap in taps.items()]), suppress(StopPass):
        lm.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    lm.count(batch.mask.sum(1), 1 + max(site.layer for site in taps), reading=True)
    return {site: seen[site] for site in taps}


def require_finite(
    lm: LanguageModel, parts: Iterable[Activations], tokens: TokenizedCorpus
) -> Iterator[Activations]:
    """Yield `parts` after checking that every activation is finite.

    Raises:
        GlossaeError: an activation is NaN or infinite; the line names the site and shows the sentence.
    """
    for part in parts:
        for site, x in part.sites.items():
            # a sum is finite only if every value is; it overflows so seldom that checking again then is cheap
            if bool(torch.isfinite(x.sum(dtype=torch.float32))) or bool(torch.isfinite(x).all()):
                continue
            bad = int((~torch.isfinite(x)).any(1).nonzero()[0, 0])
            sentence = tokens.corpus.sentences[int(part.sentence[bad])]
            words = sentence.text or str(lm.tokenizer.decode(tokens.ids[int(part.sentence[bad])]))
            text = words if len(words) <= 60 else f"{words[:60]}…"
            raise GlossaeError(
                f"model: {lm.name}: {site} is NaN or infinite at token {int(part.position[bad])} of the sentence "
                f"{text!r} ({sentence.language}, {sentence.source}); another dtype may help, float32 above all"
            )
        yield part


class _File(NamedTuple):
    """The file of a site's activations, row by row."""

    path: Path
    width: int
    dtype: torch.dtype


@dataclass(frozen=True)
class StoredActivations:
    """The activations of a text at several sites; the files exist inside the `with` block that made them.

    Row i is the same token at every site. The text and the size of the model's batches fix the order of rows;
    the text alone fixes which tokens `batches` puts together. Tokens that `activations` leaves out (a BOS, an
    attention sink at one of the sites) have no row.

    Attributes:
        sites: the file of each site's activations.
        sentence: the number of each row's sentence in the tokenized corpus, on the model's `device`.
        position: the row's place in its sentence, likewise.
    """

    sites: dict[Site, _File]
    sentence: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]

    def __len__(self) -> int:
        return len(self.sentence)

    def read(self, site: Site) -> Float[Tensor, "tokens d"]:
        """All activations of a site, in the model's dtype and on its `device`.

        On a CPU the result maps the file, and pages are read on use.

        Raises:
            GlossaeError: the site was not stored.
        """
        return self._mapped(site).to(self.sentence.device)

    def batches(
        self, site: Site, size: int, *, epochs: int = 1, seed: int, start: int = 0
    ) -> Iterator[Float[Tensor, "batch d"]]:
        """Yield batches of `size` rows; every epoch gives all rows in a new random order.

        Epochs follow each other without a gap, so that only the very last batch may be smaller; there are
        `ceil(epochs len(self) / size)`. The rows of a batch are the same at every site. To resume from a
        checkpoint, `train_group` takes `lambda start: stored.batches(..., start=start)` with a mixer that passes
        batches on.

        Args:
            site: one of the stored sites.
            size: rows per batch.
            epochs: how often each row is given.
            seed: the same seed gives the same batches.
            start: the number of the first batch; earlier ones are not read.

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

        @lru_cache(maxsize=1)
        def order(epoch: int) -> np.ndarray:
            return as_read[np.random.default_rng([seed, epoch]).permutation(rows)]

        for first in range(start * size, epochs * rows, size):
            last = min(first + size, epochs * rows)
            parts = [
                order(epoch)[max(first - epoch * rows, 0) : last - epoch * rows]
                for epoch in range(first // rows, -(-last // rows))
            ]
            # in the file's order, which is faster to read; the order within a batch does not matter
            yield x[torch.from_numpy(np.sort(np.concatenate(parts)))].to(self.sentence.device)

    def _mapped(self, site: Site) -> Tensor:
        if site not in self.sites:
            raise GlossaeError(
                f"activations: {site} was not stored; there are {', '.join(map(str, self.sites))}"
            )
        path, width, dtype = self.sites[site]
        return torch.from_file(str(path), size=len(self) * width, dtype=dtype).view(len(self), width)


@contextmanager
def stored_activations(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    sites: Sequence[Site],
    folder: Path | None = None,
    *,
    budget: int = BATCH_TOKENS,
    passes: Passes | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[StoredActivations]:
    """Run a text through the model once, and store the activations of all sites on disk for the `with` block.

    Disk: tokens x the sites' widths, in the model's dtype; memory: one batch of the model, and the rows that
    are read. In joint work each rank runs the model over its own batches, and all read the file that rank 0 writes.

    Args:
        folder: the parent of the temporary folder; None for the system's.
        budget: tokens in a batch of the model, pads included.
        passes: keeps a single site's activations beyond the block, in place of the model's own.
        progress: called with the finished share of the pass.

    Raises:
        GlossaeError: the model lacks a site, an activation is not finite, or there is no token.
    """
    lengths = tokens.lengths
    done, total = 0, max(1, int(lengths.sum()))
    stored: dict[Site, _File] = {}
    sentence, position = [], []
    if passes is not None and lm.passes is not None:
        passes.homes = lm.passes.homes
    # of one site other stages read the same text; every layer is more than is read again
    lm = lm if len(sites) == 1 and passes is None else replace(lm, passes=passes)
    with TemporaryDirectory(dir=folder, prefix=f"{TEMPORARY}activations-") as name:
        with ExitStack() as stack:
            # written, not mapped: a mapping of every site would count as this process's memory
            files: dict[Site, BinaryIO] = {}
            # shuffled, so that progress is even, but not where sentences have homes: a batch would be of many;
            # with a fixed seed, so that rows are always the same
            seed = 0 if lm.passes is None or lm.passes.homes() is None else None
            mine = ranks.mine(batches(tokens, budget, seed=seed))
            own = require_finite(lm, own_activations(lm, mine, sites), tokens)
            parts = ((part.sentence, part.position, *(part.sites[site] for site in sites)) for part in own)
            for of_sentence, its_position, *found in ranks.in_turn(parts, lm.device, "stored activations"):
                for site, x in zip(sites, found, strict=True):
                    if site not in files:
                        stored[site] = _File(Path(name) / f"{site.name}-{site.layer}", x.shape[1], x.dtype)
                        files[site] = stack.enter_context(stored[site].path.open("wb"))
                    # as bytes: numpy has no bfloat16
                    if ranks.rank() == 0:
                        files[site].write(x.cpu().contiguous().view(torch.uint8).numpy().data)
                sentence.append(of_sentence)
                position.append(its_position)
                done += int(lengths[of_sentence.unique().cpu().numpy()].sum())
                progress(done / total)
        if not any(map(len, sentence)):
            raise GlossaeError("activations: there is no text to run the model on")
        place = Path(ranks.exchange(name)[0])
        stored = {site: file._replace(path=place / file.path.name) for site, file in stored.items()}
        yield StoredActivations(stored, torch.cat(sentence), torch.cat(position))
        # rank 0 deletes the files, which others may still read
        ranks.meet("the end of stored activations")
