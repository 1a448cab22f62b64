"""Facts about a run's models and text before it starts: their places and sizes. Nothing is fetched."""

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glossae.corpora import (
    OPTIONAL,
    SHARES,
    Aligned,
    Corpus,
    HubDataSet,
    Opus,
    TaskSource,
    parse_source,
    parse_stream,
    read_source,
    split_sources,
    split_tasks,
)
from glossae.declared import gguf_header, safetensors_header
from glossae.errors import GlossaeError
from glossae.files import path_named, read_json
from glossae.plan.machine import sizes
from glossae.recipe import Recipe
from glossae.toy import toy_model


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
        # an impossible name for a hub repository
        return None
    if not isinstance(found, str) or not any(Path(found).parent.glob("*.safetensors")):
        return None
    return Path(found).parent


def hub_data_set(repository: str) -> Path | None:
    """The folder of a hub data set's files in the cache, if any have been fetched."""
    folder = hub_cache() / f"datasets--{repository.replace('/', '--')}"
    return folder if folder.is_dir() else None


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; a file with several links counts once."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            try:
                total += 0 if path.is_symlink() else path.stat().st_size
            except OSError:
                continue
    return total


# the keys in the config.json of different architectures
WIDTH = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
MLP = ("intermediate_size", "n_inner", "ffn_dim")
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
HEADS = ("num_attention_heads", "n_head")
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Shape:
    """A causal language model's dimensions.

    Attributes:
        weights: the number of all weights, embeddings included.
        tied: whether the output matrix is the embedding.
        positions: the longest text in tokens; None if it is not known, or nothing limits it.
    """

    layers: int
    width: int
    mlp: int
    heads: int
    vocabulary: int
    weights: int
    tied: bool = False
    positions: int | None = None

    @property
    def block_weights(self) -> int:
        """Weights of the blocks: all but the embeddings."""
        return max(0, self.weights - (1 if self.tied else 2) * self.vocabulary * self.width)

    def site_width(self, site: str) -> int:
        """Width of a site."""
        return self.mlp if site == "mlp.hidden" else self.width


@dataclass(frozen=True)
class ModelFacts:
    """The facts about a model that a recipe names.

    Attributes:
        name: as in the recipe.
        where: `folder` (also for GGUF files and the shipped model), `cache` (of the hub) or `hub` (to be
            fetched).
        shape: None if it is unknown until fetched.
        size: bytes of its files, on disk or to be fetched; None if unknown until fetched.
        folder: the folder of its files, if they are here; None for a GGUF file.
    """

    name: str
    where: Literal["folder", "cache", "hub"]
    shape: Shape | None
    size: float | None
    folder: Path | None


def model_facts(name: str) -> ModelFacts:
    """Look a model up in its folder, the caches, and the table of known models. Nothing is fetched.

    Raises:
        GlossaeError: a named folder does not exist, or is not a model; a GGUF file cannot be read on this
            machine.
    """
    if name == "toy":
        folder = toy_model()
        return ModelFacts(name, "folder", _shape_of(folder), _bytes_of(folder), folder)
    path = path_named(name)
    if path.is_dir():
        return ModelFacts(name, "folder", _shape_of(path), _bytes_of(path), path)
    if path.is_file() and path.suffix == ".gguf":
        # this imports torch, which plans of other models do without
        from glossae.lm import locate

        locate(name)
        return ModelFacts(name, "folder", _shape_of_gguf(path), path.stat().st_size, None)
    repository, _, revision = name.partition("@")
    if name.startswith(("/", "./", "../", "~")) or repository.count("/") > 1 or path.is_file():
        raise GlossaeError(f"model: there is no folder {name}")
    snapshot = hub_snapshot(repository, revision or "main")
    if snapshot is not None:
        return ModelFacts(name, "cache", _shape_of(snapshot), _bytes_of(snapshot), snapshot)
    known = sizes()["models"].get(repository)
    if known is None:
        return ModelFacts(name, "hub", None, None, None)
    # other revisions of a model have its shape, but perhaps other files
    size = None if revision else (known["megabytes"] + sizes()["tokenizer_megabytes"]) * 1e6
    return ModelFacts(name, "hub", known_shape(repository), size, None)


def known_shape(repository: str) -> Shape:
    """The shape of a model in the table."""
    row = sizes()["models"][repository]
    return _neox(row["layers"], row["width"], row["mlp"], row["heads"], row["vocabulary"])


def _neox(layers: int, width: int, mlp: int, heads: int, vocabulary: int) -> Shape:
    """The weights of a GPT-NeoX: projections with biases, two norms per block, a final norm, two embeddings."""
    block = 4 * width**2 + 2 * width * mlp + 9 * width + mlp
    weights = layers * block + 2 * width + 2 * vocabulary * width
    return Shape(layers, width, mlp, heads, vocabulary, weights)


