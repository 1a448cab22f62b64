"""A knob: units that were found, in one small file, with which a plain Hugging Face model is turned."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glossae._version import __version__
from glossae.effects.edits import edited
from glossae.effects.units import STEERINGS, Steering, UnitSet
from glossae.errors import GlossaeError
from glossae.files import replacing
from glossae.lm import LanguageModel, NormRange, Site, check_positions, with_sites
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Units

FORMAT = 1
KEY = "glossae_knob"
# the key of knobs that were saved when glossae was called sprog
_FORMER_KEY = "sprog_knob"
# weights of a model that are kept to know it by, and how far they may be off: half precision rounds them
SAMPLED, ROUNDED = 256, 0.02
# the tensors of a file that say how far a dose goes; the others are the units'
_MEANS = ("low", "high")

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Knob:
    """Units of one site, what is done with them, and how far they are turned.

    `Knob.of` makes one of a family of units, `save` and `load` are its file, and

        with knob.on(model):
            model.generate(...)

    turns a plain `transformers` model, with or without cache, as long as the block runs.

    Attributes:
        family: the units and what is done with them.
        dose: how far they are turned; 1 takes the reference's mean to the target's (see `UnitSet`).
        site: where they are.
        width: of the site.
        model: what the model is called; of a folder, its last part.
        commit: of the hub, if it is from there.
        weights: a few of the model's weights, by which it is known again.
        target, reference: the languages.
        whence: what else is known of where it came from.
        bos: whether the texts that the units were found on begin with a BOS, which is not turned.
        chat: where the units were found on replies in a chat, the tokens of the chat template before them, which are
            not turned; in `generate` all that is given is not.
        sinks: the norms outside of which a token is an attention sink, which is not turned; None: there are none.
        version: of glossae.
    """

    family: UnitSet
    dose: float
    site: Site
    width: int
    model: str
    commit: str | None
    weights: Float[Tensor, " sampled"]
    target: str
    reference: str
    whence: dict[str, Any] = field(default_factory=dict)
    bos: bool = False
    chat: tuple[int, ...] = ()
    sinks: NormRange | None = None
    version: str = __version__
    _tensors: Tensors = field(default_factory=dict, repr=False)
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        lm: LanguageModel,
        site: Site,
        family: UnitSet,
        *,
        dose: float,
        target: str,
        reference: str,
        whence: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> "Knob":
        """A knob of units at a model's site.

        Args:
            whence: what else is to be known, in JSON's types.
            whole: whether a whole encoder may be written (`set` on top-k latents needs it).

        Raises:
            GlossaeError: the units are of another width, or a whole encoder is needed and was not asked for.
        """
        width = lm.width(site)
        if family.of.d_in != width:
            raise GlossaeError(
                f"knob: the units are of a site of {family.of.d_in} values, and {site} has {width}"
            )
        tensors, facts = _packed(family, whole=whole)
        facts |= {"kind": family.of.kind, "names": [family.of.name(unit) for unit in family.ids]}
        facts |= {"units": list(family.ids), "identity": family.of.identity}
        for name in _MEANS:
            tensors[name] = torch.tensor(getattr(family, name), dtype=torch.float64)
        return Knob(
            family=family,
            dose=dose,
            site=site,
            width=width,
            model=_called(lm.name),
            commit=lm.commit,
            weights=sampled_weights(lm, site),
            target=target,
            reference=reference,
            whence=dict(whence or {}),
            bos=lm.bos,
            chat=lm.chat,
            sinks=lm.sinks.get(site),
            _tensors=tensors,
            _facts=facts,
        )

    @property
    def names(self) -> list[str]:
        """What the units are called."""
        return list(self._facts["names"])

    @property
    def kind(self) -> str:
        """What sort of units they are."""
        return str(self._facts["kind"])

    @cached_property
    def hash(self) -> str:
        """Of everything but the dose: knobs of one hash are the same knob, turned or not."""
        digest = hashlib.sha256(json.dumps(self._description(), sort_keys=True, ensure_ascii=False).encode())
        for name, tensor in sorted(self._file_tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def turned(self, dose: float) -> "Knob":
        """The same knob at another dose."""
        return dataclasses.replace(self, dose=float(dose))

    def under(self, operation: Steering) -> "Knob":
        """The same neurons or directions, added or projected to; of latents only what their means are of.

        Raises:
            GlossaeError: the units are latents, and it is another operation than their own.
        """
        if operation == self.family.operation:
            return self
        if self.kind == "latent":
            raise GlossaeError(
                f"knob: latents that {self.family.operation} cannot {operation}: make a knob of them anew"
            )
        # these directions have length 1, so that setting them to a component is projecting to it
        kept: Steering = "add" if operation == "add" else "project_out"
        return dataclasses.replace(self, family=dataclasses.replace(self.family, operation=kept))

    @contextmanager
    def on(self, model: Any, *, dose: float | None = None, any_model: bool = False) -> Iterator[None]:
        """While the block runs, the model is turned: in a forward pass, in a loss and in `generate`.

        Args:
            dose: takes the place of the knob's own.
            any_model: do not look whether it is the model that the units were found in, such as for a copy of it
                that was trained further.

        Raises:
            GlossaeError: it is another model, lacks the site, is in training mode, or (in the pass) an input is wrong.
        """
        lm = model if isinstance(model, LanguageModel) else with_sites(model)
        self.check(lm, any_model=any_model)
        lm = dataclasses.replace(
            lm, bos=self.bos, chat=self.chat, sinks={} if self.sinks is None else {self.site: self.sinks}
        )
        if isinstance(self.family.units, Sae):
            self.family.units.to(lm.device)
        with edited(lm, self.site, self.family.of, self.family.edit(self.dose if dose is None else dose)):
            yield

    def check(self, lm: LanguageModel, *, any_model: bool = False) -> None:
        """Refuse a model that the knob is not of.

        Raises:
            GlossaeError: as for `on`.
        """
        own, other = f"{self.model}{f' ({self.commit[:12]})' if self.commit else ''}", _called(lm.name)
        if self.site.layer >= lm.layers or self.site.name not in lm.architecture.places:
            raise GlossaeError(
                f"knob: it is for {self.site} of {own}, and {other} has no such site: it has the layers 0 to "
                f"{lm.layers - 1}"
            )
        if lm.widths[self.site.name] != self.width:
            raise GlossaeError(
                f"knob: it is for a site of {self.width} values ({self.site} of {own}), and that of {other} has "
                f"{lm.widths[self.site.name]}"
            )
        if not any_model and not _alike(self.weights, sampled_weights(lm, self.site)):
            raise GlossaeError(
                f"knob: it is of {own}, and {other} has other weights; any_model (--any-model) turns it all the same"
            )

    def save(self, path: Path | str) -> Path:
        """Write the knob to a safetensors file, atomically.

        Raises:
            GlossaeError: the file cannot be written.
        """
        from safetensors.torch import save_file

        place = Path(path)
        said = self._description() | {"dose": self.dose, "glossae": self.version, "hash": self.hash}
        text = json.dumps(said, ensure_ascii=False, allow_nan=False, sort_keys=True)
        with replacing(place) as temporary:
            save_file(self._file_tensors(), temporary, metadata={KEY: text})
        return place

    @staticmethod
    def load(path: Path | str) -> "Knob":
        """Read a knob that `save` wrote.

        Raises:
            GlossaeError: there is no such file, or it is no knob, or a broken one.
        """
        from safetensors import SafetensorError, safe_open

        place = Path(path)
        if not place.is_file():
            raise GlossaeError(f"{place}: there is no such file; 'glossae knob save' writes one")
        try:
            with safe_open(place, framework="pt") as file:
                header = file.metadata() or {}
                said = json.loads(header.get(KEY, header.get(_FORMER_KEY, "null")))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError, ValueError) as error:
            raise GlossaeError(f"{place}: cannot be read as safetensors ({error})") from error
        if not isinstance(said, dict):
            raise GlossaeError(f"{place}: is no knob of glossae: its header has no '{KEY}'")
        if said.get("format") != FORMAT:
            raise GlossaeError(
                f"{place}: is a knob of format {said.get('format')}, and this glossae reads {FORMAT}"
            )
        try:
            knob, own = _made(said, tensors), said["hash"]
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, GlossaeError) as error:
            raise GlossaeError(f"{place}: is a broken knob: {error}") from error
        if knob.hash != own:
            raise GlossaeError(f"{place}: is a broken knob: its hash is not that of what it holds")
        return knob

    def _description(self) -> dict[str, Any]:
        family, names = self.family, ("model", "commit", "width", "target", "reference", "whence")
        return {
            "format": FORMAT,
            "site": self.site.name,
            "layer": self.site.layer,
            "family": family.name,
            "operation": family.operation,
            "positions": family.positions,
            **{name: getattr(self, name) for name in names},
            # keys of their own only where there is something to say, so that older knobs keep their hash
            **({"bos": True} if self.bos else {}),
            **({"chat": list(self.chat)} if self.chat else {}),
            **({} if self.sinks is None else {"sinks": _as_json(self.sinks)}),
            **self._facts,
        }

    def _file_tensors(self) -> Tensors:
        return self._tensors | {"weights": self.weights}


def sampled_weights(lm: LanguageModel, site: Site) -> Float[Tensor, " sampled"]:
    """A few weights by which a model is known: of its embeddings, and of the block at the site."""
    block = next(p for p in lm.blocks[site.layer].parameters() if p.ndim > 1)
    parts = []
    for weight in (lm.model.get_input_embeddings().weight, block):
        flat = weight.detach().reshape(-1)
        at = torch.linspace(0, len(flat) - 1, SAMPLED, dtype=torch.float64).round().long()
        parts.append(flat[at.to(flat.device)].float().cpu())
    return torch.cat(parts)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= ROUNDED * one.std())


def _called(model: str) -> str:
    """A hub id as it is, a folder by its last part: where it lay is nobody's business."""
    folder = model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).is_dir()
    return PurePath(model).name or model if folder else model


