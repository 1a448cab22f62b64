"""A model's files before they are loaded: what a folder must hold, and a configuration that can be used."""

import fnmatch
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.lm.quiet import one_line, quiet

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
GGUF = ".gguf"
# transformers runs a file of these in the place of its own functions, where they are installed
FAST_PATHS = ("fla", "causal_conv1d", "mamba_ssm")
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def check_folder(name: str, folder: Path) -> None:
    """Is there a model in the folder, by the names of its files?

    Raises:
        GlossaeError: it is empty, or has no config.json or safetensors.
    """
    files = sorted(file.name for file in folder.iterdir())
    if not files:
        raise GlossaeError(f"model: the folder {name} is empty")
    if "config.json" not in files:
        raise GlossaeError(f"model: the folder {name} has no config.json, so it is not a Hugging Face model")
    if not fnmatch.filter(files, "*.safetensors"):
        if pickles_among(files):
            raise GlossaeError(
                f"model: {name} {only_pickles(files)}; save it again with safe_serialization=True"
            )
        raise GlossaeError(f"model: the folder {name} holds no *.safetensors file")


def pickles_among(files: Iterable[str]) -> list[str]:
    """Those of the files that hold weights as pickles, by their names."""
    return sorted({file for pattern in PICKLES for file in fnmatch.filter(files, pattern)})


def only_pickles(files: Iterable[str]) -> str:
    """What is wrong with a model whose weights are pickles only, fit to stand behind its name."""
    return f"holds its weights only as pickles ({pickles_among(files)[0]}), which can run code when opened"


def check_gguf(name: str, path: Path) -> None:
    """Can a GGUF file be read here?

    Raises:
        GlossaeError: it is no GGUF file or a part of one, or a package is missing.
    """
    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise GlossaeError(
                f"model: {name} is a GGUF file, which needs the package {package}: {install('gguf')}, or pip install "
                f"{package}"
            )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise GlossaeError(f"model: {name} is not a GGUF file, whatever its name says")
    if _PART.search(path.name):
        raise GlossaeError(
            f"model: {name} is one part of a GGUF file: merge them with llama-gguf-split --merge"
        )


@contextmanager
def alone(path: Path) -> Iterator[dict[str, Any]]:
    """While the block runs, a folder with links to nothing but a model's configuration and weights.

    Whatever else lies in the model's own folder (an adapter, generation settings, weights in other forms) would
    otherwise be looked at by transformers, and some of it only where another package is installed.

    Args:
        path: a model's folder, or a GGUF file.

    Returns:
        What `from_pretrained` is given to find them.
    """
    if path.is_file():
        files, more = [path], {"gguf_file": path.name}
    else:
        files, more = [path / "config.json", *(path / file for file in _weights(path))], {}
    with tempfile.TemporaryDirectory(prefix="glossae-") as folder:
        for file in files:
            (Path(folder) / file.name).symlink_to(file.absolute())
        yield {"pretrained_model_name_or_path": folder, **more}


def _weights(folder: Path) -> list[str]:
    """The files of weights that are loaded: one, or those that the index names."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return [WEIGHTS]
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        return [INDEX, *sorted(str(shard) for shard in shards)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # transformers says what is wrong with it
        return [INDEX]


@contextmanager
def without_fast_paths() -> Iterator[None]:
    """While the block runs, packages that would replace functions of a model cannot be imported.

    Transformers decides when it imports a model's code, which the first load of such a model does.
    """
    hidden = {name: sys.modules.get(name) for name in FAST_PATHS}
    sys.modules.update(dict.fromkeys(FAST_PATHS))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def check_config(name: str, folder: Path) -> None:
    """Can Transformers make something of the configuration without running code of the model's own?

    Raises:
        GlossaeError: it cannot be read, or is of a kind that Transformers does not have.
    """
    from transformers import AutoConfig

    with quiet(), one_line(name):
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
