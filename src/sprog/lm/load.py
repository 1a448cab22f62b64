"""Loading a causal language model: safetensors only, no remote code, nothing left to chance."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sprog.errors import SprogError
from sprog.lm.architectures import Architecture
from sprog.lm.candidates import architecture_of
from sprog.lm.check import check_sites
from sprog.lm.model import LanguageModel
from sprog.lm.soundness import check_tokenizer, check_tokenizer_files, check_weights
from sprog.lm.split import SPLIT, check_split, first_of_split

# above every level that transformers logs at
SILENT = 100
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def load(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    architecture: Architecture | None = None,
) -> LanguageModel:
    """Load a causal language model and its tokenizer, and check its sites by running it.

    Args:
        name: a folder, or a hub id with an optional `@REVISION`.
        device: where to put it; `split` shares it out among all GPUs, which needs accelerate.
        dtype: of its weights; always explicit, because the file's own would differ from model to model.
        architecture: where its sites lie, for a family that `ARCHITECTURES` does not know.

    Raises:
        SprogError: there is no such model, it has no safetensors, lacks tensors or has some of another
            shape, or numbers that are not finite, its tokenizer does not fit it, its sites do not behave, or
            it cannot be split.
    """
    split = device == SPLIT
    if split:
        first_of_split()
    folder, revision = locate(name)
    model, commit = _load_weights(name, folder, revision, dtype, split)
    tokenizer = _load_tokenizer(name, folder, revision)
    check_tokenizer(name, tokenizer, model.get_input_embeddings().num_embeddings)
    model.eval().requires_grad_(False)
    if not split:
        model.to(device)
    check_weights(name, model)
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
        SprogError: the device is not there, or cannot be split over.
    """
    if device == SPLIT:
        return first_of_split()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SprogError(f"device: '{device}' cannot be used here ({_first_line(error)})") from error
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on a CPU; otherwise the named one."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    named: torch.dtype = getattr(torch, dtype)
    return named


def locate(name: str) -> tuple[Path | None, str | None]:
    """Where a model is: its folder, or (None, revision) for a hub id. Nothing is loaded or fetched.

    Raises:
        SprogError: the name is none, or the folder is not there, is empty, or lacks a config,
            safetensors or a tokenizer.
    """
    if not name or name.startswith("@"):
        raise SprogError(f"model: '{name}' is neither a folder nor a hub id")
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise SprogError(f"model: there is no folder {name} ({error})") from error
    if path.is_dir():
        _check_folder(name, path)
        return path, None
    if path.is_file():
        raise SprogError(f"model: {name} is a file; give the folder that holds config.json and the weights")
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:
        raise SprogError(f"model: there is no folder {name}")
    _, _, revision = name.partition("@")
    return None, revision or None


def _check_folder(name: str, folder: Path) -> None:
    if not any(folder.iterdir()):
        raise SprogError(f"model: the folder {name} is empty")
    if not (folder / "config.json").is_file():
        raise SprogError(f"model: the folder {name} has no config.json, so it is not a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise SprogError(
                f"model: {name} holds its weights only as pickles ({pickles[0]}), which can run code when opened; "
                "save it again with safe_serialization=True"
            )
        raise SprogError(f"model: the folder {name} holds no *.safetensors file")
    check_tokenizer_files(name, folder)


def _load_weights(
    name: str, folder: Path | None, revision: str | None, dtype: torch.dtype, split: bool
) -> tuple[Any, str | None]:
    from transformers import AutoModelForCausalLM

    with _quiet(), _one_line(name):
        # with output_loading_info it returns a pair, which its annotations do not say
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder or name.partition("@")[0],
            revision=revision or "main",
            dtype=dtype,
            device_map="auto" if split else None,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    model, report = loaded
    # A missing tensor would be random weights, silently; tied weights are not reported as missing.
    missing = sorted(report["missing_keys"])
    if missing:
        raise SprogError(f"model: {name} lacks the tensor {missing[0]}{_and_more(missing)}")
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if mismatched:
        raise SprogError(
            f"model: {name}: the tensor {mismatched[0]}{_and_more(mismatched)} has another shape than config.json says"
        )
    if split:
        check_split(name, model)
    meta = sorted(key for key, tensor in model.state_dict().items() if tensor.is_meta)
    if meta:
        raise SprogError(f"model: {name}: the tensor {meta[0]}{_and_more(meta)} was never filled")
    return model, getattr(model.config, "_commit_hash", None)


def _load_tokenizer(name: str, folder: Path | None, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    with _quiet(), _one_line(name):
        tokenizer = AutoTokenizer.from_pretrained(
            folder or name.partition("@")[0], revision=revision or "main", trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise SprogError(
            f"model: {name} has no fast tokenizer (tokenizer.json), which is needed to know each token's bytes"
        )
    # without any tokenizer file transformers makes one that knows its special tokens and no text
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):
        raise SprogError(f"model: {name} has no tokenizer: there is no tokenizer.json beside its weights")
    return tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers and the hub's client print while loading; what matters of it is raised here instead."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    level, hub_level = logging.get_verbosity(), hub_logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity(SILENT)
    hub_logging.set_verbosity(SILENT)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Whatever the hub client or the file formats raise becomes one line that names the model."""
    try:
        yield
    except SprogError:
        raise
    except Exception as error:
        raise SprogError(f"model: {name} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _and_more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""
