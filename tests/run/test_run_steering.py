"""The stage that steers: only where it is asked for, what it leaves behind, and its knobs by the command line."""

import json
import shutil

import pandas as pd
import pytest
from tiny_world import STEERED, stages_worked_at

import glossae
from glossae.cli import main
from glossae.lm import load
from glossae.recipe import load_recipe, shipped_recipes
from glossae.sae import read_sae


@pytest.fixture(scope="module")
def steering(steered):
    return glossae.open_run(steered).results.steering


def refusal(capsys, *line):
    capsys.readouterr()
    assert main([*map(str, line)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("glossae: ").rstrip("\n")


def said(capsys, *line):
    capsys.readouterr()
    assert main([*map(str, line)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


# ---- the stage


def test_no_shipped_recipe_but_the_demo_steers_unless_asked_to():
    steers = {name for name in shipped_recipes() if name != "find" and load_recipe(name).steering.wanted}
    assert steers == {"demo"}
    assert load_recipe("pythia-14m", {"steering.prompts": "200"}).steering.wanted


def test_without_prompts_there_is_no_stage(finished):
    run = glossae.open_run(finished)
    assert run.results.steering is None
    assert not (finished / "steering").exists()
    assert "steering over doses (" in (finished / "report.html").read_text()


def test_families_stand_side_by_side(steering):
    families = [row.family for row in steering.families]
    assert families + steering.left_out == sorted(
        families + steering.left_out,
        key=["latents_set", "latents_add", "neurons_add", "means_add", "means_project"].index,
    )
    assert {"neurons_add", "means_add", "means_project"} <= set(families)
    for row in steering.families:
        arms = [arm for arm in steering.arms if arm.family == row.family]
        assert 2.0 in [arm.value for arm in arms]
        matched = [arm for arm in arms if arm.at == 0.02]
        assert len(matched) + row.unreached.count(0.02) == 1
        for arm in matched:
            assert arm.kl == pytest.approx(0.02, rel=0.1)


def test_prompts_are_the_papers_and_the_first_tokens_of_test(world, steered, steering):
    texts = pd.read_parquet(steered / "steering" / "continuations.parquet")
    count = steering.prompts.paper + steering.prompts.test
    assert steering.prompts.test == 5
    assert len(texts) == count * len(steering.arms)
    raw = texts[texts["family"] == "raw"]
    assert raw["prompt"].iloc[0] == "Once upon a time there was a"
    lm = load(str(world.model))
    sentences = (world.folder / "press.tmx").read_text(encoding="utf-8")
    for prompt in raw["prompt"].iloc[-5:]:
        assert prompt in sentences
        assert len(lm.tokenizer(prompt)["input_ids"]) <= 3


def test_it_is_done_once_and_again_when_a_setting_changes(world, steered, tmp_path, capsys):
    out = shutil.copytree(steered, tmp_path / "again")
    # somebody's own file
    shutil.copy(
        out / "steering" / "knobs" / "neurons_add.safetensors",
        out / "steering" / "knobs" / "mine.safetensors",
    )
    for changes, expected in (
        ({}, []),
        ({"steering__tokens": 4, "steering__families": "means_add"}, ["steering"]),
    ):
        capsys.readouterr()
        assert main(world.line(out, **(STEERED | changes))) == 0
        assert stages_worked_at(capsys.readouterr().err) == expected
    assert {arm.tokens for arm in glossae.open_run(out).results.steering.arms} == {4.0}
    # knobs of families that are no longer asked for are gone
    names = {path.name for path in (out / "steering" / "knobs").iterdir()}
    assert names == {"means_add.safetensors", "mine.safetensors"}
    line = ["knob", "save", out, "--out", tmp_path / "knob", "--kind", "neuron", "--dose", "1"]
    assert "this run has no neurons to write" in refusal(capsys, *line)


def test_what_has_no_room_or_no_sentence_is_refused(world, tmp_path, capsys):
    line = world.line(tmp_path / "out", **(STEERED | {"steering__tokens": 100}))
    assert refusal(capsys, *line).startswith(
        "steering.tokens: with steering.prompt_tokens: 103 is more than the 64 tokens that"
    )
    assert not (tmp_path / "out").exists()


def test_prompts_longer_than_every_sentence_are_refused_before_any_work(world, tmp_path, capsys):
    line = world.line(tmp_path / "out", **(STEERED | {"steering__prompt_tokens": 40}))
    assert refusal(capsys, *line, "--quiet", "--until", "corpora") == (
        "steering.prompt_tokens: to cut a prompt of 40 a sentence has to have twice as many tokens, and test has none "
        "in en"
    )
    assert not (tmp_path / "out").exists()


def test_the_page_has_the_table_the_figure_and_the_examples(steered, steering):
    page = (steered / "report.html").read_text()
    assert "Steering at the same KL" in page
    assert "difference of means, added" in page
    assert (steered / "figures" / "steering-front.svg").is_file()
    numbers = pd.read_csv(steered / "figures" / "steering-front.csv")
    assert len(numbers) == len(steering.arms)
    assert numbers["kl"].tolist() == pytest.approx([arm.kl for arm in steering.arms])


# ---- knobs


@pytest.mark.parametrize("kind", ["neuron", "direction"])
def test_a_runs_units_are_saved_and_applied(world, steered, tmp_path, capsys, kind):
    file = tmp_path / "knob.safetensors"
    told = said(capsys, "knob", "save", steered, "--out", file, "--kind", kind, "--dose", "-6")
    assert told.startswith(f"{file}: ")
    assert "dose -6, hash " in told
    knob = glossae.Knob.load(file)
    assert (knob.kind, knob.dose, knob.target, knob.reference) == (kind, -6.0, "da", "en")
    lines = said(
        capsys, "knob", "apply", file, "--model", world.model, "--prompt", "The dog", "--dose", "60", "--tokens", 6,
        "--device", "cpu",
    ).splitlines()  # fmt: skip
    assert [line.split()[0] for line in lines] == ["prompt", "raw", "turned"]
    assert lines[0] == "prompt   The dog"
    assert lines[1].split(None, 1)[1] != lines[2].split(None, 1)[1]


def test_the_selected_latents_are_saved_of_any_run(finished, tmp_path, capsys):
    file = tmp_path / "knob.safetensors"
    told = said(capsys, "knob", "save", finished, "--out", file, "--dose", 4)
    stored = json.loads((finished / "features" / "ranges.json").read_text())
    knob = glossae.Knob.load(file)
    assert knob.names == [f"latent {unit}" for unit in stored["reference_means"]]
    assert ", ".join(knob.names) in told
    sae = read_sae(finished / "sae")
    by = [4 * (stored["target_means"][str(unit)] - mean) for unit, mean in stored["reference_means"].items()]
    units = [int(unit) for unit in stored["reference_means"]]
    expected = sum(amount * sae.W_dec[unit] for unit, amount in zip(units, by, strict=True))
    (change,) = knob.family.compiled([knob.dose])
    assert change(expected.detach()[None] * 0)[0].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert refusal(capsys, "knob", "save", finished, "--out", file) == (
        "--dose: is missing, and the run has not searched one for latents with add (the stage steering, "
        "--steering.prompts 200, does): give one, such as --dose 4"
    )
    assert "needs its whole encoder" in refusal(
        capsys, "knob", "save", finished, "--out", file, "--dose", 1, "--operation", "set"
    )
    said(capsys, "knob", "save", finished, "--out", file, "--dose", 1, "--operation", "set", "--whole")
    assert glossae.Knob.load(file).family.operation == "set"
    # neither what is no knob, nor the run's own, is replaced
    for other in (finished / "sae/sae.safetensors", finished / "results.json"):
        before = other.read_bytes()
        told = refusal(capsys, "knob", "save", finished, "--out", other, "--dose", 1)
        assert told == f"--out: {other} exists and is no knob: give another name"
        assert other.read_bytes() == before
    assert refusal(capsys, "knob", "save", finished, "--out", tmp_path / "huge", "--dose", "1e308") == (
        "knob: dose: 1e+308 is too large: 1e+15 is the most"
    )


def test_without_a_dose_the_stages_best_is_taken(steered, steering, tmp_path, capsys):
    file = tmp_path / "knob.safetensors"
    arms = [arm for arm in steering.arms if arm.family == "means_project" and arm.kl <= 1.05]
    best = max(arms, key=lambda arm: (arm.success, -arm.kl))
    said(capsys, "knob", "save", steered, "--out", file, "--kind", "direction", "--operation", "project_out")
    knob = glossae.Knob.load(file)
    assert (knob.dose, knob.family.operation) == (best.value, "project_out")
    own = next((steered / "steering" / "knobs").iterdir())
    told = refusal(capsys, "knob", "save", steered, "--out", own, "--dose", 1)
    assert told == f"--out: {own} is what is read: give another name"


def test_knob_lines_that_cannot_be_are_refused(finished, steered, tmp_path, capsys):
    file = tmp_path / "knob.safetensors"
    for line, words in (
        (["knob"], "knob: COMMAND is missing: save, apply or export"),
        (["knob", "sav"], "unknown command 'sav'; did you mean 'save'? (there are save, apply and export)"),
        (["knob", "save", finished], "knob save: --out is missing: the file to write"),
        (["knob", "save", finished, "--ot", file], "unknown flag '--ot'; did you mean '--out'?"),
        (["knob", "save", finished, "x", "--out", file], "knob save: unexpected 'x'"),
        (
            ["knob", "save", finished, "--out", file, "--kind", "neurone"],
            "--kind: unknown kind 'neurone'; did you mean 'neuron'? (there are latent, neuron and direction)",
        ),
        (
            ["knob", "save", finished, "--out", file, "--operation", "sett"],
            "--operation: unknown operation 'sett'; did you mean 'set'? (there are add, set and project_out)",
        ),
        (
            ["knob", "save", finished, "--out", file, "--dose", "nan"],
            "--dose: must be a finite number, got 'nan'",
        ),
        (
            ["knob", "save", finished, "--out", file, "--dose", "1", "--kind", "direction"],
            f"{finished}: this run has no directions to write: they come from the stage steering "
            "(--steering.prompts 200, and steering.families with them)",
        ),
        (["knob", "save", tmp_path, "--out", file], f"{tmp_path}: is not a run (it has no recipe.yaml)"),
        (["knob", "apply"], "knob apply: FILE is missing: the file of a knob"),
        (
            ["knob", "apply", file, "--model", "toy", "--prompt", " "],
            "--prompt: must be non-empty text without control characters, got ' '",
        ),
        (
            ["knob", "apply", file, "--model", "toy", "--prompt", "x"],
            f"{file}: there is no such file; 'glossae knob save' writes one",
        ),
        (
            ["knob", "apply", file, "--model", "toy", "--prompt", "x", "--tokens", "0"],
            "--tokens: must be at least 1, got '0'",
        ),
    ):
        assert refusal(capsys, *line) == words, line
    assert not file.exists()
    assert said(capsys, "knob", "--help").startswith("usage: glossae knob save RUN")
    assert "--whole" in said(capsys, "knob", "save", "--help")


def test_another_model_is_refused_by_the_command(steered, tmp_path, tiny_model, capsys):
    file = tmp_path / "knob.safetensors"
    line = ("knob", "save", steered, "--out", file, "--kind", "direction", "--dose", "1", "--json")
    saved = json.loads(said(capsys, *line))
    assert (saved["out"], saved["bytes"], saved["dose"]) == (str(file), file.stat().st_size, 1.0)
    told = refusal(capsys, "knob", "apply", file, "--model", tiny_model, "--prompt", "He", "--device", "cpu")
    assert (
        told
        == "knob: it is of model, and tiny has other weights; any_model (--any-model) turns it all the same"
    )
    line = ["--model", tiny_model, "--prompt", "He", "--device", "cpu", "--any-model", "--sample", "3"]
    assert said(capsys, "knob", "apply", file, *line).startswith("prompt   He\nraw ")
    (row,) = json.loads(said(capsys, "knob", "apply", file, *line, "--json"))["continuations"]
    assert set(row) == {"prompt", "raw", "turned"}
