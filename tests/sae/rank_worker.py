"""What one rank of the tests does: trains the SAEs of test_ranks.py with others, and writes what comes of it."""

import os
import shutil
import sys
import unittest.mock
from datetime import timedelta
from pathlib import Path

from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parents[1]))
# in one process of six, for the time that it takes
if (os.environ.get("WORLD_SIZE"), os.environ.get("RANK")) == ("2", "0"):
    install_import_hook(["glossae"], "typechecker.checked")

import pytest
import torch

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import write_tensors
from glossae.sae import Checkpoints, Mixer, SaeConfig, TrainSettings, train_group, trainer

D, LATENTS, CHUNKS, CHUNK = 16, 64, 16, 80
SETTINGS = {"steps": 20, "tokens": CHUNKS * CHUNK, "encoder_dtype": "float32", "lr": 0.003}
KINDS = {
    "topk": ({"k": 3}, {}),
    "topk-signed": ({"k": 3, "relu": False}, {"published": True}),
    "topk-many": ({"k": 24}, {}),
    "tied": ({"k": 5, "tied": True}, {"seed": 1}),
    "no-bias": ({"k": 2, "pre_encoder_bias": False}, {"centre": "zero"}),
    "relu": ({"activation": "relu"}, {"l1": 0.02}),
    "batchtopk-nested": ({"k": 3, "activation": "batchtopk", "matryoshka": (8, 24, LATENTS)}, {}),
    "topk-nested": ({"k": 3, "matryoshka": (16, LATENTS)}, {}),
    "jumprelu": ({"k": 3, "activation": "jumprelu"}, {}),
    "frozen": ({"k": 2}, {"frozen_decoder": True, "seed": 1}),
    # 61 latents: four ranks hold 16, 16, 16 and 13
    "uneven": ({"k": 3, "latents": 61}, {}),
    # latents of which some die, and learn from the error
    "dying": ({"k": 1}, {"lr": 0.05}),
    "dying-tied": ({"k": 1, "tied": True, "latents": 61}, {"lr": 0.05, "aux_k": 40}),
}


def job(kind):
    config, how = KINDS[kind]
    return SaeConfig(**({"d_in": D, "latents": LATENTS} | config)), TrainSettings(**(SETTINGS | how))


def stream(start=0, stop=None, every=1):
    """Chunks that depend on their number alone; the training is cut off when it asks for number `stop`."""
    directions = torch.randn(40, D, generator=torch.Generator().manual_seed(100))
    for number in range(start, CHUNKS, every):
        if stop is not None and number >= stop:
            raise GlossaeError(f"cut off at chunk {stop}")
        generator = torch.Generator().manual_seed(number)
        chosen = torch.rand(CHUNK - number, 40, generator=generator).topk(3, dim=1).indices
        yield torch.zeros(CHUNK - number, 40).scatter_(1, chosen, 1.0) @ directions + 2.0


def shared_stream(start, stop=None):
    """The same, of which each rank makes its own chunks."""
    own = ((chunk,) for chunk in stream(start + ranks.rank(), stop, ranks.count()))
    for (chunk,) in ranks.in_turn(own, "cpu"):
        yield chunk


def trained(kinds, *, checkpoints=None, stop=None):
    mixer = Mixer(64, 200, torch.Generator().manual_seed(0))
    return train_group(
        [job(kind) for kind in kinds],
        lambda start: shared_stream(start, stop),
        mixer,
        checkpoints=checkpoints,
    )


def save(found, folder, kinds):
    for kind, (sae, log) in zip(kinds, found, strict=True):
        points = torch.tensor([[p.step, p.tokens, p.mse, p.fvu, p.l0, p.dead_fraction] for p in log])
        if ranks.rank() == 0:
            write_tensors(folder / f"{kind}.safetensors", sae.tensors() | {"log": points})


class EveryFourth(Checkpoints):
    """Checkpoints after every fourth step: of several ranks, each takes about a tenth of a second."""

    asked = 0

    def due(self):
        self.asked += 1
        return super().due() and self.asked % 4 == 0


def checkpoints(folder, told=None):
    return EveryFourth(folder, "own", seconds=0.0, tell=lambda line: told is None or told.append(line))


RESUMED = ("topk", "batchtopk-nested", "tied", "jumprelu")
FOUR = ("batchtopk-nested", "jumprelu", "relu", "uneven", "dying-tied")
"""What four ranks train."""


def cases(folder, resume_from):
    """Train every kind, cut a training off, and carry on from its checkpoints and others."""
    own = folder / "own"
    # short trainings have dead latents, too
    with unittest.mock.patch.object(trainer, "DEAD_TOKENS", 300):
        for kind in FOUR if ranks.count() == 4 else KINDS:
            save(trained([kind]), folder / "alone", [kind])
        with pytest.raises(GlossaeError, match="cut off at chunk 12"):
            trained(RESUMED, checkpoints=checkpoints(folder / "checkpoints"), stop=12)
        if ranks.rank() == 0:
            shutil.copytree(folder / "checkpoints", own)
        ranks.total(0)
        for place in [own, *resume_from]:
            resume(folder, place)


def resume(folder, place):
    """Carry on from the checkpoints in a folder, which are then others."""
    told = []
    with unittest.mock.patch.object(trainer, "DEAD_TOKENS", 300):
        found = trained(RESUMED, checkpoints=checkpoints(place, told))
    save(found, folder / "resumed" / place.name, RESUMED)
    if ranks.rank() == 0:
        (folder / "resumed" / place.name / "told").write_text("\n".join(told), encoding="utf-8")


def main():
    torch.set_num_threads(1)
    folder, *resume_from = map(Path, sys.argv[1:])
    limit = timedelta(seconds=60)
    with ranks.joined(limit=limit, reach=limit), ranks.together():
        cases(folder, resume_from)
    ranks.leave()


if __name__ == "__main__":
    main()
