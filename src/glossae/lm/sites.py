"""Sites: named tensors at a layer, their places in each architecture, and hooks on them.

```
block ── attention ── attn.out ─┐
      └─ mlp ─ act ─ mlp.hidden ─ down ── mlp.out ─┴─ + ── resid
```
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from glossae.errors import GlossaeError

SITE_NAMES = ("mlp.hidden", "mlp.out", "attn.out", "resid")

Activation = Float[Tensor, "batch seq d"]
Visit = Callable[[Activation], Activation | None]


class Site(NamedTuple):
    """A named place at a layer: one of `SITE_NAMES`, and the block's number from 0."""

    name: str
    layer: int

    def __str__(self) -> str:
        return f"{self.name} of layer {self.layer}"


class Place(NamedTuple):
    """The place of a site inside a block.

    Attributes:
        path: a module's dotted path; "" is the block. If layers differ, several paths with `|` between them:
            the first that a block has.
        side: its input or its output.
        flat: whether the block may pass it as `(batch x seq, d)`, which is then reshaped to `(batch, seq, d)`.
    """

    path: str
    side: Literal["input", "output"]
    flat: bool = False

    def within(self, block: nn.Module) -> nn.Module:
        """The module at the path in a block; raises AttributeError if the block has none."""
        *others, last = self.path.split("|")
        for path in others:
            with suppress(AttributeError):
                return block.get_submodule(path)
        return block.get_submodule(last)


@dataclass(frozen=True)
class Architecture:
    """The places of an architecture's sites.

    Attributes:
        blocks: dotted path from the causal language model to its list of blocks.
        places: the place of each site name inside a block.
    """

    blocks: str
    places: dict[str, Place]


def _architecture(blocks: str, projection: str, mlp: str, attention: str, flat: bool = False) -> Architecture:
    """Make an architecture from the MLP's output projection and the modules whose outputs the residual stream adds."""
    # mlp.hidden is after the activation function and, if the MLP is gated, after the product with the gate
    hidden, written = Place(projection, "input", flat), Place(mlp, "output", flat)
    places = (hidden, written, Place(attention, "output"), Place("", "output"))
    return Architecture(blocks, dict(zip(SITE_NAMES, places, strict=True)))


_LLAMA = _architecture("model.layers", "mlp.down_proj", "mlp", "self_attn.o_proj")
# a norm follows each sub-layer, and its output is added to the residual stream
_GEMMA2 = _architecture(
    "model.layers", "mlp.down_proj", "post_feedforward_layernorm", "post_attention_layernorm"
)
# these have a vision half, which text does not enter
_GEMMA3 = Architecture("model.language_model.layers", _GEMMA2.places)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt_neox": _architecture("gpt_neox.layers", "mlp.dense_4h_to_h", "mlp", "attention.dense"),
    "gpt2": _architecture("transformer.h", "mlp.c_proj", "mlp", "attn.c_proj"),
    "gpt_neo": _architecture("transformer.h", "mlp.c_proj", "mlp", "attn.attention.out_proj"),
    "gptj": _architecture("transformer.h", "mlp.fc_out", "mlp", "attn.out_proj"),
    "opt": _architecture("model.decoder.layers", "fc2", "fc2", "self_attn.out_proj", flat=True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    # most layers have linear attention in place of the other
    "qwen3_5_text": _architecture(
        "model.layers", "mlp.down_proj", "mlp", "self_attn.o_proj|linear_attn.out_proj"
    ),
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "gemma3": _GEMMA3,
    # `resid` is the block's output: with its per-layer input added, times the layer's scalar
    "gemma4_text": _GEMMA2,
    "gemma4": _GEMMA3,
    "phi": _architecture("model.layers", "mlp.fc2", "mlp", "self_attn.dense"),
    "phi3": _LLAMA,
}
"""The sites' places of each architecture, by the `model_type` of its configuration."""


def architecture_of(model: Any) -> Architecture:
    """The architecture of a Hugging Face causal language model, by its `model_type`.

    A model whose MLPs are wider in some layers (Gemma 4 E2B and E4B) has no site `mlp.hidden`: a site name has
    one width.

    Raises:
        GlossaeError: it is not in `ARCHITECTURES`; the message suggests one from the names
            and shapes of the model's modules.
    """
    known, config = ARCHITECTURES.get(model.config.model_type), model.config.get_text_config()
    if known is None:
        raise GlossaeError(_refusal(model, getattr(config, "hidden_size", None)))
    if getattr(config, "use_double_wide_mlp", False) and getattr(config, "num_kv_shared_layers", 0):
        places = {name: place for name, place in known.places.items() if name != "mlp.hidden"}
        return Architecture(known.blocks, places)
    return known


