"""A corpus under many edits at one site: losses, and how far predictions and activations move."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm.batches import Batch, TokenizedCorpus
from glossae.lm.edit import TokenEdit, applied
from glossae.lm.loss import by_row, loss_batches, predicts, slabs, targets, token_losses
from glossae.lm.model import LanguageModel
from glossae.lm.positions import Positions
from glossae.lm.replay import Replay, replay
from glossae.lm.sites import Site

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
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Replayed:
    """Run a corpus under many edits at a site; what lies below the site is computed once for all of them.

    The losses are those of `sentence_losses` inside `edit`, edit by edit; where the model's own loss is asked for too
    (an edit None), texts that an edit does not change are not run again. One batch is held at a time, with
    `side_effects` the model's own log-probabilities of it too. Run it inside `edit` to have other edits beside.

    Args:
        lm: the model.
        site: where.
        tokens: the text.
        fns: the edits; None is the model as it is.
        positions: which tokens are edited, the same under all edits or one for each.
        side_effects: whether to compare predictions and activations with the model's own; an array says of which
            sentences predictions are, which costs more than their loss does.
        budget: tokens in a batch, pads included.
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
    effects = _empty(len(fns), len(tokens)) if asked.any() else None
    done, total = 0, sum(map(len, tokens.ids)) * len(fns)
    with replay(lm, site) as run:
        for batch in loss_batches(lm, tokens, budget, copies=1 if effects is None else 2):
            columns, length = batch.index.numpy(), int(batch.mask.sum())
            compared = bool(asked[columns].any())
            raw, logits = _begin(run, batch, logits=compared or None in fns)
            own = _Own.of(batch, logits, asked[columns]) if compared and logits is not None else None
            del logits
            if effects is not None:
                x = run.tokens()
                effects.size[columns] = _lengths(batch, run.edited(), x)
            for number, (fn, place) in enumerate(zip(fns, places, strict=True)):
                if fn is None:
                    losses[number, columns] = raw
                    if effects is not None:
                        effects.agreed[number, columns] = tokens.predicted[columns] * asked[columns]
                else:
                    x = run.tokens(place)
                    edited = applied(site, fn, x) if len(x) else x
                    spared = (
                        None if raw is None or effects else _where_changed(run, batch, edited, place, raw)
                    )
                    if spared is not None:
                        losses[number, columns] = spared
                        done += length
                        progress(done / total)
                        continue
                    logits = run.given(edited, place)
                    losses[number, columns] = _summed(batch, token_losses(logits, targets(batch)))
                    if effects is not None:
                        if own is not None:
                            own.compare(effects, number, batch, logits)
                        # what it was given may have been written into
                        change = edited.float() - run.tokens(place).float()
                        effects.moved[number, columns] = _lengths(batch, run.edited(place), change)
                    del logits, edited, x
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
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> PerSentence:
    """The losses of `replayed`.

    Raises:
        GlossaeError: as for `replayed`.
    """
    return replayed(lm, site, tokens, fns, positions=positions, budget=budget, progress=progress).losses


def _empty(edits: int, sentences: int) -> SideEffects:
    kl, agreed, moved = np.zeros((3, edits, sentences))
    return SideEffects(kl, agreed, moved, np.zeros(sentences))


def _begin(
    run: Replay, batch: Batch, *, logits: bool
) -> tuple[Float[np.ndarray, " batch"] | None, Float[Tensor, "predicted vocabulary"] | None]:
    found = run.begin(batch, logits=logits)
    return (None if found is None else _summed(batch, token_losses(found, targets(batch)))), found


def _where_changed(
    run: Replay,
    batch: Batch,
    edited: Float[Tensor, "tokens d"],
    place: Positions,
    raw: Float[np.ndarray, " batch"],
) -> Float[np.ndarray, " batch"] | None:
    """The losses of a batch of which only the texts that an edit changes are run; None where that cannot be done."""
    rows = run.changed(edited, place)
    if len(rows) and not run.takes_rows:
        return None
    losses = raw.copy()
    if len(rows):
        some = batch.take(rows)
        losses[rows.numpy()] = _summed(some, token_losses(run.given(edited, place, rows), targets(some)))
    return losses


def _summed(batch: Batch, values: Float[Tensor, " predicted"]) -> Float[np.ndarray, " batch"]:
    summed: np.ndarray = by_row(batch, values).cpu().numpy()
    return summed


@dataclass(frozen=True)
class _Own:
    """What the model itself predicts in a batch, where it is compared: once for all edits.

    Attributes:
        chosen: which of the predicted tokens are of sentences that are asked for; None for all.
        log_p: the log-probabilities there.
        top: the most probable token there.
    """

    chosen: Bool[Tensor, " predicted"] | None
    log_p: Float[Tensor, "compared vocabulary"]
    top: Int[Tensor, " compared"]

    @staticmethod
    def of(
        batch: Batch, logits: Float[Tensor, "predicted vocabulary"], asked: Bool[np.ndarray, " batch"]
    ) -> "_Own":
        chosen = None
        if not asked.all():
            sentences = predicts(batch).nonzero()[:, 0]
            chosen = torch.from_numpy(asked.copy())[sentences].to(logits.device)
            logits = logits[chosen]
        # in the place of the logits where they are float32, so that there is only one of them
        precise, top = logits.float(), []
        for rows in slabs(precise):
            precise[rows] = precise[rows].log_softmax(-1)
            top.append(precise[rows].argmax(-1))
        return _Own(chosen, precise, torch.cat(top))

    def compare(
        self, effects: SideEffects, number: int, batch: Batch, logits: Float[Tensor, "predicted vocabulary"]
    ) -> None:
        """Count what an edit changed of it."""
        total = len(logits)
        logits = logits if self.chosen is None else logits[self.chosen]
        kl, agreed = [], []
        for rows in slabs(logits):
            own, other = self.log_p[rows], logits[rows].float().log_softmax(-1)
            kl.append((own.exp() * (own - other)).sum(-1))
            agreed.append((self.top[rows] == other.argmax(-1)).float())
        columns = batch.index.numpy()
        for found, values in ((effects.kl, torch.cat(kl)), (effects.agreed, torch.cat(agreed))):
            if self.chosen is not None:
                values = values.new_zeros(total).masked_scatter(self.chosen, values)
            found[number, columns] = _summed(batch, values)


def _lengths(
    batch: Batch, here: Bool[Tensor, "batch seq"], vectors: Float[Tensor, "tokens d"]
) -> Float[np.ndarray, " batch"]:
    """The summed lengths of vectors that stand at `here`, over the tokens of each row that are text."""
    length = vectors.float().norm(dim=1).double().cpu() * batch.content[here]
    summed: np.ndarray = (
        torch.zeros(len(batch.ids), dtype=torch.float64).index_add_(0, here.nonzero()[:, 0], length).numpy()
    )
    return summed
