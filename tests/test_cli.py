"""The door opens for what is right, and says in one line what is not."""

import contextlib
import json
import os
import re
import shlex
import shutil
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

    def run_recipe(recipe, out, until=None, quiet=False, again=False, track="none"):
        calls.append(types.SimpleNamespace(recipe=recipe, out=out, until=until, quiet=quiet, again=again))
        return types.SimpleNamespace(
            lines=["sae       a line"], to_json=lambda: {"page": str(out / "report.html")}
        )

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
    assert (call.out, call.until, call.quiet, call.again) == (Path("runs/demo"), None, False, False)


@pytest.mark.parametrize(
    "line",
    [
        "run demo --out there --until sae --quiet --again --sae.k 4 --effects.values -8,0,.5 --sae.lr 1e-3",
        "--quiet run --again --out=there --until=sae --sae.k=4 --effects.values=-8,0,.5 --sae.lr=1e-3 demo",
        "run --effects.values -8,0,.5 demo --again --sae.k 4 --out there --quiet --sae.lr 1e-3 --until sae",
    ],
)
def test_flags_come_in_any_order_and_both_spellings(runs, line):
    assert main(line.split()) == 0
    (call,) = runs
    assert (call.out, call.until, call.quiet, call.again) == (Path("there"), "sae", True, True)
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
            ["glossae run demo", "  recipes ", "glossae run --help", "  doctor ", "report.html", "--json"],
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


def help_of(capsys, monkeypatch, line, columns=300):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(line.split()) == 0
    return capsys.readouterr().out


def test_help_of_run_shows_what_matters_and_the_groups(capsys, monkeypatch):
    shown = help_of(capsys, monkeypatch, "run --help", 110)
    assert len(shown.splitlines()) < 75
    flags = "target reference text model site layer out until quick precision again dry-run json quiet help"
    assert [flag for flag in flags.split() if f"  --{flag}" not in shown and f", --{flag}" not in shown] == []
    assert "--sae.k N" not in shown
    groups = shown[shown.index("groups of settings:") :]
    for group in {key.rpartition(".")[0] or "recipe" for key in all_settings(Recipe)}:
        assert re.search(rf"\n  {group} +[A-Z]\w*", groups), group


def test_help_of_all_teaches_every_setting(capsys, monkeypatch):
    shown = help_of(capsys, monkeypatch, "run --help all")
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


@pytest.mark.parametrize("group", sorted({key.rpartition(".")[0] for key in all_settings(Recipe)}))
def test_help_of_a_group_has_its_settings_alone(capsys, monkeypatch, group):
    shown = help_of(capsys, monkeypatch, f"run --help {group or 'recipe'}")
    assert {key for key in all_settings(Recipe) if f"--{key} " in shown} == {
        key for key in all_settings(Recipe) if key.rpartition(".")[0] == group
    }


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("run paper --sae.k 7 --help sae", ["relu has sae.l1 instead. [7]"]),
        ("run paper --help", ["[EleutherAI/pythia-1.4b]", "'glossae run paper --help GROUP'"]),
        ("run --help paper", ["[EleutherAI/pythia-1.4b]", "'glossae run paper --help GROUP'"]),
        ("run paper --help corpora", ["[opus:NeuLab-TedTalks]"]),
        ("run find -h sae", ["[4096]"]),
    ],
)
def test_help_of_a_recipe_shows_its_values(capsys, monkeypatch, line, values):
    shown = help_of(capsys, monkeypatch, line)
    assert [value for value in values if value not in shown] == []


# ---- for programs


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("recipes --json", {"recipes": shipped_recipes()}),
        ("--json recipes --quiet", {"recipes": shipped_recipes()}),
        ("--version --json", {"version": glossae.__version__}),
        ("run demo --json", {"page": "runs/demo/report.html"}),
        ("run demo --sae.k 0 --json", {"error": "--sae.k: must be at least 1, got '0'", "status": 2}),
        ("--json", {"error": "no command; try 'glossae run demo' or 'glossae --help'", "status": 2}),
        ("--jsn --json", {"error": "unknown flag '--jsn' (flags follow the command)", "status": 2}),
    ],
)
def test_json_is_one_object_on_standard_output(runs, capsys, line, facts):
    assert main(line.split()) == facts.get("status", 0)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == facts
    assert captured.err == (f"glossae: {facts['error']}\n" if "error" in facts else "")


def test_json_of_a_command_that_only_prints_are_its_lines(capsys, monkeypatch):
    monkeypatch.setattr("glossae.cli._recipes", lambda _: print("demo\nfind"))
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lines": ["demo", "find"]}


def test_json_of_a_name_that_a_terminal_would_obey_is_ascii(runs, capsys):
    assert main(["run", "\x1b[31m\u202ehvid", "--json"]) == 2
    said = capsys.readouterr().out
    assert said.isascii()
    assert said.isprintable() or {c for c in said if not c.isprintable()} == {"\n"}
    assert "\x1b[31m\u202ehvid" in json.loads(said)["error"]


