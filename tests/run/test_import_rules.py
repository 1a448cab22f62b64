"""Who may import whom: rooms only those before them and through their face, the door nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glossae

SOURCE = Path(glossae.__file__).parent
BEFORE = {
    "corpora": {"hub"},
    "lm": {"hub", "corpora"},
    "probing": {"corpora", "lm"},
    "sae": {"hub", "corpora", "lm", "probing"},
    "units": {"corpora", "lm", "probing", "sae"},
    "evidence": {"corpora", "lm", "probing", "sae", "units"},
    "effects": {"hub", "corpora", "lm", "probing", "sae", "units", "evidence"},
    "steering": {"corpora", "lm", "sae", "units", "evidence", "effects"},
    "tasks": {"hub", "corpora", "lm", "sae", "units", "evidence", "effects"},
    # what is there only to replay the paper
    "paper": {"corpora", "lm", "probing", "sae", "units", "effects", "tasks"},
    # the toy stands beside: it makes text and a model out of nothing
    "toy": {"corpora", "lm"},
    # the report knows files only
    "reporting": set(),
    # what a run would cost, without running
    "plan": {"corpora", "lm", "toy", "evidence"},
    "stages": {
        *(
            "hub",
            "corpora",
            "lm",
            "probing",
            "sae",
            "units",
            "evidence",
            "effects",
            "steering",
            "tasks",
            "paper",
            "toy",
        ),
        *("reporting", "plan"),
    },
}
"""The rooms, and those that each may import."""
EVERYBODYS = {
    "errors",
    "results",
    "record",
    "files",
    "declared",
    "environment",
    "languages",
    "memory",
    "meter",
    "ranks",
    "stats",
    "_version",
}
"""Modules that every room may import."""
MORE = {
    "reporting": {"recipe"},
    # the page of a dry run asks every stage what it costs
    "plan": {"recipe", "stages"},
    "stages": {"recipe", "run.context", "run.folder", "plan.quantities"},
}
"""What else a room may import; of `run` stages know what they are given, and not what runs them."""

HEAVY = ("torch", "transformers", "pandas", "pyarrow", "matplotlib", "sklearn", "scipy", "numpy", "jinja2")
BEYOND_BARE = (
    "pandas", "pyarrow", "matplotlib", "jinja2", "rich", "sklearn", "yaml", "scipy", "filelock", "defusedxml"
)  # fmt: skip


def imports(path):
    """The glossae modules that a file imports, with the line: `("lm.sites", 12)`; also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [node.module or ""]
            if node.module == "glossae":
                names = [f"glossae.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "glossae":
                yield name.partition(".")[2], node.lineno


def trespasses(room, path):
    """The imports of a room's file that the plan of the house does not have."""
    for module, line in imports(path):
        where, _, inside = module.partition(".")
        if where == room or where in EVERYBODYS:
            continue
        more = MORE.get(room, set())
        if module not in more and (where not in BEFORE[room] | more or inside):
            yield f"{path.relative_to(SOURCE)}:{line} imports glossae.{module}"


def test_the_plan_has_every_room():
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == set(BEFORE) | {"recipe", "run", "app"}


@pytest.mark.parametrize("room", BEFORE)
def test_a_room_imports_only_rooms_before_it_and_through_their_face(room):
    files = list((SOURCE / room).rglob("*.py"))
    assert files
    assert [trespass for path in files for trespass in trespasses(room, path)] == []


def test_the_rule_sees_a_trespass(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    file = tmp_path / "odd.py"
    file.write_text(
        "import glossae.run\n"
        "from glossae.lm import Site\n"
        "from glossae.lm.sites import Site\n"
        "def f():\n    from glossae import effects\n"
    )
    assert list(trespasses("sae", file)) == [
        "odd.py:1 imports glossae.run",
        "odd.py:3 imports glossae.lm.sites",
        "odd.py:5 imports glossae.effects",
    ]


def test_runs_enter_rooms_through_their_face():
    deep = [
        f"{path.name}:{line} imports glossae.{module}"
        for path in (SOURCE / "run").glob("*.py")
        for module, line in imports(path)
        if module.partition(".")[0] in BEFORE and "." in module
    ]
    assert deep == []


def test_a_recipe_knows_no_room():
    known = {
        module.partition(".")[0] for path in (SOURCE / "recipe").glob("*.py") for module, _ in imports(path)
    }
    assert known <= {"recipe", *EVERYBODYS}


def loaded_by(script):
    """The top-level modules that a fresh interpreter has loaded after a script."""
    script += "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "line", [None, "--help", "run --help", "run demo --help", "recipes", "doctor --help"]
)
def test_the_door_opens_without_anything_heavy(line):
    script = "import glossae"
    if line is not None:
        script += f"\nfrom glossae.cli import main; assert main({line.split()!r}) == 0"
    loaded = loaded_by(script)
    assert "glossae" in loaded
    assert loaded & set(HEAVY) == set()


@pytest.mark.parametrize("room", ["lm", "sae"])
def test_models_and_autoencoders_are_for_bare_machines(room):
    assert loaded_by(f"import glossae.{room}") & set(BEYOND_BARE) == set()
