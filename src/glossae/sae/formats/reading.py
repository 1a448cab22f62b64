"""Read an SAE's files: every key of a config and every tensor is used, known to be harmless, or refused by name."""

import json
import math
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from glossae.declared import check_archive, check_loadable, few_tensors
from glossae.errors import GlossaeError
from glossae.files import read_bytes
from glossae.lm import Site
from glossae.sae.sae import Sae, SaeConfig

# bytes of a config
MOST_CONFIG = 2**24
# values compared at once
COMPARED = 2**22
# characters of a value in an error message
SHOWN = 60
# what torch says that a pickle holds besides tensors
OTHER = re.compile(r"GLOBAL ([\w.]{1,60})")
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# reasons for refusal that several libraries' files share
TRANSCODER = "a transcoder does not give back what it reads"
LINEAR_PATH = "glossae's autoencoders have no linear path beside the latents"
GATE = "glossae's autoencoders have no gate beside the encoder"
SCALED = "glossae's autoencoders do not scale latents after selecting them"
ABSOLUTE = "glossae's top-k does not select by absolute value"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > 2**62


def _finite(values: Tensor) -> bool:
    """Whether all values are finite, found in blocks: to compare makes several tensors of the size compared."""
    rows = values if values.ndim else values.reshape(1)
    blocks = rows.split(max(1, COMPARED // max(1, rows[:1].numel())))
    return all(bool(block.isfinite().all()) for block in blocks)


class Keys:
    """The keys of a JSON object. A key that is null counts as missing."""

    def __init__(self, values: dict[str, Any], path: Path, within: str = "") -> None:
        self.values, self.path, self.within = values, path, within
        self.asked: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Read a file."""
        try:
            text = read_bytes(path, MOST_CONFIG).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GlossaeError(f"{path}: cannot be read as JSON ({error})") from error
        return cls.parsed(text, path)

    @classmethod
    def parsed(cls, text: str, path: Path) -> "Keys":
        """Read a text that a file holds."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GlossaeError(f"{path}: cannot be read as JSON ({error})") from error
        if not isinstance(values, dict):
            raise GlossaeError(f"{path}: should hold a JSON object")
        return cls(values, path)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def value(self, key: str) -> Any:
        """The value of a key, unchecked; None if it is missing."""
        self.asked.add(key)
        return self.values.get(key)

    def refused(self, key: str, why: str) -> GlossaeError:
        """The error that names a key, its value, and the reason."""
        shown = json.dumps(self.values.get(key), ensure_ascii=False)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
        return GlossaeError(f"{self.path}: {self.within}{key} is {shown}; {why}")

    def missing(self, key: str) -> GlossaeError:
        """The error that names a missing key."""
        return GlossaeError(f"{self.path}: the key '{self.within}{key}' is missing")

    def only(self, key: str, *allowed: Any, why: str) -> Any:
        """The value of a key; values other than `allowed` and None are refused."""
        value = self.value(key)
        if value is not None and value not in allowed:
            raise self.refused(key, why)
        return value

    def _checked(self, key: str, fits: Callable[[Any], bool], kind: str) -> Any:
        value = self.value(key)
        if value is not None and not fits(value):
            raise self.refused(key, f"it should be {kind}")
        return value

    def number(self, key: str) -> float | None:
        """A finite number, or None."""
        value: float | None = self._checked(key, _is_number, "a number")
        if value is not None and not math.isfinite(value):
            raise self.refused(key, "it should be a finite number")
        return value

    def needed(self, key: str) -> float:
        """A finite number that must be present."""
        number = self.number(key)
        if number is None:
            raise self.missing(key)
        return number

    def maybe_whole(self, key: str, least: int = 1) -> int | None:
        """An integer (32.0 counts as one), or None."""
        number = self.number(key)
        if number is None:
            return None
        if number != int(number) or number < least:
            raise self.refused(key, f"it should be a whole number of at least {least}")
        return int(number)

    def whole(self, key: str, least: int = 1) -> int:
        """An integer that must be present."""
        value = self.maybe_whole(key, least)
        if value is None:
            raise self.missing(key)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._checked(key, lambda x: isinstance(x, bool), "true or false")
        return default if value is None else bool(value)

    def text(self, key: str) -> str:
        """A text; empty if it is missing."""
        return self._checked(key, lambda x: isinstance(x, str), "a text") or ""

    def _listed(self, key: str, fits: Callable[[Any], bool], kind: str) -> Any:
        return (
            self._checked(key, lambda x: isinstance(x, list) and all(map(fits, x)), f"a list of {kind}") or ()
        )

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of integers; empty if it is missing."""
        return tuple(self._listed(key, lambda x: type(x) is int and 0 < x < 2**62, "whole numbers"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if it is missing."""
        return tuple(self._listed(key, lambda x: isinstance(x, str), "texts"))

    def group(self, key: str) -> "Keys":
        """The keys of a nested object; none if it is missing."""
        value = self._checked(key, lambda x: isinstance(x, dict), "an object")
        return Keys(value or {}, self.path, f"{self.within}{key}.")

    def done(self, harmless: Collection[str] = ()) -> None:
        """Refuse keys that were not read and are not harmless."""
        for key in sorted(self.values):
            if key in self and key not in self.asked and key not in harmless:
                raise GlossaeError(
                    f"{self.path}: the key '{self.within}{key}' is not known, so its effect is unknown"
                )


class Tensors:
    """The tensors of a file: each is taken by its name, and `done` refuses those that were not."""

    def __init__(
        self, tensors: dict[str, Tensor], path: Path, header: Mapping[str, str] | None = None
    ) -> None:
        self.tensors, self.path, self.header = dict(tensors), path, dict(header or {})

    @classmethod
    def read(cls, path: Path, *, copied: bool = True) -> "Tensors":
        """Read a safetensors file, whose tensors map it; `copied`: there has to be memory for copies of them."""
        from safetensors import SafetensorError, safe_open

        try:
            (check_loadable if copied else few_tensors)(path)
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                return cls({name: file.get_tensor(name) for name in names}, path, file.metadata())
        except (OSError, SafetensorError) as error:
            raise GlossaeError(f"{path}: cannot be read as safetensors ({error})") from error

    @classmethod
    def unpickled(cls, path: Path) -> "Tensors":
        """Read a pickled dict of tensors by name (`torch.save` since torch 1.6); nothing else is unpickled."""
        try:
            check_archive(path)
            # torch warns about unknown protocols before it fails
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, map_location="cpu", weights_only=True)
        except GlossaeError:
            raise
        except UnpicklingError as error:
            # torch's own words say how to open it nevertheless, which would run code
            found = OTHER.search(str(error))
            reason = f"it holds {found[1]}" if found else "its pickle is broken, or holds something else"
            raise GlossaeError(f"{path}: cannot be read as tensors alone ({reason})") from error
        except Exception as error:
            # broken bytes raise whatever the unpickler meets first
            reason = str(error).partition("\n")[0]
            raise GlossaeError(f"{path}: cannot be read as tensors alone ({reason})") from error
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
        ):
            raise GlossaeError(f"{path}: should hold tensors by their names")
        for name, tensor in state.items():
            # strides of zero show few numbers as many
            if (
                tensor.layout != torch.strided
                or tensor.device.type != "cpu"
                or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
            ):
                raise GlossaeError(f"{path}: {name[:SHOWN]} does not hold all of its numbers")
        return cls(state, path)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Take a tensor as float32; None in its shape is any size."""
        wanted = str(tuple("any" if extent is None else extent for extent in shape)).replace("'", "")
        if name not in self.tensors:
            raise GlossaeError(f"{self.path}: {name} should be {wanted} and is missing")
        tensor = self.tensors.pop(name)
        if len(shape) != tensor.ndim or any(
            extent not in (None, found) for extent, found in zip(shape, tensor.shape, strict=True)
        ):
            raise GlossaeError(f"{self.path}: {name} should be {wanted} and is {tuple(tensor.shape)}")
        if tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise GlossaeError(f"{self.path}: {name} should hold floating-point numbers and holds {kind}")
        values = tensor.float()
        if not _finite(values):
            raise GlossaeError(f"{self.path}: {name} holds values that are not finite in float32")
        return values

    def weights(
        self,
        names: Mapping[str, str] | None = None,
        *,
        columns: Collection[str] = (),
        without: Collection[str] = (),
        d_in: int | None = None,
        latents: int | None = None,
    ) -> dict[str, Tensor]:
        """Take weights under the names and in the shapes of `Sae`.

        `names` are the file's own names, where they differ; matrices in `columns` have a column for each
        latent; the file has no tensor of `without`. Without `d_in` and `latents`, `W_enc` decides the shapes.
        """
        taken: dict[str, Tensor] = {}
        for own in ("W_enc", "W_dec", "b_enc", "b_dec"):
            if own in without:
                continue
            shape = {"b_enc": (latents,), "b_dec": (d_in,)}.get(own, (latents, d_in))
            tensor = self.take((names or {}).get(own, own), *(shape[::-1] if own in columns else shape))
            taken[own] = tensor.T if own in columns else tensor
            if own == "W_enc":
                latents, d_in = taken[own].shape
        return taken

    def drop_ones(self, name: str) -> None:
        """Remove a tensor of ones, if it is there."""
        if name in self and not bool((self.take(name, *self.tensors[name].shape) == 1).all()):
            raise GlossaeError(f"{self.path}: {name} is not all ones; {SCALED}")

    def done(self) -> None:
        """Refuse tensors that were not taken."""
        if self.tensors:
            name = min(self.tensors)
            raise GlossaeError(f"{self.path}: holds a tensor '{name}' that this autoencoder does not have")


def fold_norms(weights: dict[str, Tensor]) -> None:
    """Scale decoder rows to length 1, and move their length into the encoder: latents are then lengths."""
    norms = weights["W_dec"].norm(dim=1)
    weights["W_enc"] = weights["W_enc"] * norms[:, None]
    weights["b_enc"] = weights["b_enc"] * norms
    weights["W_dec"] = weights["W_dec"] / norms.clamp_min(1e-8)[:, None]


def build(path: Path, weights: dict[str, Tensor], site: Site, **settings: Any) -> Sae:
    """Make the SAE of these tensors, named and shaped as in `Sae`; if tied, without `W_dec`.

    Tensors in the order of memory are not copied: those that map a file stay there.
    """
    latents, d_in = weights["W_enc"].shape
    try:
        config = SaeConfig(d_in, latents, site=site.name, layer=site.layer, **settings)
    except GlossaeError as error:
        raise GlossaeError(f"{path}: {error}") from error
    return Sae.of(config, {name: tensor.contiguous() for name, tensor in weights.items()})