def _shape_of(folder: Path) -> Shape | None:
    """The shape in a folder's config.json, with its weights counted in the headers of its files.

    Raises:
        GlossaeError: there is no config.json, or it cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise GlossaeError(
            f"model: the folder {folder} has no config.json, so it is not a Hugging Face model"
        )
    try:
        config: Any = read_json(path)
        config = config.get("text_config") or config
        width, layers = _first(config, WIDTH), _first(config, LAYERS)
        heads, vocabulary = _first(config, HEADS), config.get("vocab_size")
        tied = config.get("tie_word_embeddings", True) is not False
    except (OSError, ValueError, AttributeError) as error:
        raise GlossaeError(f"{path}: cannot be read as a model's configuration ({error})") from error
    if width is None or layers is None or not isinstance(vocabulary, int):
        return None
    weights = sum(_tensors(folder))
    if not weights:
        return None
    mlp, positions = _first(config, MLP) or 4 * width, _first(config, POSITIONS) or None
    return Shape(layers, width, mlp, heads or 1, vocabulary, weights, tied, positions)


def _shape_of_gguf(path: Path) -> Shape | None:
    """The shape in a GGUF file's header; None for an architecture that lacks one of the keys.

    Raises:
        GlossaeError: it cannot be read.
    """
    header = gguf_header(path)
    architecture = header.fields.get("general.architecture")
    keys = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
    found = [header.fields.get(f"{architecture}.{key}") for key in keys]
    numbers = [number for number in found if isinstance(number, int)]
    if len(numbers) < len(keys):
        return None
    layers, width, mlp, heads = numbers
    embedding = header.tensors.get("token_embd.weight")
    vocabulary = max(embedding.shape, default=0) if embedding else 0
    weights = sum(tensor.values for tensor in header.tensors.values())
    return Shape(layers, width, mlp, heads, vocabulary, weights, "output.weight" not in header.tensors)


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _tensors(folder: Path) -> Iterator[int]:
    """The number of values of each floating-point tensor, from the headers of the safetensors files.

    Raises:
        GlossaeError: a header cannot be read.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            header = safetensors_header(path)
        except OSError as error:
            raise GlossaeError(f"{path}: cannot be read as safetensors ({error})") from error
        for tensor in header.values():
            # older checkpoints store attention masks and similar tensors beside the weights
            if tensor.dtype in FLOATS and tensor.shape:
                yield tensor.values


def _bytes_of(folder: Path) -> int:
    """Bytes of the files that are loaded: weights, configuration, tokenizer."""
    return sum(f.stat().st_size for p in ("*.safetensors", "*.json", "*.txt") for f in folder.glob(p))


# files up to this size are read and counted; larger ones are estimated from their size
READ_BYTES = 2**25
SAMPLE = 400
# for estimates from bytes: a sentence's average in TED talks
BYTES_PER_SENTENCE = 100.0

BytesPerToken = Callable[[str, list[str]], float]
"""Bytes of UTF-8 per token of a language, from a few sentences of it if there are any."""


@dataclass(frozen=True)
class Amount:
    """An amount of text in one language."""

    sentences: float
    tokens: float

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.sentences + other.sentences, self.tokens + other.tokens)

    def __mul__(self, share: float) -> "Amount":
        return Amount(self.sentences * share, self.tokens * share)


Amounts = dict[str, Amount]
"""By language."""


@dataclass(frozen=True)
class SourceFacts:
    """The facts about a source that a recipe names.

    Attributes:
        name: as in the recipe.
        where: `file` (also for shipped text), `cache` or `net` (to be fetched).
        size: bytes of its files, on disk or to be fetched; None if unknown until fetched.
        amounts: its text; None if unknown until fetched.
        note: a remark for the page.
    """

    name: str
    where: Literal["file", "cache", "net"]
    size: float | None
    amounts: Amounts | None
    note: str = ""


def source_facts(recipe: Recipe, bytes_per_token: BytesPerToken) -> dict[str, list[SourceFacts]]:
    """The facts about the sources of every given role, and of `text`.

    Raises:
        GlossaeError: a source cannot be parsed, or its file does not exist or cannot be read.
    """
    found: dict[str, list[SourceFacts]] = {}
    for role, spec in recipe.corpora.sources.items():
        if spec is None:
            continue
        try:
            found[role] = [_facts(word, recipe, bytes_per_token) for word in split_sources(spec)]
        except GlossaeError as error:
            raise GlossaeError(f"corpora.{role}: {error}") from error
    return found


