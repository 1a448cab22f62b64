"""The tiny world, and a run of it that nobody may write to."""

import shutil

import pytest
from tiny_world import World

import sprog.run


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

    Runs of fixtures that several tests share come before this, and are drawn.
    """
    if "page" not in request.fixturenames:
        monkeypatch.setattr(sprog.run, "write_report", lambda out: out / "report.html")
