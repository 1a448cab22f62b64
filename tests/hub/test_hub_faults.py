"""A run whose model and data set come from the hub, and whose connection is reset at any read: it is carried on.

`make test` tries a sample of the reads; all of them are tried by `python -m pytest -m slow -k every_read`.
"""

import json
import shutil
from collections import Counter

import pytest
from hub_client import Client
from test_run_faults import MOST, different, places, told, tree
from tiny_world import PAIRS, RECIPE, SMALL, trained_tokenizer, write_model

from toy_grammar import sentences


class Fetching:
    """A process that runs from the hub until the stage `corpora`, each time with empty caches."""

    def __init__(self, hub, home, name):
        folder = write_model(home / "model", trained_tokenizer())
        hub.add(name, {file.name: file.read_bytes() for file in folder.iterdir()})
        rows = "".join(json.dumps({"translation": pair}) + "\n" for pair in sentences(PAIRS, seed=3))
        hub.add(name, {"train.jsonl": rows}, kind="datasets")
        (home / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
        settings = SMALL | {"model": name, "layer": "1", "corpora.train": f"hub:{name}"}
        flags = [f"--{key}={value}" for key, value in settings.items()]
        self.out, self.caches = home / "out", home / "caches"
        self.caches.mkdir()
        self.line = [
            "run",
            str(home / "tiny.yaml"),
            f"--out={self.out}",
            "--until=corpora",
            "--quiet",
            *flags,
        ]
        self.ports, self.client = hub.ports, Client(hub.url, self.caches)
        # what is imported and made once
        self.run()
        self.reads = self.run()
        self.whole = self.tree()

    def run(self, at=None, lasting=False):
        """Run with empty caches; gives the number of reads."""
        shutil.rmtree(self.out, ignore_errors=True)
        for path in self.caches.iterdir():
            if not path.name.startswith("stderr-"):
                shutil.rmtree(path)
        return self.carry_on(at, lasting)

    def carry_on(self, at=None, lasting=False):
        found = self.client("reset", self.ports, at, lasting, "run", *self.line)
        self.status = found["answer"]["status"]
        assert at is not None or self.status == 0, self.client.noise
        return found["reads"]

    def tree(self):
        """The run, and the caches without locks and what the client's process says."""
        files = tree(self.caches)
        kept = {
            name: what for name, what in files.items() if not name.endswith(".lock") and "stderr-" not in name
        }
        return kept | tree(self.out)


@pytest.fixture(scope="module")
def fetching(hub, tmp_path_factory):
    fetching = Fetching(hub, tmp_path_factory.mktemp("fetching"), "org/fetched")
    yield fetching
    fetching.client.close()


def check_reads(fetching, lasting, numbers):
    """Reset the connection at some reads, once or from then on, and carry on; counts what that came to."""
    met = Counter()
    for at in numbers:
        reads = fetching.run(at, lasting)
        status, noise = fetching.status, fetching.client.noise
        met[status if reads >= at else "not reached"] += 1
        assert status == 0 or (status == 2 and noise.startswith("glossae: ")), (at, noise)
        assert noise.count("\n") == (status == 2), (at, noise)
        if status:
            assert not fetching.out.exists()
            fetching.carry_on()
        assert different(fetching.tree(), fetching.whole) == [], at
    return met


def sample(fetching, most):
    return places([("read", "")] * fetching.reads, "kill", most)


def test_a_reset_connection_is_carried_on(fetching):
    for lasting in (False, True):
        check_reads(fetching, lasting, sample(fetching, 4))


@pytest.mark.slow
def test_every_read_of_a_download(fetching, capsys):
    for lasting in (False, True):
        met = check_reads(fetching, lasting, sample(fetching, MOST))
        what = f"connection reset at {'a read and all after it' if lasting else 'a read'}"
        ends = f"{met[2]} refused in one line, {met[0]} went on, {met['not reached']} not reached"
        told(
            capsys, f"model and data set of the hub, {what}: {met.total()} of {fetching.reads} places: {ends}"
        )
