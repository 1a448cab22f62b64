"""The door opens for what is right, and says in one line what is not."""

import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

import glossae
from glossae.cli import main
from glossae.errors import GlossaeError
from glossae.recipe import Recipe, all_settings, load_recipe, shipped_recipes

MAIN = "import sys; from glossae.cli import main; sys.exit(main())"


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """What would be run: the calls of a stand-in for `glossae.run`, from an empty working folder."""
    calls = []

    def run_recipe(recipe, out, until=None, quiet=False):
        calls.append(types.SimpleNamespace(recipe=recipe, out=out, until=until, quiet=quiet))

    stand_in = types.ModuleType("glossae.run")
    stand_in.run_recipe = run_recipe
    monkeypatch.setitem(sys.modules, "glossae.run", stand_in)
    monkeypatch.chdir(tmp_path)
    yield calls
    assert list(tmp_path.iterdir()) == []


def test_run_hands_the_recipe_on(runs):
    assert main(["run", "demo"]) == 0
    (call,) = runs
    assert call.recipe == load_recipe("demo")
    assert (call.out, call.until, call.quiet) == (Path("runs/demo"), None, False)


@pytest.mark.parametrize(
    "line",
    [
        "run demo --out there --until sae --quiet --sae.k 4 --effects.values -8,0,.5 --sae.lr 1e-3",
        "run --out=there --until=sae --quiet --sae.k=4 --effects.values=-8,0,.5 --sae.lr=1e-3 demo",
        "run --effects.values -8,0,.5 demo --sae.k 4 --out there --quiet --sae.lr 1e-3 --until sae",
    ],
)
def test_flags_come_in_any_order_and_both_spellings(runs, line):
    assert main(line.split()) == 0
    (call,) = runs
    assert (call.out, call.until, call.quiet) == (Path("there"), "sae", True)
    assert (call.recipe.sae.k, call.recipe.effects.values, call.recipe.sae.lr) == (4, (-8.0, 0.0, 0.5), 0.001)


def test_short_flags_name_languages_and_text(runs):
    line = "run find --model m --target sv --reference=de --text 'sv=A de=B.txt en=C,da=D'"
    assert main(shlex.split(line)) == 0
    recipe = runs[0].recipe
    assert (recipe.languages.target, recipe.languages.reference) == ("sv", "de")
    assert recipe.languages.others == ("en", "da")
    assert (recipe.corpora.text, recipe.corpora.train) == ("sv=A de=B.txt en=C,da=D", None)


def test_quick_is_small_and_flags_win(runs):
    assert main(["run", "paper", "--quick", "--sae.k", "5"]) == 0
    recipe = runs[0].recipe
    assert (recipe.sae.latents, recipe.sae.expansion, recipe.sae.k) == (1024, None, 5)
    assert not recipe.grid.wanted


def test_precision_is_that_of_every_stage_but_where_it_has_its_own(runs):
    assert main(["run", "demo", "--precision", "0.125", "--sae.precision", "0.5"]) == 0
    recipe = runs[0].recipe
    assert (recipe.sae.precision, recipe.baselines.precision, recipe.effects.precision) == (0.5, 0.125, 0.125)


@pytest.mark.parametrize(
    ("line", "chat"),
    [
        *(("run --chat demo", True), ("run demo --chat", True), ("run --chat --layer 1 demo", True)),
        *(("run demo --chat false", False), ("run --chat TRUE demo", True), ("run demo --chat=no", False)),
    ],
)
def test_chat_needs_no_value(runs, line, chat):
    assert main(line.split()) == 0
    assert runs[0].recipe.chat is chat


