"""Run a batch up to a site once, and only the part of the model above it under each of many edits.

The model runs its own forward every time, so masks, rotary tables, norms and heads are its own. Modules below
the site
compute nothing in a replay: they return their outputs of the first pass.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.lm.batches import BATCH_TOKENS, Batch, TokenizedCorpus
from glossae.lm.edit import Positions, TokenEdit, applied, check_positions, edited_tokens
from glossae.lm.loss import (
    Logits,
    by_row,
    loss_batches,
    predicted_logits,
    predicts,
    row_losses,
    slabs,
)
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site, StopPass, attach_all

Reader: TypeAlias = Callable[[LanguageModel, Batch], Tensor]
"""Runs the model over a batch and returns the wanted output, such as `predicted_logits` or `final_states`."""
Rows = Int[Tensor, " rows"]
Tokens = Float[Tensor, "tokens d"]


class Replay:
    """The object that `replay` yields: `begin` with a batch, then run it `under` any number of edits.

    It holds one batch at a time: the activations at the site, and the outputs of the block before it (or of
    the modules before it in its own block).

    Attributes:
        takes_rows: whether some texts of a batch can run without the others: true if the site is a block's
            output.
    """

    def __init__(self, lm: LanguageModel, site: Site, read: Reader) -> None:
        self.lm, self.site, self._read = lm, site, read
        self.takes_rows = lm.tap(site).ends_block
        self._batch: Batch | None = None
        self._x: Activation | None = None
        self._edited: Activation | None = None
        self._tokens: dict[Positions, tuple[Tensor, int]] = {}
        self._masks: dict[Positions, Tensor] = {}
        # while recording, outputs are kept until the site is reached; while replaying, modules return the kept
        # ones
        self.recording = self.answering = self.reached = False
        self._whole = True
        self.rows: Rows | None = None
        self.parts: list[_RecordedModule] = []
        self.inside: list[_RecordedModule] = []

    @torch.no_grad()
    def begin(self, batch: Batch, *, logits: bool = True) -> Tensor | None:
        """Run a batch without edits and keep what replays need; the last batch is dropped.

        Returns the logits at the predicted tokens, row by row, or whatever `read` returns. Without `logits`
        the pass stops at the site and returns None.
        """
        for part in self.parts:
            part.outputs.clear()
        self._tokens.clear()
        self._masks.clear()
        self._batch = self._x = None
        self.recording, self._whole = True, logits
        found = None
        try:
            with suppress(StopPass):
                found = self._run(batch)
        finally:
            self.recording = False
        if not logits:
            self.lm.count(batch.mask.sum(1), self.site.layer + 1)
        self._batch = batch
        return found

    @torch.no_grad()
    def tokens(self, positions: Positions = "all") -> Tokens:
        """The activations of the tokens at these positions, row by row, on the model's `device`.

        It is the same tensor every time for the same batch, so that edits can share their intermediate results.
        """
        _, x = self._current()
        check_positions(positions)
        kept = self._tokens.get(positions)
        if kept is None or kept[1] != kept[0]._version:
            # an edit that wrote into its input must not affect the next one
            tokens = x[self._mask(positions)].to(self.lm.device)
            kept = self._tokens[positions] = (tokens, tokens._version)
        return kept[0]

    @torch.no_grad()
    def under(self, fn: TokenEdit, positions: Positions = "all") -> Tensor:
        """The output of the batch under an edit: whatever `read` returns, such as logits at predicted tokens.

        Raises:
            GlossaeError: no batch was begun, `positions` is unknown, or `fn` changes the shape.
        """
        tokens = self.tokens(positions)
        return self.under_values(applied(self.site, fn, tokens) if len(tokens) else tokens, positions)

    @torch.no_grad()
    def under_values(self, edited: Tokens, positions: Positions = "all", rows: Rows | None = None) -> Tensor:
        """Like `under`, with the edited values of the tokens at these positions, in the order of `tokens`.

        With `rows` (ascending; only if `takes_rows`), only these texts of the batch are run.
        """
        batch, x = self._current()
        replaced = x.clone()
        replaced[self._mask(positions)] = edited.to(x)
        if rows is not None:
            batch = batch.take(rows)
            replaced = replaced[rows.to(x.device)]
        self._edited, self.answering, self.rows = replaced, True, rows
        try:
            return self._run(batch)
        finally:
            self._edited, self.answering, self.rows = None, False, None

    def changed(self, edited: Tokens, positions: Positions = "all") -> Rows:
        """The texts of the batch in which an edit changes anything; the others have unedited outputs."""
        own = self.tokens(positions)
        moved = (edited.to(own) != own).any(1)
        rows = self._mask(positions).nonzero()[:, 0].to(moved.device)[moved]
        changed: Tensor = rows.unique().cpu()
        return changed

    def edited(self, positions: Positions = "all") -> Bool[Tensor, "batch seq"]:
        """The tokens of the batch that an edit at these positions changes."""
        return self._mask(positions).cpu()

    def _mask(self, positions: Positions) -> Bool[Tensor, "batch seq"]:
        batch, x = self._current()
        if positions not in self._masks:
            self._masks[positions] = edited_tokens(self.lm, self.site, x, batch.mask.to(x.device), positions)
        return self._masks[positions]

    def _current(self) -> tuple[Batch, Activation]:
        if self._batch is None or self._x is None:
            raise GlossaeError(f"replay: {self.site}: no batch was begun")
        return self._batch, self._x

    def _run(self, batch: Batch) -> Tensor:
        self.reached = False
        for part in self.parts:
            part.calls = 0
        if self.answering:
            # what the kept outputs stand for; `read` counts a whole pass
            self.lm.count(batch.mask.sum(1), -(self.site.layer + self.takes_rows))
        return self._read(self.lm, batch)

    def enter(self, *_: Any) -> None:
        """Reset the call counts when the site's own block begins: other blocks may share its modules."""
        for part in self.inside:
            part.calls = 0
            if self.recording:
                part.outputs.clear()

    def visit(self, x: Activation) -> Activation | None:
        """Handle the site's tensor in every pass."""
        if self.recording:
            self.reached = True
            # a copy, because the block may later write into it
            self._x = x.clone()
            if not self._whole:
                raise StopPass
        return self._edited


