"""What is known about a model before it is loaded: where it is, how large, and its shape."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.plan.at_hand import hub_snapshot
from glossae.plan.sizes import sizes
from glossae.toy import toy_model

# as they are called in the config.json of one family or another
WIDTH = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
MLP = ("intermediate_size", "n_inner", "ffn_dim")
HEADS = ("num_attention_heads", "n_head")
# a header is a few hundred kilobytes even for the largest models
MAX_HEADER = 2**27
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Shape:
    """A causal language model's dimensions.

    Attributes:
        weights: all of them, embeddings included.
        tied: whether the output matrix is the embedding.
    """

    layers: int
    width: int
    mlp: int
    heads: int
    vocabulary: int
    weights: int
    tied: bool = False

    @property
    def block_weights(self) -> int:
        """Weights of the blocks: all but the embeddings."""
        return max(0, self.weights - (1 if self.tied else 2) * self.vocabulary * self.width)

    def site_width(self, site: str) -> int:
        """Values at a site."""
        return self.mlp if site == "mlp.hidden" else self.width


@dataclass(frozen=True)
class ModelFacts:
    """A model that a recipe names.

    Attributes:
        name: as the recipe has it.
        where: `folder` (or a GGUF file, or what is shipped), `cache` (of the hub) or `hub` (to be fetched).
        shape: None if it is unknown until fetched.
        size: bytes of its files, on disk or to be fetched; None if unknown until fetched.
        folder: where its files lie, if they do; None for a GGUF file.
    """

    name: str
    where: Literal["folder", "cache", "hub"]
    shape: Shape | None
    size: float | None
    folder: Path | None


def model_facts(name: str) -> ModelFacts:
    """Look a model up: a folder, the caches, the table of known ones. Nothing is fetched.

    Raises:
        GlossaeError: a folder that is named is not there, or is no model; a GGUF file cannot be read here.
    """
    if name == "toy":
        folder = toy_model()
        return ModelFacts(name, "folder", _shape_of(folder), _bytes_of(folder), folder)
    path = path_named(name)
    if path.is_dir():
        return ModelFacts(name, "folder", _shape_of(path), _bytes_of(path), path)
    if path.is_file() and path.suffix == ".gguf":
        # torch comes with it, which a plan of other models does without
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
    # other revisions of a model have its shape, but their files may be others
    size = None if revision else (known["megabytes"] + sizes()["tokenizer_megabytes"]) * 1e6
    return ModelFacts(name, "hub", known_shape(repository), size, None)


def known_shape(repository: str) -> Shape:
    """The shape of a model in the table."""
    row = sizes()["models"][repository]
    return _neox(row["layers"], row["width"], row["mlp"], row["heads"], row["vocabulary"])


def _neox(layers: int, width: int, mlp: int, heads: int, vocabulary: int) -> Shape:
    """A GPT-NeoX's weights: projections with biases, two norms a block, one at the end, two embeddings."""
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
        config: Any = json.loads(path.read_text(encoding="utf-8"))
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
    return Shape(layers, width, _first(config, MLP) or 4 * width, heads or 1, vocabulary, weights, tied)


def _shape_of_gguf(path: Path) -> Shape | None:
    """The shape in a GGUF file's header; None for a family that lacks one of the keys.

    Raises:
        GlossaeError: it cannot be read.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        architecture = reader.fields["general.architecture"].contents()
        found = {
            key: int(reader.fields[f"{architecture}.{key}"].contents())
            for key in ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
        }
    except (KeyError, TypeError):
        return None
    except Exception as error:
        # broken bytes end in whatever the reader stumbles over first
        raise GlossaeError(f"{path}: cannot be read as a GGUF file ({error})") from error
    shapes = {tensor.name: [int(extent) for extent in tensor.shape] for tensor in reader.tensors}
    layers, width, mlp, heads = found.values()
    vocabulary = max(shapes.get("token_embd.weight", [0]))
    tied = "output.weight" not in shapes
    return Shape(layers, width, mlp, heads, vocabulary, sum(map(prod, shapes.values())), tied)


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _tensors(folder: Path) -> Iterator[int]:
    """How many values each tensor of floating-point numbers has, by the headers of the safetensors files.

    Raises:
        GlossaeError: a header cannot be read.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, MAX_HEADER)))
            for name, tensor in header.items():
                # older checkpoints keep attention masks and the like beside the weights
                if name != "__metadata__" and tensor["dtype"] in FLOATS and len(tensor["shape"]) > 0:
                    count = 1
                    for extent in tensor["shape"]:
                        count *= int(extent)
                    yield count
        except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
            raise GlossaeError(f"{path}: cannot be read as safetensors ({error})") from error


def _bytes_of(folder: Path) -> int:
    """Bytes of what is loaded: weights, configuration, tokenizer."""
    return sum(f.stat().st_size for p in ("*.safetensors", "*.json", "*.txt") for f in folder.glob(p))
