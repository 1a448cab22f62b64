"""What the environment says: where the cache is, whether a network may be used, and how an extra is installed."""

import os
from ipaddress import ip_address
from pathlib import Path

# the hub client's own words for yes
_YES = ("1", "on", "yes", "true")
_OFFLINE = ("GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def cache_folder() -> Path:
    """The folder for what can be made again: `$GLOSSAE_CACHE`, `$XDG_CACHE_HOME/glossae` or `~/.cache/glossae`.

    A cache of the time when glossae was called sprog is used as long as there is no new one.
    """
    if own := os.environ.get("GLOSSAE_CACHE"):
        return Path(own)
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    ours, former = shared / "glossae", shared / "sprog"
    return former if former.is_dir() and not ours.exists() else ours


def install(extra: str) -> str:
    """How to install an extra of glossae."""
    return f"pip install 'glossae[{extra}]' (in a checkout: pip install -e '.[{extra}]')"


def offline() -> str | None:
    """The variable that keeps glossae and the hub's clients from the network, if one does."""
    return next((name for name in _OFFLINE if os.environ.get(name, "").lower() in _YES), None)


def loopback(host: str | None) -> bool:
    """Whether a host is this machine: no proxy stands before it, and http to it crosses no network."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
