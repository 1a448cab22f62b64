"""Export a knob that adds one vector to the residual stream: to llama.cpp and to vLLM."""

import base64
import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects.knob import Knob
from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.files import replacing
from glossae.lm import LanguageModel, Site, SiteEdit, edits

Elsewhere = Literal["gguf", "vllm"]
ELSEWHERE: tuple[Elsewhere, ...] = get_args(Elsewhere)
_ADDS = {"gguf": "llama.cpp", "vllm": "vllm-lens"}
EXPORTED = {"gguf": "control vector", "vllm": "steering vector"}
"""What the files are, in words."""
# tokens of the check, and its tolerance as a share of the largest value
_TOKENS, _ROUNDED = 8, 1e-4


def export_knob(
    knob: Knob, path: Path | str, to: Elsewhere, *, lm: LanguageModel | None = None, everywhere: bool = False
) -> Path:
    """Write a knob, at its dose, as the file that another library takes.

    `gguf`: a control vector of llama.cpp in the layout of repeng (Vogel 2024): the tensor `direction.N`, float32, is
    added to the output of block N, counted from 0. llama.cpp has none for block 0. `vllm`: the JSON text that
    vllm-lens takes as `apply_steering_vectors`, in `SamplingParams.extra_args` and over HTTP in `vllm_xargs`.

    Args:
        lm: the knob's model, in float32; not needed for a knob at `resid`.
        everywhere: whether to export a knob that leaves some tokens alone. The libraries leave none.

    Raises:
        GlossaeError: the knob is no vector that is added to every token's residual stream; the model is needed or
            another one; the package `gguf` is missing; or the file cannot be written, or is there already and is no
            such vector.
    """
    place = Path(path)
    if place.exists() and not is_export(place, to):
        raise GlossaeError(f"{place}: exists and is no {EXPORTED[to]}: give another name")
    if to == "gguf" and find_spec("gguf") is None:
        raise GlossaeError(
            f"knob: 'gguf' needs the package gguf: {install('gguf')}, or pip install 'gguf>=0.17'"
        )
    if to == "gguf" and knob.site.layer == 0:
        raise GlossaeError("knob: it is in layer 0, and llama.cpp adds no vector after its first layer")
    _check_tokens(knob, to, everywhere)
    vector = residual_vector(knob, lm)
    write = _write_gguf if to == "gguf" else _write_vllm
    with replacing(place) as temporary:
        write(temporary, knob.site.layer, vector, knob.model if lm is None else lm.model.config.model_type)
    return place


def is_export(place: Path, to: Elsewhere) -> bool:
    """Whether a file begins as an export of this kind."""
    try:
        with place.open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    if to == "gguf":
        # a whole model of llama.cpp is a GGUF, too
        return head.startswith(b"GGUF") and b"controlvector" in head
    return head.startswith(b'[{"activations":')


def residual_vector(knob: Knob, lm: LanguageModel | None = None) -> Float[Tensor, " d_model"]:
    """The vector that a knob adds to the output of its block, float64.

    At `mlp.hidden` it is the product with the MLP's output projection. At all sites but `resid`, a pass of the model
    checks that the block's output changes by that vector at every token: not so at `attn.out` if the block's MLP reads
    it, or where a norm follows.

    Raises:
        GlossaeError: the knob does not add, adds nothing, or changes the output by more than a vector; or the model
            is needed, or is another one.
    """
    family, site = knob.family, knob.site
    if family.operation != "add":
        raise GlossaeError(
            f"knob: '{family.operation}' changes each token by what it reads there, which is no vector that is added: "
            "save the units with --operation add"
        )
    change = family.edit(knob.dose)
    directions = family.all_units.direction(change.units).detach().double().cpu()
    at_site = torch.tensor(change.targets, dtype=torch.float64) @ directions
    if not at_site.any():
        raise GlossaeError(f"knob: at dose {knob.dose:g} it adds nothing")
    if lm is not None:
        knob.check(lm)
    if site.name == "resid":
        return at_site
    if lm is None:
        raise GlossaeError(f"knob: what it adds after {site} depends on the model: name it (--model)")
    vector = at_site
    if site.name == "mlp.hidden":
        projection: Any = lm.tap(site).module
        weight = projection.weight.detach().double().cpu()
        # transformers' Conv1D, which has `nf`, stores (in, out)
        vector = at_site @ (weight if hasattr(projection, "nf") else weight.T)
    if not _adds(lm, site, at_site, vector):
        raise GlossaeError(
            f"knob: what it adds at {site} of {knob.model} is no vector after the block: a norm, or the block's MLP, "
            "reads it"
        )
    return vector


def _check_tokens(knob: Knob, to: str, everywhere: bool) -> None:
    """Refuse a knob that leaves some tokens alone, unless it may be exported for all of them."""
    positions = knob.family.positions
    alone = {
        "the BOS": knob.bos,
        "what precedes the reply": bool(knob.chat),
        "attention sinks": knob.sinks is not None,
        f"tokens that are not '{positions}'": positions != "all",
    }
    named = " and ".join(name for name, left in alone.items() if left)
    if named and not everywhere:
        raise GlossaeError(
            f"knob: it leaves {named} alone, and {_ADDS[to]} adds its vector to every token; everywhere (--everywhere) "
            "exports it all the same"
        )


@torch.no_grad()
def _adds(lm: LanguageModel, site: Site, at_site: Tensor, vector: Tensor) -> bool:
    """Whether `at_site`, added at a site, changes the block's output by `vector` at every token."""
    everywhere = dataclasses.replace(lm, bos=False, chat=(), sinks={})
    vocabulary = lm.model.get_input_embeddings().num_embeddings
    ids = torch.arange(1, 1 + _TOKENS, device=lm.device)[None] % vocabulary
    outputs: list[Tensor] = []

    def passed(factor: float) -> Tensor:
        def keep(x: Tensor) -> Tensor:
            outputs.append(x.double().cpu())
            return x

        changes = [
            SiteEdit(site, lambda x: x + factor * at_site.to(x)),
            SiteEdit(Site("resid", site.layer), keep),
        ]
        with edits(everywhere, changes):
            lm.model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return outputs.pop()

    plain = passed(0.0)
    # as large as a usual token, whatever the dose: a small vector would hide in rounding
    factor = float(plain.norm(dim=-1).median() / vector.norm())
    wrong = passed(factor) - plain - factor * vector
    return bool(wrong.abs().max() <= _ROUNDED * max(plain.abs().max(), factor * vector.abs().max()))


def _write_gguf(place: Path, layer: int, vector: Tensor, model: str) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(place, "controlvector")
    writer.add_string("controlvector.model_hint", model)
    writer.add_uint32("controlvector.layer_count", 1)
    writer.add_tensor(f"direction.{layer}", vector.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vllm(place: Path, layer: int, vector: Tensor, _model: str) -> None:
    values = vector.float().numpy()[None]
    tensor = {
        "data": base64.b64encode(values.tobytes()).decode("ascii"),
        "dtype": str(values.dtype),
        "shape": list(values.shape),
    }
    steering = {"activations": tensor, "layer_indices": [layer], "scale": 1.0, "norm_match": False}
    place.write_text(json.dumps([steering]), encoding="ascii")
