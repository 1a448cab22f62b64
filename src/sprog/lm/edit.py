"""Changing a site's tensor while a model runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sprog.errors import SprogError
from sprog.lm.model import LanguageModel
from sprog.lm.sites import Activation, Site, attached

TokenEdit = Callable[[Float[Tensor, "tokens d"]], Float[Tensor, "tokens d"]]


@contextmanager
def edit(lm: LanguageModel, site: Site, fn: TokenEdit) -> Iterator[None]:
    """While the block runs, replace what the site carries by `fn` of it, in every pass of `lm.model`.

    Works in a plain forward, in a loss and in `generate`, with and without cache, left- or right-padded:
    `fn` gets the tokens that the attention mask shows, `(tokens, d)`, on the model's `device`, and pads keep
    their tensor bit for bit. Without an attention mask every position is a token. Edits nest, inner ones see
    what outer ones left. The edit is gone after the block, also after an exception.

    A left-padded plain forward needs `position_ids` where positions are learned (GPT-2, GPT-Neo): only
    `generate` makes them from the mask.

    Raises:
        SprogError: the model has no such site, or (in the pass) `fn` changes the shape or is given an
            attention mask that is not `(batch, seq)`.
    """
    tap = lm.tap(site)
    current: list[Bool[Tensor, "batch seq"] | None] = [None]

    def remember(mask: Any) -> None:
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise SprogError("edit: the attention mask has to be (batch, seq), so that pads are known")
        current[0] = None if mask is None else mask.bool()

    def replace(x: Activation) -> Activation:
        mask = current[0]
        # with a cache the mask covers the past too; the tokens of this pass are its last columns
        here = (
            torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            if mask is None
            else mask[:, -x.shape[1] :].to(x.device)
        )
        tokens = x[here]
        edited = fn(tokens.to(lm.device))
        if edited.shape != tokens.shape:
            raise SprogError(f"edit: {site}: the shape {tuple(tokens.shape)} became {tuple(edited.shape)}")
        replaced = x.clone()
        replaced[here] = edited.to(x)
        return replaced

    with ExitStack() as hooks:
        # the whole model does not always call the one without the head (OPT), which also runs by itself
        for module in (lm.model, lm.model.base_model):
            handle = module.register_forward_pre_hook(_mask_to(remember, module), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(attached([(tap, replace)]))
        yield


def _mask_to(remember: Callable[[Any], None], module: nn.Module) -> Callable[..., None]:
    """A hook that hands on the attention mask of each call, by name or by its place among the arguments."""
    place = [*inspect.signature(type(module).forward).parameters].index("attention_mask") - 1

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        remember(kwargs.get("attention_mask", args[place] if len(args) > place else None))

    return hook