def _made(said: dict[str, Any], tensors: Tensors) -> Knob:
    if said["operation"] not in STEERINGS:
        raise GlossaeError(f"operation: '{said['operation']}' is not one of {', '.join(STEERINGS)}")
    check_positions(said["positions"])
    site = Site(str(said["site"]), int(said["layer"]))
    own = {name: tensor for name, tensor in tensors.items() if name != "weights"}
    of_units = {name: tensor for name, tensor in own.items() if name not in _MEANS}
    units, ids, norms = _unpacked(of_units, said, site)
    # to `add`: directions have length 1 there, so that as much of a longer one is more of them
    scale = norms if said["operation"] == "add" else [1.0] * len(norms)
    low, high = (
        tuple(value * norm for value, norm in zip(own[name].tolist(), scale, strict=True)) for name in _MEANS
    )
    kept = ("reads", "config", "kind", "names", "units", "identity")
    facts = {key: value for key, value in said.items() if key in kept}
    family = UnitSet(str(said["family"]), units, ids, said["operation"], low, high, said["positions"])
    return Knob(
        family=family,
        dose=float(said["dose"]),
        site=site,
        width=int(said["width"]),
        model=str(said["model"]),
        commit=said["commit"],
        weights=tensors["weights"],
        target=str(said["target"]),
        reference=str(said["reference"]),
        whence=dict(said["whence"]),
        bos=bool(said.get("bos", False)),
        chat=tuple(map(int, said.get("chat", ()))),
        sinks=_range(said["sinks"]) if "sinks" in said else None,
        version=str(said["glossae" if "glossae" in said else "sprog"]),
        _tensors=own,
        _facts=facts,
    )