class _RecordedModule:
    """Replaces the forward of a module whose outputs are kept, one for each call in a pass."""

    def __init__(self, run: Replay, module: nn.Module) -> None:
        self.run, self.forward = run, module.forward
        self.outputs: list[tuple[Any, dict[str, dict[Any, Any]]]] = []
        self.children: list[_RecordedModule] = []
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The kept output of this call, or the module's own forward."""
        call, self.calls = self.calls, self.calls + 1
        if self.run.answering and call < len(self.outputs):
            output, shared = self.outputs[call]
            for name, states in shared.items():
                kwargs[name].update({key: _copied(value, self.run.rows) for key, value in states.items()})
            return _copied(output, self.run.rows)
        marks = [len(child.outputs) for child in self.children]
        output = self.forward(*args, **kwargs)
        if self.run.recording and not self.run.reached:
            # restore what the module put into the mappings it was given: in Gemma 4, keys and values for
            # layers above
            shared = {
                name: dict(value) for name, value in kwargs.items() if isinstance(value, MutableMapping)
            }
            # a copy, because some blocks (Falcon's) later write into a sub-layer's output
            self.outputs.append((_copied(output), shared))
            for child, mark in zip(self.children, marks, strict=True):
                # inner modules will not be called in a replay, because this one answers for them
                del child.outputs[mark:]
        return output


class _SkippedBlock:
    """Replaces the forward of a block below the last one that is kept: nothing reads its output."""

    def __init__(self, run: Replay, module: nn.Module, last: _RecordedModule) -> None:
        self.run, self.forward, self.last = run, module.forward, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the last block, which has the right form, or the module's own forward."""
        if self.run.answering and self.last.outputs:
            return _copied(self.last.outputs[0][0], self.run.rows)
        return self.forward(*args, **kwargs)


