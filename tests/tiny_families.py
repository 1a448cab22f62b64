"""Random models of every family, three layers and width 32, and what their sites are by the families' own formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, silu

from glossae.lm import load

WIDTH, HIDDEN, LAYERS, POSITIONS, VOCABULARY = 32, 48, 3, 64, 320
# shorter than most test sentences, so that a window that slides does
WINDOW = 6

# the first token of every tokenizer here
IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0) | {"vocab_size": VOCABULARY}
COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
}
NEW_NAMES = COMMON | {"intermediate_size": HIDDEN}
GROUPED = NEW_NAMES | {"num_key_value_heads": 2, "head_dim": 8}
SLIDING = GROUPED | {"sliding_window": WINDOW}
GPT2_NAMES = {"n_embd": WIDTH, "n_inner": HIDDEN, "n_layer": LAYERS, "n_head": 4, "n_positions": POSITIONS}


@dataclass(frozen=True)
class Family:
    """A kind of model, with its block in formulas.

    Attributes:
        model: the class, by name.
        config: the class of its configuration, by name.
        settings: what makes it tiny.
        hidden: `mlp.hidden` from the block, its input and `attn.out`.
        written: `mlp.out` from the block and `mlp.hidden`.
        left: `resid` from the block, its input, `attn.out` and `mlp.out`.
    """

    model: str
    config: str
    settings: dict[str, Any]
    hidden: Callable[[Any, Tensor, Tensor], Tensor]
    written: Callable[[Any, Tensor], Tensor]
    left: Callable[[Any, Tensor, Tensor, Tensor], Tensor] = lambda _block, x, attn, mlp: x + attn + mlp


gelu_tanh = partial(gelu, approximate="tanh")


def affine(module: nn.Linear, x: Tensor) -> Tensor:
    return x @ module.weight.T + module.bias


def conv1d(module: nn.Module, x: Tensor) -> Tensor:
    """GPT-2 keeps its weights the other way round."""
    return x @ module.weight + module.bias


def gated(block: Any, x: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """A gated MLP up to its output projection."""
    return act(x @ block.mlp.gate_proj.weight.T) * (x @ block.mlp.up_proj.weight.T)


def llama_hidden(block: Any, x: Tensor, attn: Tensor, act: Callable[[Tensor], Tensor] = silu) -> Tensor:
    return gated(block, block.post_attention_layernorm(x + attn), act)


def llama_written(block: Any, hidden: Tensor) -> Tensor:
    return hidden @ block.mlp.down_proj.weight.T


def gemma2_hidden(block: Any, x: Tensor, attn: Tensor) -> Tensor:
    return gated(block, block.pre_feedforward_layernorm(x + attn), gelu_tanh)


def gemma2_written(block: Any, hidden: Tensor) -> Tensor:
    return block.post_feedforward_layernorm(hidden @ block.mlp.down_proj.weight.T)


def gemma4_left(block: Any, x: Tensor, attn: Tensor, mlp: Tensor) -> Tensor:
    return (x + attn + mlp) * block.layer_scalar


def phi3_hidden(block: Any, x: Tensor, attn: Tensor) -> Tensor:
    gate, up = (block.post_attention_layernorm(x + attn) @ block.mlp.gate_up_proj.weight.T).split(HIDDEN, -1)
    return silu(gate) * up


def neox_hidden(block: Any, x: Tensor, attn: Tensor) -> Tensor:
    x = x if block.use_parallel_residual else x + attn
    return gelu(affine(block.mlp.dense_h_to_4h, block.post_attention_layernorm(x)))


def opt_hidden(block: Any, x: Tensor, attn: Tensor) -> Tensor:
    norm = block.final_layer_norm if block.do_layer_norm_before else block.self_attn_layer_norm
    return relu(affine(block.fc1, norm(x + attn)))


def opt_left(block: Any, x: Tensor, attn: Tensor, mlp: Tensor) -> Tensor:
    if block.do_layer_norm_before:
        return x + attn + mlp
    return block.final_layer_norm(block.self_attn_layer_norm(x + attn) + mlp)


def like_llama(
    name: str, act: Callable[[Tensor], Tensor] = silu, *, config: str = "Config", **more: Any
) -> Family:
    hidden = partial(llama_hidden, act=act)
    return Family(f"{name}ForCausalLM", name + config, GROUPED | more, hidden, llama_written)


def like_gemma2(name: str, config: str, settings: dict[str, Any], **more: Any) -> Family:
    return Family(name, config, settings, gemma2_hidden, gemma2_written, **more)


def opt(**more: Any) -> Family:
    settings = COMMON | {"ffn_dim": HIDDEN, "word_embed_proj_dim": WIDTH} | more
    written = lambda block, hidden: affine(block.fc2, hidden)  # noqa: E731
    return Family("OPTForCausalLM", "OPTConfig", settings, opt_hidden, written, opt_left)


def neox(**more: Any) -> Family:
    written = lambda block, hidden: affine(block.mlp.dense_4h_to_h, hidden)  # noqa: E731
    return Family("GPTNeoXForCausalLM", "GPTNeoXConfig", NEW_NAMES | more, neox_hidden, written)


GEMMA3 = SLIDING | {"sliding_window_pattern": 2}
GEMMA4 = SLIDING | {
    "global_head_dim": 16,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": VOCABULARY,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    "final_logit_softcapping": 3.0,
}
EYES = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 4,
    "patch_size": 2,
}
NO_TEXT = ("image_token_index", "boi_token_index", "eoi_token_index")
NO_TEXT_4 = (
    "image_token_id",
    "boi_token_id",
    "eoi_token_id",
    "video_token_id",
    "audio_token_id",
    "boa_token_id",
)

FAMILIES = {
    "gpt_neox": neox(),
    "gpt_neox, sequential": neox(use_parallel_residual=False),
    "gpt2": Family(
        "GPT2LMHeadModel",
        "GPT2Config",
        GPT2_NAMES,
        lambda block, x, attn: gelu_tanh(conv1d(block.mlp.c_fc, block.ln_2(x + attn))),
        lambda block, hidden: conv1d(block.mlp.c_proj, hidden),
    ),
    "gpt_neo": Family(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_layers": LAYERS,
            "num_heads": 4,
            "max_position_embeddings": POSITIONS,
            "attention_types": [[["global", "local", "global"], 1]],
            "window_size": WINDOW,
        },
        lambda block, x, attn: gelu_tanh(affine(block.mlp.c_fc, block.ln_2(x + attn))),
        lambda block, hidden: affine(block.mlp.c_proj, hidden),
    ),
    "gptj": Family(
        "GPTJForCausalLM",
        "GPTJConfig",
        GPT2_NAMES | {"rotary_dim": 4},
        lambda block, x, _attn: gelu_tanh(affine(block.mlp.fc_in, block.ln_1(x))),
        lambda block, hidden: affine(block.mlp.fc_out, hidden),
    ),
    "opt": opt(),
    # OPT 350M: norms behind the sub-layers, and embeddings of another width
    "opt, post-norm": opt(do_layer_norm_before=False, word_embed_proj_dim=16),
    "llama": like_llama("Llama"),
    "mistral": like_llama("Mistral", sliding_window=WINDOW),
    "qwen2": like_llama("Qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    "qwen3": like_llama("Qwen3"),
    "gemma": like_llama("Gemma", gelu_tanh),
    "gemma2": like_gemma2(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        # caps so low that they matter among random weights
        SLIDING | {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0},
    ),
    "gemma3_text": like_gemma2("Gemma3ForCausalLM", "Gemma3TextConfig", GEMMA3),
    "phi": Family(
        "PhiForCausalLM",
        "PhiConfig",
        NEW_NAMES,
        lambda block, x, _attn: gelu_tanh(affine(block.mlp.fc1, block.input_layernorm(x))),
        lambda block, hidden: affine(block.mlp.fc2, hidden),
    ),
    "phi3": Family(
        "Phi3ForCausalLM",
        "Phi3Config",
        NEW_NAMES | {"num_key_value_heads": 2, "sliding_window": WINDOW},
        phi3_hidden,
        llama_written,
    ),
    # models with images: the text's half of their configuration is the settings
    "gemma3": like_gemma2(
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {"text_config": GEMMA3 | IDS, "vision_config": EYES, "mm_tokens_per_image": 4}
        | {name: VOCABULARY - 1 - place for place, name in enumerate(NO_TEXT)},
    ),
    "qwen3_5_text": like_llama(
        "Qwen3_5",
        config="TextConfig",
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    ),
    "gemma4_text": like_gemma2("Gemma4ForCausalLM", "Gemma4TextConfig", GEMMA4, left=gemma4_left),
    "gemma4": like_gemma2(
        "Gemma4ForConditionalGeneration",
        "Gemma4Config",
        {"text_config": GEMMA4 | IDS, "vision_config": None, "audio_config": None, "eoa_token_index": 313}
        | {name: VOCABULARY - 1 - place for place, name in enumerate(NO_TEXT_4)},
        left=gemma4_left,
    ),
}
"""By `model_type`, with a variant behind a comma."""


def write_family(folder: Path, name: str, tokenizer: Any, **changes: Any) -> Path:
    """Save a random model of a family, with a tokenizer; no bias or norm is left at what it starts as."""
    family = FAMILIES[name]
    ids = {} if "text_config" in family.settings else IDS
    config = getattr(transformers, family.config)(**(ids | family.settings | changes))
    torch.manual_seed(0)
    model = getattr(transformers, family.model)(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_family(folder: Path, name: str, tokenizer: Any, **changes: Any) -> Any:
    """Save such a model and load it."""
    return load(str(write_family(folder, name, tokenizer, **changes)))


def push(x: Tensor) -> Tensor:
    """An edit; not a multiple of x: a layer norm would undo that."""
    return x + 3 * torch.linspace(-1, 1, x.shape[1], device=x.device)


def left_padded(rows: Any) -> tuple[Tensor, Tensor]:
    """Texts as one batch with its pads on the left: ids, and the mask."""
    longest = max(map(len, rows))
    ids = np.stack([np.pad(row, (longest - len(row), 0)) for row in rows])
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in rows])
    return torch.from_numpy(ids), torch.from_numpy(mask)


def columns_of(positions: str, prompt: int, length: int) -> range:
    """The columns of one unpadded text that an edit at some positions changes, by the words of the definition."""
    return {
        "all": range(length),
        "not_first": range(1, length),
        "prompt": range(prompt),
        "generated": range(prompt, length),
        "last": range(prompt - 1, length),
    }[positions]
