"""A causal language model with its tokenizer and its sites."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glossae.errors import GlossaeError
from glossae.lm.passes import Passes
from glossae.lm.sites import Architecture, Site, Tap


class NormRange(NamedTuple):
    """The norms that tokens have at a site, attention sinks aside.

    Attributes:
        smallest, largest: a token whose norm is outside is a sink.
        share: the share of a text's tokens that are sinks, as far as is known.
    """

    smallest: float
    largest: float
    share: float = 0.0

    def holds(self, x: Float[Tensor, "*tokens d"]) -> Bool[Tensor, "*tokens"]:
        """Which tokens are no sinks."""
        norm = x.float().norm(dim=-1)
        held: Tensor = (norm >= self.smallest) & (norm <= self.largest)
        return held


@dataclass(frozen=True)
class LanguageModel:
    """A plain Hugging Face causal language model, in evaluation mode, and what is known about it.

    Attributes:
        name: the hub id or folder it was asked for by.
        commit: the hub commit it resolved to; None for a folder.
        model: the `transformers` model, untouched: every hook is attached for one block and removed.
        tokenizer: its fast tokenizer.
        architecture: where its sites lie.
        widths: the last dimension of each site name, found by the check at load.
        bos: whether texts begin with a BOS. Edits leave the first token of a text alone then, as `activations` does.
        chat: where texts are read as the reply in a chat, the tokens of the chat template before them
            (`glossae.lm.chat_ids`). Edits leave them alone, and in `generate` all that is given.
        sinks: by site, the norms outside of which a token is an attention sink (`glossae.lm.find_sinks`). Sinks are
            left out of `activations`, and edits leave them alone. A site that is not there has none.
        passes: keeps what single sites gave on a batch, so that `activations` runs no batch twice; None: nothing is
            kept.
    """

    name: str
    commit: str | None
    model: Any
    tokenizer: Any
    architecture: Architecture
    widths: dict[str, int] = field(default_factory=dict)
    bos: bool = False
    chat: tuple[int, ...] = ()
    sinks: Mapping[Site, NormRange] = field(default_factory=dict)
    passes: Passes | None = field(default=None, repr=False, compare=False)

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens before each text, which belong to no language: a BOS, or the chat template's.

        Raises:
            GlossaeError: texts begin with a BOS, and the tokenizer has none.
        """
        if self.chat or not self.bos:
            return self.chat
        if self.tokenizer.bos_token_id is None:
            raise GlossaeError(f"bos: the tokenizer of {self.name} has no BOS token; leave bos off")
        return (int(self.tokenizer.bos_token_id),)

    def write(self, prompt: str, *, new_tokens: int = 30, seed: int | None = None) -> str:
        """Continue a prompt, within any edit that is in place, such as a turned knob.

        Args:
            prompt: the text to go on from.
            new_tokens: how many are written at most.
            seed: of a draw from the whole distribution; None takes the most probable token at every step.

        Returns:
            The continuation without the prompt.
        """
        from glossae.lm.generate import continue_tokens
        from glossae.lm.habits import prompt_ids

        ids = [np.array(prompt_ids(self, prompt))]
        (written,) = continue_tokens(self, ids, new_tokens=new_tokens, seed=seed)
        return str(self.tokenizer.decode(written, skip_special_tokens=True))

    @property
    def blocks(self) -> nn.ModuleList:
        """The model's blocks."""
        blocks = self.model.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def layers(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where token ids go in, and where activations come out, also of blocks that lie elsewhere."""
        device = self.model.device
        assert isinstance(device, torch.device)
        return device

    @property
    def max_positions(self) -> int:
        """The longest text, in tokens, that the model has positions for; `sys.maxsize` if nothing limits it."""
        config = self.model.config.get_text_config()
        # families differ in the key; those without positions (ALiBi, recurrent ones) have none
        keys = ("max_position_embeddings", "n_positions", "max_seq_len")
        return next((int(n) for key in keys if (n := getattr(config, key, None)) and n > 0), sys.maxsize)

    def tap(self, site: Site) -> Tap:
        """The module and side of a site.

        Raises:
            GlossaeError: the model has no such site name or layer.
        """
        places = self.architecture.places
        if site.name not in places:
            raise GlossaeError(f"site: '{site.name}' is not a site; there are {', '.join(places)}")
        if not 0 <= site.layer < self.layers:
            raise GlossaeError(
                f"layer: {self.name} has the layers 0 to {self.layers - 1}, and {site.layer} is not one of them"
            )
        place, block = places[site.name], self.blocks[site.layer]
        try:
            return Tap(block, place.within(block), place)
        except AttributeError as error:
            raise GlossaeError(
                f"model: {self.name}: block {site.layer} has no module '{place.path}' ({error})"
            ) from error

    def width(self, site: Site) -> int:
        """The number of values at a site (`d_in` of an SAE on it); errors are as for `tap`."""
        self.tap(site)
        return self.widths[site.name]
