"""What a run shares tells nothing of this machine, and its numbers do not depend on who runs it where."""

import gzip
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from tiny_world import STEERED, World

from glossae.cli import main

SETTINGS = STEERED | {"dashboards__units": "3"}
SCRIPT = "import sys; from glossae.cli import main; sys.exit(main())"
SOCKETS = """
import socket, sys
def refuse(*_, **__):
    print("the network was asked", file=sys.stderr)
    raise OSError("the network was asked")
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """Text and a model in a folder whose name is nowhere else."""
    return World(tmp_path_factory.mktemp("world") / "qxprivate-world")


def environment(folder: Path) -> dict[str, str]:
    """Another home, user, locale, encoding, time zone and hash seed, and the threads of this process."""
    (folder / "qxprivate-home").mkdir()
    changed = dict.fromkeys(("USER", "LOGNAME", "USERNAME", "HOSTNAME"), "qxprivate-user")
    return (
        os.environ
        | changed
        | {
            "HOME": str(folder / "qxprivate-home"),
            "LC_ALL": "C",
            "LANG": "tr_TR.ISO-8859-9",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": "cp1252",
            "TZ": "Pacific/Chatham",
            "PYTHONHASHSEED": "12345",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }
    )


@pytest.fixture(scope="module")
def elsewhere(telling, tmp_path_factory):
    """The folder of a run by another user in another place, without a network."""
    folder = tmp_path_factory.mktemp("elsewhere")
    out = folder / "qxprivate-run"
    (folder / "qxprivate-place").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SOCKETS + SCRIPT, *telling.line(out, **SETTINGS), "--quiet"],
        env=environment(folder),
        cwd=folder / "qxprivate-place",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"the network was asked" not in done.stderr
    assert [*(folder / "qxprivate-place").iterdir()] == []
    return out


def test_no_number_depends_on_user_place_locale_encoding_time_zone_or_hash_seed(
    telling, elsewhere, tmp_path, page
):
    assert telling.run(tmp_path / "run", **SETTINGS) == 0
    files = {path.relative_to(elsewhere) for path in elsewhere.rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*") if path.is_file()
    }
    assert len(files) > 40
    differing = {
        file.name
        for file in files
        if (elsewhere / file).read_bytes() != (tmp_path / "run" / file).read_bytes()
    }
    # they have the times that stages took
    assert differing <= {"run.json", "seconds.json", "stages.csv", "report.html"}


def contents(path: Path) -> bytes:
    """The bytes of a file, with what is packed inside it."""
    data = path.read_bytes()
    found = [data, gzip.decompress(data)] if path.suffix == ".gz" else [data]
    for stream in (
        re.finditer(rb"stream\r?\n(.*?)endstream", data, re.DOTALL) if path.suffix == ".pdf" else ()
    ):
        found.append(zlib.decompressobj().decompress(stream[1]))
    return b"\n".join(found)


def test_nothing_that_is_shared_tells_of_this_machine(elsewhere, tmp_path, capsys):
    knob, shared = tmp_path / "knob.safetensors", tmp_path / "shared"
    lines = [
        *(
            ["export", str(elsewhere), "--to", to, "--out", str(shared / to)]
            for to in ("sae-lens", "sparsify", "neuronpedia")
        ),
        ["knob", "save", str(elsewhere), "--out", str(knob), "--dose", "2"],
        ["knob", "export", str(knob), "--to", "gguf", "--out", str(shared / "knob.gguf")],
        ["knob", "export", str(knob), "--to", "vllm", "--out", str(shared / "knob.json")],
        ["figures", str(elsewhere), "--out", str(shared / "figures")],
    ]
    for line in lines:
        assert main(line) == 0, capsys.readouterr().err
    pages = [elsewhere / name for name in ("report.html", "results.json")]
    pages += [path for name in ("figures", "tables", "units") for path in (elsewhere / name).rglob("*")]
    files = [knob, *pages, *(path for path in shared.rglob("*") if path.is_file())]
    kinds = {path.suffix for path in files}
    assert kinds >= {".html", ".json", ".svg", ".csv", ".pdf", ".tex", ".gz", ".safetensors", ".gguf", ".md"}
    # the run's own recipe has what they must not have
    assert b"qxprivate" in (elsewhere / "recipe.yaml").read_bytes()
    for path in files:
        told = re.search(rb"qxprivate|" + re.escape(str(Path.cwd()).encode()), contents(path))
        assert told is None, path.name
