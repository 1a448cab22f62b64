"""What single sites gave on batches that a model has run on, kept on disk, so that no batch is run twice."""

import shutil
import weakref
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sprog.files import TEMPORARY
from sprog.lm.sites import Site

# what is kept at most: 2 GiB
MOST_BYTES = 2**31


class Passes:
    """The activations of single sites by batch; what is read is bit for bit what the model gave.

    A batch is known by its token ids and by the state of the model's weights. While the model has hooks, as inside
    `edit`, nothing is read or kept. The files last as long as this object.

    Args:
        folder: where a temporary folder is made, once there is something to keep; None: the system's.
        most: how many bytes are kept; later batches are then run as often as they come.
    """

    def __init__(self, folder: Path | None = None, most: int = MOST_BYTES) -> None:
        self.folder, self.most, self.kept = folder, most, 0
        self._place: Path | None = None
        self._shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}

    def key(self, model: Any, batch: Sequence[Tensor], site: Site) -> str | None:
        """The name of a pass over a batch's tensors; None where something is hooked to the model: it is not kept."""
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            return None
        # an optimiser's step, or any other writing in place, raises a weight's version
        state = [id(model), sum(weight._version for weight in model.parameters()), site, batch[0].shape]
        digest = blake2b(repr(state).encode(), digest_size=16)
        for part in batch:
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    def read(self, key: str, device: torch.device) -> Float[Tensor, "tokens d"] | None:
        """What was kept under a name; None if nothing was."""
        if key not in self._shapes or self._place is None:
            return None
        shape, dtype = self._shapes[key]
        raw = torch.frombuffer(bytearray((self._place / key).read_bytes()), dtype=dtype)
        return raw.view(shape).to(device)

    def keep(self, key: str, x: Float[Tensor, "tokens d"]) -> None:
        """Keep what a site gave, if there is room for it."""
        size = x.numel() * x.element_size()
        if not size or self.kept + size > self.most:
            return
        if self._place is None:
            self._place = Path(mkdtemp(dir=self.folder, prefix=f"{TEMPORARY}passes-"))
            weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        # as bytes: numpy has no bfloat16
        raw = x.detach().cpu().contiguous().view(torch.uint8).numpy()
        (self._place / key).write_bytes(raw.data)
        self._shapes[key] = (tuple(x.shape), x.dtype)
        self.kept += size
