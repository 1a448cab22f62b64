"""Sites: named places at a layer, and the modules where they lie in each architecture.

```
block ── attention ── attn.out ─┐
      └─ mlp ─ act ─ mlp.hidden ─ down ── mlp.out ─┴─ + ── resid
```
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sprog.errors import SprogError

SITE_NAMES = ("mlp.hidden", "mlp.out", "attn.out", "resid")

Activation = Float[Tensor, "batch seq d"]


class Site(NamedTuple):
    """A named place at a layer: one of `SITE_NAMES`, and the block's number from 0."""

    name: str
    layer: int

    def __str__(self) -> str:
        return f"{self.name} of layer {self.layer}"


class Place(NamedTuple):
    """Where a site lies inside a block: a module's dotted path ("" is the block) and which side of it."""

    path: str
    side: Literal["input", "output"]


@dataclass(frozen=True)
class Architecture:
    """Where the sites of a family of models lie.

    Attributes:
        blocks: dotted path from the causal language model to its list of blocks.
        places: the place of each site name inside a block.
    """

    blocks: str
    places: dict[str, Place]


# `mlp.hidden` is always the input of the MLP's output projection: after the activation function and,
# where the MLP is gated, after the product with the gate.
ARCHITECTURES: dict[str, Architecture] = {
    "gpt_neox": Architecture(
        blocks="gpt_neox.layers",
        places={
            "mlp.hidden": Place("mlp.dense_4h_to_h", "input"),
            "mlp.out": Place("mlp", "output"),
            "attn.out": Place("attention.dense", "output"),
            "resid": Place("", "output"),
        },
    ),
}


def architecture_of(model: Any) -> Architecture:
    """The architecture of a Hugging Face causal language model, by its `model_type`.

    Raises:
        SprogError: it is not in `ARCHITECTURES`; the message lists modules that could be its blocks.
    """
    model_type = model.config.model_type
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[model_type]
    lists = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    ]
    candidates = ", ".join(
        f"{name} (x{len(model.get_submodule(name))}: "
        + ", ".join(path for path, _ in model.get_submodule(name)[0].named_modules() if path.count(".") == 1)
        + ")"
        for name in lists[:3]
    )
    raise SprogError(
        f"model: no sites are known for the architecture '{model_type}' (known: {', '.join(ARCHITECTURES)}); "
        f"name them with sprog.lm.load(..., architecture=Architecture(blocks, places)); candidates: {candidates}"
    )


@dataclass(frozen=True)
class Tap:
    """A site's module and side, ready to be hooked."""

    module: nn.Module
    side: Literal["input", "output"]

    def attach(self, visit: Callable[[Activation], Activation | None]) -> RemovableHandle:
        """Call `visit` on the site's tensor in every forward pass; what it returns (if not None) replaces it."""
        if self.side == "input":

            def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                replaced = visit(args[0])
                return None if replaced is None else (replaced, *args[1:])

            return self.module.register_forward_pre_hook(before)

        def after(_module: nn.Module, _args: Any, output: Any) -> Any:
            # blocks of some architectures and releases return (hidden, ...), others the tensor itself
            first = output[0] if isinstance(output, tuple) else output
            replaced = visit(first)
            if replaced is None:
                return None
            return (replaced, *output[1:]) if isinstance(output, tuple) else replaced

        return self.module.register_forward_hook(after)


@contextmanager
def attached(taps: Sequence[tuple[Tap, Callable[[Activation], Activation | None]]]) -> Iterator[None]:
    """Attach several visits for the length of a block, and remove them whatever happens in it."""
    handles: list[RemovableHandle] = []
    try:
        for tap, visit in taps:
            handles.append(tap.attach(visit))
        yield
    finally:
        for handle in handles:
            handle.remove()
