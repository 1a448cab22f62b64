"""What is already on this machine: caches of models and text, looked at without a network or a write."""

import os
from pathlib import Path


def hub_cache() -> Path:
    """The folder where the hub's clients keep models and data sets."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE)


def hub_snapshot(repository: str, revision: str = "main") -> Path | None:
    """The folder of a hub model's files in the cache, if its weights have been fetched."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, "config.json", cache_dir=hub_cache(), revision=revision)
    except ValueError:
        # no name that a hub repository can have
        return None
    if not isinstance(found, str) or not any(Path(found).parent.glob("*.safetensors")):
        return None
    return Path(found).parent


def hub_data_set(repository: str) -> Path | None:
    """The folder of a hub data set's files in the cache, if any have been fetched."""
    folder = hub_cache() / f"datasets--{repository.replace('/', '--')}"
    return folder if folder.is_dir() else None


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; a file linked to from several places counts once."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            try:
                total += 0 if path.is_symlink() else path.stat().st_size
            except OSError:
                continue
    return total
