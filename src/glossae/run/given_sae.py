"""An autoencoder that the recipe names, instead of one that is trained."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import file_sha256, path_named
from glossae.sae import Sae, fetch_sae, read_sae


@dataclass(frozen=True)
class GivenSae:
    """An autoencoder from elsewhere.

    Attributes:
        sae: read, whichever library wrote it.
        identity: tells it from any other: its files' hashes.
        commit: of the hub, if it came from there.
    """

    sae: Sae
    identity: str
    commit: str | None


def read_given(place: str) -> GivenSae:
    """Read what `sae.from` names: a folder, a file, or `hub:OWNER/NAME[@REVISION][/FOLDER][/FILE]`.

    Raises:
        GlossaeError: it is not there, cannot be read or cannot be fetched.
    """
    try:
        path, commit = fetch_sae(place) if place.startswith("hub:") else (path_named(place), None)
        # not `Sae.load`: the run measures it again and says itself what is unsound
        return GivenSae(read_sae(path), _identity(path), commit)
    except (GlossaeError, RuntimeError) as error:
        raise GlossaeError(f"sae.from: {error}") from error


def _identity(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in (".json", ".safetensors", ".npz", ".pt"):
            digest.update(f"{file.name} {file_sha256(file)}".encode())
    return digest.hexdigest()[:16]
