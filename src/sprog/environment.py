"""What the environment says: where the cache is, whether a network may be used, and how an extra is installed."""

import os
from pathlib import Path

# the hub client's own words for yes
_YES = ("1", "on", "yes", "true")
_OFFLINE = ("SPROG_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def cache_folder() -> Path:
    """The folder for what can be made again: `$SPROG_CACHE`, `$XDG_CACHE_HOME/sprog` or `~/.cache/sprog`."""
    if own := os.environ.get("SPROG_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "sprog"
    return Path.home() / ".cache" / "sprog"


def install(extra: str) -> str:
    """How to install an extra of sprog: from a checkout, since the name `sprog` on PyPI is another project's."""
    return f"pip install -e '.[{extra}]' in a checkout of sprog"


def offline() -> str | None:
    """The variable that keeps sprog and the hub's clients from the network, if one does."""
    return next((name for name in _OFFLINE if os.environ.get(name, "").lower() in _YES), None)