def _as_json(sinks: NormRange) -> list[float | None]:
    """Smallest and largest norm and share; JSON has no infinity."""
    return [sinks.smallest, None if math.isinf(sinks.largest) else sinks.largest, sinks.share]


def _range(said: list[float | None]) -> NormRange:
    smallest, largest, share = said
    return NormRange(
        float(smallest or 0.0), math.inf if largest is None else float(largest), float(share or 0.0)
    )


def _packed(family: UnitSet, *, whole: bool = False) -> tuple[Tensors, dict[str, Any]]:
    """What a family's operation needs of its units, as tensors for a file.

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
        # neurons read themselves; directions take something off first
        offsets = units.offsets[ids].cpu() if isinstance(units, Directions) else torch.zeros(len(ids))
        rows = units.direction(ids).detach().cpu().contiguous()
        return {"directions": rows, "offsets": offsets.contiguous()}, {"reads": "directions"}
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


def _unpacked(
    tensors: Tensors, said: Mapping[str, Any], site: Site
) -> tuple[Sae | Units, tuple[int, ...], list[float]]:
    """The units, their numbers there, and by how much `Directions` shortened each of them.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: it is not what `_packed` gave.
    """
    ids, count = said["units"], len(said["units"])
    if said["reads"] == "directions":
        rows, offsets = tensors["directions"], tensors["offsets"]
        if rows.shape[0] != count or offsets.shape != (count,):
            raise ValueError("there are not as many directions as units")
        norms = rows.double().norm(dim=1).tolist()
        return Directions(said["names"], rows, offsets, site=site), tuple(range(count)), norms
    sae, whole = Sae(SaeConfig(**said["config"])).requires_grad_(False), said["reads"] == "latents of all"
    if whole:
        rows = torch.zeros_like(sae.W_dec).index_copy(0, torch.tensor(ids), tensors["W_dec"])
        tensors = tensors | {"W_dec": rows}
    sae.load_state_dict(tensors)
    return sae, tuple(ids) if whole else tuple(range(count)), [1.0] * count


def _of(config: SaeConfig) -> dict[str, Any]:
    # nested sizes matter in training only; a tied autoencoder would have to keep as many rows on both sides
    left_out = ("matryoshka", "tied", "model")
    return {name: value for name, value in vars(config).items() if name not in left_out}


def _state(sae: Sae) -> Tensors:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sae.state_dict().items()}
