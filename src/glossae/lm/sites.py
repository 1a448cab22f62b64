"""Sites: named places at a layer, and hooks on the tensors there.

```
block ── attention ── attn.out ─┐
      └─ mlp ─ act ─ mlp.hidden ─ down ── mlp.out ─┴─ + ── resid
```
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from glossae.lm.architectures import Place

SITE_NAMES = ("mlp.hidden", "mlp.out", "attn.out", "resid")

Activation = Float[Tensor, "batch seq d"]
Visit = Callable[[Activation], Activation | None]


class Site(NamedTuple):
    """A named place at a layer: one of `SITE_NAMES`, and the block's number from 0."""

    name: str
    layer: int

    def __str__(self) -> str:
        return f"{self.name} of layer {self.layer}"


@dataclass(frozen=True)
class Tap:
    """A site's module in its block, ready to be hooked."""

    block: nn.Module
    module: nn.Module
    place: Place

    def attach(self, visit: Visit) -> list[RemovableHandle]:
        """Call `visit` on the site's tensor in every forward pass; what it returns (if not None) replaces it."""
        handles = []
        if self.place.flat:
            visit, handle = self._shaped(visit)
            handles.append(handle)
        if self.place.side == "input":

            def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                replaced = visit(args[0])
                return None if replaced is None else (replaced, *args[1:])

            handles.append(self.module.register_forward_pre_hook(before))
        else:

            def after(_module: nn.Module, _args: Any, output: Any) -> Any:
                # blocks of some architectures and releases return (hidden, ...), others the tensor itself
                first = output[0] if isinstance(output, tuple) else output
                replaced = visit(first)
                if replaced is None:
                    return None
                return (replaced, *output[1:]) if isinstance(output, tuple) else replaced

            handles.append(self.module.register_forward_hook(after))
        return handles

    def _shaped(self, visit: Visit) -> tuple[Visit, RemovableHandle]:
        """A visit that is shown `(batch, seq, d)` where the block flattens; the block's own input tells them."""
        shape: list[int] = []

        def remember(_module: nn.Module, args: tuple[Any, ...]) -> None:
            shape[:] = args[0].shape[:2]

        def unflattened(x: Tensor) -> Tensor | None:
            replaced = visit(x.unflatten(0, shape) if x.ndim == 2 else x)
            return None if replaced is None else replaced.reshape(x.shape)

        return unflattened, self.block.register_forward_pre_hook(remember)


@contextmanager
def attached(taps: Sequence[tuple[Tap, Visit]]) -> Iterator[None]:
    """Attach several visits for the length of a block, and remove them whatever happens in it."""
    handles: list[RemovableHandle] = []
    try:
        for tap, visit in taps:
            handles.extend(tap.attach(visit))
        yield
    finally:
        for handle in handles:
            handle.remove()
