"""A model's files before they are loaded: what a folder must hold, and a configuration that can be used."""

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from sprog.errors import SprogError
from sprog.lm.quiet import one_line, quiet

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_folder(name: str, folder: Path) -> None:
    """Is there a model in the folder, by the names of its files?

    Raises:
        SprogError: it is empty, or has no config.json or safetensors.
    """
    files = sorted(file.name for file in folder.iterdir())
    if not files:
        raise SprogError(f"model: the folder {name} is empty")
    if "config.json" not in files:
        raise SprogError(f"model: the folder {name} has no config.json, so it is not a Hugging Face model")
    if not fnmatch.filter(files, "*.safetensors"):
        if pickles_among(files):
            raise SprogError(
                f"model: {name} {only_pickles(files)}; save it again with safe_serialization=True"
            )
        raise SprogError(f"model: the folder {name} holds no *.safetensors file")


def pickles_among(files: Iterable[str]) -> list[str]:
    """Those of the files that hold weights as pickles, by their names."""
    return sorted({file for pattern in PICKLES for file in fnmatch.filter(files, pattern)})


def only_pickles(files: Iterable[str]) -> str:
    """What is wrong with a model whose weights are pickles only, fit to stand behind its name."""
    return f"holds its weights only as pickles ({pickles_among(files)[0]}), which can run code when opened"


def check_config(name: str, folder: Path) -> None:
    """Can Transformers make something of the configuration without running code of the model's own?

    Raises:
        SprogError: it cannot be read, or is of a kind that Transformers does not have.
    """
    from transformers import AutoConfig

    with quiet(), one_line(name):
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
