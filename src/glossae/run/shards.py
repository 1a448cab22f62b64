"""Shards of a stage: jobs that each compute a part of its cells, for the run that goes on afterwards.

A cell is a part of a stage that depends on no other: a model that is probed, an SAE of another seed, a task, the
sentences on which controls are measured. Its result lies among the stage's finished parts, where a run that was cut
off finds them, too. So the run that carries on after all shards is the undivided one, bit for bit.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from glossae.errors import GlossaeError
from glossae.files import guarded, refuse_links, replacing
from glossae.recipe import Recipe
from glossae.run.context import Context, ElsewhereError, Shard, Show
from glossae.run.engine import check_stages, refuse_replacing, roles_of, stages_to_run
from glossae.run.folder import LOCK, PARTS, Parts, RunFolder, check_folder
from glossae.stages import load_stages, stage_of

MOST = 9999
# seconds to wait for a run's lock, which other shards hold for an instant as they begin
PATIENCE = 5.0


class Computed(NamedTuple):
    """What a shard has done.

    Attributes:
        stage: the divided stage.
        own: the cells that this shard computed or found.
        cells: all cells of the stage.
    """

    stage: str
    own: int
    cells: int


def parse_shard(text: str) -> Shard:
    """The shard `K/N`.

    Raises:
        GlossaeError: it is not written so, or K is not from 1 to N.
    """
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise GlossaeError(
            f"--shard: {text!r}: write K/N, such as 3/16: K is from 1 to N, and N at most {MOST}"
        )
    return Shard(int(match[1]), int(match[2]))


def run_shard(
    recipe: Recipe, out: Path, shard: Shard, until: str | None = None, quiet: bool = False
) -> Computed:
    """Compute a shard's cells of the first stage that is not done in a run's folder.

    Several shards may be at work in one folder at once, but no run.

    Args:
        recipe: of the run.
        out: its folder, in which the stages before the divided one are done.
        shard: which cells.
        until: the last stage that may be divided; None: any.
        quiet: show no progress.

    Raises:
        GlossaeError: there is no such run, its next stage has no cells, all stages are done, or another job with this
            shard or a run is at work in the folder.
    """
    planned = stages_to_run(recipe, until)
    check_folder(out, recipe)
    if not (out / LOCK).is_file():
        raise GlossaeError(
            f"--shard: {out} is no run yet: start it without --shard, with --until the stage before"
        )
    show = Show(quiet)
    with _claimed(out, shard):
        context = Context(recipe, roles_of(recipe), RunFolder(out), show, shard=shard)
        check_stages(context, planned)
        refuse_replacing(context, planned)
        for name in planned:
            stage = stage_of(name)
            inputs = stage.inputs(context)
            of_parts, whole = context.fingerprints(inputs)
            context.parts[name] = Parts.of(out / name, of_parts)
            if context.folder.is_done(name, whole):
                continue
            if not stage.cells:
                divided = ", ".join(each.name for each in load_stages() if each.cells)
                raise GlossaeError(
                    f"--shard: the stage {name} is not done, and has no cells (these have: {divided}): run it without "
                    f"--shard, with --until {name}"
                )
            try:
                with show.stage(name, f"{stage.doing(recipe)}, shard {shard}") as progress:
                    stage.run(context, progress)
            except ElsewhereError as share:
                return Computed(name, share.own, share.cells)
            raise GlossaeError(
                f"--shard: the stage {name} has nothing to divide here: run it without --shard"
            )
    raise GlossaeError(f"--shard: every stage in {out} is done")


@contextmanager
def _claimed(out: Path, shard: Shard) -> Iterator[None]:
    """Hold a shard's lock, and refuse to begin beside a run."""
    place = out / f"{LOCK}-{shard.number}-of-{shard.of}"
    own, run = FileLock(place, timeout=0), FileLock(out / LOCK, timeout=PATIENCE)
    try:
        with own:
            # a run looks for shards after it has its lock, so that one of the two sees the other
            with run:
                pass
            with guarded(out):
                yield
    except Timeout as error:
        who = f"shard {shard}" if Path(error.lock_file) == place else "a run"
        raise GlossaeError(f"--shard: {who} is at work in {out} already") from error


def merge(out: Path, others: Sequence[Path]) -> int:
    """Copy the finished parts of other folders of the same run into one; the number of files that were copied.

    A part's folder is named by a fingerprint of what the part depends on, and each part has a hash: of what is copied,
    a run reads only what its own settings ask for.

    Raises:
        GlossaeError: one is no folder of a run, or holds links; or a stage that two of them have done had other inputs.
    """
    copied, done = 0, dict[str, str]()
    for folder in (out, *others):
        if not (folder / LOCK).is_file():
            raise GlossaeError(f"merge: {folder} is no folder of a run")
        for name, facts in RunFolder(folder).record["stages"].items():
            if done.setdefault(name, facts["fingerprint"]) != facts["fingerprint"]:
                raise GlossaeError(f"merge: {folder} is of another run: its stage {name} had other inputs")
    names = [stage.name for stage in load_stages() if stage.cells]
    with guarded(out):
        for other in others:
            refuse_links(other, tuple(names))
            for path in sorted(path for name in names for path in _finished(other / name)):
                place = out / path.relative_to(other)
                if place.exists() or path.is_symlink() or not path.is_file():
                    continue
                with replacing(place) as temporary:
                    shutil.copyfile(path, temporary)
                copied += 1
    return copied


def _finished(stage: Path) -> Iterator[Path]:
    """The files of finished cells: parts, and SAEs of other seeds."""
    yield from (stage / PARTS).glob("*/*.npz")
    yield from (path for path in (stage / PARTS).glob("*/*.json") if path.name != "seconds.json")
    yield from stage.glob("seed_*/*")
