"""A model's habits: how its texts begin (a BOS, a chat template), and its attention sinks."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.corpora import Corpus
from glossae.errors import GlossaeError, expect
from glossae.lm.batches import BATCH_TOKENS, TokenizedCorpus, batches, tokenize
from glossae.lm.loss import loss_batches, predicted_logits, predicts, token_losses
from glossae.lm.model import LanguageModel, NormRange
from glossae.lm.sites import Activation, Site, attach_all

# nats per token: a choice of BOS that costs more than this gives a warning
COSTLY = 0.1
# some templates (Llama 3.2) write today's date, and a measurement must not depend on the day; this is their
# own default
DATE = "26 Jul 2024"
# stands for a message while a template is filled in; no template has it in its own text
_PLACEHOLDER = "glossae-message-7f3a"


@dataclass(frozen=True)
class Beginning:
    """How texts begin for a model, and the loss with and without a BOS.

    Attributes:
        bos: whether a BOS stands before each text.
        asked: the setting: `auto`, True or False.
        tokenizer_adds: whether the tokenizer adds a BOS without being told to.
        loss_with, loss_without: the model's loss with a BOS and without, nats per token, on the same tokens of
            the same sentences (all but the first of each); None if it is not finite, or if the tokenizer has
            no BOS.
        sentences: the number of sentences.
        chat: the tokens of the chat template, if texts are read as the reply in a chat.
        loss_in_chat: the loss after the chat template, on the same tokens; None without a chat.
    """

    bos: bool
    asked: bool | str
    tokenizer_adds: bool
    loss_with: float | None
    loss_without: float | None
    sentences: int
    chat: tuple[int, ...] = ()
    loss_in_chat: float | None = None

    @property
    def loss(self) -> float | None:
        """The loss under the choice that was made."""
        if self.chat:
            return self.loss_in_chat
        return self.loss_with if self.bos else self.loss_without

    @property
    def warning(self) -> str | None:
        """One line if the choice costs more than `COSTLY` nats per token against the alternative."""
        if self.chat or self.loss_with is None or self.loss_without is None:
            return None
        cost = (self.loss_with - self.loss_without) * (1 if self.bos else -1)
        if cost <= COSTLY:
            return None
        now, other = ("with", "without") if self.bos else ("without", "with")
        why = f" (auto: its tokenizer adds {'one' if self.tokenizer_adds else 'none'} by itself)"
        return (
            f"bos: the model's loss is {cost:.2f} nats a token higher {now} a BOS than {other} one"
            f"{why if self.asked == 'auto' else ''}; give --bos {str(not self.bos).lower()} to read text the other way"
        )


def adds_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer adds its BOS to a text without being told to (its post-processor, or `add_bos_token`)."""
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def prompt_ids(lm: LanguageModel, prompt: str) -> list[int]:
    """The token ids for a model to continue: the prompt after `lm.prefix`, or as the user's turn of a chat (`lm.chat`).

    A chat's ids end where the reply begins. The template writes its own BOS. A prompt that spells a special token
    is text, and half of a surrogate pair, which UTF-8 does not have, is a question mark.

    Raises:
        GlossaeError: the prompt is no string; or texts begin with a BOS or a chat, and the tokenizer has none.
    """
    expect(prompt, str, "prompt: expected a text")
    prompt = prompt.encode("utf-8", "replace").decode()
    if lm.chat:
        return chat_ids(lm.tokenizer, prompt, name=lm.name)
    return [*lm.prefix, *_text_ids(lm.tokenizer, prompt)]


def chat_ids(tokenizer: Any, message: str, *, name: str) -> list[int]:
    """The token ids of a chat in the tokenizer's template, from the user's `message` up to the start of the reply.

    Args:
        message: the user's message; empty for the template before a text that is read as a reply.

    Raises:
        GlossaeError: the tokenizer has no chat template, or its template cannot be used.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise GlossaeError(
            f"chat: the tokenizer of {name} has no chat template; leave chat off, or take a model tuned to chat"
        )
    # only the template's special tokens are special: a message that spells one is put in as text
    spells = any(token in message for token in tokenizer.all_special_tokens)
    said = [{"role": "user", "content": _PLACEHOLDER if spells else message}]
    try:
        text = tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=True, date_string=DATE
        )
    except Exception as error:  # templates are programs: they raise what they like
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise GlossaeError(f"chat: the chat template of {name} fails ({first}); leave chat off") from error
    before, _, after = text.partition(_PLACEHOLDER)
    ids: list[int] = tokenizer(before, add_special_tokens=False)["input_ids"]
    if spells:
        ids = [*ids, *_text_ids(tokenizer, message), *tokenizer(after, add_special_tokens=False)["input_ids"]]
    if not ids:
        raise GlossaeError(f"chat: the chat template of {name} writes nothing; leave chat off")
    return ids


def _text_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text in which the name of a special token is text."""
    # a prompt may be too long for the model: whoever runs it says so
    read = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    ids: list[int] = read["input_ids"]
    return ids


