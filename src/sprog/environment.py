"""What the environment says: where sprog keeps what it can make or fetch again, and whether it may use a network."""

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


def offline() -> str | None:
    """The variable that keeps sprog and the hub's clients from the network, if one does."""
    return next((name for name in _OFFLINE if os.environ.get(name, "").lower() in _YES), None)
