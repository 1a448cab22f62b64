"""Load a causal language model from safetensors or GGUF, without remote code, and check its sites."""

import dataclasses
import re
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glossae.declared import Declared
from glossae.environment import install
from glossae.errors import GlossaeError, expect
from glossae.lm.files import (
    check_config,
    fetch,
    first_line,
    held_tensors,
    link_folder,
    locate,
    no_tokenizer,
    one_line_errors,
    silent_transformers,
    without_fast_paths,
)
from glossae.lm.generate import settings_of
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Architecture, Site, architecture_of, attach_all
from glossae.memory import check_free

SPLIT = "split"
"""The value of `device` that shares a model out among several GPUs, with `accelerate`."""
# tokens of the check at load: any ids serve; this number is unlikely to be another dimension's
CHECK_TOKENS = 5


def load(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    architecture: Architecture | None = None,
) -> LanguageModel:
    """Load a causal language model and its tokenizer, and check its sites by running it.

    A model of the hub is fetched into the hub's cache, unless it is there, with all files of one commit. From
    a folder,
    only configuration, weights and tokenizer are read: no adapter, and no `generation_config.json`
    (`settings_of` replaces it). Attention is PyTorch's own, or transformers' plain one if an architecture has no
    other, whatever config.json asks for and whichever packages are installed.

    Args:
        name: a folder, a GGUF file (its weights are dequantized), or a hub id with an optional `@REVISION`: a
            branch, a tag or a commit.
        device: where the model runs; `split` shares it out among all GPUs, which needs accelerate.
        dtype: the dtype of the weights; always explicit, because the files' own would differ from model to
            model.
        architecture: the places of its sites, for one that `ARCHITECTURES` lacks.

    Raises:
        GlossaeError: the model or revision does not exist, or cannot be fetched; it has no safetensors, is
            quantized, needs code of its own, lacks tensors or has tensors of another shape or with values that
            are not finite; its tokenizer does not fit it; its sites fail the check; or it cannot be split.
    """
    split = device == SPLIT
    if split:
        resolve_device(SPLIT)
    commit: str | None = None
    folder = locate(name)
    if folder is None:
        folder, commit = fetch(name)
    if folder.is_dir():
        check_config(name, folder)
    tensors = held_tensors(name, folder)
    if folder.is_dir():
        _check_floating(name, tensors)
    model = _load_weights(name, folder, dtype, split, sum(tensor.values for tensor in tensors.values()))
    tokenizer = _load_tokenizer(name, folder, model.get_input_embeddings().num_embeddings)
    model.eval().requires_grad_(False)
    if not split:
        model.to(device)
    _check_weights(name, model)
    model.generation_config = settings_of(model, tokenizer)
    lm = LanguageModel(name, commit, model, tokenizer, architecture or architecture_of(model))
    return dataclasses.replace(lm, widths=_check_sites(lm))


def wrap_model(model: Any) -> LanguageModel:
    """Wrap a loaded `transformers` model, unchanged, after checking its sites by running it.

    Of a compiled model, and of one with PEFT's adapters, the model inside is wrapped: what runs outside of it sees
    its edits. The result has no tokenizer, which edits do not need.

    Raises:
        GlossaeError: it is no model of `transformers`, is in training mode or of an unknown architecture, PEFT puts
            tokens of its own before texts, or its sites fail the check.
    """
    expect(model, nn.Module, "model: expected a model of transformers, or for gl.load a name or folder")
    # torch.compile(model), and PeftModel, which is recognised without importing peft
    model = getattr(model, "_orig_mod", model)
    if hasattr(type(model), "get_base_model"):
        if model.active_peft_config.is_prompt_learning:
            kind = type(model.active_peft_config).__name__
            raise GlossaeError(
                f"model: PEFT ({kind}) puts tokens of its own before texts, where they shift positions"
            )
        model = model.get_base_model()
    name = getattr(model, "name_or_path", "") or type(model).__name__
    if not hasattr(model, "config"):
        raise GlossaeError(f"model: {name} is no model of transformers: it has no config")
    if model.training:
        raise GlossaeError(f"model: {name} is in training mode; call model.eval() first")
    commit = getattr(model.config, "_commit_hash", None)
    lm = LanguageModel(name, commit, model, None, architecture_of(model))
    return dataclasses.replace(lm, widths=_check_sites(lm))