def decide_beginning(
    lm: LanguageModel, corpus: Corpus, asked: bool | str, *, chat: bool = False, max_tokens: int = 64
) -> Beginning:
    """Decide whether texts begin with a BOS, and measure the loss with and without one.

    Args:
        asked: True or False, or `auto` for the tokenizer's own choice.
        chat: whether texts are read as the reply to an empty message in a chat, whatever `asked` says.
        max_tokens: the limit on a sentence's tokens, with the BOS.

    Raises:
        GlossaeError: a BOS or a chat is asked for and the tokenizer has none, or no sentence has two tokens.
    """
    own, has_bos = adds_bos(lm.tokenizer), lm.tokenizer.bos_token_id is not None
    bos = own if asked == "auto" else bool(asked)
    without = tokenize(lm, corpus, max_tokens=max_tokens - 1)
    if not len(without):
        raise GlossaeError("bos: there is no sentence of two tokens to measure the loss on")

    def loss(**beginning: Any) -> float | None:
        return _mean_loss(dataclasses.replace(lm, **beginning), corpus, max_tokens)

    # raises if a BOS is asked for and the tokenizer has none
    with_one = loss(bos=True, chat=()) if has_bos or bos else None
    begun = Beginning(bos, asked, own, with_one, loss(bos=False, chat=()), len(without))
    if not chat:
        return begun
    before = tuple(chat_ids(lm.tokenizer, "", name=lm.name))
    return dataclasses.replace(begun, bos=False, chat=before, loss_in_chat=loss(chat=before))


def beginning_loss(
    lm: LanguageModel, corpus: Corpus, begun: Beginning, *, max_tokens: int = 64
) -> float | None:
    """The loss of a few sentences under the choice in `lm`, measured as by `decide_beginning` (`Beginning.loss`)."""
    return _mean_loss(dataclasses.replace(lm, bos=begun.bos, chat=begun.chat), corpus, max_tokens)


@torch.no_grad()
def _mean_loss(lm: LanguageModel, corpus: Corpus, max_tokens: int) -> float | None:
    """The mean loss over all tokens of the text but the first of each sentence, in nats; texts begin as `lm` says."""
    prefix = lm.prefix
    tokens = tokenize(lm, corpus, max_tokens=max_tokens - 1 + len(prefix), prefix=prefix)
    total, count = 0.0, 0
    for batch in loss_batches(lm, tokens, 2048):
        losses = token_losses(batch, predicted_logits(lm, batch)).cpu()
        # the predicting position: the last token of the prefix predicts the first token of the text
        kept = predicts(batch).nonzero()[:, 1] >= len(prefix)
        total, count = total + float(losses[kept].double().sum()), count + int(kept.sum())
    mean = total / count
    # not finite: the stage that needs the activations names the sentence where they break
    return mean if math.isfinite(mean) else None


# A sink's norm is at least this many times the median norm, or this many times smaller. SmolLM2-135M has sinks
# of 6 to 130 times the median in its residual stream, and of 1/16 of it at mlp.hidden
RATIO = 5.0
# no other token's norm is within this factor of a sink's; an evenly falling tail has no sinks
GAP = 1.5
# sinks are few: with a larger share of the tokens beyond the gap, they are ordinary text
MOST = 0.2


