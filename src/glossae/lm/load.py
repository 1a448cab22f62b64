"""Loading a causal language model: safetensors or GGUF, no remote code, nothing left to chance."""

import dataclasses
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.lm.files import (
    alone,
    fetch,
    first_line,
    locate,
    no_tokenizer,
    one_line,
    quiet,
    without_fast_paths,
)
from glossae.lm.generate import settings_of
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Architecture, Site, architecture_of, attached

SPLIT = "split"
"""The device that shares a model out among several GPUs, which `accelerate` does."""
# tokens that the check at load runs: any ids will do; a handful, so that their number is no other dimension's
CHECK_TOKENS = 5


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
        resolve_device(SPLIT)
    commit: str | None = None
    folder = locate(name)
    if folder is None:
        folder, commit = fetch(name)
    model = _load_weights(name, folder, dtype, split)
    tokenizer = _load_tokenizer(name, folder, model.get_input_embeddings().num_embeddings)
    model.eval().requires_grad_(False)
    if not split:
        model.to(device)
    _check_weights(name, model)
    model.generation_config = settings_of(model, tokenizer)
    lm = LanguageModel(name, commit, model, tokenizer, architecture or architecture_of(model))
    return dataclasses.replace(lm, widths=_check_sites(lm))


def with_sites(model: Any) -> LanguageModel:
    """A `transformers` model that is loaded already, which stays as it is, with its sites checked by running it.

    It has no tokenizer, which edits do not need.

    Raises:
        GlossaeError: it is in training mode, of an unknown family, or its sites do not behave.
    """
    name = getattr(model, "name_or_path", "") or type(model).__name__
    if model.training:
        raise GlossaeError(f"model: {name} is in training mode; call model.eval() first")
    commit = getattr(model.config, "_commit_hash", None)
    lm = LanguageModel(name, commit, model, None, architecture_of(model))
    return dataclasses.replace(lm, widths=_check_sites(lm))


def resolve_device(device: str) -> torch.device:
    """`auto` is the first GPU, else the CPU, and `split` the first GPU; anything else is taken at its word.

    The first GPU of a split model is where token ids go, and where activations come back to.

    Raises:
        GlossaeError: the device is not there, or cannot be split over.
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


def _load_weights(name: str, folder: Path, dtype: torch.dtype, split: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    with quiet(), one_line(name), without_fast_paths(), alone(name, folder) as where:
        config = AutoConfig.from_pretrained(**where, trust_remote_code=False)
        how = getattr(config, "quantization_config", None)
        # the quantized weights of a GGUF file are made numbers again
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
    if missing := sorted(report["missing_keys"]):
        raise GlossaeError(f"model: {name} lacks the tensor {_first_of(missing)}")
    if mismatched := sorted(
        str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
    ):
        raise GlossaeError(
            f"model: {name}: the tensor {_first_of(mismatched)} has another shape than config.json says"
        )
    if split:
        # weights that did not fit would be fetched anew for every batch of text
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


def _first_of(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _load_tokenizer(name: str, folder: Path, rows: int) -> Any:
    """A model's fast tokenizer, all of whose ids that text can become lie within the embedding's `rows`.

    An embedding with rows to spare is common. So are special tokens beyond it that no text becomes (Gemma 3's
    for images, pads that were added): they are left alone, but for the beginning and end of a text and the unknown.
    """
    from transformers import AutoTokenizer

    with quiet(), one_line(name):
        if folder.is_file():
            with alone(name, folder) as where:
                tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise GlossaeError(
            f"model: {name} has no fast tokenizer (tokenizer.json), which is needed to know each token's bytes"
        )
    vocabulary = tokenizer.get_vocab()
    # without any tokenizer file transformers makes one that knows its special tokens and no text
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
    return tokenizer


@torch.no_grad()
def _check_weights(name: str, model: nn.Module) -> None:
    for key, weight in model.named_parameters():
        # NaN and infinity both show in the extremes, which takes no memory beside the tensor
        if weight.numel() and not torch.stack(torch.aminmax(weight)).isfinite().all():
            raise GlossaeError(
                f"model: {name}: the tensor {key} holds numbers that are NaN or infinite in {_short(weight.dtype)}"
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@torch.no_grad()
def _check_sites(lm: LanguageModel) -> dict[str, int]:
    """Run the model a few times and return the width of each site name.

    Checked: the logits are finite; every site of every layer carries a tensor `(batch, seq, d)`, of one width
    per site name; putting the same tensors back changes no logit; turning its values round does (middle layer,
    each site name).

    Raises:
        GlossaeError: it cannot be run, or its logits are not finite; or a site does not behave, which means that
            the architecture's table is wrong.
    """
    ids = torch.arange(CHECK_TOKENS, device=lm.device)[None] % lm.model.get_input_embeddings().num_embeddings
    # without a mask transformers warns of ids that could be pads
    run = partial(lm.model, ids, attention_mask=torch.ones_like(ids), use_cache=False)
    try:
        plain = run().logits
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        # its config.json contradicts itself, or there is no memory left
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
    with attached([(lm.tap(site), partial(look, site)) for site in sites]):
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
        # not a multiple of the tensor: a norm behind the last block would undo that
        with attached([(lm.tap(Site(name, lm.layers // 2)), lambda x: x.flip(-1))]):
            turned = run().logits
        if torch.equal(plain, turned):
            raise GlossaeError(f"model: {lm.name}: turning the site '{name}' round changes no logit")
    return widths
