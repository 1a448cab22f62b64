"""A process of its own that uses glossae against a hub: the hub's clients read their environment when imported.

Run as a script it reads a line of JSON for every thing to do and answers with one.
"""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from loopback_hub import PATIENCE

FORGET = {
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
}


class Client:
    """Such a process, from outside.

    Attributes:
        home: the folder of all its caches.
        noise: what it wrote to standard error in the last thing it did.
    """

    def __init__(self, url: str, home: Path, **environment: str) -> None:
        self.home = home
        self.noise = ""
        self._log = (home / f"stderr-{len(list(home.glob('stderr-*')))}").open("w+")
        kept = {name: value for name, value in os.environ.items() if name not in FORGET}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=kept
            | {
                "HF_ENDPOINT": url,
                "HF_HOME": str(home),
                "HF_UPDATE_DOWNLOAD_COUNTS": "0",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "GLOSSAE_CACHE": str(home / "glossae"),
                "OMP_WAIT_POLICY": "PASSIVE",
                "HF_HUB_DOWNLOAD_TIMEOUT": str(PATIENCE),
                "NO_PROXY": "127.0.0.1",
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate()
        self._log.close()

    def __call__(self, what: str, *arguments: Any, **environment: str | None) -> Any:
        """Do one thing; gives what it came to, or the one line of a `GlossaeError` as a `Refused`."""
        self._log.seek(0, os.SEEK_END)
        start = self._log.tell()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, arguments, environment]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        self._log.seek(start)
        self.noise = self._log.read()
        assert line, f"the client died: {self.noise}"
        kind, answer = json.loads(line)
        assert kind != "crash", answer
        return Refused(answer) if kind == "refused" else answer


class Refused(str):
    """The message of a `GlossaeError`."""


def _load(name: str) -> dict[str, Any]:
    from glossae.lm import known_commit, load

    lm = load(name)
    weight = lm.model.get_input_embeddings().weight
    return {
        "name": lm.name,
        "commit": lm.commit,
        "known": known_commit(name),
        "layers": lm.layers,
        "sum": float(weight.sum()),
        "ids": lm.tokenizer("Pigen så æblet.")["input_ids"],
    }


def _identity(name: str) -> str:
    from glossae.run.context import model_identity

    return model_identity(name)


def _probed(name: str) -> None:
    from glossae.recipe import load_recipe
    from glossae.run import check_other_models

    check_other_models(load_recipe("demo", {"probe.models": name}))


def _read(source: str) -> dict[str, Any]:
    from glossae.corpora import parse_source, read_source

    corpus, tallies = read_source(source, languages=("da", "en"))
    return {
        "texts": [[s.language, s.text] for s in corpus.sentences],
        "pairs": [s.pair for s in corpus.sentences],
        "sources": corpus.sources,
        "dropped": {code: dict(tally.dropped) for code, tally in tallies.items() if tally.dropped},
        "provenance": parse_source(source).fetch((), lambda *_: None),
    }


def _streamed(said: str, taken: int) -> dict[str, Any]:
    """A stream's texts, after so many documents."""
    from glossae.corpora import Taken, parse_stream

    stream = parse_stream(said)
    texts = [each.text for each in stream.documents([Taken(taken, 0)])]
    return {"texts": texts, "identity": stream.identity}


def _task(name: str) -> dict[str, Any]:
    from glossae.corpora import parse_task

    task = parse_task(name).read(0)
    return {
        "language": task.language,
        "splits": {
            split: [[row.text, row.label, row.pair] for row in rows] for split, rows in task.splits.items()
        },
        "labels": task.labels,
        "dropped": task.dropped,
        "provenance": task.provenance,
    }


def _roles(**specs: str) -> list[list[str]]:
    from glossae.corpora import build_roles

    roles = build_roles(specs, target="da", reference="en", seed=0)
    return [[row.role, row.name, row.language] for row in roles.counts]


def _run(*argv: str) -> dict[str, Any]:
    from glossae.cli import main
    from glossae.stages import stage_of

    # drawn anew by every run, and looked at elsewhere
    stage_of("report").run = lambda *_: {}
    with redirect_stdout(io.StringIO()) as said:
        status = main(list(argv))
    return {"status": status, "said": said.getvalue()}