def _copied(output: Any, rows: Rows | None = None) -> Any:
    """Tensors cloned, in whatever containers; optionally only some of their rows."""
    if isinstance(output, Tensor):
        return output.clone() if rows is None else output[rows.to(output.device)]
    if isinstance(output, tuple | list):
        parts = [_copied(part, rows) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output


@contextmanager
def replay(lm: LanguageModel, site: Site, read: Reader = predicted_logits) -> Iterator[Replay]:
    """Yield a `Replay`, which runs batches up to a site once and replays them above it; see also `replayed`.

    Every module that finishes before the site is reached records and replays its output: the blocks below
    (only the last output is kept, since nothing else reads the others) and the modules of the site's own
    block. Hooks on a replaying module still run, since the kept output is that of its `forward`; hooks inside
    it had their effect in the first pass.

    Works inside `edit`, whose edits are then part of the model. The model is restored after the block, also
    after an exception. Gradients are not recorded.

    Args:
        read: how the model is run over a batch; it has to pass through all blocks, without a cache.

    Raises:
        GlossaeError: the model lacks the site.
    """
    run, tap = Replay(lm, site, read), lm.tap(site)
    below = [*lm.blocks][: site.layer + run.takes_rows]
    standing: dict[nn.Module, Any] = {}
    if below:
        last = _RecordedModule(run, below[-1])
        run.parts.append(last)
        standing = {block: _SkippedBlock(run, block, last) for block in below[:-1]} | {below[-1]: last}
    if not run.takes_rows:
        inside = {
            module: _RecordedModule(run, module) for module in tap.block.modules() if module is not tap.block
        }
        for module, part in inside.items():
            part.children = [inside[child] for child in module.modules() if child is not module]
        run.inside = [*inside.values()]
        run.parts += run.inside
        standing |= inside
    # a library may have put its own forward there already (accelerate does)
    own = {module: vars(module).get("forward") for module in standing}
    entering = tap.block.register_forward_pre_hook(run.enter)
    try:
        for module, forward in standing.items():
            module.forward = forward
        with attach_all([(tap, run.visit)]):
            yield run
    finally:
        entering.remove()
        for module, forward in own.items():
            if forward is not None:
                module.forward = forward
            elif "forward" in vars(module):
                del module.forward


PerSentence = Float[np.ndarray, "edits sentences"]


@dataclass(frozen=True)
class SideEffects:
    """Sums over the tokens of each sentence, float64, by edit.

    Attributes:
        kl: KL(p || q) in nats, p the model's prediction and q that under the edit; divide by
            `tokens.predicted`. 0 for sentences whose predictions were not asked for.
        agreed: the number of predicted tokens whose most probable prediction stayed the same; likewise.
        moved: the norm of the change at the site, over the tokens of the text.
        size: the norm of the activation there; `moved / size` is the relative size of the change.
    """

    kl: PerSentence
    agreed: PerSentence
    moved: PerSentence
    size: Float[np.ndarray, " sentences"]


@dataclass(frozen=True)
class Replayed:
    """The losses and side effects of a corpus under some edits.

    Attributes:
        losses: the summed next-token loss of each sentence under each edit, nats, float64.
        side_effects: None if they were not asked for.
    """

    losses: PerSentence
    side_effects: SideEffects | None


@torch.no_grad()
def replayed(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit | None],
    *,
    positions: Positions | Sequence[Positions] = "all",
    side_effects: bool | Bool[np.ndarray, " sentences"] = False,
    budget: int = BATCH_TOKENS,
    progress: Callable[[float], None] = lambda _: None,
) -> Replayed:
    """Run a corpus under many edits at a site; the part below the site is computed once for all of them.

    The losses equal those of `sentence_losses` inside `edit`, for each edit. If the unedited loss is asked for
    too (an edit None), texts that an edit does not change are not run again. One batch is held at a time, with
    `side_effects` also the model's own log-probabilities of it. Run it inside `edit` to add other edits. In joint work
    (`glossae.ranks`), each rank runs its own batches, and all get the same numbers.

    Args:
        fns: the edits; None is the unedited model.
        positions: the edited tokens, the same under all edits or one value for each.
        side_effects: whether to compare predictions and activations with the unedited model's; an array marks
            the sentences whose predictions are compared, which costs more than the loss.
        progress: called with the finished share.

    Raises:
        GlossaeError: the model lacks the site, the number of positions differs from that of edits, a position
            is unknown, or an edit changes the shape.
    """
    places = [positions] * len(fns) if isinstance(positions, str) else list(positions)
    if len(places) != len(fns):
        raise GlossaeError(f"replay: {len(fns)} edits but {len(places)} positions")
    # in joint work each rank runs its own batches; the sentences of the others stay 0 until all are added up
    losses = np.zeros((len(fns), len(tokens)))
    asked = np.broadcast_to(side_effects, len(tokens))
    kl, agreed, moved = (np.zeros_like(losses) for _ in range(3))
    effects = SideEffects(kl, agreed, moved, np.zeros(len(tokens))) if asked.any() else None
    done, total = 0, sum(map(len, tokens.ids)) * len(fns)
    with replay(lm, site) as run:
        for batch in ranks.mine(loss_batches(lm, tokens, budget, copies=1 if effects is None else 2)):
            columns, length = batch.index.numpy(), int(batch.mask.sum())
            compared = bool(asked[columns].any())
            logits = run.begin(batch, logits=compared or None in fns)
            raw = None if logits is None else row_losses(batch, logits).cpu().numpy()
            own = (
                _UneditedPredictions(batch, logits, asked[columns])
                if compared and logits is not None
                else None
            )
            del logits
            if effects is not None:
                effects.size[columns] = _lengths(batch, run.edited(), run.tokens())
            for number, (fn, place) in enumerate(zip(fns, places, strict=True)):
                if fn is None:
                    losses[number, columns] = raw
                    if effects is not None:
                        effects.agreed[number, columns] = tokens.predicted[columns] * asked[columns]
                else:
                    x = run.tokens(place)
                    edited = applied(site, fn, x) if len(x) else x
                    rows = None if raw is None or effects is not None else run.changed(edited, place)
                    if raw is not None and rows is not None and (run.takes_rows or not len(rows)):
                        losses[number, columns] = raw
                        if len(rows):
                            some = batch.take(rows)
                            again = row_losses(some, run.under_values(edited, place, rows))
                            losses[number, some.index.numpy()] = again.cpu().numpy()
                    else:
                        logits = run.under_values(edited, place)
                        losses[number, columns] = row_losses(batch, logits).cpu().numpy()
                        if own is not None and effects is not None:
                            own.compare(effects, number, batch, logits)
                        if effects is not None:
                            # the edit may have written into its input
                            change = edited.float() - run.tokens(place).float()
                            effects.moved[number, columns] = _lengths(batch, run.edited(place), change)
                        del logits
                    # so that this edit's tensors are free before the next edit runs
                    del edited, x
                done += length * ranks.count()
                progress(min(1.0, done / total))
    sums = [losses] if effects is None else [losses, kl, agreed, moved, effects.size]
    ranks.sum_arrays(f"losses of {len(tokens)} sentences under {len(fns)} edits at {site}", *sums)
    return Replayed(losses, effects)


