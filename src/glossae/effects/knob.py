"""A knob is a small file of units that turns a plain Hugging Face model."""

import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glossae._version import __version__
from glossae.declared import check_loadable
from glossae.effects.edits import apply_edit
from glossae.effects.sets import STEERINGS, Steering, UnitSet
from glossae.effects.sharing import FILE, knob_card, locate
from glossae.errors import GlossaeError, one_line
from glossae.files import fingerprint, path_given, shared_name, write_tensors, write_text
from glossae.hub import Repository, push
from glossae.lm import LanguageModel, NormRange, Site, check_positions, wrap_model
from glossae.sae import CARD, MARK, Sae, SaeConfig, check_card, placed
from glossae.units import Directions, Units

FORMAT = 1
KEY = "glossae_knob"
# the key of knobs that were saved when glossae was called sprog
_FORMER_KEY = "sprog_knob"
# weights of a model stored to identify it, and their tolerance: half precision rounds them
SAMPLED, ROUNDED = 256, 0.02
# norms square their input in float32, which ends at 3e38, after projections may have enlarged it
LARGEST = 1e15
# the tensors of a file that scale the dose; the others are the units'
_MEANS = ("low", "high")

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Knob:
    """Units of one site with an operation and a dose.

    `Knob.all_units` makes one from a family of units, `save` and `load` write and read its file, and

        with knob.on(model):
            model.generate(...)

    turns a plain `transformers` model, with or without cache, inside the block.

    Attributes:
        family: the units and what is done with them.
        dose: how far they are turned; 1 takes the reference's mean to the target's (see `UnitSet`).
        site: where they are.
        width: of the site.
        model: the model's name; for a folder, its last part.
        commit: the model's commit on the hub, if it is from there.
        weights: a few of the model's weights, which identify it.
        target, reference: the languages.
        origin: further facts about its origin.
        bos: whether the units were found on texts with a BOS; the BOS is not edited.
        chat: the tokens of the chat template, if the units were found on replies in a chat; they are not
            edited, nor is in `generate` anything that it is given.
        sinks: the range of norms outside of which a token is an attention sink, which is not edited; None for
            no sinks.
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
    origin: dict[str, Any] = field(default_factory=dict)
    bos: bool = False
    chat: tuple[int, ...] = ()
    sinks: NormRange | None = None
    version: str = __version__
    _tensors: Tensors = field(default_factory=dict, repr=False)
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose", _number(self.dose))
        self._check_dose(self.dose, torch.float32)

    @staticmethod
    def of(
        lm: LanguageModel,
        site: Site,
        family: UnitSet,
        *,
        dose: float,
        target: str,
        reference: str,
        origin: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> "Knob":
        """A knob of units at a model's site.

        Args:
            origin: further facts about its origin, as JSON values.
            whole: whether the whole encoder may be saved (`set` on top-k latents needs it).

        Raises:
            GlossaeError: the units have another width, the whole encoder is needed and was not allowed, or the dose
                is not finite or far too large.
        """
        width = lm.width(site)
        if family.all_units.d_in != width:
            raise GlossaeError(
                f"knob: the units are of a site of {family.all_units.d_in} values, and {site} has {width}"
            )
        tensors, facts = _packed(family, whole=whole)
        facts |= {
            "kind": family.all_units.kind,
            "names": [family.all_units.name(unit) for unit in family.ids],
        }
        facts |= {"units": list(family.ids), "identity": family.all_units.identity}
        for name in _MEANS:
            tensors[name] = torch.tensor(getattr(family, name), dtype=torch.float64)
        return Knob(
            family=family,
            dose=dose,
            site=site,
            width=width,
            model=shared_name(lm.name),
            commit=lm.commit,
            weights=sampled_weights(lm, site),
            target=target,
            reference=reference,
            origin=dict(origin or {}),
            bos=lm.bos,
            chat=lm.chat,
            sinks=lm.sinks.get(site),
            _tensors=tensors,
            _facts=facts,
        )

    @property
    def names(self) -> list[str]:
        """The names of the units."""
        return list(self._facts["names"])

    @property
    def kind(self) -> str:
        """The kind of the units."""
        return str(self._facts["kind"])

    @cached_property
    def hash(self) -> str:
        """The hash of everything but the dose: knobs with one hash differ at most in their dose."""
        digest = hashlib.sha256(json.dumps(self._description(), sort_keys=True, ensure_ascii=False).encode())
        for name, tensor in sorted(self._file_tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def turned(self, dose: float) -> "Knob":
        """The same knob at another dose.

        Raises:
            GlossaeError: the dose is not finite, or far too large for any model.
        """
        return dataclasses.replace(self, dose=dose)

    def with_operation(self, operation: Steering) -> "Knob":
        """The same neurons or directions under `add` or `project_out`; latents only under their own operation.

        Raises:
            GlossaeError: the units are latents, and the operation is not their own.
        """
        if operation == self.family.operation:
            return self
        if self.kind == "latent":
            raise GlossaeError(
                f"knob: latents saved for {self.family.operation} cannot {operation}: save another knob of them"
            )
        # these directions have length 1, so that setting one to a component is a projection
        kept: Steering = "add" if operation == "add" else "project_out"
        return dataclasses.replace(self, family=dataclasses.replace(self.family, operation=kept))

    @contextmanager
    def on(self, model: Any, *, dose: float | None = None, any_model: bool = False) -> Iterator[None]:
        """Turn the model inside the block: in a forward pass, in a loss and in `generate`.

        Args:
            dose: replaces the knob's own.
            any_model: skip the check that the model is the knob's own, for example for a fine-tuned copy.

        Raises:
            GlossaeError: the model is another one, lacks the site, is in training mode, the dose is too large for its
                numbers, or (in the pass) an input is wrong.
        """
        lm = model if isinstance(model, LanguageModel) else wrap_model(model)
        self.check(lm, any_model=any_model)
        lm = dataclasses.replace(
            lm, bos=self.bos, chat=self.chat, sinks={} if self.sinks is None else {self.site: self.sinks}
        )
        amount = self.dose if dose is None else _number(dose)
        self._check_dose(amount, lm.model.dtype)
        if isinstance(self.family.units, Sae):
            placed(self.family.units, lm.device)
        with apply_edit(lm, self.site, self.family.all_units, self.family.edit(amount)):
            yield

    def check(self, lm: LanguageModel, *, any_model: bool = False) -> None:
        """Refuse a model that is not the knob's own.

        Raises:
            GlossaeError: as for `on`.
        """
        own, other = f"{self.model}{f' ({self.commit[:12]})' if self.commit else ''}", shared_name(lm.name)
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
            GlossaeError: the file cannot be written, or is there already and is no knob.
        """
        place = path_given(path)
        if place.exists() and not is_knob(place):
            raise GlossaeError(f"{place}: exists and is no knob of glossae: give another name")
        said = self._description() | {"dose": self.dose, "glossae": self.version, "hash": self.hash}
        # the other hash is that of the knob at any dose
        said["header"] = fingerprint(said)
        text = json.dumps(said, ensure_ascii=False, allow_nan=False, sort_keys=True)
        write_tensors(place, self._file_tensors(), {KEY: text})
        return place

    @staticmethod
    def load(path: Path | str) -> "Knob":
        """Read a knob that `save` wrote.

        Raises:
            GlossaeError: the file does not exist, is not a knob, or is broken.
        """
        from safetensors import SafetensorError, safe_open

        place = path_given(path)
        if not place.is_file():
            raise GlossaeError(f"{place}: there is no such file; 'glossae knob save' writes one")
        try:
            check_loadable(place)
            with safe_open(place, framework="pt") as file:
                header = file.metadata() or {}
                said = json.loads(header.get(KEY, header.get(_FORMER_KEY, "null")))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError, ValueError, RecursionError) as error:
            raise GlossaeError(f"{place}: cannot be read as safetensors ({error})") from error
        if not isinstance(said, dict):
            raise GlossaeError(f"{place}: is no knob of glossae: its header has no '{KEY}'")
        if said.get("format") != FORMAT:
            raise GlossaeError(
                f"{place}: is a knob of format {str(said.get('format'))[:20]}, and this glossae reads {FORMAT}"
            )
        try:
            knob = _made(said, tensors)
            # files of before have no hash of their header, and none of the dose
            whole = knob.hash == said["hash"] and said.pop("header", None) in (None, fingerprint(said))
        # a RecursionError, of nested brackets, is a RuntimeError
        except (
            LookupError,
            TypeError,
            ValueError,
            OverflowError,
            RuntimeError,
            AttributeError,
            GlossaeError,
        ) as error:
            raise GlossaeError(f"{place}: is a broken knob: {one_line(str(error))}") from error
        if not whole:
            raise GlossaeError(f"{place}: is a broken knob: its hash is not that of what it holds")
        return knob

    @staticmethod
    def from_pretrained(name: Path | str, *, revision: str | None = None, filename: str = FILE) -> "Knob":
        """Read the knob of a repository on the hub, or of a local folder.

        Args:
            name: `OWNER/NAME`, or a folder or file that is here.
            revision: a branch, tag or commit.
            filename: the knob's file in it.

        Raises:
            GlossaeError: as `load`, or the hub or the network refuses.
        """
        return Knob.load(locate(name, revision, filename))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write what `push_to_hub` pushes into a folder: the knob's file and a card.

        Raises:
            GlossaeError: as `save`, or the folder has a README.md that glossae did not write.
        """
        place = path_given(folder, "folder")
        check_card(place / CARD)
        self.save(place / FILE)
        write_text(place / CARD, knob_card(self, place.name))

    def push_to_hub(self, name: str, *, revision: str | None = None, private: bool = False) -> str:
        """Push the knob with a card in one commit, and return the address of the commit.

        Args:
            name: `OWNER/NAME`; it is made if need be.
            revision: a branch that exists; None for the main one.
            private: make a new repository private.

        Raises:
            GlossaeError: as `glossae.hub.push`.
        """
        repository = Repository.named(name, revision)
        with tempfile.TemporaryDirectory() as place:
            files: dict[str, Path | str] = {CARD: knob_card(self, repository.name)}
            files[FILE] = self.save(Path(place) / FILE)
            return push(repository, files, message="Push a knob by glossae", mark=MARK, private=private)

    def _description(self) -> dict[str, Any]:
        family, names = self.family, ("model", "commit", "width", "target", "reference")
        return {
            "format": FORMAT,
            "site": self.site.name,
            "layer": self.site.layer,
            "family": family.name,
            "operation": family.operation,
            "positions": family.positions,
            **{name: getattr(self, name) for name in names},
            "whence": self.origin,
            # these keys are written only if they hold something, so that older knobs keep their hash
            **({"bos": True} if self.bos else {}),
            **({"chat": list(self.chat)} if self.chat else {}),
            **({} if self.sinks is None else {"sinks": _as_json(self.sinks)}),
            **self._facts,
        }

    def _check_dose(self, dose: float, dtype: torch.dtype) -> None:
        """Refuse a dose at which a model whose site has this type may compute infinities."""
        if not math.isfinite(dose):
            raise GlossaeError(f"knob: dose: {dose} is not a finite number")
        if abs(dose) > LARGEST:
            raise GlossaeError(f"knob: dose: {dose:g} is too large: {LARGEST:g} is the most")
        change = self.family.edit(dose)
        rows = self.family.all_units.direction(change.units).detach().double().cpu()
        # a bound of each value that is written
        written = torch.tensor(change.targets, dtype=torch.float64).abs() @ rows.abs()
        most = min(LARGEST, torch.finfo(dtype).max)
        if not (written <= most).all():
            raise GlossaeError(
                f"knob: dose: {dose:g} is too large: it writes values up to {written.max():.3g}, and {most:.3g} is the "
                f"most that a model in {str(dtype).removeprefix('torch.')} can compute with"
            )

    def _file_tensors(self) -> Tensors:
        return self._tensors | {"weights": self.weights}


def _number(dose: Any) -> float:
    try:
        return float(dose)
    except (TypeError, ValueError, OverflowError) as error:
        raise GlossaeError(f"knob: dose: expected a number, got {type(dose).__name__} ({error})") from error


def is_knob(place: Path) -> bool:
    """Whether a file has the header of a knob."""
    from safetensors import SafetensorError, safe_open

    try:
        check_loadable(place)
        with safe_open(place, framework="pt") as file:
            return not {KEY, _FORMER_KEY}.isdisjoint(file.metadata() or {})
    except (OSError, SafetensorError, GlossaeError):
        return False


def sampled_weights(lm: LanguageModel, site: Site) -> Float[Tensor, " sampled"]:
    """A few weights that identify a model: of its embeddings, and of the block at the site.

    Raises:
        GlossaeError: they are quantized.
    """
    block = lm.blocks[site.layer]
    path, _, name = next((key for key, p in block.named_parameters() if p.ndim > 1), "").rpartition(".")
    places = ((lm.model.get_input_embeddings(), "weight"), (block.get_submodule(path), name))
    # a quantized layer has integers, or a method that unpacks them, in its weight's place
    if not all(
        isinstance(weight := getattr(module, name, None), Tensor) and weight.is_floating_point()
        for module, name in places
    ):
        raise GlossaeError(
            f"knob: the weights of {shared_name(lm.name)} are quantized, so that they cannot be compared with a knob's "
            "own: any_model (--any-model) turns it all the same"
        )
    return torch.cat([_sampled(module, name) for module, name in places])


def _sampled(module: nn.Module, name: str) -> Float[Tensor, " sampled"]:
    flat: Tensor = getattr(module, name).detach().reshape(-1)
    if flat.is_meta:
        # accelerate has offloaded it
        from accelerate.utils import align_module_device

        with align_module_device(module, torch.device("cpu")):
            return _sampled(module, name)
    at = torch.linspace(0, len(flat) - 1, SAMPLED, dtype=torch.float64).round().long()
    return flat[at.to(flat.device)].float().cpu()


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= ROUNDED * one.std())


def _made(said: dict[str, Any], tensors: Tensors) -> Knob:
    if said["operation"] not in STEERINGS:
        raise GlossaeError(f"operation: '{said['operation']}' is not one of {', '.join(STEERINGS)}")
    check_positions(said["positions"])
    site = Site(str(said["site"]), int(said["layer"]))
    own = {name: tensor for name, tensor in tensors.items() if name != "weights"}
    of_units = {name: tensor for name, tensor in own.items() if name not in _MEANS}
    units, ids, norms = _unpacked(of_units, said, site)
    # for `add`: directions have length 1, so amounts are multiplied by the length before
    scale = norms if said["operation"] == "add" else [1.0] * len(norms)
    low, high = (
        tuple(value * norm for value, norm in zip(own[name].tolist(), scale, strict=True)) for name in _MEANS
    )
    kept = ("reads", "config", "kind", "names", "units", "identity")
    facts = {key: value for key, value in said.items() if key in kept}
    family = UnitSet(str(said["family"]), units, ids, said["operation"], low, high, said["positions"])
    if type(said["dose"]) not in (int, float):
        raise GlossaeError(f"dose: {json.dumps(said['dose'])[:40]} is not a number")
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
        origin=dict(said["whence"]),
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

    `add` and `project_out` need the directions. `set` also needs to read the units: for neurons and directions
    their offsets, for latents with a threshold (relu, jumprelu, batchtopk) their rows of the encoder. With
    top-k all latents compete, so the whole encoder is needed, which `whole` allows.

    Returns:
        The tensors, and the description for making units of them again.

    Raises:
        GlossaeError: the whole encoder is needed and was not allowed.
    """
    ids = list(family.ids)
    units = family.all_units
    if family.operation != "set" or not isinstance(family.units, Sae):
        # neurons have no offset; directions subtract one
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
    """The units, their numbers among these, and the factor by which `Directions` shortened each of them.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: the tensors are not those of `_packed`.
    """
    ids, count = said["units"], len(said["units"])
    if said["reads"] == "directions":
        rows, offsets = tensors["directions"], tensors["offsets"]
        if rows.shape[0] != count or offsets.shape != (count,):
            raise ValueError("there are not as many directions as units")
        norms = rows.double().norm(dim=1).tolist()
        return Directions(said["names"], rows, offsets, site=site), tuple(range(count)), norms
    config, whole = SaeConfig(**said["config"]), said["reads"] == "latents of all"
    # before tensors of the config's size are made
    if tuple(tensors["W_enc"].shape) != (config.latents, config.d_in):
        raise ValueError("its encoder has another size than its config says")
    sae = Sae(config).requires_grad_(False)
    if whole:
        rows = torch.zeros_like(sae.W_dec).index_copy(0, torch.tensor(ids), tensors["W_dec"])
        tensors = tensors | {"W_dec": rows}
    sae.load_state_dict(tensors)
    return sae, tuple(ids) if whole else tuple(range(count)), [1.0] * count


def _of(config: SaeConfig) -> dict[str, Any]:
    # nested sizes matter only in training; a tied SAE would need as many rows on both sides
    left_out = ("matryoshka", "tied", "model")
    return {name: value for name, value in vars(config).items() if name not in left_out}


def _state(sae: Sae) -> Tensors:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sae.state_dict().items()}