def stream_facts(recipe: Recipe) -> list[SourceFacts]:
    """The facts about the sources of `sae.stream`, whose text is not counted.

    Raises:
        GlossaeError: a source cannot be parsed, or its file does not exist.
    """
    if recipe.sae.stream is None:
        return []
    try:
        sizes = parse_stream(recipe.sae.stream).sizes()
    except GlossaeError as error:
        raise GlossaeError(f"sae.stream: {error}") from error
    note = f"read as far as {recipe.sae.tokens or 0:,} tokens take"
    return [
        SourceFacts(word, "net" if size is None else "file", size, None, note) for word, size in sizes.items()
    ]


def role_amounts(recipe: Recipe, sources: dict[str, list[SourceFacts]]) -> dict[str, Amounts | None]:
    """The text of each role after the run's cuts; None if a source's text is unknown.

    Sentences that a later role shares with an earlier one are dropped by the run, but counted here.
    """
    given = {role: _total(facts) for role, facts in sources.items()}
    amounts = _cut_text(recipe, sources["text"]) if "text" in sources else _cut_train(recipe, given)
    amounts |= {role: given[role] for role in OPTIONAL if role in given}
    limits = dict.fromkeys(OPTIONAL, recipe.corpora.panel_limit)
    limits |= dict.fromkeys(("select", "tune", "test"), recipe.corpora.test_limit)
    return {role: _limited(own, limits.get(role)) for role, own in amounts.items()}


def _limited(amounts: Amounts | None, limit: int | None) -> Amounts | None:
    """At most `limit` sentences of each language."""
    if amounts is None or limit is None:
        return amounts
    return {code: own * min(1.0, limit / max(1.0, own.sentences)) for code, own in amounts.items()}


def _cut_train(recipe: Recipe, given: dict[str, Amounts | None]) -> dict[str, Amounts | None]:
    """The roles that are given, and those that are cut out of train."""
    train = _limited(given["train"], recipe.corpora.limit)
    select = given.get("select")
    if "select" not in given:
        train, select = _cut(train, 0.3)
    test = given.get("test")
    if "test" not in given:
        select, test = _cut(select, 0.5)
    tune = given.get("tune")
    if "tune" not in given:
        select, tune = _cut(select, 0.2)
    return {"train": train, "select": select, "tune": tune, "test": test}


def _cut_text(recipe: Recipe, sources: list[SourceFacts]) -> dict[str, Amounts | None]:
    """Every role, cut out of `corpora.text` by the shares of `build_roles`, with all sources counted as one kind."""
    whole = _total(sources)
    roles = ("train", "select", "tune", "test", "panel")
    if whole is None:
        return dict.fromkeys(roles, None)
    limits = dict.fromkeys(SHARES, recipe.corpora.test_limit) | {"panel": recipe.corpora.panel_limit}
    trained = recipe.trained_languages
    found: dict[str, Amounts | None] = {role: {} for role in roles}
    for source in sources:
        own = source.amounts or {}
        trains = trained is None or bool(own.keys() & set(trained))
        left = 1.0
        for role, share in SHARES.items():
            limit = limits[role]
            needed = (
                max((limit / max(1.0, whole[code].sentences) for code in own), default=1.0) if limit else 1.0
            )
            share = min(share if trains else share / sum(SHARES.values()), needed)
            left -= share
            found[role] = _sum(found[role], {code: amount * share for code, amount in own.items()})
        found["train"] = _sum(found["train"], {code: amount * left for code, amount in own.items()})
    return found | {"train": _limited(found["train"], recipe.corpora.limit)}


def _sum(first: Amounts | None, second: Amounts) -> Amounts:
    total = dict(first or {})
    for code, amount in second.items():
        total[code] = total.get(code, Amount(0, 0)) + amount
    return total


def _cut(amounts: Amounts | None, share: float) -> tuple[Amounts | None, Amounts | None]:
    """The rest, and the part cut off."""
    if amounts is None:
        return None, None
    return {c: a * (1 - share) for c, a in amounts.items()}, {c: a * share for c, a in amounts.items()}


def _total(facts: list[SourceFacts]) -> Amounts | None:
    total: Amounts = {}
    for source in facts:
        if source.amounts is None:
            return None
        total = _sum(total, source.amounts)
    return total


def _facts(word: str, recipe: Recipe, bytes_per_token: BytesPerToken) -> SourceFacts:
    languages = (recipe.languages.target, recipe.languages.reference, *recipe.languages.others)
    if word == "toy":
        return SourceFacts(word, "file", 0, _toy(languages, bytes_per_token))
    source = parse_source(word)
    if isinstance(source, HubDataSet):
        folder = hub_data_set(source.repository.name)
        return SourceFacts(word, "net" if folder is None else "cache", None, None)
    if isinstance(source, Opus):
        return _opus(source, (languages[0], languages[1]), bytes_per_token)
    size = sum(path.stat().st_size for path in source.files if path.is_file())
    if size > READ_BYTES:
        codes = [code for code, _ in source.paths] if isinstance(source, Aligned) else list(languages[:2])
        shares = {code: size / len(codes) for code in codes}
        return SourceFacts(word, "file", size, _by_bytes(shares, bytes_per_token), "counted by its size")
    corpus = read_source(word, languages=languages, seed=recipe.seed).corpus
    return SourceFacts(word, "file", size, _counted(corpus, bytes_per_token))