def replayed_losses(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit | None],
    *,
    positions: Positions | Sequence[Positions] = "all",
    budget: int = BATCH_TOKENS,
    progress: Callable[[float], None] = lambda _: None,
) -> PerSentence:
    """The losses of `replayed`."""
    return replayed(lm, site, tokens, fns, positions=positions, budget=budget, progress=progress).losses


class _UneditedPredictions:
    """The model's unedited predictions in a batch, computed once for all edits; only of the `asked` sentences."""

    def __init__(self, batch: Batch, logits: Logits, asked: Bool[np.ndarray, " batch"]) -> None:
        # which of the predicted tokens are of those sentences; None for all
        self.chosen: Bool[Tensor, " predicted"] | None = None
        if not asked.all():
            sentences = predicts(batch).nonzero()[:, 0]
            self.chosen = torch.from_numpy(asked.copy())[sentences].to(logits.device)
            logits = logits[self.chosen]
        # in place of the logits if they are float32, so that there is only one copy
        self.log_p, top = logits.float(), []
        for rows in slabs(self.log_p):
            self.log_p[rows] = self.log_p[rows].log_softmax(-1)
            top.append(self.log_p[rows].argmax(-1))
        self.top = torch.cat(top)

    def compare(self, effects: SideEffects, number: int, batch: Batch, logits: Logits) -> None:
        """Count what an edit changed."""
        total = len(logits)
        logits = logits if self.chosen is None else logits[self.chosen]
        kl, agreed = [], []
        for rows in slabs(logits):
            own, other = self.log_p[rows], logits[rows].float().log_softmax(-1)
            kl.append((own.exp() * (own - other)).sum(-1))
            agreed.append((self.top[rows] == other.argmax(-1)).float())
        for found, values in ((effects.kl, torch.cat(kl)), (effects.agreed, torch.cat(agreed))):
            if self.chosen is not None:
                values = values.new_zeros(total).masked_scatter(self.chosen, values)
            found[number, batch.index.numpy()] = by_row(batch, values).cpu().numpy()


def _lengths(batch: Batch, here: Bool[Tensor, "batch seq"], vectors: Tokens) -> Float[np.ndarray, " batch"]:
    """The summed norms of the vectors at `here`, over the tokens of each row that are text."""
    length = vectors.float().norm(dim=1).double().cpu() * batch.content[here]
    summed = torch.zeros(len(batch.ids), dtype=torch.float64)
    found: np.ndarray = summed.index_add_(0, here.nonzero()[:, 0], length).numpy()
    return found
