"""What the environment says, and who listens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audit import report
from glossae.environment import cache_folder, install, offline


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("GLOSSAE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "glossae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "glossae"


@pytest.mark.parametrize("name", ["GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_who_is_offline(monkeypatch, name):
    for other in ("GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(other, raising=False)
    assert offline() is None
    monkeypatch.setenv(name, "0")
    assert offline() is None
    monkeypatch.setenv(name, "True")
    assert offline() == name


@pytest.mark.parametrize(("value", "said"), [("1", "True"), ("0", "False")])
def test_our_word_keeps_the_hubs_client_offline_in_every_command_and_in_python(value, said):
    code = "import glossae; from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"GLOSSAE_OFFLINE": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == said


def test_a_cache_of_the_former_name_is_used_until_there_is_a_new_one(monkeypatch, tmp_path):
    monkeypatch.delenv("GLOSSAE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "sprog").mkdir()
    assert cache_folder() == tmp_path / "sprog"
    (tmp_path / "glossae").mkdir()
    assert cache_folder() == tmp_path / "glossae"


def test_people_are_told_to_install_by_the_name_that_is_ours():
    root = Path(__file__).parents[1]
    pages = [
        path for path in root.iterdir() if path.suffix in (".md", ".txt", ".toml") or path.name == "Makefile"
    ]
    pages += [path for path in (root / "src").rglob("*") if path.suffix in (".py", ".j2", ".yaml")]
    pages += [path for folder in ("docs", "benchmarks") for path in (root / folder).rglob("*.md")]
    # `sprog` on PyPI is somebody's linear programming
    told = re.compile(r"pip3? install(\s+-\S+)*\s+['\"]?sprog\b")
    assert [path.name for path in pages if told.search(path.read_text(encoding="utf-8"))] == []
    assert told.search("pip install 'sprog[hub]'")
    assert install("hub") == "pip install 'glossae[hub]' (in a checkout: pip install -e '.[hub]')"


ROOT = Path(__file__).parents[1]


def pins(text):
    """The versions of packages by their normal names."""
    found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;\\\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_lock_has_the_versions_of_the_tests_each_with_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    constrained = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    locked = pins(lock)
    # what only builds the wheel
    assert set(constrained) - set(locked) <= {"hatchling", "trove-classifiers"}
    assert {name: locked[name] for name in set(locked) & set(constrained)} == {
        name: version for name, version in constrained.items() if name in locked
    }
    requirements = re.split(r"\n(?=[a-zA-Z])", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE))
    assert len(requirements) == len(locked)
    assert [each for each in requirements if "--hash=sha256:" not in each] == []
    assert re.search(r"://|^-|@ |file:|\s/", lock, re.MULTILINE) is None


VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
SOUND, SKIPPED = {"name": "b", "version": "1", "vulns": []}, {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ([VULNERABLE, SOUND], 1, "a 1: CVE-1, fixed in 2|2 packages audited, 1 with known vulnerabilities"),
        ([SOUND, SKIPPED], 0, "not audited: c|1 packages audited, 0 with known vulnerabilities"),
        ([SKIPPED], 0, "nothing was audited: the package index has no advisories here, or cannot be reached"),
        ([], 0, "nothing was audited: the package index has no advisories here, or cannot be reached"),
    ],
)
def test_an_audit_fails_for_vulnerabilities_alone_and_says_what_it_did_not_audit(found, status, said):
    assert report(found) == (status, said.split("|"))


OFFLINE = """
import contextlib, io, socket, sys
def refuse(*_, **__):
    print("the network was asked", file=sys.stderr)
    raise OSError("the network was asked")
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
import glossae
from glossae.cli import main
def ask(*words):
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(words) == 0, words
for room in glossae.__all__:
    getattr(glossae, room)
ask("--help"), ask("run", "--help", "all"), ask("recipes"), ask("doctor"), ask("completion", "bash")
ask("run", "demo", "--dry-run"), ask("run", "paper", "--dry-run")
quick = ("--quick", "--until", "sae", "--sae.latents", "64", "--sae.k", "4", "--quiet")
ask("run", "demo", *quick, "--out", sys.argv[1])
glossae.text("toy").table
"""


def test_import_help_doctor_plans_and_the_toy_ask_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path / "run")],
        env={name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
        | {"HOME": str(tmp_path), "GLOSSAE_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the network was asked" not in done.stderr
    assert (tmp_path / "run" / "results.json").is_file()
