"""Which library wrote what lies at a place, by the names of its files."""

import fnmatch
from collections.abc import Callable, Iterable
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.sae.formats import (
    dictionary_learning,
    gemma_scope,
    llama_scope,
    own,
    qwen_scope,
    sae_lens,
    sparsify,
)
from glossae.sae.formats.keys import Keys
from glossae.sae.sae import Sae

Reader = Callable[[Path], Sae]


def load(place: Path) -> Sae:
    """Read the autoencoder in a folder or file.

    The folder may also be one that holds a single autoencoder one level down: a run, or the root of an export.

    Raises:
        GlossaeError: there is none or more than one, or it cannot be read.
    """
    if place.is_file():
        return _reader(place)(place)
    if not place.is_dir():
        raise GlossaeError(f"{place}: there is no such file or folder")
    found = _weights(place)
    if not found:
        inside = [folder for folder in sorted(place.iterdir()) if folder.is_dir() and _weights(folder)]
        if len(inside) > 1:
            names = ", ".join(folder.name for folder in inside)
            raise GlossaeError(f"{place}: holds several autoencoders; name one of {names}")
        if not inside:
            raise GlossaeError(f"{place}: holds no autoencoder (none of {', '.join(BY_NAME)})")
        found = _weights(inside[0])
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise GlossaeError(f"{found[0].parent}: holds several autoencoders; name one of {names}")
    return _reader(found[0])(found[0])


def wrote(path: Path) -> Reader:
    """The reader of a `sae.safetensors`, which glossae and sparsify both have: by the config beside it.

    Raises:
        GlossaeError: it is neither's.
    """
    keys = Keys.read(path.parent / own.CONFIG)
    if "format" in keys:
        return own.read
    if "expansion_factor" in keys or "num_latents" in keys:
        return sparsify.read
    raise GlossaeError(
        f"{keys.path}: is neither glossae's, which says its 'format', nor sparsify's, with an 'expansion_factor'"
    )


def _shared(path: Path) -> Sae:
    return wrote(path)(path)


BY_NAME: dict[str, Reader] = {
    own.WEIGHTS: _shared,
    sae_lens.WEIGHTS: sae_lens.read,
    gemma_scope.ARRAYS: gemma_scope.read,
    gemma_scope.WEIGHTS: gemma_scope.read,
    dictionary_learning.WEIGHTS: dictionary_learning.read,
    # a folder further down than the config
    llama_scope.WEIGHTS: llama_scope.read,
}
# these are told by how they end as well; the longest ending first
BY_SUFFIX: dict[str, Reader] = {
    ".sae.pt": qwen_scope.read,
    ".npz": gemma_scope.read,
    ".pt": dictionary_learning.read,
}


def weights_among(files: Iterable[str]) -> list[str]:
    """Those of a folder's files, by their paths inside it, that are an autoencoder's weights by their names."""
    there = sorted(files)
    return [
        *(name for name in BY_NAME if name in there),
        *(name for name in there if fnmatch.fnmatch(name, qwen_scope.FILES)),
    ]


def _weights(folder: Path) -> list[Path]:
    inside = [path.name for path in folder.iterdir() if path.is_file()]
    below = [name for name in BY_NAME if "/" in name and (folder / name).is_file()]
    return [folder / name for name in weights_among([*inside, *below])]


def _reader(path: Path) -> Reader:
    if path.suffix == ".json":
        return lambda path: load(path.parent)
    named = (BY_NAME.get(path.name), BY_NAME.get(f"{path.parent.name}/{path.name}"))
    ending = (reader for suffix, reader in BY_SUFFIX.items() if path.name.endswith(suffix))
    reader = next(filter(None, (*named, *ending)), None)
    if reader is None:
        raise GlossaeError(f"{path}: is no known autoencoder's file (none of {', '.join(BY_NAME)})")
    return reader
