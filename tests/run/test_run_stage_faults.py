"""Each stage, killed or with a failing disk at any operation on a file: carried on, it is the undisturbed one.

A stage is tried on copies of a run that was carried on until the stage before it, with 200 files of others in and
around the folder. `make test` tries one place of each stage. `python -m pytest -m slow -k every_place` tries
all of them, with FAULTS=30 in the environment at most 30 of each stage and kind, and says what they met.
"""

import importlib
import json
import random
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_run_faults import LOG, MOST, check_readers, different, foreign, places, strike, told, tree

from faults import Faults
from glossae.cli import main
from glossae.files import TEMPORARY
from glossae.recipe import load_recipe
from glossae.run import context, engine
from glossae.stages import STAGES
from toy_grammar import sentences, sentiment

# an autoencoder of the tiny world is none to build on
pytestmark = pytest.mark.filterwarnings("ignore::glossae.sae.sae.UnsoundWarning")

KINDS = ("kill", "ENOSPC", "ENOENT")
EVERY = {
    "bos": "false",
    "probe__paper": "false",
    "probe__seeds": 1,
    "probe__tokens": 300,
    "probe__lambdas": "0.1",
    "grid__k": "2",
    "grid__l1": "3e-2",
    "grid__latents": 32,
    "grid__tied": "false",
    "grid__pre_encoder_bias": "true",
    "sae__latents": 32,
    "sae__checkpoint": 0,
    "evidence__minimum": 0.5,
    "evidence__method": "studentised",
    "evidence__q": 0.5,
    "evidence__permutations": 0,
    "evidence__seeds": 1,
    "evidence__scores": "false",
    "evidence__identify": "false",
    "features__rule": "tested",
    "dashboards__units": 4,
    "baselines__untrained": 1,
    "baselines__sizes": "1",
    "baselines__damage": "0.1",
    "baselines__precision": 0.1,
    "effects__values": "-2,2",
    "effects__sentences": 8,
    "effects__families": "direction",
    "effects__tune": "true",
    "effects__prompts": "true",
    "effects__controls": 19,
    "tasks__values": "4",
    "tasks__rows": 100,
    "steering__prompts": 3,
    "steering__prompt_tokens": 3,
    "steering__tokens": 3,
    "steering__values": "2",
    "steering__kl": "none",
    "steering__families": "latents_add,means_add",
    "steering__examples": 1,
    "report__texts": 1,
}
"""A small run in which every stage has something to do."""


