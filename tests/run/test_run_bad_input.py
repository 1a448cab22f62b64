"""What is wrong with the input is told in one line on standard error, and no folder is begun."""

import logging
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import as_tmx

from glossae.cli import main

GOOD = "".join(f"Sætning nummer {n}.\t0\nSentence number {n}.\t1\n" for n in range(40))
TMX = as_tmx([{"da": f"Sætning {n}.", "en": f"Sentence {n}."} for n in range(40)], ("da", "en"))
CUT = TMX[: len(TMX) // 2]


@pytest.fixture
def refusal(world, tmp_path, capfd):
    """A function that runs a command line and gives the one line that it ends in, nothing being written."""

    def refusal(recipe=None, **changes):
        out = tmp_path / "out"
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        status = main(world.line(out, recipe, **changes))
        captured = capfd.readouterr()
        assert status == 2
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.startswith("glossae: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        assert len(captured.err) < 800
        assert not out.exists()
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err

    return refusal


# ---- text: the files, the source that names them ({} is their folder), and what the line says; each way in which a
# text can be wrong is in tests/corpora/test_refusals.py

TEXTS = {
    "missing file": ({}, "{}/none.tsv", "{}/none.tsv: no such file"),
    "truncated TMX": (
        {"x.tmx": CUT},
        "{}/x.tmx",
        f"{{}}/x.tmx, line {CUT.count(chr(10)) + 1}: is not well-formed XML",
    ),
    "line without a tab": ({"x.tsv": GOOD + "Hej 0\n"}, "{}/x.tsv", "{}/x.tsv, line 81: no tab in 'Hej 0'"),
    "one language only": (
        {"x.tsv": GOOD.replace("\t1", "\t0")},
        "{}/x.tsv",
        "corpora.train: no en sentence (read from x.tsv",
    ),
    "not a source": ({}, "ops:ELRC_2923", "corpora.{role}: 'ops:ELRC_2923': is not a source"),
    "not there and no network": (
        {},
        "opus:NoSuchCorpus",
        "opus:NoSuchCorpus: HF_HUB_OFFLINE keeps glossae from",
    ),
}


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", TEXTS)
def test_bad_text_to_train_on(refusal, tmp_path, case):
    files, source, message = (TEXTS[case][0], *(t.replace("{role}", "train") for t in TEXTS[case][1:]))
    write(tmp_path, files)
    line = refusal(corpora__train=source.replace("{}", str(tmp_path)), languages__others="none")
    assert message.replace("{}", str(tmp_path)) in line


@pytest.mark.parametrize("case", [case for case in TEXTS if "only" not in case])
def test_bad_text_to_test_on(refusal, tmp_path, case):
    files, source, message = (TEXTS[case][0], *(t.replace("{role}", "test") for t in TEXTS[case][1:]))
    write(tmp_path, files)
    line = refusal(corpora__test=source.replace("{}", str(tmp_path)))
    assert message.replace("{}", str(tmp_path)) in line


def test_text_that_was_all_trained_on(refusal, world):
    line = refusal(corpora__test=world.texts["tsv"])
    roles = "corpora.train and corpora.select and corpora.tune"
    assert f"corpora.test: all 180 sentences of talks.tsv are in {roles} already" in line


# ---- models


@pytest.fixture
def model(world, tmp_path):
    """A copy of the tiny model's folder, to be spoilt."""
    return shutil.copytree(world.model, tmp_path / "model")


def lacking(model):
    tensors = load_file(model / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


# before any weight is read, while they are read, and behind them; all others are in tests/lm/test_lm_load.py
MODELS = {
    "does not exist": (shutil.rmtree, "there is no folder {}"),
    "lacks a tensor": (lacking, "{} lacks the tensor gpt_neox.layers.1.mlp.dense_h_to_4h.weight"),
    "has no tokenizer": (
        lambda model: [file.unlink() for file in model.glob("tokenizer*")],
        "{} has no tokenizer",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_model(refusal, model, case):
    spoil, message = MODELS[case]
    spoil(model)
    line = refusal(model=model)
    assert line.startswith("glossae: model: ")
    assert message.replace("{}", str(model)) in line


def test_no_such_model_on_the_hub(refusal):
    line = refusal(model="nobody/no-such-model")
    assert line.startswith(
        "glossae: model: nobody/no-such-model is not in the hub's cache, and HF_HUB_OFFLINE is"
    )


def test_bad_model_that_is_only_probed(refusal, model):
    shutil.rmtree(model)
    line = refusal(probe__models=model)
    assert line.startswith(f"glossae: probe.models: there is no folder {model}")


def test_a_process_of_its_own_says_it_in_one_line_too(world, model, tmp_path):
    lacking(model)
    script = "import sys; from glossae.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *world.line(tmp_path / "out", model=model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    # a slow machine says what it waits for, too
    lines = [line for line in done.stderr.splitlines() if f" model: loading {model}, and" not in line]
    assert lines == [f"glossae: model: {model} lacks the tensor gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    assert not (tmp_path / "out").exists()


# ---- settings; what a value may be is in tests/test_recipe.py

SETTINGS = {
    "a layer that is not there": ({"layer": 3}, "layer: ", "has the layers 0 to 2, and 3 is not one of them"),
    "k of 0": ({"sae__k": 0}, "--sae.k: must be at least 1, got '0'"),
    "k above the latents": ({"sae__k": 65}, "sae.k: must be at most sae.latents, 64, got 65"),
    "k above the width times the expansion": (
        {"sae__latents": None, "sae__expansion": 2, "sae__k": 65},
        "sae.k: 65 is more than the 64 latents",
    ),
    "an unknown flag": ({"sae__kk": 4}, "unknown flag '--sae.kk'; did you mean '--sae.k'?"),
    "a context longer than the model's": (
        {"max_tokens": 65},
        "max_tokens: 65 is more than the 64 tokens that ",
        "has positions for",
    ),
    "a context longer than the model's by far": ({"max_tokens": 10**9}, "max_tokens: 1000000000 is more than the 64"),
    "continuations longer than the model's context": (
        {"effects__max_length": 100, "effects__prompts": "true"},
        "effects.max_length: 100 is more than the 64 tokens that ",
    ),
    "a device that is not there": ({"device": "cuda:99"}, "device: 'cuda:99' cannot be used here"),
}  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_splitting_without_a_gpu(refusal):
    assert refusal(device="split").startswith(
        "glossae: device: 'split' shares a model out among GPUs, and there is"
    )


@pytest.mark.parametrize("case", SETTINGS)
def test_bad_setting(refusal, case):
    changes, *messages = SETTINGS[case]
    line = refusal(**changes)
    assert all(message in line for message in messages), line


def test_unknown_recipe(refusal):
    assert refusal("demmo").startswith("glossae: unknown recipe 'demmo'; did you mean 'demo'?")


def test_bad_recipe(tmp_path, capfd):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("base: demo\nsae:\n  kk: 4\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"glossae: {recipe}: unknown key 'sae.kk'; did you mean 'sae.k'?")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


# ---- what is found on the way


def test_values_at_which_the_model_breaks(world, finished, tmp_path, capfd):
    out = shutil.copytree(finished, tmp_path / "out")
    assert world.run(out, effects__values="1e30", effects__unit="p99") == 2
    line = capfd.readouterr().err
    assert line.startswith("glossae: effects: came to numbers that are NaN or infinite")
    assert line.count("\n") == 1
    # what was wrong can be mended in the same folder
    assert world.run(out) == 0
    assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()


@pytest.mark.parametrize("key", ["model", "probe__models", "corpora__train", "corpora__test"])
def test_a_name_too_long_for_the_system(refusal, tmp_path, key):
    name = f"{tmp_path}/{'x' * 300}.tsv"
    said = refusal(**{key: name})
    assert said.startswith(f"glossae: {key.replace('__', '.')}: '{name[:20]}")
    assert said.endswith("is longer than the name of a file can be\n")


def test_a_home_that_nobody_has(refusal):
    assert refusal(model="~nobody-of-this-name/model").startswith(
        "glossae: model: there is no folder ~nobody-of"
    )


def test_the_hubs_client_is_kept_quiet(refusal, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("We could not connect.\nCheck your connection.")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    line = refusal(model="somebody/a-model")
    assert line == "glossae: model: somebody/a-model cannot be fetched: We could not connect.\n"
