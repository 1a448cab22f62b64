"""Store the activations of single sites by batch on disk, so that no batch is run twice."""

import re
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, write_tensors
from glossae.lm.sites import Site

MOST_BYTES = 2**31
# of those read or stored last, bytes that stay in memory: a batch takes its sentences from a few others
RECENT_BYTES = 2**26


class Passes:
    """The stored activations of single sites by batch, bit for bit as the model gave them.

    The key of a batch is its token ids. While the model has hooks, as inside `edit`, or after its weights were
    written to, nothing is read or stored. The files stay until `clear_passes`, so that interrupted work finds
    them again.

    Args:
        folder: the parent of this object's folder; both are made with the first file.
        model: the model that is run.
        identity: the name of the folder, which identifies the model, how it runs, and its text.
        most: the most bytes to store, in equal shares for the ranks of a run; later batches are not stored.
        stopped: is given a line if the disk takes no more, after which nothing is stored.

    Attributes:
        size: bytes stored so far, of earlier objects too.
        homes: gives the `glossae.lm.Homes` of sentences, or None.
    """

    homes: Callable[[], Any]

    def __init__(
        self,
        folder: Path,
        model: Any,
        identity: str,
        most: float = MOST_BYTES,
        stopped: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self.homes = folder / identity, lambda: None
        # ranks store their own batches in the same folder
        self.most = most / ranks.world()[1]
        self._model, self._versions = weakref.ref(model), _versions(model)
        self._stopped = stopped
        self.size = 0
        self._recent: OrderedDict[Path, Tensor] = OrderedDict()
        for file in self.folder.glob("*.safetensors"):
            # what a killed process was writing is of no use
            with suppress(OSError):
                self.size += 0 if file.name.startswith(TEMPORARY) else file.stat().st_size

    def hold(self, model: Any) -> bool:
        """Whether the model is in its original state, so that passes are read and stored."""
        hooks = (
            hook
            for module in model.modules()
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        )
        # a call that asked for hidden states leaves hooks of transformers, which change nothing
        if not all(getattr(hook, "__module__", "").startswith("transformers.utils.") for hook in hooks):
            return False
        # an optimiser's step, or any other write in place, raises a weight's version
        return self._model() is model and _versions(model) == self._versions

    def path(self, batch: Sequence[Tensor], site: Site) -> Path:
        """The file of a batch at a site."""
        digest = blake2b(repr([site, batch[0].shape]).encode(), digest_size=16)
        for part in batch:
            digest.update(part.cpu().numpy().tobytes())
        return self.folder / f"{digest.hexdigest()}.safetensors"

    def read(self, path: Path, device: torch.device) -> Float[Tensor, "tokens d"] | None:
        """The stored activations; None if there are none, or the file is broken."""
        if path in self._recent:
            self._recent.move_to_end(path)
            return self._recent[path]
        with suppress(SafetensorError, OSError, KeyError, ValueError, TypeError):
            found = load_file(path)
            if bytes(found["digest"].tolist()) == _digest(found["x"], path):
                return self._remember(path, found["x"].to(device))
        return None

    def _remember(self, path: Path, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        self._recent[path] = x
        # one that is larger alone does not stay either
        while sum(each.nbytes for each in self._recent.values()) > RECENT_BYTES:
            self._recent.popitem(last=False)
        return x

    def keep(self, path: Path, x: Float[Tensor, "tokens d"]) -> None:
        """Store a site's activations, unless that exceeds `most` bytes or the free space of the disk."""
        self._remember(path, x)
        size = x.numel() * x.element_size()
        if not size or self.size + size > self.most:
            return
        kept = x.detach().cpu().contiguous()
        digest = torch.tensor(list(_digest(kept, path)), dtype=torch.uint8)
        try:
            write_tensors(path, {"x": kept, "digest": digest})
        except GlossaeError as error:
            self.most = 0
            self._stopped(f"activations are kept no longer: {error}")
        self.size += size


def clear_passes(folder: Path, *, but: str | None = None) -> None:
    """Delete the files of `Passes` in a folder, except those of the identity `but`; other files stay."""
    for place in folder.glob("*"):
        if place.name == but or place.is_symlink() or not re.fullmatch("[0-9a-f]{16}", place.name):
            continue
        for file in place.iterdir():
            if file.suffix == ".safetensors" and re.fullmatch(f"[0-9a-f]{{32}}|{TEMPORARY}.*", file.stem):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            place.rmdir()
    with suppress(OSError):
        folder.rmdir()


def _digest(x: Tensor, path: Path) -> bytes:
    # of the name as well, so that no file is taken for another; as bytes: numpy has no bfloat16
    return blake2b(x.view(torch.uint8).numpy().data, digest_size=16, key=path.stem.encode()).digest()


def weight_sums(model: Any) -> list[tuple[int, float]]:
    """The version and the sum of each weight: equal lists, unchanged weights.

    Torch counts the writes to a weight, but not those to its `data`; offloaded weights are left out.
    """
    return [
        # Apple's GPUs have no doubles
        (w._version, float(w.detach().sum(dtype=torch.float32 if w.is_mps else torch.float64)))
        for w in model.parameters()
        if not w.is_meta
    ]


def _versions(model: Any) -> int:
    return sum(weight._version for weight in model.parameters())