@dataclass(frozen=True)
class FoundSinks:
    """The attention sinks of one site, as found on some text.

    Attributes:
        median: the median norm at the site.
        smallest, largest: the norms between which a token is not a sink; 0 and None if a side has no sinks.
        tokens: the number of tokens examined, prefix included.
        count: the number of sinks among them.
        text_share: the share of the text's own tokens (without prefix) that are sinks.
        norm: the median norm of the sinks; None if there are none.
        first: how many sinks are the first token of their text.
        examples: the sinks' tokens, the most frequent first, at most 5.
    """

    site: Site
    median: float
    smallest: float
    largest: float | None
    tokens: int
    count: int = 0
    text_share: float = 0.0
    norm: float | None = None
    first: int = 0
    examples: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, for `from_json`."""
        rest = {name: value for name, value in vars(self).items() if name != "site"}
        return {"site": self.site.name, "layer": self.site.layer, **rest, "examples": list(self.examples)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "FoundSinks":
        """Make an object from the values of `to_json`."""
        rest = {name: value for name, value in row.items() if name not in ("site", "layer", "examples")}
        return cls(site=Site(row["site"], row["layer"]), examples=tuple(row["examples"]), **rest)


@torch.no_grad()
def find_sinks(
    lm: LanguageModel, tokens: TokenizedCorpus, sites: Sequence[Site], *, budget: int = BATCH_TOKENS
) -> list[FoundSinks]:
    """Look for attention sinks at several sites in one pass of the model, at every token, prefix included.

    Norms are sorted. Sinks lie beyond the widest gap (a ratio of neighbours) among norms above `RATIO` times
    the median, and likewise below 1 / `RATIO` of it. A side has no sinks if its widest gap is narrower than
    `GAP`, or if more than `MOST` of the tokens lie beyond it.

    Args:
        tokens: text, a few hundred tokens or more.

    Raises:
        GlossaeError: the model lacks a site, or there is no text.
    """
    if not len(tokens):
        raise GlossaeError("sinks: there is no text to look for attention sinks in")
    taps = {site: lm.tap(site) for site in sites}
    norms: dict[Site, list[Tensor]] = {site: [] for site in sites}
    ids, places = [], []
    for batch in batches(tokens, budget):

        def keep(site: Site, x: Activation, mask: Tensor = batch.mask) -> None:
            norms[site].append(x.float().norm(dim=-1).cpu()[mask])

        with attach_all([(tap, partial(keep, site)) for site, tap in taps.items()]):
            lm.model.base_model(
                input_ids=batch.ids.to(lm.device),
                attention_mask=batch.mask.long().to(lm.device),
                use_cache=False,
            )
        lm.count(batch.mask.sum(1), lm.layers, reading=True)
        ids.append(batch.ids[batch.mask])
        places.append(batch.mask.nonzero()[:, 1])
    every, place = torch.cat(ids), torch.cat(places)
    return [_found(lm, site, torch.cat(norms[site]), every, place, tokens.prefix) for site in sites]


def _found(
    lm: LanguageModel,
    site: Site,
    norms: Float[Tensor, " tokens"],
    ids: Int[Tensor, " tokens"],
    place: Int[Tensor, " tokens"],
    prefix: int,
) -> FoundSinks:
    # a value that is not finite is not a sink: the stage that needs it names the sentence
    sound = norms.isfinite()
    norms, ids, place = norms[sound], ids[sound], place[sound]
    if not len(norms):
        return FoundSinks(site, 0.0, 0.0, None, 0)
    precise = norms.double().clamp_min(1e-30)
    largest, inverse = _limit(precise), _limit(1 / precise)
    smallest = 0.0 if inverse is None else 1 / inverse
    sinks = (norms < smallest) | (norms > (torch.inf if largest is None else largest))
    found = FoundSinks(site, float(norms.median()), smallest, largest, len(norms))
    if not bool(sinks.any()):
        return found
    text = place >= prefix
    frequent, times = ids[sinks].unique(return_counts=True)
    examples = frequent[times.argsort(descending=True, stable=True)[:5]].tolist()
    return dataclasses.replace(
        found,
        count=int(sinks.sum()),
        text_share=float((sinks & text).sum() / text.sum().clamp_min(1)),
        norm=float(norms[sinks].median()),
        first=int((place[sinks] == 0).sum()),
        examples=tuple(map(str, lm.tokenizer.convert_ids_to_tokens(examples))),
    )


def _limit(norms: Float[Tensor, " tokens"]) -> float | None:
    """The norm that separates sinks from other tokens, the geometric middle of the gap; None if there are no sinks."""
    ordered = norms.sort().values
    far = int((ordered > RATIO * float(norms.median())).sum())
    if not far:
        return None
    upper, lower = ordered[-far:], ordered[-far - 1 : -1]
    gaps = upper / lower
    widest = int(gaps.argmax())
    if float(gaps[widest]) < GAP or far - widest > MOST * len(ordered):
        return None
    return float((upper[widest] * lower[widest]).sqrt())


def with_sinks(lm: LanguageModel, found: Sequence[FoundSinks]) -> LanguageModel:
    """The same model with these sinks, which `activations` then leaves out and edits leave alone."""
    ranges = {
        sinks.site: NormRange(
            sinks.smallest, torch.inf if sinks.largest is None else sinks.largest, sinks.text_share
        )
        for sinks in found
        if sinks.count
    }
    return dataclasses.replace(lm, sinks={**lm.sinks, **ranges})
