"""What lies around glossae: caches, disk, and what the environment says about the network. None of it is asked."""

import os
import shutil
from pathlib import Path

ADDRESSES = ("HF_ENDPOINT", "GLOSSAE_OPUS_BASE", "GLOSSAE_OPUS_API")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def addresses() -> list[str]:
    """The variables that put other servers in place of the usual ones."""
    return [name for name in ADDRESSES if os.environ.get(name)]


def proxies() -> list[str]:
    """The variables that name proxies; what they name may hold a password and is not shown."""
    return [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]


def token() -> str | None:
    """Where a token for the hub is found, never the token."""
    for name in TOKENS:
        if os.environ.get(name):
            return name
    from huggingface_hub import constants

    path = Path(os.environ.get("HF_TOKEN_PATH") or constants.HF_TOKEN_PATH)
    return str(path) if path.is_file() and path.stat().st_size else None


def free(path: Path) -> int:
    """Bytes free where `path` is or would be."""
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return shutil.disk_usage(nearest).free


def writable(path: Path) -> bool:
    """Whether a file could be made in `path`, or in the nearest folder above that exists."""
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
