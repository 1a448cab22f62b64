"""The tiny world, and a run of it that nobody may write to."""

import math
import shutil
from contextlib import contextmanager

import pytest
from tiny_world import STEERED, World
from torch.nn.modules.module import register_module_forward_hook

from glossae.cli import main
from glossae.run import engine
from glossae.run.context import Show
from glossae.stages import stage_of


@pytest.fixture(scope="session", autouse=True)
def _one_page():
    """Drawing takes most of a small run: no run draws its page between stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "PAGE_EVERY", math.inf)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Text in every format and a random model."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def finished(world, tmp_path_factory):
    """The folder of a finished run; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert world.run(out) == 0
    return out


@pytest.fixture(scope="session")
def steered(world, tmp_path_factory):
    """The folder of a run with steering; not to be written to."""
    out = tmp_path_factory.mktemp("steered") / "run"
    assert world.run(out, **STEERED) == 0
    return out


@pytest.fixture
def copy_of_finished(finished, tmp_path):
    """The same folder, to be run again."""
    return shutil.copytree(finished, tmp_path / "again")


@pytest.fixture
def page():
    """Asked for by a test that looks at the page, or at figures, of a run of its own."""


@pytest.fixture(autouse=True)
def _no_page(request, monkeypatch):
    """Every run draws its page anew, which is most of its time here: it is drawn only where it is looked at.

    Runs of fixtures that several tests share come before this, and are drawn unless made by `run_undrawn`.
    """
    if "page" not in request.fixturenames:
        monkeypatch.setattr(stage_of("report"), "run", lambda *_: {})


@pytest.fixture
def dies(monkeypatch, world, capsys):
    """A function that runs the tiny world and interrupts it in a stage, once a share of that is done."""
    original = Show.stage

    def dies(out, stage, share, **changes):
        @contextmanager
        def interrupted(self, name, what):
            def report(fraction):
                if name == stage and fraction >= share:
                    raise KeyboardInterrupt

            with original(self, name, what):
                yield report

        with monkeypatch.context() as patch:
            patch.setattr(Show, "stage", interrupted)
            assert main([*world.line(out, **changes), "--quiet"]) == 130
        *_, line = capsys.readouterr().err.splitlines()
        assert line == "glossae: interrupted; the same command carries on where it stopped"

    return dies


@pytest.fixture
def passes():
    """How often a block of a model has run so far, in a list of one number."""
    counted = [0]

    def count(module, *_):
        counted[0] += type(module).__name__ == "GPTNeoXLayer"

    handle = register_module_forward_hook(count)
    yield counted
    handle.remove()
