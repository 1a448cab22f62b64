"""Modules that answer with what they returned in an earlier pass over the same batch, instead of computing it again."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from glossae.lm.model import LanguageModel
from glossae.lm.sites import Site


class Answers:
    """What the modules before a site returned, and whether they are being recorded, answered, or left alone.

    Attributes:
        recording: outputs are kept, until `reached` is set.
        answering: modules with a kept output return a copy of it and compute nothing.
        rows: the rows of the batch that are answered for; None for all.
    """

    def __init__(self) -> None:
        self.recording = self.answering = self.reached = False
        self.rows: Tensor | None = None
        self.parts: list[_Part] = []
        self.inside: list[_Part] = []

    def rewind(self) -> None:
        """A new pass begins."""
        self.reached = False
        for part in self.parts:
            part.calls = 0

    def enter(self) -> None:
        """The site's own block begins: what its modules did in others, which may share them, does not count."""
        for part in self.inside:
            part.calls = 0
            if self.recording:
                part.outputs.clear()

    def forget(self) -> None:
        """Let go of all that was kept."""
        for part in self.parts:
            part.outputs.clear()


@contextmanager
def answers(lm: LanguageModel, site: Site) -> Iterator[Answers]:
    """While the block runs, every module that is done before the site is reached can be recorded and can answer.

    Those are the blocks below (of which only the last is kept, since it alone is read) and the modules of the site's
    own block. Hooks on a module that answers run as ever, since what is kept is what its `forward` returned; those
    inside it have had their effect in the first pass.

    Raises:
        GlossaeError: the model has no such site.
    """
    kept, tap = Answers(), lm.tap(site)
    whole = tap.module is tap.block and tap.place.side == "output"
    below = [*lm.blocks][: site.layer + whole]
    standing: dict[nn.Module, Any] = {}
    if below:
        last = _Part(kept, below[-1])
        kept.parts.append(last)
        standing[below[-1]] = last
        standing |= {block: _Under(kept, block, last) for block in below[:-1]}
    if not whole:
        inside = {module: _Part(kept, module) for module in tap.block.modules() if module is not tap.block}
        for module, part in inside.items():
            part.children = [inside[child] for child in module.modules() if child is not module]
        kept.inside = [*inside.values()]
        kept.parts += kept.inside
        standing |= inside
    # a library may have put a forward of its own there already (accelerate does)
    own = {module: vars(module).get("forward") for module in standing}
    entering = tap.block.register_forward_pre_hook(lambda *_: kept.enter())
    try:
        for module, forward in standing.items():
            module.forward = forward
        yield kept
    finally:
        entering.remove()
        for module, forward in own.items():
            if forward is not None:
                module.forward = forward
            elif "forward" in vars(module):
                del module.forward


class _Part:
    """Stands in for the forward of a module whose output is kept, one for each call in a pass."""

    def __init__(self, kept: Answers, module: nn.Module) -> None:
        self.kept, self.forward = kept, module.forward
        self.outputs: list[tuple[Any, dict[str, dict[Any, Any]]]] = []
        self.children: list[_Part] = []
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The kept output of this call, or the module's own forward."""
        call, self.calls = self.calls, self.calls + 1
        if self.kept.answering and call < len(self.outputs):
            output, shared = self.outputs[call]
            for name, states in shared.items():
                kwargs[name].update({key: _copied(value, self.kept.rows) for key, value in states.items()})
            return _copied(output, self.kept.rows)
        marks = [len(child.outputs) for child in self.children]
        output = self.forward(*args, **kwargs)
        if self.kept.recording and not self.kept.reached:
            # a copy, because some blocks (Falcon's) go on to write into what a sub-layer gave
            self.outputs.append((_copied(output), _shared(kwargs)))
            for child, mark in zip(self.children, marks, strict=True):
                # what it did in this call will not be asked for: this part answers for it
                del child.outputs[mark:]
        return output


class _Under:
    """Stands in for the forward of a block below the last one that is kept: nobody reads what it answers."""

    def __init__(self, kept: Answers, module: nn.Module, last: _Part) -> None:
        self.kept, self.forward, self.last = kept, module.forward, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the last block, which has the right form, or the module's own forward."""
        if self.kept.answering and self.last.outputs:
            return _copied(self.last.outputs[0][0], self.kept.rows)
        return self.forward(*args, **kwargs)


def _shared(kwargs: dict[str, Any]) -> dict[str, dict[Any, Any]]:
    """What stands in the mappings that a module was handed: keys and values for layers above, in Gemma 4."""
    return {name: dict(value) for name, value in kwargs.items() if isinstance(value, MutableMapping)}


def _copied(output: Any, rows: Tensor | None = None) -> Any:
    """Tensors cloned, in whatever they are packed; or some of their rows."""
    if isinstance(output, Tensor):
        return output.clone() if rows is None else output[rows.to(output.device)]
    if isinstance(output, tuple | list):
        parts = [_copied(part, rows) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output
