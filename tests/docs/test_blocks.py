"""Every block of README, the documentation and the notebooks runs, so that none says what is no longer so.

Python blocks of a page run in order and share their names, with the toy in place of the hub's model and with less text
than by default. `glossae` commands are carried out, but for the work of a run: a finished one stands in for it. A
`text` block after a Python block is what that prints.
"""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import glossae as gl
from glossae import api, run
from glossae.cli import main
from glossae.corpora import Corpus
from glossae.run import engine
from glossae.stages import stage_of
from glossae.toy import toy_corpus
from toy_grammar import sentences

# SAEs here are trained on next to nothing
pytestmark = pytest.mark.filterwarnings("ignore::glossae.sae.UnsoundWarning")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.py"))
HUB_MODEL = '"google/gemma-3-270m"'
LESS = {
    "corpora.limit": "50",
    "corpora.panel_limit": "90",
    "corpora.test_limit": "6",
    "probe.seeds": "1",
    "probe.tokens": "2000",
    "sae.precision": "1",
    "evidence.minimum": "0.6",
    "dashboards.sentences": "20",
    "baselines.untrained": "0",
    "baselines.trained": "0",
    "baselines.frozen": "0",
    "effects.bootstrap": "50",
    "effects.families": "none",
    "effects.tune": "false",
    "effects.prompts": "false",
}


class Block(NamedTuple):
    """A fenced block of a language."""

    language: str
    text: str


def blocks(page):
    """The blocks of a page that run: those without `<!-- not run: REASON -->` before them."""
    fenced = r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$"
    found = re.findall(fenced, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(language, text) for marked, language, text in found if not marked]


def once(function):
    """The function, which does not do again for one page what it has done for another."""
    kept = {}

    def key(value):
        return repr(value) if isinstance(value, str | int | float | list) else id(value)

    def call(*given, **named):
        asked = (*map(key, given), *((name, key(value)) for name, value in sorted(named.items())))
        if asked not in kept:
            # what was given is kept too, so that no other object gets its id
            kept[asked] = function(*given, **named), given, named
        return kept[asked][0]

    return call


def few(languages, seed=0):
    """The first pairs of the toy's text."""
    return Corpus.of(toy_corpus(languages, seed).sentences[: 400 * len(languages)])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the texts that pages name and a run of the toy, in which every page is at home."""
    folder = tmp_path_factory.mktemp("docs")
    for number, code in enumerate(("da", "en", "sv", "de", "nb")):
        lines = "".join(f"{pair[code]}\n" for pair in sentences(200, seed=number))
        (folder / f"{code}.txt").write_text(lines, encoding="utf-8")
    load_recipe = api.load_recipe
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(stage_of("report"), "run", lambda *_: {})
        patch.setattr(engine, "toy_corpus", few)
        line = "run demo --layer 2 --sae.epochs 1 --effects.values=-4,4 --effects.sentences 6 --quiet --out finished"
        assert main([*line.split(), *(f"--{key}={value}" for key, value in LESS.items())]) == 0

        def stand_in(recipe, out, **_):
            if recipe.name == "demo":
                shutil.copytree("finished", out, dirs_exist_ok=True)
            return SimpleNamespace(lines=[], to_json=dict)

        patch.setattr(run, "run_recipe", stand_in)
        stand_in(load_recipe("demo", {}), Path("runs/demo"))
        patch.setattr("glossae.app.launch", lambda *_, **__: SimpleNamespace(local_url=""))
        patch.setattr("glossae.units.explain", lambda *_, **__: [])
        patch.setattr("glossae.reporting.write_figures", lambda *_: [])
        patch.setattr(
            api, "load_recipe", lambda base, changes, **named: load_recipe(base, LESS | changes, **named)
        )
        for name in ("load", "text", "probe", "train", "find", "sweep"):
            patch.setattr(gl, name, once(getattr(gl, name)))
        # what is pushed to a repository stands as a folder of that name
        gl.open_run("finished").sae().save_pretrained("me/danish-latents")
        assert (
            main(["knob", "save", "finished", "--dose", "4", "--out", "me/danish-latents/knob.safetensors"])
            == 0
        )
        yield folder


def carried_out(line):
    """Carry out one line of a shell block, as far as a test may."""
    words = shlex.split(line, comments=True)
    match words:
        case ["uvx", "--from", _, *rest]:
            carried_out(shlex.join(rest))
        case ["glossae", "push", *rest] if "--dry-run" not in rest:
            carried_out(f"{line.partition('  #')[0]} --dry-run")
        case ["glossae", *rest]:
            assert main(rest) == 0, line
        case ["make", target]:
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert target in targets, line
        case ["pip", "install" | "wheel", *rest]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            for extras in re.findall(r"\[(.*?)\]", " ".join(rest)):
                assert set(extras.split(",")) <= set(project["optional-dependencies"]), line
        case ["diff", *files]:
            assert subprocess.run(["diff", *files], capture_output=True, check=False).returncode < 2, line
        case [".", file]:
            assert file == ".venv/bin/activate", line
        case _:
            pytest.fail(f"nobody knows how to try this line: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, world, capsys):
    names, printed = {}, None
    for block in blocks(page):
        match block.language:
            case "python":
                capsys.readouterr()
                exec(compile(block.text.replace(HUB_MODEL, '"toy"'), page.name, "exec"), names)
                printed = capsys.readouterr().out
                continue
            case "sh":
                for line in block.text.replace("\\\n", " ").splitlines():
                    if shlex.split(line, comments=True):
                        carried_out(line)
            case "yaml":
                name = re.match(r"# (\w+\.yaml)\n", block.text)
                assert name, f"{page.name}: a YAML block begins with the name of its file"
                (world / name[1]).write_text(block.text, encoding="utf-8")
            case "text":
                assert printed in (None, block.text)
            case other:
                pytest.fail(f"{page.name}: nobody knows how to try a block of {other}")
        printed = None


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda script: script.stem)
def test_a_notebook_runs(script, world):
    exec(compile(script.read_text(encoding="utf-8"), script.name, "exec"), {})


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda script: script.stem)
def test_a_notebook_and_its_script_are_the_same(script):
    """`make notebooks` writes the notebooks from the scripts."""
    import jupytext

    pair = [jupytext.read(script.with_suffix(suffix)) for suffix in (".py", ".ipynb")]
    ours, notebook = ([(cell.cell_type, cell.source) for cell in each.cells] for each in pair)
    assert ours == notebook
    assert len(ours) <= 15
    assert not any(cell.get("outputs") for cell in pair[1].cells), "notebooks are committed without outputs"


@pytest.mark.parametrize("name", ["numbers", "your_model"])
def test_measured_numbers_are_those_of_the_results(name):
    measured, page = (
        (ROOT / "docs" / f"{each}.md").read_text(encoding="utf-8") for each in ("measured", name)
    )
    numbers = re.findall(r"\d+\.\d{3,}", page)
    assert numbers
    assert [number for number in numbers if number not in measured] == []
