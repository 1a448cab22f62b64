"""A hub on this machine, and a process that asks it."""

import itertools
import sys
from pathlib import Path

import pytest

# the tiny world of whole runs
sys.path.append(str(Path(__file__).parents[1] / "run"))

from hub_client import Client, Refused
from loopback_hub import LoopbackHub


@pytest.fixture(scope="session")
def hub():
    """A hub without repositories; tests add theirs under names of their own."""
    hub = LoopbackHub()
    yield hub
    hub.down()


@pytest.fixture(scope="session")
def client(hub, tmp_path_factory):
    """A process whose hub is that one, with caches that were empty at first."""
    client = Client(hub.url, tmp_path_factory.mktemp("hf"))
    yield client
    client.close()


@pytest.fixture(scope="session")
def offline(hub, client):
    """A process with the same caches that is told to stay offline."""
    offline = Client(hub.url, client.home, HF_HUB_OFFLINE="1")
    yield offline
    offline.close()


@pytest.fixture
def refusal(client):
    """A function that does a thing that must be refused in one line, quietly; gives the line."""

    def refusal(what, *arguments, by=client, **environment):
        answer = by(what, *arguments, **environment)
        assert isinstance(answer, Refused), answer
        assert "\n" not in answer
        assert len(answer) < 600
        assert by.noise == ""
        return str(answer)

    return refusal


@pytest.fixture(scope="session")
def model_files(tiny_model):
    """The files of the tiny model."""
    return {file.name: file.read_bytes() for file in tiny_model.iterdir()}


_NUMBERS = itertools.count(1)


@pytest.fixture
def name():
    """The name of a repository that no other test uses."""
    return f"org/case-{next(_NUMBERS)}"
