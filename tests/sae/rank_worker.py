"""What one rank of test_sae_ranks.py does: trains SAEs with others, and writes what comes of it; or goes wrong."""

import errno
import os
import shutil
import signal
import time
import unittest.mock
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from jaxtyping import install_import_hook

# in the process that ranks are forked from, as in every test
install_import_hook(["glossae"], "typechecker.checked")

import numpy as np
import pytest
import torch

# what a checkpoint of several ranks imports, so that it is done once
import torch.distributed.checkpoint.hf_storage
import torch.distributed.tensor

from glossae import cli, ranks
from glossae.errors import GlossaeError
from glossae.files import tensors_sha256, write_json, write_tensors
from glossae.sae import Checkpoints, Mixer, SaeConfig, TrainSettings, train_group, trainer, untrained, whole

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


def train_all(folder, resume_from):
    """`cases` as one rank of several."""
    limit = timedelta(seconds=60)
    with ranks.joined(limit=limit, reach=limit), ranks.together():
        cases(folder, resume_from)
    ranks.leave()
    return 0


WIDE = SaeConfig(d_in=256, latents=2**15, k=8)
"""64 MiB of weights."""


def private_bytes():
    """What this process holds by itself; pages of mapped files are not among it."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith("RssAnon"))


def hold_whole(folder):
    """An SAE before training as one rank of several: its hash, and what this rank holds with it."""
    limit, x = timedelta(seconds=60), torch.randn(64, WIDE.d_in, generator=torch.Generator().manual_seed(0))
    files = folder / "files"
    with ranks.joined(limit=limit, reach=limit):
        with ranks.together():
            before = private_bytes()
            sae = untrained(WIDE, x, seed=3, folder=files)
            said = {"sha256": tensors_sha256("", sae.tensors()), "held": private_bytes() - before}
            if ranks.rank() == 0:
                said["files"] = [path.name for path in files.iterdir()]
        write_json(folder / f"{ranks.world()[0]}.json", said)
    ranks.leave()
    return 0


def go_wrong(fault, seconds):
    """The command line around a run in which a rank goes wrong, with another time limit."""
    limit = timedelta(seconds=seconds)
    with (
        unittest.mock.patch.object(cli, "_run", partial(faulty, fault)),
        unittest.mock.patch.object(ranks, "joined", partial(ranks.joined, limit=limit, reach=limit)),
    ):
        return cli.main(["run", "demo"])


def faulty(fault, _):
    if ranks.world()[0]:
        for job in ranks.jobs():
            together(job)
        return {}
    if fault == "before":
        raise GlossaeError("layer: rank 0 goes wrong outside of joint work")
    with ranks.called(fault):
        together(fault)
    print("done")
    return {}


def together(fault):
    """Joint work in which rank 1 goes wrong after the first sum; or the folder of a whole SAE is a file."""
    ranks.sum_(torch.ones(3))
    if fault == f"ended-{ranks.rank()}":
        os.kill(os.getpid(), signal.SIGTERM)
    if fault in ("nowhere", "full"):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        full = unittest.mock.patch.object(whole, "_write", side_effect=error)
        with full if fault == "full" and ranks.rank() == 1 else nullcontext():
            start = SaeConfig(d_in=4, latents=8, k=1), torch.ones(3, 4)
            untrained(*start, seed=0, folder=Path(__file__) if fault == "nowhere" else None)
    if ranks.rank() == 1:
        if fault == "refuses":
            raise GlossaeError("corpora.train: rank 1 finds no text")
        if fault == "memory":
            raise MemoryError
        if fault == "dies":
            os._exit(9)
        if fault == "hangs":
            time.sleep(6)
        if fault == "strays":
            ranks.exchange([1], "counts of 7 tokens")
        if fault == "caught":
            raise GlossaeError("corpora.train: rank 1 finds no text")
    if fault == "strays":
        ranks.sum_arrays("losses of 3 sentences", np.zeros(3))
    if fault == "caught":
        # as a stage may, for which text is too small
        with suppress(GlossaeError):
            ranks.each("texts", range(4), str)
        return
    ranks.sum_(torch.ones(3))


def command(words):
    """A command line; the second rank has other words."""
    return cli.main(words[int(os.environ["RANK"])])
