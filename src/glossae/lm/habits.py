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
from glossae.errors import GlossaeError
from glossae.lm.batches import BATCH_TOKENS, TokenizedCorpus, batches, tokenize
from glossae.lm.loss import loss_batches, predicted_logits, predicts, token_losses
from glossae.lm.model import LanguageModel, NormRange
from glossae.lm.sites import Activation, Site, attached

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
    def warning(self) -> str | None:
        """One line where the choice costs more than `COSTLY` nats a token against the other one."""
        if self.chat or self.loss_with is None or self.loss_without is None:
            return None
        cost = (self.loss_with - self.loss_without) * (1 if self.bos else -1)
        if cost <= COSTLY:
            return None
        now, other = ("with", "without") if self.bos else ("without", "with")
        why = f" (auto: its tokenizer adds {'one' if self.by_itself else 'none'} by itself)"
        return (
            f"bos: the model's loss is {cost:.2f} nats a token higher {now} a BOS than {other} one"
            f"{why if self.asked == 'auto' else ''}; give --bos {str(not self.bos).lower()} to read text the other way"
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
        message: what the user says; empty for what stands before a text that is read as a reply.

    Raises:
        GlossaeError: the tokenizer has no chat template, or one that cannot be used.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise GlossaeError(
            f"chat: the tokenizer of {name} has no chat template; leave chat off, or take a model tuned to chat"
        )
    said = [{"role": "user", "content": message}]
    try:
        text = tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=True, date_string=DATE
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
        asked: whether with a BOS: True or False, or `auto`: what the tokenizer does by itself.
        chat: whether texts are read as the reply to an empty message in a chat, whatever `asked` says.
        max_tokens: sentences are cut to so many, a BOS counted.

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

    # where a BOS is asked for and there is none, this says so
    with_one = loss(bos=True, chat=()) if has_bos or bos else None
    begun = Beginning(bos, asked, own, with_one, loss(bos=False, chat=()), len(without))
    if not chat:
        return begun
    before = tuple(chat_ids(lm.tokenizer, "", name=lm.name))
    return dataclasses.replace(begun, bos=False, chat=before, loss_in_chat=loss(chat=before))


def loss_as_begun(
    lm: LanguageModel, corpus: Corpus, begun: Beginning, *, max_tokens: int = 64
) -> float | None:
    """The loss of a few sentences that begin as was decided, as `begin` measures it (`Beginning.loss`)."""
    return _mean_loss(dataclasses.replace(lm, bos=begun.bos, chat=begun.chat), corpus, max_tokens)


@torch.no_grad()
def _mean_loss(lm: LanguageModel, corpus: Corpus, max_tokens: int) -> float | None:
    """The mean loss over all tokens of the text but the first of each sentence, nats; texts begin as `lm` says."""
    prefix = lm.prefix
    tokens = tokenize(lm, corpus, max_tokens=max_tokens - 1 + len(prefix), prefix=prefix)
    total, count = 0.0, 0
    for batch in loss_batches(lm, tokens, 2048):
        losses = token_losses(batch, predicted_logits(lm, batch)).cpu()
        # the position that predicts: the last of the prefix predicts the first token of the text
        kept = predicts(batch).nonzero()[:, 1] >= len(prefix)
        total, count = total + float(losses[kept].double().sum()), count + int(kept.sum())
    mean = total / count
    # a stage that needs the activations says which sentence they break at
    return mean if math.isfinite(mean) else None


# A sink's norm is at least so many times the median norm, or so many times smaller: SmolLM2-135M has sinks of 6 to 130
# times the median in its residual stream, and of a 16th of it at mlp.hidden
RATIO = 5.0
# and no other token comes within this factor of it: what trails off evenly is a heavy tail, not a sink
GAP = 1.5
# sinks are few: a larger share of the tokens is another kind of text
MOST = 0.2


@dataclass(frozen=True)
class FoundSinks:
    """The attention sinks of one site, as they were found on some text.

    Attributes:
        median: the median norm of a token there.
        smallest, largest: a token whose norm is outside is a sink; 0 and None where there is none on that side.
        tokens: how many tokens were looked at, also of a prefix.
        count: how many of them are sinks.
        text_share: the share of the text's own tokens (a prefix is none) that are sinks.
        norm: the median norm of a sink; None where there is none.
        first: how many of them are the first token of their text.
        examples: the tokens themselves, the most frequent first, at most 5.
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
        """The facts as JSON's types, which `from_json` takes back."""
        rest = {name: value for name, value in vars(self).items() if name != "site"}
        return {"site": self.site.name, "layer": self.site.layer, **rest, "examples": list(self.examples)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "FoundSinks":
        """The facts from what `to_json` gave."""
        rest = {name: value for name, value in row.items() if name not in ("site", "layer", "examples")}
        return cls(site=Site(row["site"], row["layer"]), examples=tuple(row["examples"]), **rest)


@torch.no_grad()
def find_sinks(
    lm: LanguageModel, tokens: TokenizedCorpus, sites: Sequence[Site], *, budget: int = BATCH_TOKENS
) -> list[FoundSinks]:
    """Look for attention sinks at several sites in one pass of the model, at every token, also of a prefix.

    Norms are sorted. Sinks lie beyond the widest gap (a ratio of neighbours) among those above `RATIO` times the
    median, and likewise below a `RATIO`th of it. There are none on a side whose widest gap is narrower than `GAP`, or
    has more than `MOST` of the tokens beyond it.

    Args:
        tokens: some text, a few hundred tokens or more.

    Raises:
        GlossaeError: the model has no such site, or there is no text.
    """
    if not len(tokens):
        raise GlossaeError("sinks: there is no text to look for attention sinks in")
    taps = {site: lm.tap(site) for site in sites}
    norms: dict[Site, list[Tensor]] = {site: [] for site in sites}
    ids, places = [], []
    for batch in batches(tokens, budget):

        def keep(site: Site, x: Activation, mask: Tensor = batch.mask) -> None:
            norms[site].append(x.float().norm(dim=-1).cpu()[mask])

        with attached([(tap, partial(keep, site)) for site, tap in taps.items()]):
            lm.model.base_model(
                input_ids=batch.ids.to(lm.device),
                attention_mask=batch.mask.long().to(lm.device),
                use_cache=False,
            )
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
    # what is not finite is no sink: a stage that needs it says which sentence it is at
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
    """What parts the largest norms from all others: in the middle of the gap, as a ratio; None where there is none."""
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
    """The same model; its sinks are left out of activations, and edits leave them alone."""
    ranges = {
        sinks.site: NormRange(
            sinks.smallest, torch.inf if sinks.largest is None else sinks.largest, sinks.text_share
        )
        for sinks in found
        if sinks.count
    }
    return dataclasses.replace(lm, sinks={**lm.sinks, **ranges})
