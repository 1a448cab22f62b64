"""A command line in a process that torchrun started, in which a rank goes wrong as `FAULTS` says.

`FAULTS` is `FOLDER RANK:FAULT:PLACE ...`; each is carried out once, and leaves a file in the folder. A place is the
number of a training's step, or `STAGE.NUMBER`: the part of a stage before which the rank goes wrong. The rank kills
itself (`kill`), raises what a person can mend (`refuse`), or does the part without asking rank 0 whether it is there
(`stray`).
"""

import os
import signal
from pathlib import Path

from glossae.cli import main


def arm():
    from glossae.errors import GlossaeError
    from glossae.run.folder import Parts
    from glossae.sae.training import Group

    folder, *faults = os.environ["FAULTS"].split()
    step, arrays = Group.step, Parts.arrays
    parts = {}

    def fault(place):
        for kind in ("kill", "refuse", "stray"):
            at = f"{os.environ['RANK']}:{kind}:{place}"
            if at not in faults or (Path(folder) / at).exists():
                continue
            (Path(folder) / at).touch()
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "refuse":
                raise GlossaeError(f"corpora.test: rank {os.environ['RANK']} finds no text")
            return True
        return False

    def faulty_step(group, batch):
        fault(group.trainers[0].steps)
        step(group, batch)

    def faulty_arrays(own, name, work):
        stage = own.folder.parent.parent.name
        parts[stage] = parts.get(stage, 0) + 1
        return work() if fault(f"{stage}.{parts[stage]}") else arrays(own, name, work)

    Group.step, Parts.arrays = faulty_step, faulty_arrays


def undrawn():
    """The page takes most of a small run."""
    from glossae.stages import stage_of

    stage_of("report").run = lambda *_: {}


if __name__ == "__main__":
    # before torch is there
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    undrawn()
    if "FAULTS" in os.environ:
        arm()
    raise SystemExit(main())
