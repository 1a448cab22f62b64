"""Odd recipes and odd values of every flag of every command are one line and status 2, or are done; nothing else."""

import argparse
import contextlib
import functools
import io
import os
import types

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import glossae.run
from glossae import cli
from glossae.cli import main
from glossae.errors import visible
from glossae.recipe import Recipe, all_settings, load_recipe

ODD = [
    "", " ", "-", "--", "-0", "0", "-1", "1", "1e400", "-1e400", "nan", "inf", "-inf", "NaN", "1e-400", "0x10",
    "1_0", "٣", "³", "½", "１", "Ⅷ", "1,2", "1,,2", ",", "1 2", "none", "null", "~", "true", "auto", "[1]",
    "{}", "{a: 1}", "\\0", "\\x00", "a\x00b", "\x1b[31m", "\u202e", "\ufeff1", "\ud800", "a\nb", "\t", "'",
    "\"", "`x`", "$(x)", "%s", "%", "{0}", "..", "/", "/dev/null", "/dev/full", "~nobody/x", "a/../..", "con",
    ".", "hub:", "hub:a/b@c/d", "opus:", "opus:x@y", "cols::", "da=", "=x", "da=a,da=b", "toy", "http://",
    "file:///etc/passwd", "--json", "--help", "-h", "=", "=1", "!!python/object:os.system x", "&a [*a]",
    "2026-01-01", "🙂", "x" * 300, "y" * 100_000, "9" * 5000, "é" * 200,
]  # fmt: skip
KEYS = list(all_settings(Recipe))


@functools.cache
def commands():
    """The words of each command, with its flags and the number of its words that are no flags."""

    def below(parser, words):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, own in action.choices.items():
                    yield from below(own, (*words, name))
                return
        flags = [flag for action in parser._actions for flag in action.option_strings]
        yield words, flags, sum(not action.option_strings for action in parser._actions)

    return list(below(cli._parser(), ()))


@st.composite
def lines(draw):
    """A command line with odd values."""
    words, flags, places = draw(st.sampled_from(commands()))
    odd = st.one_of(st.sampled_from(ODD), st.text(max_size=20), st.floats().map(repr), st.integers().map(str))
    line = [draw(st.one_of(st.just("demo"), odd)) for _ in range(draw(st.integers(0, places + 1)))]
    for flag in draw(st.lists(st.sampled_from(flags), max_size=4)):
        match draw(st.sampled_from(["=", " ", ""])):
            case "=":
                line += [f"{flag}={draw(odd)}"]
            case " ":
                line += [flag, draw(odd)]
            case _:
                line += [flag]
    return [*words, *line]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """An empty working folder, in which a recipe that is right is not run."""
    folder = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        ran = types.SimpleNamespace(lines=[], to_json=dict)
        patch.setattr(glossae.run, "run_recipe", lambda *_, **__: ran)
        patch.setenv("GLOSSAE_CACHE", str(folder / "cache"))
        patch.setattr("tempfile.tempdir", str(folder))
        patch.chdir(folder)
        yield folder


