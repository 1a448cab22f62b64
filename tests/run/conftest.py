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
def no_page(monkeypatch):
    """The page is drawn anew by every run; where it is not looked at, that is seconds saved."""
    monkeypatch.setattr(sprog.run, "write_report", lambda out: out / "report.html")
