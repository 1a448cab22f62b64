"""The toy model: made on first use, then found again by a hash of all that it is made from."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from importlib import metadata, resources
from pathlib import Path

from glossae.environment import cache_folder
from glossae.errors import GlossaeError
from glossae.toy.settings import ModelSettings
from glossae.toy.tables import LANGUAGES, table_bytes


def toy_model(cache: Path | None = None, progress: Callable[[float], None] | None = None) -> Path:
    """The folder of the toy language model, a plain Hugging Face GPT-NeoX of about a million weights.

    It is trained on first use, which takes less than a minute on two cores.

    Args:
        cache: where models are kept; by default `$GLOSSAE_CACHE`, `$XDG_CACHE_HOME/glossae` or `~/.cache/glossae`.
        progress: called with the share of the training that is done, 0 to 1; never called when the model
            is already there.

    Raises:
        GlossaeError: the cache cannot be written.
    """
    return make_model(ModelSettings(), cache, progress)


def make_model(
    settings: ModelSettings, cache: Path | None = None, progress: Callable[[float], None] | None = None
) -> Path:
    """The folder of a model with these settings; see `toy_model`."""
    root = cache or cache_folder()
    folder = root / f"toy-{model_hash(settings)}"
    if folder.is_dir():
        return folder
    from glossae.toy.training import train

    try:
        root.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(dir=root, prefix=".toy-"))
        try:
            built = workshop / "model"
            built.mkdir()
            train(settings, built, progress)
            _publish(built, folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        raise GlossaeError(
            f"{root}: the toy model cannot be kept there ({error.strerror or error})"
        ) from error
    return folder


def model_hash(settings: ModelSettings) -> str:
    """A hash of settings, tables, the toy's source and torch's version: whatever decides the weights."""
    digest = hashlib.sha256()
    plain = {f.name: getattr(settings, f.name) for f in fields(settings)}
    digest.update(json.dumps(plain, sort_keys=True, default=dict).encode())
    digest.update(".".join(metadata.version("torch").split(".")[:2]).encode())
    for name in ("lexicon", *LANGUAGES):
        digest.update(table_bytes(name))
    sources = (file for file in resources.files("glossae.toy").iterdir() if file.name.endswith(".py"))
    for source in sorted(sources, key=lambda file: file.name):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _publish(built: Path, folder: Path) -> None:
    try:
        built.rename(folder)
    except OSError:
        # another process finished the same model first, and its folder is as good
        if not folder.is_dir():
            raise
