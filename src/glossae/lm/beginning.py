"""What texts begin with, a BOS or a chat template, and what it does to the loss."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from glossae.errors import GlossaeError
from glossae.lm.batches import TokenizedCorpus, tokenize
from glossae.lm.loss import loss_batches, predicted_logits, predicts, targets, token_losses
from glossae.lm.model import LanguageModel
from glossae.text import Corpus

# nats a token: a choice that costs more than this is told at once
COSTLY = 0.1
# some templates (Llama 3.2) write today's date, and a measurement must not depend on the day; this is their own default
DATE = "26 Jul 2024"


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
        chat: where texts are read as the reply in a chat, the tokens of the chat template before them.
        loss_in_chat: the loss there, on the same tokens; None without a chat.
    """

    bos: bool
    asked: bool | str
    by_itself: bool
    loss_with: float | None
    loss_without: float | None
    sentences: int
    chat: tuple[int, ...] = ()
    loss_in_chat: float | None = None

    @property
    def loss(self) -> float | None:
        """The loss as texts begin."""
        if self.chat:
            return self.loss_in_chat
        return self.loss_with if self.bos else self.loss_without

    @property
    def cost(self) -> float:
        """What the choice costs against the other one, nats a token; below 0 where it is the better one."""
        if self.loss_with is None or self.loss_without is None:
            return 0.0
        return (self.loss_with - self.loss_without) * (1 if self.bos else -1)

    @property
    def warning(self) -> str | None:
        """One line where the choice costs more than `COSTLY`."""
        if self.chat or self.cost <= COSTLY:
            return None
        now, other = ("with", "without") if self.bos else ("without", "with")
        why = ""
        if self.asked == "auto":
            why = f" (auto: its tokenizer adds {'one' if self.by_itself else 'none'} by itself)"
        return (
            f"bos: the model's loss is {self.cost:.2f} nats a token higher {now} a BOS than {other} one{why}; "
            f"give --bos {str(not self.bos).lower()} to read text the other way"
        )


def adds_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer puts its BOS before a text by itself (its post-processor, or `add_bos_token`)."""
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def prompt_ids(lm: LanguageModel, prompt: str) -> list[int]:
    """The token ids that a model continues: the prompt after `lm.prefix`, or in a chat (`lm.chat`) as the user's turn.

    A chat's ids end where the reply begins. The template writes its own BOS.

    Raises:
        GlossaeError: texts begin with a BOS or a chat, and the tokenizer has none.
    """
    if lm.chat:
        return chat_ids(lm.tokenizer, prompt, name=lm.name)
    return [*lm.prefix, *lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]]


def chat_ids(tokenizer: Any, message: str, *, name: str) -> list[int]:
    """The token ids of a chat up to where the reply begins: the user says `message`, in the tokenizer's template.

    Args:
        tokenizer: a `transformers` tokenizer.
        message: what the user says; empty for what stands before a text that is read as a reply.
        name: the model's, for errors.

    Raises:
        GlossaeError: the tokenizer has no chat template, or one that cannot be used.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise GlossaeError(
            f"chat: the tokenizer of {name} has no chat template; leave chat off, or take a model tuned to chat"
        )
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": message}],
            tokenize=False,
            add_generation_prompt=True,
            date_string=DATE,
        )
    except Exception as error:  # templates are programs: they raise what they like
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise GlossaeError(f"chat: the chat template of {name} fails ({first}); leave chat off") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise GlossaeError(f"chat: the chat template of {name} writes nothing; leave chat off")
    return ids


def begin(
    lm: LanguageModel, corpus: Corpus, asked: bool | str, *, chat: bool = False, max_tokens: int = 64
) -> Beginning:
    """Decide what texts begin with, and measure the loss with it and without.

    Args:
        lm: the model.
        corpus: a few sentences.
        asked: whether with a BOS: True or False, or `auto`: what the tokenizer does by itself.
        chat: whether texts are read as the reply to an empty message in a chat, whatever `asked` says.
        max_tokens: sentences are cut to so many, a BOS counted.

    Raises:
        GlossaeError: a BOS or a chat is asked for and the tokenizer has none, or no sentence has two tokens.
    """
    own = adds_bos(lm.tokenizer)
    bos = own if asked == "auto" else bool(asked)
    without = tokenize(lm, corpus, max_tokens=max_tokens - 1)
    if not len(without):
        raise GlossaeError("bos: there is no sentence of two tokens to measure the loss on")
    if lm.tokenizer.bos_token_id is None:
        if bos:
            raise GlossaeError(f"bos: the tokenizer of {lm.name} has no BOS token; leave bos off")
        with_one = None
    else:
        prefix = dataclasses.replace(lm, bos=True, chat=()).prefix
        with_one = _mean_loss(lm, tokenize(lm, corpus, max_tokens=max_tokens, prefix=prefix))
    begun = Beginning(bos, asked, own, with_one, _mean_loss(lm, without), len(without))
    if not chat:
        return begun
    before = tuple(chat_ids(lm.tokenizer, "", name=lm.name))
    told = tokenize(lm, corpus, max_tokens=max_tokens - 1 + len(before), prefix=before)
    return dataclasses.replace(begun, bos=False, chat=before, loss_in_chat=_mean_loss(lm, told))


def loss_as_begun(
    lm: LanguageModel, corpus: Corpus, begun: Beginning, *, max_tokens: int = 64
) -> float | None:
    """The loss of a few sentences that begin as was decided, as `begin` measures it (`Beginning.loss`)."""
    prefix = dataclasses.replace(lm, bos=begun.bos, chat=begun.chat).prefix
    return _mean_loss(lm, tokenize(lm, corpus, max_tokens=max_tokens - 1 + len(prefix), prefix=prefix))


@torch.no_grad()
def _mean_loss(lm: LanguageModel, tokens: TokenizedCorpus) -> float | None:
    """The mean loss over all tokens of the text but the first of each sentence, nats."""
    total, count = 0.0, 0
    for batch in loss_batches(lm, tokens, 2048):
        losses = token_losses(predicted_logits(lm, batch), targets(batch)).cpu()
        # the position that predicts: the last of the prefix predicts the first token of the text
        kept = predicts(batch).nonzero()[:, 1] >= tokens.prefix
        total, count = total + float(losses[kept].double().sum()), count + int(kept.sum())
    mean = total / count
    # a stage that needs the activations says which sentence they break at
    return mean if math.isfinite(mean) else None
