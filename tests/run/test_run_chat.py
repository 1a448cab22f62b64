"""A run with `--chat`: units are read on replies, prompts are a user's, and files say so."""

import dataclasses
import json
import shutil

import pytest
import torch

import glossae
from glossae.cli import main
from glossae.flags import parse
from glossae.lm import load, sentence_losses, tokenize
from glossae.sae import read_sae
from glossae.text import build_roles

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}bot: {% endif %}"
)
SMALL = {
    "layer": 1,
    "languages__others": "sv",
    "features__units": "3,7",
    "evidence__permutations": 0,
    "evidence__scores": "false",
    "evidence__identify": "false",
    "steering__prompts": 3,
    "steering__prompt_tokens": 3,
    "steering__tokens": 5,
    "steering__values": "2",
    "steering__kl": "0.02",
    "steering__examples": 1,
    "steering__families": "latents_add,neurons_add",
    "max_tokens": 48,
    "sae__precision": 0.0001,
}


@pytest.fixture(scope="module")
def model(world, tmp_path_factory):
    folder = shutil.copytree(world.model, tmp_path_factory.mktemp("chat") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def chatted(world, model, tmp_path_factory):
    """The folder of a run in a chat; not to be written to."""
    out = tmp_path_factory.mktemp("chatted") / "run"
    assert world.run(out, "--chat", model=model, **SMALL) == 0
    return out


def refusal(capsys, line):
    assert main([*map(str, line)]) == 2
    return capsys.readouterr().err.removeprefix("glossae: ").rstrip("\n")


def test_the_flag_needs_no_value():
    assert parse(["demo", "--chat"]).overrides == {"chat": "true"}
    assert parse(["--chat", "demo", "--layer", "1"]) == parse(["demo", "--layer", "1", "--chat", "true"])
    assert parse(["demo", "--chat", "false"]).overrides == {"chat": "false"}


def test_what_does_not_go_with_a_chat_is_refused(world, tmp_path, capsys):
    said = refusal(capsys, ["run", "paper", "--chat", "--bos", "auto", "--dry-run"])
    assert "chat" in said
    assert "the paper reads no chats: leave it off, or protocol published" in said
    said = refusal(capsys, [*world.line(tmp_path / "run"), "--chat", "--bos", "true"])
    assert "bos" in said
    assert "the chat template writes its own BOS" in said
    said = refusal(capsys, [*world.line(tmp_path / "run"), "--chat"])
    assert said.startswith("chat: the tokenizer of ")
    assert "has no chat template; leave chat off" in said
    assert not (tmp_path / "run").exists()


def test_losses_are_those_of_replies(model, chatted):
    run = glossae.open_run(chatted)
    (habits,) = run.record["habits"].values()
    lm, recipe = load(str(model)), run.recipe
    before = lm.tokenizer("<|endoftext|>user: \nbot: ", add_special_tokens=False)["input_ids"]
    assert habits["chat"] == before
    assert (habits["bos"], habits["warning"]) == (False, None)
    roles = build_roles(
        recipe.corpora.sources, target="da", reference="en", others=recipe.languages.others, seed=recipe.seed
    )
    select = tokenize(lm, roles.corpora["select"], max_tokens=48, prefix=before)
    # no sample is as precise as that, so all of select is measured
    losses = sentence_losses(dataclasses.replace(lm, chat=tuple(before)), select)
    for code in ("da", "en"):
        own = [number for number, sentence in enumerate(select.corpus.sentences) if sentence.language == code]
        count = sum(len(select.ids[number]) - len(before) for number in own)
        measured = run.results["sae"]["ce"][code]
        assert measured["tokens"] == count
        assert measured["raw"] == pytest.approx(losses[own].sum() / count, rel=1e-4)


def test_the_autoencoder_says_that_it_read_replies(chatted):
    assert read_sae(chatted / "sae").trained_on.endswith(", as replies in a chat")


def test_prompts_are_the_users_turn(model, chatted, tmp_path, capsys):
    said = json.dumps(glossae.open_run(chatted).results["steering"]["examples"])
    assert "user:" not in said
    assert "bot:" not in said
    file = tmp_path / "knob.safetensors"
    assert main(["knob", "save", str(chatted), "--out", str(file), "--dose", "3"]) == 0
    knob, lm = glossae.Knob.load(file), load(str(model))
    (habits,) = glossae.open_run(chatted).record["habits"].values()
    assert list(knob.chat) == habits["chat"]
    capsys.readouterr()
    line = ["knob", "apply", file, "--model", model, "--prompt", "The dog", "--dose", 60, "--tokens", 6]
    assert main([*map(str, line), "--device", "cpu"]) == 0
    raw = capsys.readouterr().out.splitlines()[1].split(None, 1)[1]
    text = "<|endoftext|>user: The dog\nbot: "
    ids = lm.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    output = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0
    )
    expected = lm.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert " ".join(raw.split()) == " ".join(expected.split())
