"""Find or fetch a model's files before loading: a folder, a GGUF file, or files of the hub.

Files of the hub are all of one commit, are checked before they are fetched, and only those that are loaded are
fetched.
"""

import fnmatch
import glob
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from glossae.declared import Declared, gguf_header, safetensors_header
from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.files import path_named, read_json
from glossae.hub import Repository, download, hub_errors, silent_client
from glossae.memory import out_of_memory

CONFIG = "config.json"
_SAFETENSORS = ".safetensors"
WEIGHTS = f"model{_SAFETENSORS}"
INDEX = f"{WEIGHTS}.index.json"
# configuration, tokenizer and chat template, in all forms that transformers reads
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
# bytes of the largest of these; the vocabulary of 262,144 tokens has 33 MB
_MOST_SMALL = 2**28
# bytes of the largest config.json
_MOST_CONFIG = 2**24
# keys that count layers, or other objects that transformers makes one by one, in config.json and in GGUF files
# the keys by which architectures count their own layers
_OWN_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_LAYERS = re.compile(r"num_\w*layers|n_layers?|(en|de)coder_layers|depth|block_count")
_COUNTS, _MOST_COUNT = re.compile(r"(num|n)_\w+|(head|expert)_count\w*"), 2**20
# keys of sizes, which a tensor has at least as many values as
_SIZES = re.compile(r"\w+_(size|dim)|n_embd|n_inner|d_\w+|(embedding|feed_forward)_length")
# below, no model's table of frequencies is large
_LEAST_LARGE = 2**24
# files that transformers can make a tokenizer from, older kinds included
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
# packages whose functions transformers uses in place of its own if they are installed
_FAST_PATHS = ("fla", "causal_conv1d", "mamba_ssm")
# above every level that transformers logs at
_SILENT = 100


def locate(name: str) -> Path | None:
    """The folder or GGUF file of a model, or None for a hub id. Nothing is loaded or fetched.

    Raises:
        GlossaeError: the name is impossible; the folder is missing, is empty, or lacks a config, safetensors
            or a tokenizer; a GGUF file cannot be read on this machine.
    """
    if not name or name.startswith("@"):
        raise GlossaeError(f"model: '{name}' is neither a folder nor a hub id")
    try:
        path = path_named(name)
    except GlossaeError as error:
        raise GlossaeError(f"model: {error}") from error
    if path.is_dir():
        _check_folder(name, path)
        return path
    if path.is_file():
        if path.suffix == ".gguf":
            _check_gguf(name, path)
            return path
        raise GlossaeError(
            f"model: {name} is a file; give the folder that holds config.json and the weights, or a GGUF file"
        )
    if name.startswith(("/", "./", "../", "~")) or name.partition("@")[0].count("/") > 1:
        raise GlossaeError(f"model: there is no folder {name}")
    return None


def _check_folder(name: str, folder: Path) -> None:
    """Refuse a folder whose file names show no configuration, safetensors or tokenizer."""
    files = sorted(file.name for file in folder.iterdir())
    if not files:
        raise GlossaeError(f"model: the folder {name} is empty")
    if CONFIG not in files:
        raise GlossaeError(f"model: the folder {name} has no config.json, so it is not a Hugging Face model")
    if not fnmatch.filter(files, f"*{_SAFETENSORS}"):
        if pickles := _only_pickles(files):
            raise GlossaeError(f"model: {name} {pickles}; save it again with safe_serialization=True")
        raise GlossaeError(f"model: the folder {name} holds no *{_SAFETENSORS} file")
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise GlossaeError(no_tokenizer(name))


def no_tokenizer(name: str) -> str:
    """The error message for a model without a tokenizer."""
    return f"model: {name} has no tokenizer: there is no tokenizer.json beside its weights"


def _only_pickles(files: Iterable[str]) -> str | None:
    """The fault of a model whose weights are pickles only, to stand after its name; None if there are none."""
    pickles = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if not pickles:
        return None
    return f"holds its weights only as pickles ({pickles[0]}), which can run code when opened"


def _check_gguf(name: str, path: Path) -> None:
    """Refuse a file that is not a whole GGUF file, or that no installed package reads."""
    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise GlossaeError(
                f"model: {name} is a GGUF file, which needs the package {package}: {install('gguf')}, or pip install "
                f"{package}"
            )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise GlossaeError(f"model: {name} is not a GGUF file, whatever its name says")
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name):
        raise GlossaeError(
            f"model: {name} is one part of a GGUF file: merge them with llama-gguf-split --merge"
        )