def test_a_written_recipe_runs(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "mine.yaml"
    path.write_text("base: demo\nseed: 5\n")
    assert main(["run", str(path)]) == 0
    assert (runs[0].recipe.seed, runs[0].out) == (5, Path("runs/mine"))


def test_recipes_are_listed(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [list(item) for item in shipped_recipes().items()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--version", [f"glossae {glossae.__version__}\n"]),
        (
            "--help",
            ["glossae run demo", "  recipes ", "glossae run --help", "  doctor ", "report.html"],
        ),
        ("-h", ["glossae run demo", "--dry-run"]),
        ("recipes --help", ["usage: glossae recipes"]),
        ("--help run demo", ["usage: glossae run"]),
        ("-h knob save nowhere --out k.st", ["usage: glossae knob save"]),
    ],
)
def test_help_shows_the_ways_in(capsys, line, words):
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    assert [word for word in words if word not in shown] == []


def test_help_of_run_teaches_every_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    for key in all_settings(Recipe):
        assert re.search(rf"--{re.escape(key)} \S+\s+[A-Z].*\[.*\]\n", shown), key
    for words in (
        "glossae run demo --sae.k 16",
        "--sae.k N",
        "Latents active at a token; batchtopk and jumprelu: on average. relu has sae.l1 instead. [32]",
        "none: 30 % of train. [none]",
        "--layer N|auto",
        "A model on the hub (`ID` or `ID@REVISION`), a folder, a GGUF file, or toy. [needed]",
        "--effects.values X,X,...",
        "[-8,-6,-4,-2,0,2,4,6,8]",
    ):
        assert words in shown
    assert 0 < shown.index("--target TEXT") < shown.index("--text TEXT") < shown.index("\n  --out DIR")
    assert shown.index('--text "sv=A.txt en=B.txt da=C.txt"') < shown.index("--target TEXT")
    assert "probe.seeds 1" in shown[shown.index("--quick ") : shown.index("--precision ")]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (
            "run paper --sae.k 7 --help",
            ["[EleutherAI/pythia-1.4b]", "relu has sae.l1 instead. [7]", "[opus:NeuLab-TedTalks]"],
        ),
        ("run find --help", ["a folder, a GGUF file, or toy. [needed]", "[4096]"]),
    ],
)
def test_help_of_a_recipe_shows_its_values(capsys, monkeypatch, line, values):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    assert [value for value in values if value not in shown] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no command; try 'glossae run demo' or 'glossae --help'"),
        (
            "rum demo",
            "unknown command 'rum'; did you mean 'run'? (there are run, recipes, export, knob, explain, figures and doctor)",
        ),
        ("--quiet run demo", "unknown flag '--quiet' (flags follow the command)"),
        ("--hlep", "unknown flag '--hlep'; did you mean '--help'? (flags follow the command)"),
        ("--version please", "unknown command 'please' (there are run, "),
        ("recipes demo", "recipes: unexpected 'demo'"),
        ("run", "run: which recipe? One of demo, find, paper, "),
        ("run demmo", "unknown recipe 'demmo'; did you mean 'demo'? (there are demo, find, paper, "),
        ("run demo more", "run: unexpected 'more'"),
        ("run demo --sae.kk 3", "unknown flag '--sae.kk'; did you mean '--sae.k'?"),
        ("run demo --quite", "unknown flag '--quite'; did you mean '--quiet'?"),
        ("run demo --out_dir x", "unknown flag '--out_dir'; did you mean '--out'?"),
        (
            "run find",
            "find.yaml: model, languages.target, corpora.text: are missing: give --model MODEL --target",
        ),
        (
            "run find --model m --target sv --text x.tsv --corpora.train y.tsv",
            "--corpora.train: is cut out of corpora.text: give corpora.text or corpora.train, not both",
        ),
        ("run find --target sv --languages.target da", "--languages.target: is given twice"),
        ("run find --target sv --target=da", "--target: is given twice"),
        ("run demo --txt x", "unknown flag '--txt'; did you mean '--text'?"),
        ("run demo --sae 3", "--sae: is a group of settings; set one of them, such as --sae.expansion"),
        ("run demo -x", "unknown flag '-x'"),
        ("run demo --sae.k", "--sae.k: needs a value"),
        ("run demo --sae.k --quiet", "--sae.k: needs a value"),
        ("run demo --out=", "--out: must be non-empty text without control characters, got ''"),
        ("run demo --sae.k 3 --sae.k=4", "--sae.k: is given twice"),
        ("run demo --quiet=3", "--quiet: "),
        (
            "run demo --until featurs",
            "--until: unknown stage 'featurs'; did you mean 'features'? (there are ",
        ),
        ("run demo --sae.k -1", "--sae.k: must be at least 1, got '-1'"),
        ("run demo --sae.lr -inf", "--sae.lr: must be a finite number, got '-inf'"),
        ("run missing.yaml", "missing.yaml: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(runs, capsys, line, message):
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"glossae: {message}")
    assert captured.err.count("\n") == 1
    assert runs == []


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            GlossaeError("a.tsv: line 3:\n  the text \x1b[31m\u202e is odd"),
            2,
            "a.tsv: line 3: the text \\x1b[31m\\u202e is odd",
        ),
        (OSError(28, "No space left on device", "out"), 2, "out: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted; the same command carries on where it stopped"),
    ],
)
def test_what_goes_wrong_later_is_one_line_too(runs, capsys, monkeypatch, error, status, told):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["glossae.run"], "run_recipe", fail)
    assert main(["run", "demo"]) == status
    assert capsys.readouterr().err == f"glossae: {told}\n"


def test_a_process_leaves_with_the_status_and_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "run", "demo", "--sae.k", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", "glossae: --sae.k: must be at least 1, got '0'\n")


def test_a_reader_who_leaves_early_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


HEAVY = {"torch", "transformers", "pandas", "numpy", "matplotlib", "sklearn", "pyarrow", "rich", "jaxtyping"}


def test_import_help_and_mistakes_load_nothing_heavy():
    script = """
import contextlib, io, sys, glossae
from glossae.cli import main
for line in ("--help", "recipes", "run --help", "run demo --help", "run demmo", "run demo --sae.k 0", "run",
             "export --help", "export", "export x --to y", "knob --help", "knob save",
             "explain --help", "explain", "doctor --help"):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(line.split())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "glossae" in loaded
    assert loaded & HEAVY == set()
