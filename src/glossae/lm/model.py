"""A causal language model with its tokenizer and its sites."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glossae import meter
from glossae.errors import GlossaeError
from glossae.lm.passes import Passes
from glossae.lm.sites import Architecture, Site, Tap


class NormRange(NamedTuple):
    """The range of norms of ordinary tokens at a site; tokens outside it are attention sinks.

    Attributes:
        smallest, largest: the ends of the range.
        share: the share of a text's tokens that are sinks, if known.
    """

    smallest: float
    largest: float
    share: float = 0.0

    def holds(self, x: Float[Tensor, "*tokens d"]) -> Bool[Tensor, "*tokens"]:
        """Which tokens are not sinks."""
        norm = x.float().norm(dim=-1)
        held: Tensor = (norm >= self.smallest) & (norm <= self.largest)
        return held


@dataclass(frozen=True, repr=False)
class LanguageModel:
    """A Hugging Face causal language model in evaluation mode, with its tokenizer and its sites.

    Attributes:
        name: its hub id or folder, as given.
        commit: its commit on the hub; None for a folder.
        model: the `transformers` model, unchanged: every hook is attached for one block and removed.
        tokenizer: its fast tokenizer.
        architecture: the places of its sites.
        widths: the last dimension of each site name, from the check at load.
        bos: whether texts begin with a BOS. If so, edits and `activations` leave the first token of a text out.
        chat: the tokens of the chat template (`glossae.lm.chat_ids`), if texts are read as the reply in a
            chat. Edits leave them alone, and in `generate` everything that it is given.
        sinks: for each site, the range of norms outside of which a token is an attention sink
            (`glossae.lm.find_sinks`). `activations` leaves sinks out, and edits leave them alone. Sites that
            are not listed have none.
        passes: stores the activations of single sites by batch, so that `activations` runs no batch twice;
            None stores nothing.
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

    def __repr__(self) -> str:
        sites = ", ".join(f"{site} {width}" for site, width in self.widths.items())
        return f"LanguageModel({self.name}: {self.layers} layers, sites {sites})"

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens before each text that belong to no language: a BOS, or the chat template's.

        Raises:
            GlossaeError: texts begin with a BOS, and the tokenizer has none.
        """
        if self.chat or not self.bos:
            return self.chat
        if self.tokenizer.bos_token_id is None:
            raise GlossaeError(f"bos: the tokenizer of {self.name} has no BOS token; leave bos off")
        return (int(self.tokenizer.bos_token_id),)

    def write(self, prompt: str, *, new_tokens: int = 30, seed: int | None = None) -> str:
        """Continue a prompt, under any active edit, such as a turned knob.

        Args:
            prompt: the text to continue.
            new_tokens: the most tokens to write.
            seed: of sampling from the full distribution; None takes the most probable token at every step.

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
        """The number of blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """The device that takes token ids and returns activations, also of blocks on other devices."""
        device = self.model.device
        if device.type == "meta":
            # accelerate's hooks bring offloaded weights to this device for each pass
            hook = getattr(self.model.get_input_embeddings(), "_hf_hook", None)
            place = getattr(hook, "execution_device", None)
            device = device if place is None else torch.device(place)
        assert isinstance(device, torch.device)
        return device

    @property
    def max_positions(self) -> int:
        """The longest text, in tokens, that the model has positions for; `sys.maxsize` if nothing limits it.

        LongRoPE, which changes with the longest text of a batch, limits it to the length up to which it does not: a
        text's activations must not depend on the others in its batch. Dynamic NTK changes beyond
        `max_position_embeddings` only.
        """
        config = self.model.config.get_text_config()
        # the key differs by architecture; models without positions (ALiBi, recurrent ones) have none
        keys = ("max_position_embeddings", "n_positions", "max_seq_len")
        longest = next((int(n) for key in keys if (n := getattr(config, key, None)) and n > 0), sys.maxsize)
        said = getattr(config, "rope_parameters", None) or {}
        # some architectures have one set of parameters for each kind of layer
        for rotary in (said, *said.values()):
            if isinstance(rotary, dict) and rotary.get("rope_type") == "longrope":
                longest = min(longest, int(rotary.get("original_max_position_embeddings") or longest))
        return longest

    def tap(self, site: Site) -> Tap:
        """The module and side of a site.

        Raises:
            GlossaeError: the model lacks the site name or the layer.
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

    @cached_property
    def _sizes(self) -> tuple[float, float, int]:
        """Of a block on average the weights of its matrices; the unembedding's weights; the width of all heads."""
        matrices = sum(weight.numel() for weight in self.blocks.parameters() if weight.ndim > 1)
        config = self.model.config.get_text_config()
        wide = config.hidden_size
        # a family whose layers have heads of different widths refuses to be asked for one: about the model's width
        with suppress(ValueError, AttributeError, TypeError, RuntimeError):
            wide = config.num_attention_heads * config.head_dim
        return matrices / self.layers, self.model.get_output_embeddings().weight.numel(), wide

    def flops(self, lengths: Int[Tensor, " texts"], blocks: int, logits: int = 0) -> float:
        """FLOPs of a pass of texts of these lengths through so many blocks, and of so many tokens' logits.

        Two for each weight of a matrix and token, and in each block four for each pair of tokens of a text and value
        of its heads: model FLOPs as in Chowdhery et al. 2022 (PaLM), appendix B, of the forward pass. A causal mask
        saves nothing, and pads cost nothing. Embeddings, norms, activation functions and softmax are left out.
        """
        weights, unembedding, heads = self._sizes
        tokens, pairs = int(lengths.sum()), int(lengths.square().sum())
        return blocks * (2.0 * weights * tokens + 4.0 * heads * pairs) + 2.0 * unembedding * logits

    def count(
        self, lengths: Int[Tensor, " texts"], blocks: int, logits: int = 0, *, reading: bool = False
    ) -> None:
        """Count a pass (`glossae.meter`), as in `flops`; negative blocks are taken away from one counted before.

        A block is counted whole also if the pass stops or begins at a site inside it. `reading`: the pass was for
        the activations of sites alone.
        """
        if meter.counting():
            flops, work = self.flops(lengths, blocks, logits), blocks * int(lengths.sum())
            meter.count(token_blocks=work, read_token_blocks=work * reading, model_flops=flops)

    def width(self, site: Site) -> int:
        """The number of values at a site (`d_in` of an SAE on it); errors are as for `tap`."""
        self.tap(site)
        return self.widths[site.name]