def _autoencoder(place: str) -> dict[str, Any]:
    from dataclasses import asdict

    from glossae.run.context import read_given

    given = read_given(place)
    return {**asdict(given.sae.config), "commit": given.commit, "identity": given.identity}


def _sae(name: str, **options: str) -> dict[str, Any]:
    """An autoencoder by its name on the hub."""
    from dataclasses import asdict

    from glossae import Sae

    sae = Sae.from_pretrained(name, **options)
    quality = None if sae.quality is None else sae.quality.to_json()
    return {
        **asdict(sae.config),
        "sum": float(sae.W_dec.sum()),
        "trained_on": sae.trained_on,
        "quality": quality,
    }


def _knob(name: str, model: str, **options: str) -> dict[str, Any]:
    """A knob by its name on the hub, and a plain model as it is and turned by it."""
    import torch
    from transformers import AutoModelForCausalLM

    from glossae import Knob

    knob = Knob.from_pretrained(name, **options)
    plain = AutoModelForCausalLM.from_pretrained(model).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    raw = plain(ids).logits
    with knob.on(plain):
        turned = plain(ids).logits
    return {"hash": knob.hash, "dose": knob.dose, "moved": float((turned - raw).abs().max())}


def _push_one(folder: str, kind: str, name: str, **options: Any) -> str:
    """Push an autoencoder or a knob of a folder by its own method."""
    import glossae

    return str(getattr(glossae, kind).from_pretrained(folder).push_to_hub(name, **options))


def _small_files(limit: int | None) -> None:
    """Let no file grow beyond so many bytes: what the system says of a write then is what a full disk says."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if limit is None else limit, most))


def _untouched() -> bool:
    """Whether the hub's own client is as the library makes it, outside of what glossae does."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks
    return all(hook.__module__.startswith("huggingface_hub") for own in hooks.values() for hook in own)


def _without(package: str) -> None:
    """Let a package be missing."""
    sys.modules[package] = None  # type: ignore[assignment]


def _reset(ports: list[int], at: int | None, lasting: bool, what: str, *arguments: Any) -> dict[str, Any]:
    """Do a thing while a read from these ports, and all after it if that is `lasting`, finds a reset connection."""
    from faults import Reads

    with Reads(tuple(ports), at, lasting).at_work() as reads:
        return {"answer": DO[what](*arguments), "reads": reads.seen}


# what the clients would have slept in the last thing that was done, in seconds
SLEPT: list[float] = []

DO = {
    "reset": _reset,
    "slept": lambda: SLEPT,
    "load": _load,
    "identity": _identity,
    "probed": _probed,
    "read": _read,
    "streamed": _streamed,
    "task": _task,
    "roles": lambda specs: _roles(**specs),
    "run": _run,
    "autoencoder": _autoencoder,
    "sae": lambda name, options={}: _sae(name, **options),
    "knob": lambda name, model, options={}: _knob(name, model, **options),
    "push": lambda folder, kind, name, options={}: _push_one(folder, kind, name, **options),
    "small files": _small_files,
    "untouched": _untouched,
    "without": _without,
}


def serve() -> None:
    """Do what is asked on standard input, until it ends."""
    import traceback

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from jaxtyping import install_import_hook

    install_import_hook("glossae", "typechecker.checked")
    from huggingface_hub import constants

    from glossae.errors import GlossaeError

    # what has come of a file is kept by the chunk when the connection breaks; the files here are small
    constants.DOWNLOAD_CHUNK_SIZE = 1000
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        what, arguments, environment = json.loads(line)
        # the clients wait longer and longer between tries; how often they try is theirs to say, the waiting is not
        time.sleep = SLEPT.append
        if what != "slept":
            SLEPT.clear()
        try:
            # it brings back the whole environment
            with mock.patch.dict(os.environ):
                for name, value in environment.items():
                    os.environ.pop(name, None)
                    os.environ |= {} if value is None else {name: value}
                answer = ["done", DO[what](*arguments)]
        except GlossaeError as error:
            answer = ["refused", str(error)]
        except BaseException:
            answer = ["crash", traceback.format_exc()]
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