def _counted(corpus: Corpus, bytes_per_token: BytesPerToken) -> Amounts:
    amounts = {}
    for code in corpus.languages:
        texts = [sentence.text for sentence in corpus.only(code).sentences]
        size = sum(len(text.encode()) for text in texts)
        amounts[code] = Amount(len(texts), size / bytes_per_token(code, texts[:SAMPLE]))
    return amounts


def _by_bytes(by_language: dict[str, float], bytes_per_token: BytesPerToken) -> Amounts:
    return {
        code: Amount(size / BYTES_PER_SENTENCE, size / bytes_per_token(code, []))
        for code, size in by_language.items()
    }


def _toy(languages: tuple[str, ...], bytes_per_token: BytesPerToken) -> Amounts:
    toy = sizes()["toy"]
    return {
        code: Amount(toy["pairs"], toy["pairs"] * toy["bytes"][code] / bytes_per_token(code, []))
        for code in languages
        if code in toy["bytes"]
    }


def _opus(source: Opus, pair: tuple[str, str], bytes_per_token: BytesPerToken) -> SourceFacts:
    word, archive = source.name, source.archive(pair)
    if archive.is_file():
        return SourceFacts(word, "cache", archive.stat().st_size, _in_archive(archive, pair, bytes_per_token))
    known = sizes()["corpora"].get(f"{source.corpus}@{source.version}")
    if known is None or not set(pair) <= known["bytes"].keys():
        return SourceFacts(word, "net", None, None)
    unpacked = {code: known["pairs"] * known["bytes"][code] for code in pair}
    amounts = {
        code: Amount(known["pairs"], size / bytes_per_token(code, [])) for code, size in unpacked.items()
    }
    return SourceFacts(word, "net", None, amounts, f"{sum(unpacked.values()) / 1e6:.1f} MB of text unpacked")


def _in_archive(path: Path, pair: tuple[str, str], bytes_per_token: BytesPerToken) -> Amounts | None:
    """The text in a fetched archive, from the sizes of its files."""
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, float] = {
                code: float(entry.file_size)
                for entry in archive.infolist()
                for code in pair
                if entry.filename.endswith(f".{code}")
            }
    except (OSError, zipfile.BadZipFile):
        return None
    return _by_bytes(found, bytes_per_token) if set(found) == set(pair) else None


def bytes_per_token(model: ModelFacts) -> BytesPerToken:
    """A function that gives the mean bytes per token of a language under this model's tokenizer."""
    file = None if model.folder is None else model.folder / "tokenizer.json"
    tokenizer = None if file is None or not file.is_file() else _tokenizers_file(file)
    table = sizes()["bytes_per_token"]["toy" if model.name == "toy" else "pythia"]
    seen: dict[str, float] = {}

    def ratio(language: str, texts: list[str]) -> float:
        if language not in seen and tokenizer is not None and texts:
            tokens = sum(
                len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
            )
            seen[language] = sum(len(text.encode()) for text in texts) / max(1, tokens)
        return seen.get(language) or float(table.get(language, table["other"]))

    return ratio


def _tokenizers_file(file: Path) -> Any:
    """The tokenizer in a file; None if it cannot be read."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        # a file may ask for texts to be cut, or padded to any length
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer
    except Exception:  # the library raises the bare class; loading the model will say what is wrong
        return None


def task_facts(recipe: Recipe) -> list[SourceFacts]:
    """The labelled sets that the recipe's tasks read, in their order.

    Raises:
        GlossaeError: a task cannot be parsed, or its file does not exist.
    """
    try:
        return [_task_facts(task) for task in split_tasks(recipe.tasks.names or "")]
    except GlossaeError as error:
        raise GlossaeError(f"tasks.names: {error}") from error


def _task_facts(task: TaskSource) -> SourceFacts:
    scheme, _, rest = task.source.partition(":")
    note = f"task {task.name}"
    if scheme == "hub":
        source = parse_source(task.source)
        folder = hub_data_set(source.repository.name) if isinstance(source, HubDataSet) else None
        return SourceFacts(task.source, "net" if folder is None else "cache", None, None, note)
    if scheme == "toy":
        return SourceFacts(task.source, "file", 0, None, note)
    paths = [path_named(part) for part in (rest.split(",") if scheme == "scala" else [task.source]) if part]
    for path in paths:
        if not path.exists():
            raise GlossaeError(f"{path}: no such file or folder")
    size = sum(folder_bytes(path) if path.is_dir() else path.stat().st_size for path in paths)
    return SourceFacts(task.source, "file", size, None, note)
