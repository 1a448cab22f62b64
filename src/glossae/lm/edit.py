"""Edit a site's tensor at some of the tokens while a model runs: in forward passes, losses and `generate`."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site, Tap, attach_all

TokenEdit = Callable[[Float[Tensor, "tokens d"]], Float[Tensor, "tokens d"]]
Positions = Literal["all", "not_first", "prompt", "generated", "last"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


class SiteEdit(NamedTuple):
    """One edit: the site, the function, and the tokens that it changes."""

    site: Site
    fn: TokenEdit
    positions: Positions = "all"


@contextmanager
def edit(lm: LanguageModel, site: Site, fn: TokenEdit, *, positions: Positions = "all") -> Iterator[None]:
    """Replace the tensor at `site` by `fn` of it in every pass of `lm.model` inside the block.

    Works in a plain forward pass, in a loss and in `generate`, with every cache, with beams and in assisted decoding
    (the assistant is not edited), left- or right-padded. A compiled model runs uncompiled inside the block.
    `fn` gets the tokens that the attention mask shows and `positions` chooses, `(tokens, d)`, on the model's
    `device`. All other
    tokens keep their values bit for bit: pads, the prefix (`lm.bos`, `lm.chat`) and attention sinks
    (`lm.sinks`). A pass
    without a chosen token is left alone. Without an attention mask, every position is a token. Edits nest:
    inner ones see the result of outer ones. The edit is removed after the block, also after an exception.

    A left-padded plain forward pass needs `position_ids` if the model learns positions (GPT-2, GPT-Neo): only
    `generate` derives them from the mask.

    Args:
        fn: the edit; it gets all tokens of a pass at once.
        positions: `all`, `not_first`, `prompt`, `generated` or `last`; see `glossae.lm.positions_mask`.

    Raises:
        GlossaeError: the model lacks the site, or `positions` is unknown; or (in the pass) `fn` changes the
            shape, the attention mask is not `(batch, seq)` or does not fit the cache, or the site's module has been
            replaced since (by an adapter).
    """
    with edits(lm, [SiteEdit(site, fn, positions)]):
        yield


@contextmanager
def edits(lm: LanguageModel, changes: Sequence[SiteEdit]) -> Iterator[None]:
    """Several edits as by `edit`; at one site, each edit sees the result of those before it."""
    for change in changes:
        check_positions(change.positions)
    taps = [lm.tap(change.site) for change in changes]
    with _text_of(lm, taps) as text:
        visits = [partial(_replace, lm, text, change) for change in changes]
        with attach_all(list(zip(taps, visits, strict=True))):
            yield


def edited(lm: LanguageModel) -> bool:
    """Whether the model is inside an `edit`, such as a turned knob."""
    return any(getattr(hook, "__module__", None) == __name__ for hook in lm.model._forward_pre_hooks.values())


def _replace(lm: LanguageModel, text: "_Text", change: SiteEdit, x: Activation) -> Activation | None:
    mask = text.mask
    columns = text.past + x.shape[1]
    if mask is None:
        mask = torch.ones(x.shape[0], columns, dtype=torch.bool, device=x.device)
    elif mask.shape[1] != columns:
        raise GlossaeError(
            f"edit: the attention mask has {mask.shape[1]} columns, and cache and text have {columns}: give it as many"
        )
    here = edited_tokens(lm, change.site, x, mask, change.positions, text.prompt)
    tokens = x[here]
    if not len(tokens):
        return None
    edited = applied(change.site, change.fn, tokens.to(lm.device))
    replaced = x.clone()
    replaced[here] = edited.to(x)
    return replaced


def applied(site: Site, fn: TokenEdit, tokens: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """`fn` of the tokens; an error if it changes the shape."""
    edited = fn(tokens)
    if edited.shape != tokens.shape:
        raise GlossaeError(f"edit: {site}: the shape {tuple(tokens.shape)} became {tuple(edited.shape)}")
    return edited


def check_positions(positions: str) -> None:
    """Raise a GlossaeError unless `positions` is one of `POSITIONS`."""
    if positions not in POSITIONS:
        raise GlossaeError(f"positions: '{positions}' is not one of {', '.join(POSITIONS)}")


def positions_mask(
    mask: Bool[Tensor, "batch text"], positions: Positions, prompt: int | None = None
) -> Bool[Tensor, "batch text"]:
    """The tokens at `positions`, never pads.

    `all`: every token. `not_first`: all but the first of each row, an attention sink in most models. `prompt`
    and
    `generated`: the tokens that `generate` was given, and those that it wrote. `last`: the prompt's last token
    and all generated ones; each was the last once, so that the same tokens are edited with and without cache.
    Outside `generate`, the whole text is the prompt.

    Args:
        mask: True at tokens, over the whole text so far; pads may be on either side.
        prompt: the number of columns that `generate` was given; None outside `generate`.
    """
    if positions == "all":
        return mask
    if positions == "not_first":
        return mask & (mask.cumsum(1) > 1)
    columns = mask.shape[1]
    given = torch.arange(columns, device=mask.device) < (columns if prompt is None else prompt)
    of_prompt, generated = mask & given, mask & ~given
    if positions == "prompt":
        return of_prompt
    if positions == "generated":
        return generated
    to_come = of_prompt.flip(1).cumsum(1).flip(1)
    return (of_prompt & (to_come == 1)) | generated


def edited_tokens(
    lm: LanguageModel,
    site: Site,
    x: Activation,
    mask: Bool[Tensor, "batch text"],
    positions: Positions,
    prompt: int | None = None,
) -> Bool[Tensor, "batch seq"]:
    """The tokens of a pass that an edit changes: those at `positions`, without prefix and attention sinks.

    A prefix is a BOS, or a chat template's tokens; in a chat, everything that `generate` is given precedes the
    reply. `mask` covers the whole text so far, and x its last columns; `prompt` is as for `positions_mask`.
    """
    here = positions_mask(mask, positions, prompt)
    if lm.chat and prompt is not None:
        here = here & positions_mask(mask, "generated", prompt)
    elif before := len(lm.chat) or int(lm.bos):
        here = here & (mask.cumsum(1) > before)
    # with a cache the mask covers past tokens too; those of this pass are its last columns
    here = here[:, -x.shape[1] :].to(x.device)
    return here & lm.sinks[site].holds(x) if site in lm.sinks else here


class _Text:
    """The text that a model runs over: its mask, the tokens in its cache, and the columns of its prompt."""

    mask: Bool[Tensor, "batch text"] | None = None
    past: int = 0
    prompt: int | None = None
    # of the next pass in `generate`, which makes four-dimensional masks for static caches; None without pads
    coming: Tensor | None = None


@contextmanager
def _text_of(lm: LanguageModel, taps: Sequence[Tap]) -> Iterator[_Text]:
    """Yield a record that follows every pass of the model, and every `lm.model.generate`, inside the block."""
    text, model = _Text(), lm.model
    generate, prepare = model.generate, model.prepare_inputs_for_generation

    @functools.wraps(generate)
    def noted(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *(kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))]
        # a model that drafts for itself (early exit) generates inside of `generate`
        outer = text.prompt, text.coming
        text.prompt = next((ids.shape[1] for ids in given if isinstance(ids, Tensor)), None)
        try:
            return generate(*args, **kwargs)
        finally:
            text.prompt, text.coming = outer

    # transformers reads its signature
    @functools.wraps(prepare)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        text.coming = kwargs.get("attention_mask")
        return prepare(*args, **kwargs)

    with ExitStack() as hooks:
        # the whole model does not always call the headless one (OPT), which may also run alone
        for module in (model, model.base_model):
            handle = module.register_forward_pre_hook(_reader(text, module, taps), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(_shadowed(model, "generate", noted))
        hooks.enter_context(_shadowed(model, "prepare_inputs_for_generation", prepared))
        yield text


@contextmanager
def _shadowed(model: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Put a method on a model itself, before that of its class, inside the block."""
    before = vars(model).get(name)
    setattr(model, name, method)
    try:
        yield
    finally:
        if before is None:
            delattr(model, name)
        else:
            setattr(model, name, before)


def _reader(text: _Text, module: nn.Module, taps: Sequence[Tap]) -> Callable[..., None]:
    """A hook that records the mask and the cache of each call, whether passed by name or by position."""
    names = [*inspect.signature(type(module).forward).parameters][1:]

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for tap in taps:
            if tap.place.within(tap.block) is not tap.module:
                raise GlossaeError(
                    f"edit: the module '{tap.place.path}' has been replaced since the edit began (by an adapter?): "
                    "begin it again"
                )
        named = dict(zip(names, args, strict=False)) | kwargs
        mask, cache = named.get("attention_mask"), named.get("past_key_values")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            mask = text.coming
            if text.prompt is None or (mask is not None and mask.ndim != 2):
                raise GlossaeError("edit: the attention mask has to be (batch, seq), so that pads are known")
        text.mask = None if mask is None else mask.bool()
        text.past = 0 if cache is None else int(cache.get_seq_length())

    return hook