def resolve_device(device: str) -> torch.device:
    """The torch device of a setting: `auto` is the first GPU, else the CPU; `split` the first GPU.

    A split model takes token ids on its first GPU, and activations come back to it.

    Raises:
        GlossaeError: the device does not exist, or a model cannot be split over it.
    """
    if device == SPLIT:
        if find_spec("accelerate") is None:
            raise GlossaeError(
                f"device: 'split' needs accelerate, and it is not installed: {install('multi')}, or pip install "
                "accelerate"
            )
        if not torch.cuda.is_available():
            raise GlossaeError(
                "device: 'split' shares a model out among GPUs, and there is none here; give auto or cpu"
            )
        return torch.device("cuda", 0)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise GlossaeError(f"device: '{device}' cannot be used here ({first_line(error)})") from error
    return torch.device(device)


def fast_bfloat16(device: torch.device | None = None) -> bool:
    """Whether a device multiplies bfloat16 natively, several times faster than float32.

    None is this CPU (AVX-512 BF16, or AMX).
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device is not None and device.type != "cpu":
        return False
    # torch has no public name for these in all supported versions
    return any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype of a setting: `auto` is bfloat16 on a GPU and float32 on a CPU.

    On a CPU with `fast_bfloat16`, a run later switches to bfloat16 if the loss stays the same.

    Raises:
        GlossaeError: torch has no such type.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    named = getattr(torch, str(dtype), None)
    if not isinstance(named, torch.dtype):
        raise GlossaeError(f"dtype: expected auto, float32, bfloat16 or float16, got {dtype}")
    return named


def _load_weights(name: str, folder: Path, dtype: torch.dtype, split: bool, held: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    with (
        silent_transformers(),
        one_line_errors(name),
        without_fast_paths(),
        link_folder(name, folder) as where,
    ):
        config = AutoConfig.from_pretrained(**where, trust_remote_code=False)
        how = getattr(config, "quantization_config", None)
        # the quantized weights of a GGUF file are dequantized
        if folder.is_dir() and how:
            kind = (
                how.get("quant_method", "quantization_config")
                if isinstance(how, dict)
                else type(how).__name__
            )
            raise GlossaeError(
                f"model: {name} is quantized ({kind} in its config.json), so what it computes depends on the packages "
                "that are installed: use it with its full weights, or a GGUF file"
            )
        # config.json may ask for an attention that depends on a package
        config._attn_implementation = None
        _check_described(name, config, dtype, split, held)
        # with output_loading_info it returns a pair, contrary to its annotations
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **where,
            config=config,
            dtype=dtype,
            device_map="auto" if split else None,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            generation_config=GenerationConfig(),
        )
    model, report = loaded
    # not the temporary folder of links
    model.name_or_path = model.config._name_or_path = str(folder)
    # Missing tensors would silently be random weights. Tied weights are not reported as missing.
    if missing := sorted(report["missing_keys"]):
        raise GlossaeError(f"model: {name} lacks the tensor {_first_of(missing)}")
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    beyond = sorted(
        key
        for key in report["unexpected_keys"]
        if layers is not None and (block := _BLOCK.match(key)) and int(block[1]) >= layers
    )
    if beyond:
        raise GlossaeError(
            f"model: {name} has the tensor {_first_of(beyond)}, and its config.json says {layers} layers"
        )
    if mismatched := sorted(
        str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
    ):
        raise GlossaeError(
            f"model: {name}: the tensor {_first_of(mismatched)} has another shape than config.json says"
        )
    if split:
        # weights that do not fit would be moved to the GPU again for every batch
        left = [
            part for part, place in getattr(model, "hf_device_map", {}).items() if place in ("cpu", "disk")
        ]
        if left:
            raise GlossaeError(
                f"device: {name} does not fit on the {torch.cuda.device_count()} GPUs here: "
                f"{_first_of([left[0] or 'it', *left[1:]])} would stay outside; "
                "a smaller dtype or more GPUs may help, or device: cpu"
            )
    if meta := sorted(key for key, tensor in model.state_dict().items() if tensor.is_meta):
        raise GlossaeError(f"model: {name}: the tensor {_first_of(meta)} was never filled")
    return model


# longer tokens of a vocabulary that are tried, at most
_SAMPLED_TOKENS = 100
# of safetensors
_FLOATING = ("F64", "F32", "F16", "BF16")
# a block's own number among the parts of a tensor's name, as in model.layers.11.mlp
_BLOCK = re.compile(r"(?:model|transformer|gpt_neox|decoder)\.(?:layers|h|blocks)\.(\d+)\.")


def _check_floating(name: str, tensors: Mapping[str, Declared]) -> None:
    """Refuse weights in 8 bits or integers, which would be read as numbers without their scales.

    Buffers, such as an attention mask, may be of any kind.
    """
    odd = sorted(
        key for key, tensor in tensors.items() if key.endswith(".weight") and tensor.dtype not in _FLOATING
    )
    if odd:
        raise GlossaeError(
            f"model: {name}: the weights {_first_of(odd)} are {tensors[odd[0]].dtype}, no floating-point numbers of 16 "
            "bits or more, so they are quantized: use the model with its full weights"
        )


def _check_described(name: str, config: Any, dtype: torch.dtype, split: bool, held: int) -> None:
    """Refuse a configuration that describes far more weights than the `held` ones of the files, or than memory holds.

    Weights that a file lacks, and weights of another shape, would be made in the size that the configuration says.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(deepcopy(config), trust_remote_code=False)
    described = sum(weight.numel() for weight in model.parameters())
    # on the meta device, tied weights may count twice
    if described > 2 * held:
        raise GlossaeError(
            f"model: {name}: its config.json describes {described:,} weights, and its files hold {held:,}"
        )
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if not split:
        check_free(dtype.itemsize * min(described, held) + buffers, f"model: {name}")


