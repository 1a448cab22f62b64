"""What is wrong with the input is told in one line on standard error, and no folder is begun."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import as_tmx

from glossae.cli import main

GOOD = "".join(f"Sætning nummer {n}.\t0\nSentence number {n}.\t1\n" for n in range(40))
TMX = as_tmx([{"da": f"Sætning {n}.", "en": f"Sentence {n}."} for n in range(40)], ("da", "en"))
CUT = TMX[: len(TMX) // 2]
ENTITY = (
    '<?xml version="1.0"?>\n<!DOCTYPE tmx [\n<!ENTITY a "ha">]>\n<tmx version="1.4"><body></body></tmx>\n'
)
BOMB = ENTITY.replace('"ha">', '"ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">')
OUTSIDE = ENTITY.replace('"ha"', 'SYSTEM "file:///etc/hostname"')


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


# ---- text: the files, the source that names them ({} is their folder), and what the line says

TEXTS = {
    "missing file": ({}, "{}/none.tsv", "{}/none.tsv: no such file"),
    "directory": ({"talks.tsv/x": ""}, "{}/talks.tsv", "{}/talks.tsv: is a folder"),
    "empty file": ({"x.tsv": ""}, "{}/x.tsv", "{}/x.tsv: is empty"),
    "truncated TMX": (
        {"x.tmx": CUT},
        "{}/x.tmx",
        f"{{}}/x.tmx, line {CUT.count(chr(10)) + 1}: is not well-formed XML",
    ),
    "TMX that is not XML": ({"x.tmx": GOOD}, "{}/x.tmx", "{}/x.tmx, line 1: is not well-formed XML"),
    "XML that is not TMX": (
        {"x.tmx": "<?xml version='1.0'?>\n<html/>"},
        "{}/x.tmx",
        "{}/x.tmx, line 2: is XML but not TMX",
    ),
    "TMX with an entity": ({"x.tmx": ENTITY}, "{}/x.tmx", "{}/x.tmx, line 3: declares an XML entity"),
    "TMX with an entity bomb": ({"x.tmx": BOMB}, "{}/x.tmx", "{}/x.tmx, line 3: declares an XML entity"),
    "TMX that reads a file": ({"x.tmx": OUTSIDE}, "{}/x.tmx", "{}/x.tmx, line 3: declares an XML entity"),
    "Latin-1": (
        {"x.tsv": (GOOD + "Rødgrød.\t0\n").encode("latin-1")},
        "{}/x.tsv",
        "{}/x.tsv, line 1: byte 2 (0xE6) is not UTF-8",
    ),
    "one language only": (
        {"x.tsv": GOOD.replace("\t1", "\t0")},
        "{}/x.tsv",
        "corpora.train: no en sentence (read from x.tsv",
    ),
    "other languages only": (
        {"x.tsv": GOOD.replace("\t1", "\tde").replace("\t0", "\tfr")},
        "{}/x.tsv",
        "x.tsv: no sentence in da or en",
    ),
    "unknown label": (
        {"x.tsv": GOOD + "Hej.\tpositiv\n"},
        "{}/x.tsv",
        "{}/x.tsv, line 81: unknown label 'positiv'",
    ),
    "line without a tab": ({"x.tsv": GOOD + "Hej 0\n"}, "{}/x.tsv", "{}/x.tsv, line 81: no tab in 'Hej 0'"),
    "unequal Moses files": (
        {"x.da": "Hej.\nFarvel.\n", "x.en": "Hello.\n"},
        "da={}/x.da,en={}/x.en",
        "{}/x.da has 2, {}/x.en has 1 lines",
    ),
    "too few columns": (
        {"x.txt": "Hi.\tHej.\nGo.\n"},
        "cols:en,da:{}/x.txt",
        "{}/x.txt, line 2: 1 columns where 2",
    ),
    "not a source": ({}, "ops:ELRC_2923", "corpora.{role}: 'ops:ELRC_2923': is not a source"),
    "no corpus named": ({}, "opus:", "corpora.{role}: 'opus:': names no corpus"),
    "not there and no network": (
        {},
        "opus:NoSuchCorpus",
        "opus:NoSuchCorpus: HF_HUB_OFFLINE keeps glossae from",
    ),
    "not JSON": ({"x.jsonl": "Hej.\n"}, "{}/x.jsonl", "{}/x.jsonl, line 1: is not JSON at column 1"),
    "fields that are not there": (
        {"x.csv": "sentence,class\nHej.,0\n"},
        "{}/x.csv",
        "{}/x.csv, line 2: has 'sentence', 'class', and needs text and language or label, or da and",
    ),
    "no language said": (
        {"x.txt": "Hej.\n"},
        "{}/x.txt",
        "corpora.{role}: '{}/x.txt': does not say its language",
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


def emptied(model):
    shutil.rmtree(model)
    model.mkdir()


def pickled(model):
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def lacking(model):
    tensors = load_file(model / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def truncated(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def filed(model):
    shutil.rmtree(model)
    model.write_text("not a folder")


def infinite(model):
    tensors = load_file(model / "model.safetensors")
    tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"][3, 4] = float("inf")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


MODELS = {
    "does not exist": (shutil.rmtree, "there is no folder {}"),
    "is a file": (filed, "{} is a file"),
    "is empty": (emptied, "the folder {} is empty"),
    "has pickles only": (pickled, "{} holds its weights only as pickles (pytorch_model.bin)"),
    "lacks a tensor": (lacking, "{} lacks the tensor gpt_neox.layers.1.mlp.dense_h_to_4h.weight"),
    "is truncated": (truncated, "{} cannot be loaded: "),
    "has no config": (lambda model: (model / "config.json").unlink(), "{} has no config.json"),
    "is not finite": (
        infinite,
        "{}: the tensor gpt_neox.layers.1.mlp.dense_h_to_4h.weight holds numbers that",
    ),
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


@pytest.mark.parametrize("case", ["does not exist", "is a file", "is empty", "has pickles only"])
def test_bad_model_that_is_only_probed(refusal, model, case):
    spoil, message = MODELS[case]
    spoil(model)
    line = refusal(probe__models=model)
    assert line.startswith("glossae: probe.models: ")
    assert message.replace("{}", str(model)) in line


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
    assert done.stderr == (
        f"glossae: model: {model} lacks the tensor gpt_neox.layers.1.mlp.dense_h_to_4h.weight\n"
    )
    assert not (tmp_path / "out").exists()


# ---- settings

SETTINGS = {
    "a layer that is not there": ({"layer": 3}, "layer: ", "has the layers 0 to 2, and 3 is not one of them"),
    "a layer below 0": ({"layer": -1}, "--layer: must be at least 0"),
    "a site that is not there": ({"site": "mlp.gate"}, "--site: expected mlp.hidden, mlp.out, attn.out or resid"),
    "k of 0": ({"sae__k": 0}, "--sae.k: must be at least 1, got '0'"),
    "k below 0": ({"sae__k": -4}, "--sae.k: must be at least 1, got '-4'"),
    "k above the latents": ({"sae__k": 65}, "sae.k: must be at most sae.latents, 64, got 65"),
    "k above the width times the expansion": (
        {"sae__latents": None, "sae__expansion": 2, "sae__k": 65},
        "sae.k: 65 is more than the 64 latents",
    ),
    "k that is no number": ({"sae__k": "many"}, "--sae.k: expected a whole number, got 'many'"),
    "an unknown flag": ({"sae__kk": 4}, "unknown flag '--sae.kk'; did you mean '--sae.k'?"),
    "a context longer than the model's": (
        {"max_tokens": 65},
        "max_tokens: 65 is more than the 64 tokens that ",
        "has positions for",
    ),
    "a context longer than the model's by far": ({"max_tokens": 10**9}, "max_tokens: 1000000000 is more than the 64"),
    "continuations longer than the model's context": (
        {"effects__max_length": 100},
        "effects.max_length: 100 is more than the 64 tokens that ",
    ),
    "a device that is not there": ({"device": "cuda:99"}, "device: 'cuda:99' cannot be used here"),
    "the same language twice": ({"languages__others": "en"}, "--languages.others: 'en' is already the"),
    "no values": ({"effects__values": ""}, "--effects.values: must be non-empty"),
    "a share above 1": ({"features__min_target": 2}, "--features.min_target: must be at most 1, got '2'"),
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


RECIPES = {
    "missing": (None, "{}: no such file"),
    "unknown key": ("base: demo\nsae:\n  kk: 4\n", "{}: unknown key 'sae.kk'; did you mean 'sae.k'?"),
    "unknown group": ("base: demo\nsea:\n  k: 4\n", "{}: unknown key 'sea'; did you mean 'sae'?"),
    "wrong type": ("base: demo\nprobe:\n  tokens: many\n", "{}: probe.tokens: expected a whole number, got 'many'"),
    "impossible value": ("base: demo\nreport:\n  texts: -1\n", "{}: report.texts: must be at least 0, got '-1'"),
    "broken YAML": ("base: demo\nsae:\n  k: [4\n", "{}: line 4: "),
    "key twice": ("base: demo\nseed: 1\nseed: 2\n", "{}: line 3: the key 'seed' is given twice"),
    "no mapping": ("- demo\n", "{}: expected settings"),
    "Latin-1": ("base: demo\ndescription: R\xf8d\n".encode("latin-1"), "{}: line 2: is not UTF-8 text"),
    "unknown base": ("base: demmo\n", "{}: base: unknown recipe 'demmo'; did you mean 'demo'?"),
    "nothing named": ("sae:\n  k: 4\n  latents: 64\n", "{}: model, languages.target, corpora.text: are missing: "),
}  # fmt: skip


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipe(tmp_path, capfd, case):
    content, message = RECIPES[case]
    recipe: Path = tmp_path / "mine.yaml"
    if content is not None:
        write(tmp_path, {"mine.yaml": content})
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"glossae: {message.replace('{}', str(recipe))}")
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
