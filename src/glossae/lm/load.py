"""Loading a causal language model: safetensors or GGUF, no remote code, nothing left to chance."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.lm.architectures import Architecture
from glossae.lm.candidates import architecture_of
from glossae.lm.check import check_sites
from glossae.lm.files import GGUF, alone, check_folder, check_gguf, without_fast_paths
from glossae.lm.generate import settings_of
from glossae.lm.hub import fetch
from glossae.lm.model import LanguageModel
from glossae.lm.quiet import first_line, one_line, quiet
from glossae.lm.soundness import check_tokenizer, check_tokenizer_files, check_weights
from glossae.lm.split import SPLIT, check_split, first_of_split


def load(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    architecture: Architecture | None = None,
) -> LanguageModel:
    """Load a causal language model and its tokenizer, and check its sites by running it.

    A model of the hub is fetched into the hub's cache, unless it is there; all its files are of one commit. Of a
    folder, the configuration, the weights and the tokenizer are read and nothing else: no adapter, and no
    `generation_config.json` (`settings_of` stands in its place). Attention is PyTorch's own, or transformers' plain
    one where a family has no other, whatever config.json asks for and whichever packages are installed.

    Args:
        name: a folder, a GGUF file (whose weights are taken out of their quantization), or a hub id with an optional
            `@REVISION`: a branch, a tag or a commit.
        device: where to put it; `split` shares it out among all GPUs, which needs accelerate.
        dtype: of its weights; always explicit, because the file's own would differ from model to model.
        architecture: where its sites lie, for a family that `ARCHITECTURES` does not know.

    Raises:
        GlossaeError: there is no such model or revision, or it cannot be fetched; it has no safetensors, is
            quantized, needs code of its own, lacks tensors or has some of another shape, or numbers that are not
            finite; its tokenizer does not fit it, its sites do not behave, or it cannot be split.
    """
    split = device == SPLIT
    if split:
        first_of_split()
    commit: str | None = None
    folder = locate(name)
    if folder is None:
        folder, commit = fetch(name)
    model = _load_weights(name, folder, dtype, split)
    tokenizer = _load_tokenizer(name, folder)
    check_tokenizer(name, tokenizer, model.get_input_embeddings().num_embeddings)
    model.eval().requires_grad_(False)
    if not split:
        model.to(device)
    check_weights(name, model)
    model.generation_config = settings_of(model, tokenizer)
    lm = LanguageModel(
        name=name,
        commit=commit,
        model=model,
        tokenizer=tokenizer,
        architecture=architecture or architecture_of(model),
    )
    return dataclasses.replace(lm, widths=check_sites(lm))


def resolve_device(device: str) -> torch.device:
    """`auto` is the first GPU, else the CPU, and `split` the first GPU; anything else is taken at its word.

    Raises:
        GlossaeError: the device is not there, or cannot be split over.
    """
    if device == SPLIT:
        return first_of_split()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise GlossaeError(f"device: '{device}' cannot be used here ({first_line(error)})") from error
    return torch.device(device)


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32 (AVX-512 BF16, or AMX)."""
    # torch has no public name for either in all the versions that we run on
    return any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on a CPU; otherwise the named one.

    A run whose CPU has `fast_bfloat16` goes on in it where the loss stays the same.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    named: torch.dtype = getattr(torch, dtype)
    return named


def locate(name: str) -> Path | None:
    """Where a model is: its folder or GGUF file, or None for a hub id. Nothing is loaded, asked or fetched.

    Raises:
        GlossaeError: the name is none, or the folder is not there, is empty, or lacks a config,
            safetensors or a tokenizer; a GGUF file cannot be read here.
    """
    if not name or name.startswith("@"):
        raise GlossaeError(f"model: '{name}' is neither a folder nor a hub id")
    path = path_named(name)
    if path.is_dir():
        check_folder(name, path)
        check_tokenizer_files(name, path)
        return path
    if path.is_file():
        if path.suffix == GGUF:
            check_gguf(name, path)
            return path
        raise GlossaeError(
            f"model: {name} is a file; give the folder that holds config.json and the weights, or a GGUF file"
        )
    if name.startswith(("/", "./", "../", "~")) or name.partition("@")[0].count("/") > 1:
        raise GlossaeError(f"model: there is no folder {name}")
    return None


def _load_weights(name: str, folder: Path, dtype: torch.dtype, split: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    with quiet(), one_line(name), without_fast_paths(), alone(folder) as where:
        config = AutoConfig.from_pretrained(**where, trust_remote_code=False)
        _check_plain(name, folder, config)
        # config.json may ask for one that depends on a package
        config._attn_implementation = None
        # with output_loading_info it returns a pair, which its annotations do not say
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
    # not the folder of links that it was read through
    model.name_or_path = model.config._name_or_path = str(folder)
    # A missing tensor would be random weights, silently; tied weights are not reported as missing.
    missing = sorted(report["missing_keys"])
    if missing:
        raise GlossaeError(f"model: {name} lacks the tensor {missing[0]}{_and_more(missing)}")
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if mismatched:
        raise GlossaeError(
            f"model: {name}: the tensor {mismatched[0]}{_and_more(mismatched)} has another shape than config.json says"
        )
    if split:
        check_split(name, model)
    meta = sorted(key for key, tensor in model.state_dict().items() if tensor.is_meta)
    if meta:
        raise GlossaeError(f"model: {name}: the tensor {meta[0]}{_and_more(meta)} was never filled")
    return model


def _check_plain(name: str, folder: Path, config: Any) -> None:
    """Refuse weights that are kept quantized; those of a GGUF file are made numbers again.

    Raises:
        GlossaeError: config.json says that they are.
    """
    how = getattr(config, "quantization_config", None)
    if folder.is_dir() and how:
        kind = how.get("quant_method", "quantization_config") if isinstance(how, dict) else type(how).__name__
        raise GlossaeError(
            f"model: {name} is quantized ({kind} in its config.json), so what it computes depends on the packages "
            "that are installed: use it with its full weights, or a GGUF file"
        )


def _load_tokenizer(name: str, folder: Path) -> Any:
    from transformers import AutoTokenizer

    with quiet(), one_line(name):
        if folder.is_file():
            with alone(folder) as where:
                tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise GlossaeError(
            f"model: {name} has no fast tokenizer (tokenizer.json), which is needed to know each token's bytes"
        )
    # without any tokenizer file transformers makes one that knows its special tokens and no text
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):
        raise GlossaeError(f"model: {name} has no tokenizer: there is no tokenizer.json beside its weights")
    return tokenizer


def _and_more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""