@contextmanager
def link_folder(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """Yield arguments of `from_pretrained` for a temporary folder of links to a model's configuration and weights only.

    Transformers would otherwise also look at the rest of the model's folder (an adapter, generation settings,
    weights in other forms), at some of it only if another package is installed.
    """
    if path.is_file():
        files, more = [path], {"gguf_file": path.name}
    else:
        files, more = [path / file for file in (CONFIG, *_weights(name, path))], {}
    with tempfile.TemporaryDirectory(prefix="glossae-") as folder:
        for file in files:
            (Path(folder) / file.name).symlink_to(file.absolute())
        yield {"pretrained_model_name_or_path": folder, **more}


def _weights(name: str, folder: Path) -> list[str]:
    """The files of the weights to load: one, or an index and the files that it names."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return [WEIGHTS]
    try:
        shards = sorted({str(shard) for shard in read_json(folder / INDEX)["weight_map"].values()})
        if outside := [shard for shard in shards if Path(shard).name != shard]:
            raise ValueError(f"it names {outside[0][:60]!a}, which is no file beside it")
        return [INDEX, *shards]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlossaeError(f"model: {name}: its {INDEX} cannot be read ({error})") from error


def check_config(name: str, folder: Path) -> None:
    """Refuse a folder whose config.json counts more of anything than a model has, or with files that never end.

    Transformers makes a name for each label, and a list of the layers, before it looks at any weight.

    Raises:
        GlossaeError: a count is impossible; or config, tokenizer or weights are not regular files, or too large.
    """
    for path in sorted(folder.iterdir()):
        small = path.name.endswith(_SMALL)
        if not small and not path.name.endswith(_SAFETENSORS):
            continue
        # a link to nothing is what a removed cache leaves
        if path.exists() and not path.is_file() and not path.is_dir():
            raise GlossaeError(f"model: {name}: {path.name} is not a regular file")
        if small and path.is_file() and path.stat().st_size > _MOST_SMALL:
            raise GlossaeError(f"model: {name}: {path.name} has more than {_MOST_SMALL:,} bytes")
    try:
        config = read_json(folder / CONFIG, _MOST_CONFIG)
    except (OSError, ValueError) as error:
        raise GlossaeError(
            f"model: {name} cannot be loaded: its {CONFIG} cannot be read ({error})"
        ) from error
    if not isinstance(config, dict):
        raise GlossaeError(f"model: {name} cannot be loaded: its {CONFIG} is no JSON object")
    _check_numbers(name, CONFIG, config, _MOST_COUNT, _LEAST_LARGE)


def held_tensors(name: str, folder: Path) -> dict[str, Declared]:
    """The tensors of a model's files by name, from their headers, whose sizes agree with the files'.

    Raises:
        GlossaeError: a header cannot be read or does not agree; or a configuration counts more layers than there are
            tensors, or has a size beyond the largest of them.
    """
    files = [] if folder.is_file() else _weights(name, folder)
    try:
        if folder.is_file():
            (config, held), said = gguf_header(folder), "header"
        else:
            config, said = read_json(folder / CONFIG, _MOST_CONFIG), CONFIG
            shards = [folder / file for file in files if file != INDEX]
            held = {key: tensor for file in shards for key, tensor in safetensors_header(file).items()}
    except (GlossaeError, OSError, ValueError) as error:
        raise GlossaeError(f"model: {name} cannot be loaded: {error}") from error
    largest = max((tensor.values for tensor in held.values()), default=0)
    _check_numbers(name, said, config, len(held), largest)
    return held


def _check_numbers(name: str, said: str, config: Any, layers: int, largest: int) -> None:
    """Refuse numbers of a configuration, also of nested ones, that no model with these tensors has.

    Args:
        name: the model's.
        said: where the configuration stands.
        config: the configuration, or the fields of a GGUF file.
        layers: the most layers.
        largest: the values of the largest tensor.
    """
    for key, value in config.items() if isinstance(config, dict) else ():
        last = key.rpartition(".")[2]
        if isinstance(value, dict):
            _check_numbers(name, said, value, layers, largest)
        elif type(value) is int:
            if _LAYERS.fullmatch(last):
                most = layers
            elif _COUNTS.fullmatch(last):
                most = _MOST_COUNT
            elif _SIZES.fullmatch(last):
                most = max(largest, _LEAST_LARGE)
            else:
                continue
            if value < 1 and last in _OWN_LAYERS:
                raise GlossaeError(
                    f"model: {name}: its {said} says {last} {value}, and a model has at least one"
                )
            if value > most:
                number = f"{value:,}" if value < 2**63 else "a number beyond 2**63"
                raise GlossaeError(
                    f"model: {name}: its {said} says {last[:40]} {number}, and with its weights {most:,} is the most"
                )


@contextmanager
def without_fast_paths() -> Iterator[None]:
    """Block imports of packages that would replace functions of a model, inside the `with` block.

    Transformers decides this when it imports a model's code, in the first load of such a model.
    """
    hidden = {name: sys.modules.get(name) for name in _FAST_PATHS}
    sys.modules.update(dict.fromkeys(_FAST_PATHS))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def look_up(name: str) -> None:
    """Look a model and its configuration up on the hub, without fetching weights. Errors are as for `load`."""
    repository = _repository(name)
    with hub_errors(repository, f"model: {name}"):
        _find(name, repository)


def fetch(name: str) -> tuple[Path, str]:
    """Fetch a model's configuration, tokenizer and weights into the hub's cache, unless they are there.

    Returns:
        The folder of its files, and the commit of its revision.

    Raises:
        GlossaeError: the model or revision does not exist, is gated, has no safetensors or needs code of its
            own; it is not in the cache and cannot be fetched; or a file arrives broken.
    """
    repository = _repository(name)
    with hub_errors(repository, f"model: {name}"):
        folder, missing = _find(name, repository)
        if missing:
            pinned = repository.at(folder.name)
            _fetch_files(pinned, missing)
            # only now, with the index here, are the files of the weights known
            _fetch_files(pinned, _absent(name, folder))
            if lost := _absent(name, folder):
                raise GlossaeError(f"model: {name}: its {INDEX} names {lost[0]}, which is not on the hub")
    return folder, folder.name


def known_commit(name: str) -> str | None:
    """The commit of a model in the hub's cache; None if it is not there, or not on the hub. Uses no network."""
    try:
        return Repository.parse(name).known_commit
    except GlossaeError:
        return None


def _repository(name: str) -> Repository:
    try:
        return Repository.parse(name)
    except GlossaeError as error:
        raise GlossaeError(f"model: {name}: {error}") from error


def _find(name: str, repository: Repository) -> tuple[Path, Sequence[str]]:
    """The cache folder of a model on the hub, with its configuration fetched, and the files that may be missing."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from transformers import AutoConfig

    try:
        folder = download(repository, CONFIG).parent
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError as error:
        raise GlossaeError(f"model: {name} has no config.json, so it is not a Transformers model") from error
    check_config(name, folder)
    # raises if Transformers would have to run code of the model's own
    with silent_transformers(), one_line_errors(name):
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    tokenizers = ("tokenizer.json", "tokenizer_config.json")
    if any((folder / file).exists() for file in tokenizers) and not _absent(name, folder):
        return folder, ()
    files = HfApi().list_repo_files(repository.name, revision=folder.name)
    if WEIGHTS not in files and INDEX not in files:
        if pickles := _only_pickles(files):
            raise GlossaeError(
                f"model: {name} {pickles}: name a revision with safetensors, such as a conversion "
                f"in its pull requests (@refs/pr/NUMBER, see {repository.page}/discussions), or save it again "
                "with safe_serialization=True and give the folder"
            )
        raise GlossaeError(f"model: {name} has neither {WEIGHTS} nor {INDEX}")
    return folder, [file for file in files if file == WEIGHTS or (file.endswith(_SMALL) and "/" not in file)]


def _fetch_files(repository: Repository, files: Sequence[str]) -> None:
    """Fetch files, several at a time."""
    from huggingface_hub import snapshot_download

    # the weights come last, so that if they are there, the rest is too, even after an interruption
    for weights in (False, True):
        patterns = [glob.escape(file) for file in files if file.endswith(_SAFETENSORS) is weights]
        if patterns:
            with silent_client(bars=weights):
                snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns)


def _absent(name: str, folder: Path) -> list[str]:
    """The files of weights that the folder lacks."""
    return [file for file in _weights(name, folder) if not (folder / file).exists()]


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Silence Transformers and the hub's client while loading; what matters is raised as an error."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with silent_client(bars=False):
        logging.set_verbosity(_SILENT)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn any error of transformers or the file formats into one line that names the model."""
    try:
        yield
    except GlossaeError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise GlossaeError(
                f"model: {name} needs code of its own (auto_map in its configuration), which glossae does not run: "
                "use a model of a kind that Transformers has"
            ) from error
        why = "memory runs out" if out_of_memory(error) else first_line(error)
        if type(error).__name__ == "SafetensorError":
            why = f"a *.safetensors file of it is cut short or is none ({why}): fetch or copy it again"
        elif isinstance(error, LookupError | TypeError | AttributeError | JSONDecodeError):
            # Python's own message about a list in place of a dictionary does not help with a model's files
            why = f"one of its files is not as it should be ({type(error).__name__}: {first_line(error)})"
        raise GlossaeError(f"model: {name} cannot be loaded: {why}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with the next if it ends in a colon; the error's class if it is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 1 + lines[0].endswith(":")])
