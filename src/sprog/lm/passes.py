"""What single sites gave on batches that a model has run on, kept on disk, so that no batch is run twice."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from sprog.files import replacing
from sprog.lm.sites import Site

# what is kept at most: 2 GiB
MOST_BYTES = 2**31


class Passes:
    """The activations of single sites by batch; what is read is bit for bit what the model gave.

    A batch is known by its token ids. While the model has hooks, as inside `edit`, or once its weights were written
    to, nothing is read or kept. The files stay, so that work that was cut off finds them again; whoever made the
    folder deletes it.

    Args:
        folder: where the files lie; it is made once there is something to keep.
        model: the model that passes are of.
        identity: what tells it, and how it runs, from others whose passes lie in the folder.
        most: how many bytes are kept; later batches are then run as often as they come.
    """

    def __init__(self, folder: Path, model: Any, identity: str = "", most: int = MOST_BYTES) -> None:
        self.folder, self.identity, self.most = folder, identity, most
        self._versions = _versions(model)
        self._size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))

    def path(self, model: Any, batch: Sequence[Tensor], site: Site) -> Path | None:
        """The file of a pass over a batch's tensors; None where the model is not as it was made: it is not kept."""
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            return None
        # an optimiser's step, or any other writing in place, raises a weight's version
        if _versions(model) != self._versions:
            return None
        digest = blake2b(repr([self.identity, site, batch[0].shape]).encode(), digest_size=16)
        for part in batch:
            digest.update(part.cpu().numpy().tobytes())
        return self.folder / f"{digest.hexdigest()}.safetensors"

    def read(self, path: Path, device: torch.device) -> Float[Tensor, "tokens d"] | None:
        """What was kept; None if nothing was."""
        return load_file(path)["x"].to(device) if path.is_file() else None

    def keep(self, path: Path, x: Float[Tensor, "tokens d"]) -> None:
        """Keep what a site gave, if there is room for it."""
        size = x.numel() * x.element_size()
        if not size or self._size + size > self.most:
            return
        with replacing(path) as temporary:
            save_file({"x": x.detach().cpu().contiguous()}, temporary)
        self._size += size


def _versions(model: Any) -> int:
    return sum(weight._version for weight in model.parameters())
