"""A batch run up to a site once, and the part of the model above it again under each of many edits.

The model runs its own forward every time, so masks, rotary tables, norms and heads are its own. Modules below the site
compute nothing in a replay: they return what they returned in the first pass.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

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
from glossae.lm.sites import Activation, Enough, Site, attached

Reader: TypeAlias = Callable[[LanguageModel, Batch], Tensor]
"""Runs the model over a batch, and gives what is wanted of it: `predicted_logits`, `final_states`."""
Rows = Int[Tensor, " rows"]
Tokens = Float[Tensor, "tokens d"]


class Replay:
    """What `replay` yields: `begin` with a batch, then ask for it `under` any number of edits.

    One batch is held at a time: what stands at the site, and what the block before it (or the modules before it in
    its own block) returned.

    Attributes:
        takes_rows: whether some texts of a batch can be run without the others: where the site is what a block gives.
    """

    def __init__(self, lm: LanguageModel, site: Site, read: Reader) -> None:
        self.lm, self.site, self._read = lm, site, read
        tap = lm.tap(site)
        self.takes_rows = tap.module is tap.block and tap.place.side == "output"
        self._batch: Batch | None = None
        self._x: Activation | None = None
        self._edited: Activation | None = None
        self._tokens: dict[Positions, tuple[Tensor, int]] = {}
        self._masks: dict[Positions, Tensor] = {}
        # outputs are kept while recording, until the site is reached; while answering, modules return those kept
        self.recording = self.answering = self.reached = False
        self._whole = True
        self.rows: Rows | None = None
        self.parts: list[_Part] = []
        self.inside: list[_Part] = []

    @torch.no_grad()
    def begin(self, batch: Batch, *, logits: bool = True) -> Tensor | None:
        """Run a batch, as it is, and keep what is needed of it; the last one is let go.

        Gives the logits at the predicted tokens, row by row, or what else is read. Without `logits` the pass stops at
        the site, and gives None.
        """
        for part in self.parts:
            part.outputs.clear()
        self._tokens.clear()
        self._masks.clear()
        self._batch = self._x = None
        self.recording, self._whole = True, logits
        found = None
        try:
            with suppress(Enough):
                found = self._run(batch)
        finally:
            self.recording = False
        self._batch = batch
        return found

    @torch.no_grad()
    def tokens(self, positions: Positions = "all") -> Tokens:
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
    def given(self, edited: Tokens, positions: Positions = "all", rows: Rows | None = None) -> Tensor:
        """The same with what the tokens at these positions become, as `tokens` has them.

        With `rows` (only where `takes_rows`), ascending, only these texts of the batch are run.
        """
        batch, x = self._begun()
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
        """The texts of the batch in which an edit changes anything: in the others the model does what it did."""
        own = self.tokens(positions)
        moved = (edited.to(own) != own).any(1)
        rows = self._mask(positions).nonzero()[:, 0].to(moved.device)[moved]
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
        self.reached = False
        for part in self.parts:
            part.calls = 0
        return self._read(self.lm, batch)

    def enter(self, *_: Any) -> None:
        """The site's own block begins: what its modules did in others, which may share them, does not count."""
        for part in self.inside:
            part.calls = 0
            if self.recording:
                part.outputs.clear()

    def visit(self, x: Activation) -> Activation | None:
        """What is done at the site in every pass."""
        if self.recording:
            self.reached = True
            # a copy, because the block may go on to write into it
            self._x = x.clone()
            if not self._whole:
                raise Enough
        return self._edited


class _Part:
    """Stands in for the forward of a module whose output is kept, one for each call in a pass."""

    def __init__(self, run: Replay, module: nn.Module) -> None:
        self.run, self.forward = run, module.forward
        self.outputs: list[tuple[Any, dict[str, dict[Any, Any]]]] = []
        self.children: list[_Part] = []
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
            # what stands in the mappings that it was handed: keys and values for layers above, in Gemma 4
            shared = {
                name: dict(value) for name, value in kwargs.items() if isinstance(value, MutableMapping)
            }
            # a copy, because some blocks (Falcon's) go on to write into what a sub-layer gave
            self.outputs.append((_copied(output), shared))
            for child, mark in zip(self.children, marks, strict=True):
                # what it did in this call will not be asked for: this part answers for it
                del child.outputs[mark:]
        return output


class _Under:
    """Stands in for the forward of a block below the last one that is kept: nobody reads what it answers."""

    def __init__(self, run: Replay, module: nn.Module, last: _Part) -> None:
        self.run, self.forward, self.last = run, module.forward, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the last block, which has the right form, or the module's own forward."""
        if self.run.answering and self.last.outputs:
            return _copied(self.last.outputs[0][0], self.run.rows)
        return self.forward(*args, **kwargs)