@dataclass
class Step:
    """A stage of the undisturbed run.

    Attributes:
        before: the folder with the run and the files of others, as the stages before left it.
        after: what is in it after the stage.
        seen: the operations that the stage took.
    """

    before: Path
    after: dict[str, Any]
    seen: list[tuple[str, str]]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The settings that name text: a panel, and a task."""
    folder = tmp_path_factory.mktemp("given")
    rows = [json.dumps(row.row()) + "\n" for row in sentiment(120, 1, "en")]
    (folder / "moods").mkdir()
    (folder / "moods" / "train.jsonl").write_text("".join(rows[:80]), encoding="utf-8")
    (folder / "moods" / "test.jsonl").write_text("".join(rows[80:]), encoding="utf-8")
    pairs = sentences(200, seed=21)
    lines = [f"{pair[code]}\t{label}\n" for pair in pairs for code, label in (("da", 0), ("en", 1))]
    (folder / "panel.tsv").write_text("".join(lines), encoding="utf-8")
    return {"corpora__panel": folder / "panel.tsv", "tasks__names": f"mood:en={folder / 'moods'}"}


@pytest.fixture(scope="module")
def go(world, given):
    """A function that runs a stage in the run of a folder; gives the status."""

    def go(place, stage):
        run = world.run if stage == "report" else world.run_undrawn
        return run(place / "runs" / "x", "--until", stage, **EVERY, **given)

    controlled = importlib.import_module("glossae.tasks.controlled")
    model, text = context.load_model(load_recipe(str(world.recipe)), str(world.model)), {}

    def roles_of(recipe, original=engine.roles_of, **more):
        if (key := recipe.to_yaml()) not in text:
            text[key] = original(recipe, **more)
        return text[key]

    with pytest.MonkeyPatch.context() as patch:
        # they lie outside of the folder, and to read them takes as long as a stage
        patch.setattr(context, "load_model", lambda *_: model)
        patch.setattr(engine, "roles_of", roles_of)
        # its models take half a minute to load
        patch.setitem(sys.modules, "lingua", None)
        patch.setattr(controlled, "PENALTIES", (0.01,))
        patch.setattr(controlled, "FOLDS", 2)
        yield go


@pytest.fixture(scope="module")
def steps(go, tmp_path_factory):
    """A function that gives a stage of the undisturbed run; the run is carried on as far as is asked for."""
    folder, made = tmp_path_factory.mktemp("steps"), {}
    (folder / "start" / "runs").mkdir(parents=True)
    latest = [folder / "start"]

    def steps(stage):
        for name in STAGES[len(made) : STAGES.index(stage) + 1]:
            before, latest[0] = latest[0], folder / name
            shutil.copytree(before, latest[0], symlinks=True)
            with Faults(latest[0]).at_work() as faults:
                assert go(latest[0], name) == 0
            made[name] = Step(before, tree(latest[0]), faults.seen)
            assert not [path for path in made[name].after if TEMPORARY in path]
            if name == STAGES[0]:
                # a folder that holds something and no run would be refused
                foreign(latest[0] / "runs" / "x")
        return made[stage]

    return steps


def check_stage(stage, kind, numbers, go, steps, tmp_path, capsys):
    """Strike at operations of a stage and carry it on each time; counts how the runs that were struck ended."""
    step, met = steps(stage), Counter()
    for at in numbers:
        place = shutil.copytree(step.before, tmp_path / f"{stage}-{kind}-{at}", symlinks=True)
        status, struck = strike(partial(go, place, stage), place, kind, at, capsys)
        met[status] += 1
        check_readers(place / "runs" / "x")
        assert go(place, stage) == 0, (stage, struck)
        assert different(tree(place), step.after) == [], (stage, struck)
        shutil.rmtree(place)
    return met


def test_one_place_of_each_stage(go, steps, tmp_path, capsys):
    # to draw the page takes longer than all the others do
    for number, stage in enumerate(STAGES[:-1]):
        kind = KINDS[number % len(KINDS)]
        numbers = places(steps(stage).seen, kind, 1)
        check_stage(stage, kind, numbers, go, steps, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_place_of_a_stage(stage, kind, go, steps, tmp_path, capsys, page):
    of = places(steps(stage).seen, kind, None)
    numbers = places(steps(stage).seen, kind, MOST)
    met = check_stage(stage, kind, numbers, go, steps, tmp_path, capsys)
    ends = f"{met[70]} killed, {met[2]} refused in one line, {met[0]} went on"
    told(capsys, f"{stage}, {kind}: {len(numbers)} of {len(of)} places: {ends}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_place_again_and_again(seed, go, steps, tmp_path, capsys):
    """A run over all stages is killed at a random operation, and so is each run that carries it on, until one ends."""
    place, draw, killed = tmp_path / "again", random.Random(seed), 0
    shutil.copytree(steps("corpora").before, place)
    assert go(place, "corpora") == 0
    foreign(place / "runs" / "x")
    status = 70
    while status == 70:
        capsys.readouterr()
        # the longest stage has about 170 operations
        with Faults(place, draw.randint(1, 250)).at_work():
            status = go(place, "steering")
        said = capsys.readouterr().err
        logs = re.findall(LOG, said)
        assert status == 70 * len(logs), said
        for log in logs:
            Path(log).unlink()
        killed += len(logs)
    assert different(tree(place), steps("steering").after) == []
    told(capsys, f"all stages but report, killed again and again: {killed} times")


EXPORTS = {
    "sae-lens": ("export", "RUN", "--to", "sae-lens", "--out", "OUT"),
    "sparsify": ("export", "RUN", "--to", "sparsify", "--out", "OUT"),
    "neuronpedia": ("export", "RUN", "--to", "neuronpedia", "--out", "OUT"),
    "knob": ("knob", "save", "RUN", "--dose", "2", "--out", "OUT/knob.safetensors"),
}
"""Commands that write beside a run that has its dashboards."""


def check_export(what, kind, most, steps, tmp_path, capsys):
    """Strike at operations of an export into a new folder and over an earlier export, and do it again each time."""
    run, met = steps("baselines").before / "runs" / "x", Counter()

    def export(place):
        words = (word.replace("RUN", str(run)).replace("OUT", str(place / "out")) for word in EXPORTS[what])
        return main([*words])

    earlier = tmp_path / "earlier"
    with Faults(earlier).at_work() as first:
        assert export(earlier) == 0
    whole = tree(earlier)
    with Faults(earlier).at_work() as second:
        assert export(earlier) == 0
    assert different(tree(earlier), whole) == []
    for start, seen in ((None, first.seen), (earlier, second.seen)):
        for at in places(seen, kind, most):
            place = tmp_path / f"{what}-{kind}-{at}"
            if start is not None:
                shutil.copytree(start, place)
            status, struck = strike(partial(export, place), place, kind, at, capsys)
            met[status] += 1
            assert export(place) == 0, (struck, capsys.readouterr().err)
            found = {name: each for name, each in tree(place).items() if TEMPORARY not in name}
            assert different(found, whole) == [], struck
            shutil.rmtree(place)
    return met


@pytest.mark.parametrize("what", EXPORTS)
def test_one_place_of_an_export(what, steps, tmp_path, capsys):
    check_export(what, "kill", 1, steps, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("what", EXPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_place_of_an_export(what, kind, steps, tmp_path, capsys):
    met = check_export(what, kind, MOST, steps, tmp_path, capsys)
    ends = f"{met[70]} killed, {met[2]} refused in one line, {met[0]} went on"
    told(capsys, f"{what}, {kind}: {met.total()} places: {ends}")
