"""Whether texts begin with a BOS: what the model's tokenizer does by itself, and what it does to the loss."""

import math
from dataclasses import dataclass

import torch

from sprog.corpora import Corpus
from sprog.errors import SprogError
from sprog.lm.batches import TokenizedCorpus, tokenize
from sprog.lm.loss import loss_batches, predicted_logits, predicts, targets, token_losses
from sprog.lm.model import LanguageModel

# nats a token: a choice that costs more than this is told at once
COSTLY = 0.1


@dataclass(frozen=True)
class Beginning:
    """How texts begin, and what it costs.

    Attributes:
        bos: whether a BOS stands before each text.
        asked: what was asked for: `auto`, or true or false.
        by_itself: whether the tokenizer puts a BOS there by itself.
        loss_with, loss_without: the model's loss with a BOS and without, nats a token, on the same tokens of the same
            sentences (all but the first of each); None where it is not finite, and with a tokenizer that has no BOS.
        sentences: how many.
    """

    bos: bool
    asked: bool | str
    by_itself: bool
    loss_with: float | None
    loss_without: float | None
    sentences: int

    @property
    def cost(self) -> float:
        """What the choice costs against the other one, nats a token; below 0 where it is the better one."""
        if self.loss_with is None or self.loss_without is None:
            return 0.0
        return (self.loss_with - self.loss_without) * (1 if self.bos else -1)

    @property
    def warning(self) -> str | None:
        """One line where the choice costs more than `COSTLY`."""
        if self.cost <= COSTLY:
            return None
        now, other = ("with", "without") if self.bos else ("without", "with")
        why = ""
        if self.asked == "auto":
            why = f" (auto: its tokenizer adds {'one' if self.by_itself else 'none'} by itself)"
        return (
            f"bos: the model's loss is {self.cost:.2f} nats a token higher {now} a BOS than {other} one{why}; "
            f"give --bos {str(not self.bos).lower()} to read text the other way"
        )


def adds_bos(lm: LanguageModel) -> bool:
    """Whether the tokenizer puts its BOS before a text by itself (its post-processor, or `add_bos_token`)."""
    bos = lm.tokenizer.bos_token_id
    ids = lm.tokenizer("a", add_special_tokens=True)["input_ids"]
    return bos is not None and len(ids) > 0 and ids[0] == bos


def begin(lm: LanguageModel, corpus: Corpus, asked: bool | str, *, max_tokens: int = 64) -> Beginning:
    """Decide whether texts begin with a BOS, and measure the loss both ways.

    Args:
        lm: the model.
        corpus: a few sentences.
        asked: True or False, or `auto`: what the tokenizer does by itself.
        max_tokens: sentences are cut to so many.

    Raises:
        SprogError: a BOS is asked for and the tokenizer has none, or no sentence has two tokens.
    """
    own = adds_bos(lm)
    bos = own if asked == "auto" else bool(asked)
    without = tokenize(lm, corpus, max_tokens=max_tokens - 1)
    if not len(without):
        raise SprogError("bos: there is no sentence of two tokens to measure the loss on")
    if lm.tokenizer.bos_token_id is None:
        if bos:
            raise SprogError(f"bos: the tokenizer of {lm.name} has no BOS token; leave bos off")
        with_one = None
    else:
        with_one = _mean_loss(lm, tokenize(lm, corpus, max_tokens=max_tokens, bos=True))
    return Beginning(bos, asked, own, with_one, _mean_loss(lm, without), len(without))


@torch.no_grad()
def _mean_loss(lm: LanguageModel, tokens: TokenizedCorpus) -> float | None:
    """The mean loss over all tokens of the text but the first of each sentence, nats."""
    total, count = 0.0, 0
    for batch in loss_batches(lm, tokens, 2048):
        losses = token_losses(predicted_logits(lm, batch), targets(batch)).cpu()
        # the position that predicts, 0 being the BOS, which predicts the first token of the text
        kept = predicts(batch).nonzero()[:, 1] >= int(tokens.bos)
        total, count = total + float(losses[kept].double().sum()), count + int(kept.sum())
    mean = total / count
    # a stage that needs the activations says which sentence they break at
    return mean if math.isfinite(mean) else None