def _refusal(model: Any, width: int | None) -> str:
    """The error message for an unknown architecture, with the one that its modules suggest.

    The blocks are the list with the most weights that lies in no other list. `mlp.out` is the block's last
    projection back to the model's width outside the attention, `attn.out` the last one inside it.
    """
    unknown = (
        f"model: no sites are known for the architecture '{model.config.model_type}' "
        f"(known: {', '.join(ARCHITECTURES)})"
    )
    weights = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module)
    }
    outer = [name for name in weights if not any(name.startswith(f"{other}.") for other in weights)]
    if not outer:
        return f"{unknown}, and it has no list of blocks"
    path, *others = sorted(outer, key=lambda name: -weights[name])
    blocks = model.get_submodule(path)
    projections = list(_projections(blocks[0]))
    back = [name for name, _, wide_out in projections if wide_out == width]
    attention = [name for name in back if "att" in name.lower()]
    places: dict[str, Place] = {}
    if mlp := [name for name in back if name not in attention]:
        places |= {"mlp.hidden": Place(mlp[-1], "input"), "mlp.out": Place(mlp[-1], "output")}
    if attention:
        places["attn.out"] = Place(attention[-1], "output")
    places["resid"] = Place("", "output")
    shapes = ", ".join(f"{name} ({wide_in} to {wide_out})" for name, wide_in, wide_out in projections)
    suggested = ", ".join(f"'{site}': Place{place[:2]}" for site, place in places.items())
    return (
        f"{unknown}; candidates: {path} (x{len(blocks)}: {shapes}){''.join(f', {other}' for other in others)}; "
        f"by names and shapes this may do: glossae.lm.load(NAME, architecture=Architecture('{path}', "
        f"{{{suggested}}})), if mlp.out and attn.out are what each adds to the residual stream"
    )


def _projections(block: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Path, width in and width out of every linear module of a block."""
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 2 and not isinstance(module, nn.Embedding):
            # weights are (out, in); transformers' Conv1D, which has `nf`, stores (in, out)
            wide_out, wide_in = weight.shape[::-1] if hasattr(module, "nf") else weight.shape
            yield name, wide_in, wide_out


class StopPass(Exception):  # noqa: N818 - it is no error
    """Raised inside a hook to stop a pass whose rest is not needed."""


@dataclass(frozen=True)
class Tap:
    """A site's module in its block, to attach hooks to."""

    block: nn.Module
    module: nn.Module
    place: Place

    @property
    def ends_block(self) -> bool:
        """Whether the site is the block's output."""
        return self.module is self.block and self.place.side == "output"

    def attach(self, visit: Visit) -> list[RemovableHandle]:
        """Call `visit` on the site's tensor in every forward pass; its result, if not None, replaces the tensor."""
        shape: list[int] = []

        def shown(x: Tensor) -> Tensor | None:
            if x.ndim != 2 or not self.place.flat:
                return visit(x)
            replaced = visit(x.unflatten(0, shape))
            return None if replaced is None else replaced.flatten(0, 1)

        def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            replaced = shown(args[0])
            return None if replaced is None else (replaced, *args[1:])

        def after(_module: nn.Module, _args: Any, output: Any) -> Any:
            # blocks of some architectures and releases return (hidden, ...), others the tensor itself
            replaced = shown(output[0] if isinstance(output, tuple) else output)
            return (replaced, *output[1:]) if replaced is not None and isinstance(output, tuple) else replaced

        def remember(_block: nn.Module, args: tuple[Any, ...]) -> None:
            shape[:] = args[0].shape[:2]

        handles = [self.block.register_forward_pre_hook(remember)] if self.place.flat else []
        if self.place.side == "input":
            return [*handles, self.module.register_forward_pre_hook(before)]
        return [*handles, self.module.register_forward_hook(after)]


class _Uncompiled:
    """Runs what `torch.compile` made uncompiled as long as a block is open, in whatever order blocks end.

    Passes that are generators, and threads, end out of order; the stance alone would then stay behind.
    """

    def __init__(self) -> None:
        self._lock, self._open, self._stance = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))
            self._open += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self._stance.close()


_uncompiled = _Uncompiled()


@contextmanager
def attach_all(taps: Sequence[tuple[Tap, Visit]]) -> Iterator[None]:
    """Attach several visits inside the block, and remove them whatever happens in it.

    Everything that `torch.compile` made runs uncompiled inside the block: a compiled graph has no hooks that were
    attached later.
    """
    handles: list[RemovableHandle] = []
    with _uncompiled:
        try:
            for tap, visit in taps:
                handles.extend(tap.attach(visit))
            yield
        finally:
            for handle in handles:
                handle.remove()