def _first_of(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _load_tokenizer(name: str, folder: Path, rows: int) -> Any:
    """A model's fast tokenizer, after checking that every id of ordinary text lies within the embedding's `rows`.

    Many embeddings have spare rows. Some tokenizers have special tokens beyond the embedding that no text
    produces (Gemma 3's for images, added pads): these are allowed, except for the BOS, the end of text and the
    unknown token.
    """
    from transformers import AutoTokenizer

    with silent_transformers(), one_line_errors(name):
        if folder.is_file():
            with link_folder(name, folder) as where:
                tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise GlossaeError(
            f"model: {name} has no fast tokenizer (tokenizer.json), which is needed to know each token's bytes"
        )
    vocabulary = tokenizer.get_vocab()
    # without any tokenizer file, transformers makes one that knows special tokens and no text
    if len(vocabulary) <= len(tokenizer.added_tokens_decoder):
        raise GlossaeError(no_tokenizer(name))
    unfit = f"but its embedding only {rows} rows: they do not belong together"
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    largest = max((id for token, id in vocabulary.items() if token not in special), default=0)
    if largest >= rows:
        raise GlossaeError(f"model: {name}: its tokenizer has ids up to {largest}, {unfit}")
    for kind in ("bos", "eos", "unk"):
        id, token = getattr(tokenizer, f"{kind}_token_id"), getattr(tokenizer, f"{kind}_token")
        if id is not None and id >= rows:
            raise GlossaeError(
                f"model: {name}: its tokenizer's {kind} token {token!r} has the id {id}, {unfit}"
            )
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    longer = [id for token, id in sorted(vocabulary.items()) if len(token) > 1 and token not in added]
    sample = longer[:: len(longer) // _SAMPLED_TOKENS + 1]
    if len(sample) >= _SAMPLED_TOKENS // 4:
        again = tokenizer(tokenizer.batch_decode([[id] for id in sample]), add_special_tokens=False)
        if not any(len(ids) == 1 for ids in again["input_ids"]):
            raise GlossaeError(
                f"model: {name}: its tokenizer gives none of the longer tokens of its vocabulary, as if its merges "
                "were missing: fetch tokenizer.json again"
            )
    return tokenizer


@torch.no_grad()
def _check_weights(name: str, model: nn.Module) -> None:
    for key, weight in model.named_parameters():
        # NaN and infinity both show in the extremes, which need no memory beside the tensor
        if weight.numel() and not torch.stack(torch.aminmax(weight)).isfinite().all():
            raise GlossaeError(
                f"model: {name}: the tensor {key} holds numbers that are NaN or infinite in {_short(weight.dtype)}"
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@torch.no_grad()
def _check_sites(lm: LanguageModel) -> dict[str, int]:
    """Run the model a few times and return the width of each site name.

    Checks: the logits are finite; every site of every layer has a tensor `(batch, seq, d)`, of one width per
    site name; putting the same tensors back changes no logit; reversing their values does (middle layer, each
    site name).

    Raises:
        GlossaeError: the model cannot be run, or its logits are not finite; or a site fails its check, which
            means that the architecture's table is wrong.
    """
    ids = torch.arange(CHECK_TOKENS, device=lm.device)[None] % lm.model.get_input_embeddings().num_embeddings
    # without a mask transformers warns about ids that could be pads
    run = partial(lm.model, ids, attention_mask=torch.ones_like(ids), use_cache=False)
    try:
        # uncompiled, as the passes that it is compared with
        with attach_all([]):
            plain = run().logits
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        # its config.json contradicts itself, or memory is exhausted
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GlossaeError(f"model: {lm.name} cannot be run: {reason}") from error
    if not torch.isfinite(plain).all():
        raise GlossaeError(
            f"model: {lm.name}: its logits are NaN or infinite in {_short(lm.model.dtype)}, "
            "although its weights are not; another dtype may do"
        )
    seen: dict[Site, torch.Size] = {}

    def look(site: Site, x: Tensor) -> Tensor:
        seen[site] = x.shape
        return x.clone()

    sites = [Site(name, layer) for name in lm.architecture.places for layer in range(lm.layers)]
    with attach_all([(lm.tap(site), partial(look, site)) for site in sites]):
        same = run().logits
    widths: dict[str, int] = {}
    for site in sites:
        shape = seen.get(site)
        if shape is None or len(shape) != 3 or shape[:2] != ids.shape:
            raise GlossaeError(
                f"model: {lm.name}: {site} should carry (1, {CHECK_TOKENS}, d) but carries {shape and tuple(shape)}"
            )
        if widths.setdefault(site.name, shape[2]) != shape[2]:
            raise GlossaeError(
                f"model: {lm.name}: {site} is {shape[2]} wide, other layers {widths[site.name]}"
            )
    if not torch.equal(plain, same):
        raise GlossaeError(f"model: {lm.name}: putting the same tensors back at its sites changes its logits")
    for name in lm.architecture.places:
        # reversed, not scaled: a norm after the last block would undo a factor
        with attach_all([(lm.tap(Site(name, lm.layers // 2)), lambda x: x.flip(-1))]):
            turned = run().logits
        if torch.equal(plain, turned):
            raise GlossaeError(f"model: {lm.name}: turning the site '{name}' round changes no logit")
    return widths