def outcome(place, line):
    """The status of a command line and its lines on standard error; it leaves no file and no traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line)
    said = err.getvalue()
    assert status in (0, 2), (line, said)
    assert "Traceback" not in out.getvalue() + said
    if status == 2:
        # a page of doctor says more than its error
        assert said.startswith("glossae: "), (line, said)
        assert said.count("\n") == 1, (line, said)
        assert visible(said) == said, (line, said)
    else:
        assert said == "" or line[0] == "app", (line, said)
    assert [*place.iterdir()] == []
    return status, said


@settings(max_examples=150)
@given(lines())
def test_a_drawn_line_is_done_or_refused_in_one_line(place, line):
    outcome(place, line)


@pytest.mark.parametrize("number", range(0, len(KEYS), 8))
def test_odd_values_of_every_setting_are_taken_or_refused_in_one_line(place, number):
    for key_number, key in enumerate(KEYS[number : number + 8], start=number):
        # every value comes with some setting
        for odd in (ODD[key_number % len(ODD)], ODD[(7 * key_number + 3) % len(ODD)]):
            outcome(place, ["run", "demo", f"--{key}={odd}"])


PLACES = {
    "run": "run {}",
    "export": "export {} --to sae-lens --out out",
    "figures": "figures {} --out out",
    "explain": "explain {} --endpoint http://127.0.0.1:9 --model m",
    "push": "push {} me/x",
    "app": "app {}",
    "completion": "completion {}",
    "knob save": "knob save {} --out out",
    "knob apply": "knob apply {} --model toy --prompt x",
    "knob export": "knob export {} --to vllm --out out",
}


@pytest.mark.parametrize("command", PLACES)
def test_an_odd_place_of_every_command_is_refused_in_one_line(place, command):
    for odd in ODD[[*PLACES].index(command) % 4 :: 4]:
        if odd not in ("--help", "-h"):
            outcome(place, [odd if word == "{}" else word for word in PLACES[command].split()])


RECIPES = [
    "", " ", "---", "null", "[]", "1", "a", "{", "}", "[", "a: b: c", "\t- x", "base: demo\nbase: demo",
    "base: none", "base: [demo]", "base: {demo: 1}", "base: ../../etc/passwd", "base: /dev/null",
    "base: demo\nsae: 1", "base: demo\nsae: []", "base: demo\nsae: {k: {k: 1}}", "base: demo\nsae: {k: [1]}",
    "base: demo\nsae.k: 1", "base: demo\nsae: {K: 1}", "base: demo\nunknown: 1", "base: demo\n1: 2",
    "base: demo\nnull: 2", "base: demo\n? [a]\n: b", "base: demo\nmodel: [a]", "base: demo\nmodel: null",
    "base: demo\nmodel: ''", "base: demo\nmodel: \"a\\0b\"", "base: demo\nmodel: \"\\ud800\"",
    "base: demo\nname: \"../x\"", "base: demo\nname: .x", "base: demo\nseed: 1e400", "base: demo\nseed: -1",
    "base: demo\nseed: .inf", "base: demo\nseed: .nan", "base: demo\nseed: 0x10000000000000000",
    "base: demo\nseed: 1:30", "base: demo\nlayer: yes", "base: demo\nlayer: -1", "base: demo\nlayer: 1.5",
    "base: demo\nlanguages: da", "base: demo\nlanguages: {target: en}", "base: demo\nlanguages: {target: DA}",
    "base: demo\nlanguages: {others: [da]}", "base: demo\nlanguages: {others: [[da]]}",
    "base: demo\nlanguages: {others: {da: 1}}", "base: demo\ncorpora: {train: 1}",
    "base: demo\ncorpora: {train: \"'\"}", "base: demo\ncorpora: {train: [toy]}", "base: demo\ncorpora: {text: toy}",
    "base: demo\nsae: {lr: -1}", "base: demo\nsae: {lr: 1e999}", "base: demo\nsae: {k: 0}",
    "base: demo\nsae: {latents: 1, k: 2}", "base: demo\nsae: {expansion: 0}",
    "base: demo\nsae: {expansion: 1, latents: 8}", "base: demo\nsae: {from: [a]}",
    "base: demo\neffects: {values: 1}", "base: demo\neffects: {values: []}", "base: demo\neffects: {values: [1, 1]}",
    "base: demo\neffects: {values: [.nan]}", "base: demo\neffects: {values: 'a,b'}", "base: demo\nsae: &a {k: *a}",
    "a: &a [*a]", "base: demo\nsae: !!python/name:os.system {}", "!!python/object/apply:os.system [id]",
    "base: demo\nsae: !!binary aGk=", "base: demo\nseed: !!int x", "base: demo\nseed: !!float 1",
    "base: demo\nseed: !!timestamp 2026-01-01", "base: demo\nseed: 2026-01-01", "%YAML 9.9\n---\nbase: demo",
    "%TAG ! x\n---\nbase: demo", "--- 1\n--- 2", "base: demo\n...\nx: y", "\ufeffbase: demo\nseed: x",
    "base: demo\x00", "base: demo\x1b[31m", "base: demo\r\nseed: x\r\n", "base: demo\nseed: 1\nseed: 2",
    "base: demo\n<<: {seed: 1}", "base: demo\nsae: {<<: {k: 0}}", "base: demo\n\u2028seed: 1",
    "base: demo\ndescription: {a: b}", "base: demo\nprotocol: x", "base: demo\ndevice: gpu",
    "base: demo\ndevice: cuda:-1", "base: demo\ndtype: float8", "base: demo\nchat: maybe", "base: demo\nbos: maybe",
    "base: demo\nsite: mlp", "base: demo\nprobe: {lambdas: [0]}", "base: demo\nprobe: {models: [1, 2]}",
    "base: demo\ntasks: {names: [a]}", "base: demo\nbatch_tokens: 0",
    "base: demo\nbatch_tokens: 99999999999999999999999", "base: demo\nmax_tokens: 1",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nbase: demo\nsae: {k: *c}", "base: mine.yaml", "base: other.yaml",
    "base: demo\nreport: {title: \"\\x1b[31m\\u202e\"}", "base: demo\nfeatures: {units: [-1]}",
    "base: demo\nfeatures: {units: x}", "base: demo\nevidence: {seeds: x}", "base: demo\ncontrols: {}",
    "base: demo\neffects: null\nseed: x", "base: demo\nsae: ''\nseed: x", "[" * 2000, "{a: " * 2000, "- " * 2000,
    "base: demo\nseed: " + "9" * 5000, "base: demo\nmodel: " + "m" * 100_000, "base: demo\n" + "x: " * 400,
    "".join(["base: demo\n", *(f"k{n}: 1\n" for n in range(3000))]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_a_malformed_recipe_is_one_line_that_names_its_file(place, tmp_path, number):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(RECIPES[number].encode("utf-8", "surrogatepass"))
    status, said = outcome(place, ["run", str(recipe)])
    if status == 2:
        assert "mine.yaml" in said or "other.yaml" in said
        assert len(said) < 2100
    else:
        # what is taken is a recipe
        assert load_recipe(recipe).model


VALUES = st.recursive(
    st.sampled_from(ODD) | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*KEYS, "base"]), VALUES, max_size=3))
def test_a_drawn_recipe_is_taken_or_refused_in_one_line(place, tmp_path_factory, changes):
    found = {"base": "demo"}
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        (found.setdefault(group, {}) if group else found)[name] = value
    recipe = tmp_path_factory.getbasetemp() / f"drawn-{os.getpid()}.yaml"
    recipe.write_text(yaml.safe_dump(found), encoding="utf-8")
    outcome(place, ["run", str(recipe)])


def test_more_than_150_malformed_inputs_are_listed():
    assert len(ODD) + len(RECIPES) > 150