def test_quiet_prints_only_the_path_of_the_page(runs, capsys):
    assert main(["run", "demo", "--quiet"]) == 0
    assert capsys.readouterr().out == "runs/demo/report.html\n"
    assert main(["recipes", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


# ---- for shells


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A function that writes the script for a shell; gives its path."""
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("completion")

    def script(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"there is no {shell}")
        with (folder / shell).open("w") as file, contextlib.redirect_stdout(file):
            assert main(["completion", shell]) == 0
        return folder / shell

    return script


COMPLETED = [
    ("", {"run", "recipes", "export", "knob", "doctor", "completion"}, {"demo"}),
    ("run ", {"demo", "paper", "mine.yaml"}, {"run", "other.txt"}),
    ("run d", {"demo"}, {"paper"}),
    ("run demo --sae.e", {"--sae.epochs", "--sae.expansion"}, {"--sae.k"}),
    ("run demo --site ", {"resid", "mlp.hidden"}, {"demo"}),
    ("run --until s", {"sae", "steering"}, {"probe"}),
    ("run --help ", {"sae", "all"}, {"demo"}),
    ("knob ", {"save", "apply"}, {"run"}),
]


@pytest.mark.parametrize(("line", "there", "absent"), COMPLETED)
def test_bash_completes(script, tmp_path, line, there, absent):
    path = script("bash")
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "other.txt").touch()
    words = f"glossae {line}".split(" ")
    ask = (
        f'source {path}; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _shtab_glossae; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", ask, "bash", *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    found = set(done.stdout.split())
    assert there <= found
    assert not absent & found


@pytest.mark.parametrize(("line", "there", "absent"), COMPLETED)
def test_fish_completes(script, tmp_path, line, there, absent):
    path = script("fish")
    (tmp_path / "mine.yaml").touch()
    ask = f"source {path}; complete -C 'glossae {line}'"
    home = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = subprocess.run(
        ["fish", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path, env=home
    )
    found = {each.split("\t")[0] for each in done.stdout.splitlines()}
    assert there <= found
    assert not (absent - {"other.txt"}) & found


def test_zsh_reads_its_script(script):
    subprocess.run(["zsh", "-n", str(script("zsh"))], check=True)


def test_completion_without_shtab_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err.startswith(
        "glossae: completion: needs shtab: pip install 'glossae[completion]'"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no command; try 'glossae run demo' or 'glossae --help'"),
        (
            "rum demo",
            "unknown command 'rum'; did you mean 'run'? (there are run, recipes, ",
        ),
        ("--until sae run demo", "unknown flag '--until' (flags follow the command)"),
        ("--quiet", "no command; try 'glossae run demo'"),
        (
            "run demo --help saa",
            "--help: unknown group 'saa'; did you mean 'sae'? (there are recipe, languages, ",
        ),
        ("run --help demmo", "--help: unknown group 'demmo'"),
        ("run demo -- --sae.k 3", "run: unexpected '--': leave it out"),
        ("run demo --name=--", "run: unexpected '--': leave it out"),
        ("run demo --k 3", "unknown flag '--k'; did you mean '--sae.k'?"),
        ("--hlep", "unknown flag '--hlep'; did you mean '--help'? (flags follow the command)"),
        ("--version please", "unknown command 'please' (there are run, "),
        ("recipes demo", "recipes: unexpected 'demo'"),
        ("run", "run: which recipe? One of demo, find, paper, "),
        ("run demmo", "unknown recipe 'demmo'; did you mean 'demo'? (there are demo, find, paper, "),
        ("run demo more", "run: unexpected 'more'"),
        (
            "run demo --text da=a.txt en=b.txt",
            "run: unexpected 'en=b.txt': put a value that has blanks in quotes",
        ),
        ("run demo --sae.kk 3", "unknown flag '--sae.kk'; did you mean '--sae.k'?"),
        ("run demo --quite", "unknown flag '--quite'; did you mean '--quiet'?"),
        ("run demo --out_dir x", "unknown flag '--out_dir'; did you mean '--out'?"),
        (
            "run find",
            "--model, --languages.target, --corpora.text: are missing: give --model MODEL --target sv --text ",
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
        ("run demo --quiet=3", "--quiet: takes no value, got '3'"),
        ("recipes --json=1", "--json: takes no value, got '1'"),
        ("figures x --out y --style foo", "--style: unknown style 'foo' (there is only paper)"),
        (
            "run demo --until featurs",
            "--until: unknown stage 'featurs'; did you mean 'features'? (there are ",
        ),
        ("run demo --sae.k -1", "--sae.k: must be at least 1, got '-1'"),
        (
            "run demo --effects.values '1 2'",
            "--effects.values: expected a list, each a number, got '1 2'; commas separate the elements of a list",
        ),
        ("run demo --sae.lr -inf", "--sae.lr: must be a finite number, got '-inf'"),
        ("run missing.yaml", "missing.yaml: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(runs, capsys, line, message):
    assert main(shlex.split(line)) == 2
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


def test_a_run_that_the_system_ends_says_how_it_carries_on(tmp_path):
    line = [sys.executable, "-c", MAIN, "run", "demo", "--until", "probe"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        begun = next(said for said in process.stderr if " probe: " in said)
        process.terminate()
        assert process.stderr.read() == "glossae: interrupted; the same command carries on where it stopped\n"
    assert begun.endswith(" probe: probing every layer\n")
    assert process.returncode == 143


def test_a_reader_who_leaves_early_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("line", ["recipes --json", "recipes"])
def test_a_full_disk_below_standard_output_is_one_line(line):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *line.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.endswith("No space left on device\n")
    assert done.stderr.count("\n") == 1


HEAVY = {"torch", "transformers", "pandas", "numpy", "matplotlib", "sklearn", "pyarrow", "rich", "jaxtyping"}


def test_import_help_and_mistakes_load_nothing_heavy():
    script = """
import contextlib, io, sys, glossae
from glossae.cli import main
for line in ("--help", "recipes --json", "run --help", "run demo --help all", "completion", "run demmo",
             "run demo --sae.k 0", "run", "export --help", "export", "export x --to y", "knob --help",
             "knob save", "explain --help", "explain", "push --help", "push", "app --help", "app", "doctor --help"):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(line.split())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "glossae" in loaded
    assert loaded & HEAVY == set()
