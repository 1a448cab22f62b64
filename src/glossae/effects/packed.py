"""As much of some units as an operation needs, as tensors for a file, and units again from those."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glossae.effects.family import Family
from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Units

Tensors = dict[str, Tensor]


def packed(family: Family, *, whole: bool = False) -> tuple[Tensors, dict[str, Any]]:
    """What a family's operation needs of its units.

    `add` and `project_out` need the directions. `set` needs to read the units too: of neurons and directions their
    offsets, of latents that are live above a threshold (relu, jumprelu, batchtopk) their own rows of the encoder. With
    top-k every latent competes, so that the whole encoder is needed, which `whole` allows.

    Returns:
        The tensors, and what is needed beside them to make units of them again.

    Raises:
        GlossaeError: the whole encoder is needed and was not asked for.
    """
    ids = list(family.ids)
    units = family.of
    if family.operation != "set" or not isinstance(family.units, Sae):
        return _rows(units, ids), {"reads": "directions"}
    sae, config = family.units, family.units.config
    if not family.competes:
        kept = torch.tensor(ids)
        fewer = _of(config) | {"latents": len(ids), "k": None}
        made = Sae(SaeConfig(**fewer)).requires_grad_(False)
        made.W_enc.data, made.b_enc.data = sae.W_enc[kept], sae.b_enc[kept]
        made.W_dec.data, made.b_dec.data = sae.W_dec[kept], sae.b_dec
        if sae.threshold is not None:
            made.threshold = sae.threshold if sae.threshold.ndim == 0 else sae.threshold[kept]
        return _state(made), {"reads": "latents", "config": fewer}
    if not whole:
        size = 4 * sae.W_enc.numel() / 1e6
        raise GlossaeError(
            f"knob: 'set' on latents of a top-k autoencoder needs its whole encoder, {size:,.0f} MB, since all latents "
            "compete for the k: take 'add', which needs nothing but their directions, or ask for the whole encoder"
        )
    tensors = _state(sae)
    tensors["W_dec"] = sae.W_dec[torch.tensor(ids)].detach().cpu().contiguous()
    return tensors, {"reads": "latents of all", "config": _of(config)}


def unpacked(
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    ids: Sequence[int],
    names: Sequence[str],
    site: Site,
) -> tuple[Sae | Units, tuple[int, ...], list[float]]:
    """The units, their numbers there, and by how much `Directions` shortened each of them.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: it is not what `packed` gave.
    """
    count = len(ids)
    if facts["reads"] == "directions":
        rows, offsets = tensors["directions"], tensors["offsets"]
        if rows.shape[0] != count or offsets.shape != (count,):
            raise ValueError("there are not as many directions as units")
        norms = rows.double().norm(dim=1).tolist()
        return Directions(names, rows, offsets, site=site), tuple(range(count)), norms
    sae = Sae(SaeConfig(**facts["config"])).requires_grad_(False)
    state = dict(tensors)
    if facts["reads"] == "latents of all":
        place = torch.tensor(list(ids))
        state["W_dec"] = torch.zeros_like(sae.W_dec).index_copy(0, place, state["W_dec"])
    sae.load_state_dict(state)
    kept = tuple(ids) if facts["reads"] == "latents of all" else tuple(range(count))
    return sae, kept, [1.0] * count


def _rows(units: Units, ids: list[int]) -> Tensors:
    rows = units.direction(ids).detach().cpu()
    # neurons read themselves; directions take something off first
    offsets = (
        units.offsets[torch.tensor(ids)].cpu() if isinstance(units, Directions) else torch.zeros(len(ids))
    )
    return {"directions": rows.contiguous(), "offsets": offsets.contiguous()}


def _of(config: SaeConfig) -> dict[str, Any]:
    # nested sizes matter in training only; a tied autoencoder would have to keep as many rows on both sides
    left_out = ("matryoshka", "tied", "model")
    return {name: value for name, value in vars(config).items() if name not in left_out}


def _state(sae: Sae) -> Tensors:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sae.state_dict().items()}
