"""Leaving a training off and going on with it, bit for bit.

A checkpoint is one safetensors file: the tensors are the weights, the optimiser's moments and the mixer's pool; the
numbers (step, schedule, place in the text, the log) are JSON in its header. It is written beside and renamed, and the
last two are kept, so that there is a whole one at every moment.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glossae.files import replacing
from glossae.memory import enough_memory, out_of_memory
from glossae.sae.group import Group, Job, fewer
from glossae.sae.mixing import Mixer
from glossae.sae.trainer import Trainer

FORMAT = 2
KEPT = 2
_NAME = re.compile(r"step-\d{9,}\.safetensors")


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Attributes:
        folder: where they lie.
        identity: what tells this training from another: text, model, settings.
        seconds: time between two of them; 0: after every step.
        device: where a restored training goes on.
        tell: is told, in one line, why a checkpoint was not used, and at which step the training goes on.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        *,
        seconds: float,
        device: torch.device | str = "cpu",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self.identity, self.seconds, self.tell = folder, identity, seconds, tell
        self.device = torch.device(device)
        self._last = time.monotonic()
        # what `restore` found unusable: it does not count among the last two, and goes when there is something better
        self._refused: set[Path] = set()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, group: Group, mixer: Mixer) -> None:
        """Write one, and remove all but the last two of this training.

        Raises:
            GlossaeError: it cannot be written, or memory is out; the ones before are still there.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {"format": FORMAT, "identity": self.identity, "trainers": []}
        for place, trainer in enumerate(group.trainers):
            its_tensors, its = trainer.state()
            tensors |= {f"trainer.{place}.{name}": tensor for name, tensor in its_tensors.items()}
            numbers["trainers"].append(its)
        mixing = mixer.state()
        tensors |= {f"mixer.{name}": value for name, value in mixing.items() if isinstance(value, Tensor)}
        numbers["mixer"] = {name: value for name, value in mixing.items() if isinstance(value, int)}
        path = self.folder / f"step-{group.trainers[0].steps:09d}.safetensors"
        room = enough_memory(
            f"{path}: there is not enough memory to write a checkpoint; give --sae.checkpoint none, or lower "
            f"{fewer(group.trainers)}"
        )
        with room, replacing(path) as temporary:
            # clones: parts of a larger tensor would take the whole of it along
            written = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
            save_file(written, temporary, metadata={"glossae": json.dumps(numbers)})
        self._refused.discard(path)
        own = [file for file in self._files() if file not in self._refused]
        for old in (*own[KEPT:], *self._refused):
            old.unlink(missing_ok=True)
        self._refused.clear()
        self._last = time.monotonic()

    def restore(self, jobs: Sequence[Job], mixer: Mixer) -> Group | None:
        """The training as the last good checkpoint left it, the mixer with it; None if there is none."""
        for path in self._files():
            found = self._read(path, len(jobs))
            if isinstance(found, str):
                self.tell(f"{path}: {found}, so it is not gone on with")
                self._refused.add(path)
                continue
            tensors, numbers = found
            mixing = {name: tensors.get(f"mixer.{name}") for name in ("order", "held", "rest", "generator")}
            if mixing["held"] is not None:
                mixing["held"] = mixing["held"].to(self.device)
            if mixing["rest"] is not None:
                mixing["rest"] = mixing["rest"].to(self.device)
            mixer.restore(mixing | numbers["mixer"])
            trainers = []
            for place, (config, settings) in enumerate(jobs):
                prefix = f"trainer.{place}."
                own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
                trainers.append(
                    Trainer.restored(config, settings, own, numbers["trainers"][place], self.device)
                )
            done, steps = trainers[0].steps, trainers[0].settings.steps
            self.tell(f"{path}: carrying on at step {done:,} of {steps:,}")
            return Group(trainers)
        return None

    def clear(self) -> None:
        """Remove them all: the training is done."""
        for path in self._files():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        files = self.folder.glob("step-*.safetensors")
        # exactly the names that `save` gives: others are not ours to delete
        return sorted((file for file in files if _NAME.fullmatch(file.name)), reverse=True)

    def _read(self, path: Path, jobs: int) -> tuple[dict[str, Tensor], dict[str, Any]] | str:
        """What is in a checkpoint, or why it cannot be used."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                numbers = json.loads((file.metadata() or {}).get("glossae", "{}"))
                if numbers.get("format") != FORMAT:
                    return "is not a checkpoint of this version of glossae"
                if numbers["identity"] != self.identity or len(numbers["trainers"]) != jobs:
                    return "belongs to a training on other text or with other settings"
                return {name: file.get_tensor(name) for name in file.keys()}, numbers  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as error:
            if out_of_memory(error):
                # it may be a good one
                raise
            return f"is broken or cut short ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
