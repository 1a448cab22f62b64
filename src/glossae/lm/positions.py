"""Which of the tokens in a pass are edited: masks by their place in the text, in a plain pass and in `generate`."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site

Positions = Literal["all", "not_first", "prompt", "generated", "last"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


def chosen(
    mask: Bool[Tensor, "batch text"], positions: Positions, prompt: int | None = None
) -> Bool[Tensor, "batch text"]:
    """The tokens that are edited, pads never.

    `all`: every token. `not_first`: all but the first of each row, an attention sink in most models. `prompt` and
    `generated`: what `generate` was given, and what it wrote. `last`: the prompt's last token and all that were
    generated, each of which was the last once, so that with and without cache the same tokens are edited. Outside
    `generate` all of the text is the prompt.

    Args:
        mask: True where there is a token, over the whole text so far; pads may be on either side.
        positions: which tokens.
        prompt: the columns that `generate` was given; None outside it.
    """
    if positions == "all":
        return mask
    if positions == "not_first":
        return mask & (mask.cumsum(1) > 1)
    columns = mask.shape[1]
    given = torch.arange(columns, device=mask.device) < (columns if prompt is None else prompt)
    if positions == "prompt":
        return mask & given
    if positions == "generated":
        return mask & ~given
    of_prompt = mask & given
    to_come = of_prompt.flip(1).cumsum(1).flip(1)
    return (of_prompt & (to_come == 1)) | (mask & ~given)


def check_positions(positions: str) -> None:
    """Refuse positions that are none.

    Raises:
        GlossaeError: it is none of `POSITIONS`.
    """
    if positions not in POSITIONS:
        raise GlossaeError(f"positions: '{positions}' is not one of {', '.join(POSITIONS)}")


class Text:
    """What is known of the text that a model is running over."""

    def __init__(self) -> None:
        self.mask: Bool[Tensor, "batch text"] | None = None
        self.past = 0
        self.prompt: int | None = None

    def edited(
        self, lm: LanguageModel, site: Site, x: Activation, positions: Positions
    ) -> Bool[Tensor, "batch seq"]:
        """The tokens of this pass that are edited, for a site's tensor `(batch, seq, d)`."""
        mask = self.mask
        if mask is None:
            mask = torch.ones(x.shape[0], self.past + x.shape[1], dtype=torch.bool, device=x.device)
        return edited_tokens(lm, site, x, mask, positions, self.prompt)


def edited_tokens(
    lm: LanguageModel,
    site: Site,
    x: Activation,
    mask: Bool[Tensor, "batch text"],
    positions: Positions,
    prompt: int | None = None,
) -> Bool[Tensor, "batch seq"]:
    """The tokens of a pass that an edit changes: those at `positions`, but neither a prefix nor an attention sink.

    A prefix is a BOS, or a chat template's tokens; in a chat all that `generate` is given stands before the reply.

    Args:
        lm: the model; it says what texts begin with, and what is a sink.
        site: where the edit is.
        x: what stands there.
        mask: True where there is a token, over the whole text so far, of which x has the last columns.
        positions: see `chosen`.
        prompt: the columns that `generate` was given; None outside it.
    """
    here = chosen(mask, positions, prompt)
    if lm.chat and prompt is not None:
        here = here & chosen(mask, "generated", prompt)
    elif before := len(lm.chat) or int(lm.bos):
        here = here & (mask.cumsum(1) > before)
    # with a cache the mask covers the past too; the tokens of this pass are its last columns
    here = here[:, -x.shape[1] :].to(x.device)
    return here & lm.sinks[site].holds(x) if site in lm.sinks else here


@contextmanager
def text_of(lm: LanguageModel) -> Iterator[Text]:
    """While the block runs, what is yielded follows every pass of the model, and every `lm.model.generate`.

    Raises:
        GlossaeError: (in the pass) it is given an attention mask that is not `(batch, seq)`.
    """
    text = Text()
    with ExitStack() as hooks:
        # the whole model does not always call the one without the head (OPT), which also runs by itself
        for module in (lm.model, lm.model.base_model):
            handle = module.register_forward_pre_hook(_reader(text, module), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(_generating(lm.model, text))
        yield text


def _reader(text: Text, module: nn.Module) -> Callable[..., None]:
    """A hook that notes the mask and the cache of each call, by name or by their place among the arguments."""
    names = [*inspect.signature(type(module).forward).parameters][1:]

    def argument(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = names.index(name) if name in names else len(args)
        return kwargs.get(name, args[place] if len(args) > place else None)

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = argument("attention_mask", args, kwargs)
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise GlossaeError("edit: the attention mask has to be (batch, seq), so that pads are known")
        cache = argument("past_key_values", args, kwargs)
        text.mask = None if mask is None else mask.bool()
        text.past = 0 if cache is None else int(cache.get_seq_length())

    return hook


@contextmanager
def _generating(model: Any, text: Text) -> Iterator[None]:
    """Note how many columns `generate` is given, for as long as each call of it lasts."""
    generate, own = model.generate, "generate" in vars(model)

    def noted(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *(kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))]
        text.prompt = next((ids.shape[1] for ids in given if isinstance(ids, Tensor)), None)
        try:
            return generate(*args, **kwargs)
        finally:
            text.prompt = None

    model.generate = noted
    try:
        yield
    finally:
        if own:
            model.generate = generate
        else:
            del model.generate
