"""glossae's own file: `sae.safetensors`, whose header holds what is known of the SAE and the SHA-256 of all of it.

Earlier versions wrote `cfg.json` beside the tensors instead of a header, and such files are read, too.
"""

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import ALIGNED, delete, tensors_sha256, write_tensors, writes_here
from glossae.lm import Site
from glossae.memory import check_free
from glossae.results import SpliceLoss
from glossae.sae.formats.reading import Keys, Tensors, build
from glossae.sae.sae import Quality, Sae

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"
# of the header: what `described` says, as JSON; among it the SHA-256 of the rest and of the tensors. One key, as
# safetensors writes several in any order
KEY, DIGEST = "glossae", "sha256"


def save(sae: Sae, folder: Path) -> None:
    """Write an SAE into a folder, in place of one of ours.

    Raises:
        GlossaeError: the file cannot be written, or is there already and holds something else.
    """
    path = folder / WEIGHTS
    # hashes of a large one take minutes
    if not writes_here(path):
        return
    if path.exists() and not is_own(path):
        raise GlossaeError(f"{path}: exists and is no autoencoder of glossae: give another folder")
    said, tensors = described(sae), sae.tensors()
    said[DIGEST] = tensors_sha256(_text(said), tensors)
    write_tensors(path, tensors, {KEY: _text(said)})
    # of an earlier version, whose tensors have just been replaced
    if "format" in _beside(folder):
        delete(folder / CONFIG)


def is_own(path: Path) -> bool:
    """Whether a `sae.safetensors` is one that `save` wrote, now or in an earlier version."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError):
        header = {}
    return KEY in header or "format" in _beside(path.parent)


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False)


def _beside(folder: Path) -> dict[str, Any]:
    """What the `cfg.json` of an earlier version says; empty if there is none."""
    with suppress(OSError, ValueError, RecursionError):
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return said if isinstance(said, dict) else {}
    return {}


def read(path: Path) -> Sae:
    """Read the file of `save`, or the two files of earlier versions, given the path of the tensors."""
    tensors = Tensors.read(path, copied=False)
    if KEY in tensors.header:
        keys = Keys.parsed(tensors.header[KEY], path)
        said = {key: value for key, value in keys.values.items() if key != DIGEST}
        if keys.value(DIGEST) != tensors_sha256(_text(said), tensors.tensors):
            raise GlossaeError(f"{path}: is broken: its hash is not that of what it holds")
        known = Described.of(keys)
    else:
        known = Described.read(path.parent / CONFIG)
    settings, latents = known.settings, known.latents
    # those in another precision, and of odd sizes or earlier versions: products of what lies otherwise than in training
    # may have other bits
    copied = {name: tensor for name, tensor in tensors.tensors.items() if not _lies_well(tensor)}
    check_free(4 * sum(tensor.numel() for tensor in copied.values()), str(path))
    weights = tensors.weights(
        without=("W_dec",) if settings["tied"] else (), d_in=known.d_in, latents=latents
    )
    shape = {"jumprelu": (latents,), "batchtopk": ()}.get(settings["activation"])
    if shape is not None:
        weights["threshold"] = tensors.take("threshold", *shape)
    tensors.done()
    return known.build(
        {name: tensor if _lies_well(tensor) else tensor.clone() for name, tensor in weights.items()}
    )


def _lies_well(tensor: Tensor) -> bool:
    """Whether a tensor of a file can be computed with where it lies."""
    return tensor.dtype == torch.float32 and tensor.data_ptr() % ALIGNED == 0


def described(sae: Sae) -> dict[str, Any]:
    """All that is known of an SAE besides its tensors, as JSON values."""
    settings: dict[str, Any] = {"format": FORMAT_VERSION, **dataclasses.asdict(sae.config)}
    if sae.trained_on:
        settings["trained_on"] = sae.trained_on
    if sae.quality is not None:
        settings["quality"] = {"unsound": sae.unsound, **sae.quality.to_json()}
    return settings


@dataclasses.dataclass(frozen=True)
class Described:
    """What `described` wrote into a file.

    Attributes:
        path: the file.
        d_in, latents: the shape.
        site: the site and layer.
        settings: the rest of the config.
        trained_on, quality: as in `Sae`.
        beside: the SHA-256 of files beside it by name, if the file has them.
    """

    path: Path
    d_in: int
    latents: int
    site: Site
    settings: dict[str, Any]
    trained_on: str
    quality: Quality | None
    beside: dict[str, str]

    @staticmethod
    def read(path: Path) -> "Described":
        """Read the file.

        Raises:
            GlossaeError: a key is missing, unknown or wrong.
        """
        return Described.of(Keys.read(path))

    @staticmethod
    def of(keys: Keys) -> "Described":
        """What the keys say.

        Raises:
            GlossaeError: as `read`.
        """
        if keys.value("format") != FORMAT_VERSION:
            raise GlossaeError(f"{keys.path}: is not a glossae autoencoder of format {FORMAT_VERSION}")
        files = keys.group("files")
        found = Described(
            keys.path,
            d_in=keys.whole("d_in"),
            latents=keys.whole("latents"),
            site=Site(keys.text("site"), keys.maybe_whole("layer", least=0) or 0),
            settings={
                # `SaeConfig` itself refuses an impossible k
                "k": keys.maybe_whole("k", least=-(2**62)),
                "relu": keys.flag("relu", True),
                "model": keys.text("model"),
                "activation": keys.text("activation") or "topk",
                "tied": keys.flag("tied", False),
                "pre_encoder_bias": keys.flag("pre_encoder_bias", True),
                "matryoshka": keys.wholes("matryoshka"),
            },
            trained_on=keys.text("trained_on"),
            quality=_quality(keys.group("quality")) if "quality" in keys else None,
            beside={name: files.text(name) for name in files.values},
        )
        keys.done()
        return found

    def build(self, weights: dict[str, Tensor]) -> Sae:
        """The SAE of these tensors, named and shaped as in `Sae`."""
        sae = build(self.path, weights, self.site, **self.settings)
        sae.quality, sae.trained_on = self.quality, self.trained_on
        return sae


def _quality(keys: Keys) -> Quality:
    # `unsound` follows from the numbers; it is for those who read the file without glossae
    keys.value("unsound")
    fvus = {name: keys.group(name) for name in ("fvu", "fvu_within", "fvu_normalised")}
    losses = keys.group("ce")
    quality = Quality(
        **{name: {code: fvu.needed(code) for code in fvu.values} for name, fvu in fvus.items()},
        l0=keys.needed("l0"),
        dead_fraction=keys.needed("dead_fraction"),
        top_direction=keys.needed("top_direction"),
        top_tokens=keys.needed("top_tokens"),
        tokens=keys.whole("tokens", least=0),
        ce={code: _splice_loss(losses.group(code)) for code in losses.values},
        judged=keys.texts("judged"),
    )
    keys.done()
    return quality


def _splice_loss(keys: Keys) -> SpliceLoss:
    loss = SpliceLoss(
        raw=keys.needed("raw"),
        spliced=keys.needed("spliced"),
        ablated=keys.needed("ablated"),
        recovered=keys.number("recovered"),
        sentences=keys.whole("sentences", least=0),
        tokens=keys.whole("tokens", least=0),
        half_width=keys.number("half_width"),
    )
    keys.done()
    return loss
