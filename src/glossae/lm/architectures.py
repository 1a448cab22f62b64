"""Where each family of models keeps its sites: a table, by the `model_type` of its configuration."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn


class Place(NamedTuple):
    """Where a site lies inside a block.

    Attributes:
        path: a module's dotted path; "" is the block. Where layers differ, several, with a `|` between them: the
            first that a block has.
        side: which side of it.
        flat: whether the block may hand it `(batch x seq, d)`, which is then made `(batch, seq, d)` again.
    """

    path: str
    side: Literal["input", "output"]
    flat: bool = False

    def within(self, block: nn.Module) -> nn.Module:
        """The module at the path in a block.

        Raises:
            AttributeError: the block has none.
        """
        *others, last = self.path.split("|")
        for path in others:
            with suppress(AttributeError):
                return block.get_submodule(path)
        return block.get_submodule(last)


@dataclass(frozen=True)
class Architecture:
    """Where the sites of a family of models lie.

    Attributes:
        blocks: dotted path from the causal language model to its list of blocks.
        places: the place of each site name inside a block.
    """

    blocks: str
    places: dict[str, Place]


def _architecture(blocks: str, projection: str, mlp: str, attention: str, flat: bool = False) -> Architecture:
    """One row: the MLP's output projection, and the modules whose outputs are added to the residual stream."""
    return Architecture(
        blocks,
        {
            # after the activation function and, where the MLP is gated, after the product with the gate
            "mlp.hidden": Place(projection, "input", flat),
            "mlp.out": Place(mlp, "output", flat),
            "attn.out": Place(attention, "output"),
            "resid": Place("", "output"),
        },
    )


_LLAMA = _architecture("model.layers", "mlp.down_proj", "mlp", "self_attn.o_proj")
# a norm stands behind each sub-layer, and what it gives is added
_GEMMA2 = _architecture(
    "model.layers", "mlp.down_proj", "post_feedforward_layernorm", "post_attention_layernorm"
)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt_neox": _architecture("gpt_neox.layers", "mlp.dense_4h_to_h", "mlp", "attention.dense"),
    "gpt2": _architecture("transformer.h", "mlp.c_proj", "mlp", "attn.c_proj"),
    "gpt_neo": _architecture("transformer.h", "mlp.c_proj", "mlp", "attn.attention.out_proj"),
    "gptj": _architecture("transformer.h", "mlp.fc_out", "mlp", "attn.out_proj"),
    "opt": _architecture("model.decoder.layers", "fc2", "fc2", "self_attn.out_proj", flat=True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    # most layers have linear attention in the other's place
    "qwen3_5_text": _architecture(
        "model.layers", "mlp.down_proj", "mlp", "self_attn.o_proj|linear_attn.out_proj"
    ),
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    # with its images' half, which text does not enter
    "gemma3": Architecture("model.language_model.layers", _GEMMA2.places),
    # `resid` is what leaves a block: with what its per-layer input added, times the layer's scalar
    "gemma4_text": _GEMMA2,
    "gemma4": Architecture("model.language_model.layers", _GEMMA2.places),
    "phi": _architecture("model.layers", "mlp.fc2", "mlp", "self_attn.dense"),
    "phi3": _LLAMA,
}
