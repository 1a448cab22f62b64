"""The architecture of a model, and for families that the table lacks, what its modules suggest."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from glossae.errors import GlossaeError
from glossae.lm.architectures import ARCHITECTURES, Architecture, Place


def architecture_of(model: Any) -> Architecture:
    """The architecture of a Hugging Face causal language model, by its `model_type`.

    A model whose MLPs are wider in some layers (Gemma 4 E2B and E4B) has no site `mlp.hidden`: a site name has one
    width.

    Raises:
        GlossaeError: it is not in `ARCHITECTURES`; the message suggests one by the names and shapes of the
            model's modules.
    """
    model_type = model.config.model_type
    if model_type in ARCHITECTURES:
        return _of_one_width(ARCHITECTURES[model_type], model.config.get_text_config())
    known = ", ".join(ARCHITECTURES)
    unknown = f"model: no sites are known for the architecture '{model_type}' (known: {known})"
    lists = _block_lists(model)
    if not lists:
        raise GlossaeError(f"{unknown}, and it has no list of blocks")
    path, *others = lists
    blocks = model.get_submodule(path)
    projections = list(_projections(blocks[0]))
    places = _places(projections, getattr(model.config.get_text_config(), "hidden_size", None))
    shapes = ", ".join(f"{name} ({wide_in} to {wide_out})" for name, wide_in, wide_out in projections)
    suggested = ", ".join(f"'{site}': Place{place[:2]}" for site, place in places.items())
    raise GlossaeError(
        f"{unknown}; candidates: {path} (x{len(blocks)}: {shapes}){''.join(f', {other}' for other in others)}; "
        f"by names and shapes this may do: glossae.lm.load(NAME, architecture=Architecture('{path}', "
        f"{{{suggested}}})), if mlp.out and attn.out are what each adds to the residual stream"
    )


def _of_one_width(architecture: Architecture, config: Any) -> Architecture:
    if not (getattr(config, "use_double_wide_mlp", False) and getattr(config, "num_kv_shared_layers", 0)):
        return architecture
    places = {name: place for name, place in architecture.places.items() if name != "mlp.hidden"}
    return Architecture(architecture.blocks, places)


def _block_lists(model: nn.Module) -> list[str]:
    """Paths of the lists of modules that lie in no other, the one with the most weights first."""
    lists = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module)
    }
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return sorted(outer, key=lambda name: -lists[name])


def _projections(block: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Path, width in and width out of every linear module of a block."""
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 2 and not isinstance(module, nn.Embedding):
            # weights are (out, in), but those of transformers' Conv1D, which knows its `nf`, (in, out)
            wide_out, wide_in = weight.shape[::-1] if hasattr(module, "nf") else weight.shape
            yield name, wide_in, wide_out


def _places(projections: list[tuple[str, int, int]], width: int | None) -> dict[str, Place]:
    """The last projection back to the model's width in the attention, and the last one outside it."""
    back = [name for name, _, wide_out in projections if wide_out == width]
    attention = [name for name in back if "att" in name.lower()]
    mlp = [name for name in back if name not in attention]
    places: dict[str, Place] = {}
    if mlp:
        places |= {"mlp.hidden": Place(mlp[-1], "input"), "mlp.out": Place(mlp[-1], "output")}
    if attention:
        places |= {"attn.out": Place(attention[-1], "output")}
    return {**places, "resid": Place("", "output")}