def _copied(output: Any, rows: Rows | None = None) -> Any:
    """Tensors cloned, in whatever they are packed; or some of their rows."""
    if isinstance(output, Tensor):
        return output.clone() if rows is None else output[rows.to(output.device)]
    if isinstance(output, tuple | list):
        parts = [_copied(part, rows) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output


@contextmanager
def replay(lm: LanguageModel, site: Site, read: Reader = predicted_logits) -> Iterator[Replay]:
    """While the block runs, batches can be begun and replayed from a site on; for many edits, `replayed` does it.

    Every module that is done before the site is reached records and answers: the blocks below (of which only the last
    is kept, since it alone is read) and the modules of the site's own block. Hooks on a module that answers run as
    ever, since what is kept is what its `forward` returned; those inside it have had their effect in the first pass.

    Works inside `edit`, whose edits are then part of the model. The model is as it was after the block, also after an
    exception. Gradients are not recorded.

    Args:
        read: how the model is run over a batch; it has to go through all of its blocks, without a cache.

    Raises:
        GlossaeError: the model has no such site.
    """
    run, tap = Replay(lm, site, read), lm.tap(site)
    below = [*lm.blocks][: site.layer + run.takes_rows]
    standing: dict[nn.Module, Any] = {}
    if below:
        last = _Part(run, below[-1])
        run.parts.append(last)
        standing = {block: _Under(run, block, last) for block in below[:-1]} | {below[-1]: last}
    if not run.takes_rows:
        inside = {module: _Part(run, module) for module in tap.block.modules() if module is not tap.block}
        for module, part in inside.items():
            part.children = [inside[child] for child in module.modules() if child is not module]
        run.inside = [*inside.values()]
        run.parts += run.inside
        standing |= inside
    # a library may have put a forward of its own there already (accelerate does)
    own = {module: vars(module).get("forward") for module in standing}
    entering = tap.block.register_forward_pre_hook(run.enter)
    try:
        for module, forward in standing.items():
            module.forward = forward
        with attached([(tap, run.visit)]):
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
    """Sums over the tokens of each sentence, float64.

    Attributes:
        kl: KL(p || q) in nats, p the model's prediction and q that under the edit; divide by `tokens.predicted`. 0 for
            sentences whose predictions were not asked for.
        agreed: at how many predicted tokens the most probable one stayed the same; likewise.
        moved: the length of the change at the site, over the tokens of the text.
        size: the length of the activation there; `moved / size` is the relative size of the change.
    """

    kl: PerSentence
    agreed: PerSentence
    moved: PerSentence
    size: Float[np.ndarray, " sentences"]


@dataclass(frozen=True)
class Replayed:
    """What a corpus did under some edits.

    Attributes:
        losses: the summed next-token loss of each sentence under each edit, nats, float64.
        side_effects: None where they were not asked for.
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
    """Run a corpus under many edits at a site; what lies below the site is computed once for all of them.

    The losses are those of `sentence_losses` inside `edit`, edit by edit; where the model's own loss is asked for too
    (an edit None), texts that an edit does not change are not run again. One batch is held at a time, with
    `side_effects` the model's own log-probabilities of it too. Run it inside `edit` to have other edits beside.

    Args:
        fns: the edits; None is the model as it is.
        positions: which tokens are edited, the same under all edits or one for each.
        side_effects: whether to compare predictions and activations with the model's own; an array says of which
            sentences predictions are, which costs more than their loss does.
        progress: called with the share that is done.

    Raises:
        GlossaeError: the model has no such site, or there are not as many positions as edits or no such ones; or an
            edit changes the shape.
    """
    places = [positions] * len(fns) if isinstance(positions, str) else list(positions)
    if len(places) != len(fns):
        raise GlossaeError(f"replay: {len(fns)} edits but {len(places)} positions")
    losses = np.zeros((len(fns), len(tokens)))
    asked = np.broadcast_to(side_effects, len(tokens))
    kl, agreed, moved = np.zeros((3, *losses.shape))
    effects = SideEffects(kl, agreed, moved, np.zeros(len(tokens))) if asked.any() else None
    done, total = 0, sum(map(len, tokens.ids)) * len(fns)
    with replay(lm, site) as run:
        for batch in loss_batches(lm, tokens, budget, copies=1 if effects is None else 2):
            columns, length = batch.index.numpy(), int(batch.mask.sum())
            compared = bool(asked[columns].any())
            logits = run.begin(batch, logits=compared or None in fns)
            raw = None if logits is None else row_losses(batch, logits).cpu().numpy()
            own = _Own(batch, logits, asked[columns]) if compared and logits is not None else None
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
                            again = row_losses(some, run.given(edited, place, rows))
                            losses[number, some.index.numpy()] = again.cpu().numpy()
                    else:
                        logits = run.given(edited, place)
                        losses[number, columns] = row_losses(batch, logits).cpu().numpy()
                        if own is not None and effects is not None:
                            own.compare(effects, number, batch, logits)
                        if effects is not None:
                            # what it was given may have been written into
                            change = edited.float() - run.tokens(place).float()
                            effects.moved[number, columns] = _lengths(batch, run.edited(place), change)
                        del logits
                    # so that the next edit does not stand beside this one's tensors
                    del edited, x
                done += length
                progress(done / total)
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


class _Own:
    """What the model itself predicts in a batch, once for all edits; of the sentences that are `asked` for."""

    def __init__(self, batch: Batch, logits: Logits, asked: Bool[np.ndarray, " batch"]) -> None:
        # which of the predicted tokens are of those sentences; None for all
        self.chosen: Bool[Tensor, " predicted"] | None = None
        if not asked.all():
            sentences = predicts(batch).nonzero()[:, 0]
            self.chosen = torch.from_numpy(asked.copy())[sentences].to(logits.device)
            logits = logits[self.chosen]
        # in the place of the logits where they are float32, so that there is only one of them
        self.log_p, top = logits.float(), []
        for rows in slabs(self.log_p):
            self.log_p[rows] = self.log_p[rows].log_softmax(-1)
            top.append(self.log_p[rows].argmax(-1))
        self.top = torch.cat(top)

    def compare(self, effects: SideEffects, number: int, batch: Batch, logits: Logits) -> None:
        """Count what an edit changed of it."""
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
    """The summed lengths of vectors that stand at `here`, over the tokens of each row that are text."""
    length = vectors.float().norm(dim=1).double().cpu() * batch.content[here]
    summed = torch.zeros(len(batch.ids), dtype=torch.float64)
    found: np.ndarray = summed.index_add_(0, here.nonzero()[:, 0], length).numpy()
    return found
