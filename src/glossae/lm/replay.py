"""A batch run up to a site once, and the part of the model above it again under each of many edits.

The model runs its own forward every time, so masks, rotary tables, norms and heads are its own; `answering` spares
what lies below the site.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm.answering import Answers, answers
from glossae.lm.batches import Batch
from glossae.lm.edit import TokenEdit, applied
from glossae.lm.loss import predicted_logits
from glossae.lm.model import LanguageModel
from glossae.lm.positions import Positions, check_positions, edited_tokens
from glossae.lm.sites import Activation, Site, attached

Reader: TypeAlias = Callable[[LanguageModel, Batch], Tensor]
"""Runs the model over a batch, and gives what is wanted of it: `predicted_logits`, `final_states`."""


class _Enough(Exception):  # noqa: N818 - it is no error
    """Raised at the site where the rest of a first pass is not wanted."""


class Replay:
    """What `replay` yields: `begin` with a batch, then ask for it `under` any number of edits.

    One batch is held at a time: what stands at the site, and what the block before it (or the modules before it in
    its own block) returned.
    """

    def __init__(self, lm: LanguageModel, site: Site, kept: Answers, read: Reader) -> None:
        self.lm, self.site, self._read = lm, site, read
        self._kept = kept
        self._batch: Batch | None = None
        self._x: Activation | None = None
        self._edited: Activation | None = None
        self._tokens: dict[Positions, tuple[Tensor, int]] = {}
        self._masks: dict[Positions, Tensor] = {}
        self._whole = True

    @torch.no_grad()
    def begin(self, batch: Batch, *, logits: bool = True) -> Tensor | None:
        """Run a batch, as it is, and keep what is needed of it; the last one is let go.

        Args:
            batch: right-padded sentences.
            logits: False stops the pass at the site.

        Returns:
            The logits at the predicted tokens, row by row, or what else is read; None without `logits`.
        """
        self._kept.forget()
        self._tokens.clear()
        self._masks.clear()
        self._batch = self._x = None
        self._kept.recording, self._whole = True, logits
        found = None
        try:
            with suppress(_Enough):
                found = self._run(batch)
        finally:
            self._kept.recording = False
        self._batch = batch
        return found

    @torch.no_grad()
    def tokens(self, positions: Positions = "all") -> Float[Tensor, "tokens d"]:
        """What stands at the site where an edit at these positions changes it, row by row, on the model's `device`.

        It is the same tensor every time for the same batch, so that edits can share what they make of it.
        """
        _, x = self._begun()
        check_positions(positions)
        kept = self._tokens.get(positions)
        if kept is None or kept[1] != kept[0]._version:
            # an edit that wrote into what it was given must not reach the next one
            tokens = x[self._mask(positions)].to(self.lm.device)
            kept = self._tokens[positions] = (tokens, tokens._version)
        return kept[0]

    @torch.no_grad()
    def under(self, fn: TokenEdit, positions: Positions = "all") -> Tensor:
        """The logits at the predicted tokens under an edit, row by row, or what else is read.

        Raises:
            GlossaeError: no batch was begun, there are no such positions, or `fn` changes the shape.
        """
        tokens = self.tokens(positions)
        return self.given(applied(self.site, fn, tokens) if len(tokens) else tokens, positions)

    @torch.no_grad()
    def given(
        self,
        edited: Float[Tensor, "tokens d"],
        positions: Positions = "all",
        rows: Int[Tensor, " rows"] | None = None,
    ) -> Tensor:
        """The same with what stands at the site from then on, as `tokens` has it.

        Args:
            edited: what the tokens become.
            positions: which tokens those are.
            rows: the texts of the batch to run, ascending; the others are spared. None: all. Only where
                `takes_rows`.
        """
        batch, x = self._begun()
        replaced = x.clone()
        replaced[self._mask(positions)] = edited.to(x)
        if rows is not None:
            batch = batch.take(rows)
            replaced = replaced[rows.to(x.device)]
        self._edited, self._kept.answering, self._kept.rows = replaced, True, rows
        try:
            return self._run(batch)
        finally:
            self._edited, self._kept.answering, self._kept.rows = None, False, None

    @property
    def takes_rows(self) -> bool:
        """Whether some texts of a batch can be run without the others: where the site is what a block gives."""
        tap = self.lm.tap(self.site)
        return tap.module is tap.block and tap.place.side == "output"

    def changed(
        self, edited: Float[Tensor, "tokens d"], positions: Positions = "all"
    ) -> Int[Tensor, " rows"]:
        """The texts of the batch in which an edit changes anything: in the others the model does what it did."""
        mask = self._mask(positions)
        moved = (edited.to(self.tokens(positions)) != self.tokens(positions)).any(1)
        rows = mask.nonzero()[:, 0].to(moved.device)[moved]
        changed: Tensor = rows.unique().cpu()
        return changed

    def edited(self, positions: Positions = "all") -> Bool[Tensor, "batch seq"]:
        """Which tokens of the batch an edit at these positions changes."""
        return self._mask(positions).cpu()

    def _mask(self, positions: Positions) -> Bool[Tensor, "batch seq"]:
        batch, x = self._begun()
        if positions not in self._masks:
            self._masks[positions] = edited_tokens(self.lm, self.site, x, batch.mask.to(x.device), positions)
        return self._masks[positions]

    def _begun(self) -> tuple[Batch, Activation]:
        if self._batch is None or self._x is None:
            raise GlossaeError(f"replay: {self.site}: no batch was begun")
        return self._batch, self._x

    def _run(self, batch: Batch) -> Tensor:
        self._kept.rewind()
        return self._read(self.lm, batch)

    def visit(self, x: Activation) -> Activation | None:
        """What is done at the site in every pass."""
        if self._kept.recording:
            self._kept.reached = True
            # a copy, because the block may go on to write into it
            self._x = x.clone()
            if not self._whole:
                raise _Enough
        return self._edited


@contextmanager
def replay(lm: LanguageModel, site: Site, read: Reader = predicted_logits) -> Iterator[Replay]:
    """While the block runs, batches can be begun and replayed from a site on; for many edits, `replayed` does it.

    Works inside `edit`, whose edits are then part of the model. The model is as it was after the block, also after an
    exception. Gradients are not recorded.

    Args:
        lm: the model.
        site: where it is edited.
        read: how the model is run over a batch; it has to go through all of its blocks, without a cache.

    Raises:
        GlossaeError: the model has no such site.
    """
    with answers(lm, site) as kept:
        run = Replay(lm, site, kept, read)
        with attached([(lm.tap(site), run.visit)]):
            yield run
