"""Models of other families, what their texts begin with, their sinks and their precision."""

import dataclasses
import importlib
import json
import shutil

import numpy as np
import pytest
import torch
from tiny_world import EVERYTHING, trained_tokenizer, write_model

import glossae
from glossae.cli import main
from glossae.corpora import build_roles
from glossae.lm import load, sentence_losses, tokenize
from glossae.sae import read_sae
from tiny_families import HIDDEN, write_family


@pytest.mark.parametrize(("family", "site"), [("llama", "mlp.hidden"), ("gpt2", "attn.out")])
def test_a_run_from_text_to_what_is_written(world, tmp_path, capsys, family, site):
    tokenizer = trained_tokenizer()
    model = write_family(tmp_path / "model", family, tokenizer, vocab_size=len(tokenizer))
    out = tmp_path / "run"
    capsys.readouterr()
    assert world.run(out, model=model, site=site, **EVERYTHING) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "the layer choice compares da with en only" in line
    results = json.loads((out / "results.json").read_text())
    run = glossae.open_run(out)
    assert run.results.probe.site == run.results.sae.site == site
    assert {cell["layer"] for cell in results["probe"]["cells"]} == {0, 1, 2}
    assert read_sae(out / "sae").config.d_in == (HIDDEN if site == "mlp.hidden" else 32)
    # turning units does something, here and in what is written
    cells = results["next_token"]["cells"]
    assert {cell["edit"] for cell in cells} >= {"raw", "none", "set"}
    assert any(abs(cell["delta"]) > 1e-6 for cell in cells if cell["edit"] == "set")
    assert len({row["text"] for row in results["generation"]}) > 1


@pytest.mark.parametrize(("asked", "longest"), [("auto", 64), ("64", 64), ("9", 9)])
def test_texts_are_cut_at_what_is_asked_for_or_the_models_positions(world, tmp_path, asked, longest):
    text = tmp_path / "long.tsv"
    rows = (f"{word * 100}{n}.\t{label}\n" for n in range(40) for label, word in enumerate(("abc ", "def ")))
    text.write_text("".join(rows))
    changes = {"corpora__train": text, "corpora__test": None, "languages__others": "none"}
    out = tmp_path / "run"
    assert world.run(out, "--until", "corpora", "--max_tokens", asked, **changes) == 0
    counted = json.loads((out / "results.json").read_text())["corpora"]
    assert all(row["cut"] == row["sentences"] > 0 for row in counted)
    assert all(row["tokens"] == longest * row["sentences"] for row in counted)
    assert glossae.open_run(out).recipe.max_tokens == (asked if asked == "auto" else int(asked))


def test_a_model_that_is_only_probed_has_its_own_positions(world, tmp_path, capsys):
    tokenizer = trained_tokenizer()
    short = write_family(tmp_path / "short", "gpt2", tokenizer, vocab_size=len(tokenizer), n_positions=32)
    out = tmp_path / "run"
    assert world.run(out, "--until", "probe", probe__models=short) == 0
    capsys.readouterr()
    # asked for by name, the shorter one cannot have it; what is done stays done
    assert world.run(out, "--until", "probe", probe__models=short, max_tokens=64) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.endswith(f"max_tokens: 64 is more than the 32 tokens that {short} has positions for")
    assert (out / "corpora" / "summary.json").is_file()


context = importlib.import_module("glossae.run.context")


@pytest.mark.parametrize(
    ("fast", "costs", "dtype"), [(False, 1.0, "float32"), (True, 1.0, "bfloat16"), (True, -1.0, "float32")]
)
def test_passes_are_in_bfloat16_where_the_cpu_is_fast_and_the_loss_the_same(
    world, tmp_path, monkeypatch, fast, costs, dtype
):
    monkeypatch.setattr(context, "fast_bfloat16", lambda: fast)
    monkeypatch.setattr(context, "HALF_COSTS", costs)
    assert world.run(tmp_path, "--until", "sae", dtype="auto") == 0
    record = json.loads((tmp_path / "run.json").read_text())
    (habits,) = record["habits"].values()
    assert record["dtype"] == dtype
    assert habits["bfloat16"] is (dtype == "bfloat16")
    if not fast:
        assert habits["loss_in_bfloat16"] is None
    else:
        own = habits["loss_with_bos"] if habits["bos"] else habits["loss_without_bos"]
        assert habits["loss_in_bfloat16"] == pytest.approx(own, abs=0.05)
        assert habits["loss_in_bfloat16"] != own
    # the next command of the run goes on in the same
    assert world.run(tmp_path, "--until", "evidence", dtype="auto") == 0
    assert json.loads((tmp_path / "run.json").read_text())["dtype"] == dtype


SINKS = {"layer": 1, "languages__others": "sv", "sae__epochs": 2}


@pytest.fixture(scope="module")
def with_sinks(tmp_path_factory):
    """A model in whose residual stream an `e` by itself is far larger than other tokens."""
    folder = write_model(tmp_path_factory.mktemp("sinks") / "model", trained_tokenizer())
    lm = load(str(folder))
    (sink,) = lm.tokenizer("e", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[sink] *= 60
    lm.model.save_pretrained(folder)
    return folder


def test_the_papers_protocol_says_what_spliced_sinks_cost(world, with_sinks, tmp_path, capsys):
    out = tmp_path / "run"
    assert world.run(out, "--until", "sae", model=with_sinks, protocol="published", **SINKS) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "are spliced, as in the paper" in line]
    results = json.loads((out / "results.json").read_text())
    losses = results["sae"]["sinks"]
    assert set(losses) == {"da", "en"}
    assert len(told) == 2
    run, lm, sae = glossae.open_run(out), load(str(with_sinks)), read_sae(out / "sae")
    (limit,) = [
        row["largest"] for row in run.record["habits"][run.recipe.model]["sinks"] if row["layer"] == 1
    ]
    roles = build_roles(
        run.recipe.corpora.sources, target="da", reference="en", others=run.recipe.languages.others, seed=0
    )

    def summed(ids, place):
        """Summed loss with the reconstruction where `place` says so."""

        def splice(_module, _args, output):
            x = output[0] if isinstance(output, tuple) else output
            here = place(x.norm(dim=-1))[..., None]
            x = torch.where(here, sae(x.reshape(-1, x.shape[-1])).view_as(x), x)
            return (x, *output[1:]) if isinstance(output, tuple) else x

        handle = lm.blocks[1].register_forward_hook(splice)
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids])).logits[0, :-1]
        handle.remove()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))

    for code in ("da", "en"):
        texts = [
            lm.tokenizer(sentence.text, add_special_tokens=False)["input_ids"][:64]
            for sentence in roles.corpora["select"].only(code).sentences
        ]
        count = sum(len(ids) - 1 for ids in texts)
        own = losses[code]
        assert (own["sentences"], own["tokens"]) == (len(texts), count)
        for what, place in (("spliced", lambda n: n > 0), ("left_alone", lambda n: n <= limit)):
            assert own[what] == pytest.approx(sum(summed(ids, place) for ids in texts) / count, rel=1e-3)
        assert abs(own["spliced"] - own["left_alone"]) > 1e-3
        assert np.isclose(own["spliced"], results["sae"]["ce"][code]["spliced"], rtol=1e-3)
        (line,) = [line for line in told if f"the loss in {code} is {own['spliced']:.2f}" in line]
        assert f"{own['left_alone']:.2f} with the sinks left alone" in line


def test_where_sinks_are_left_alone_or_there_are_none_nothing_is_said(world, with_sinks, tmp_path, capsys):
    for name, changes in (
        ("controlled", {"model": with_sinks, "protocol": "controlled"}),
        ("none", {"protocol": "published"}),
    ):
        out = tmp_path / name
        assert world.run(out, "--until", "sae", **SINKS, **changes) == 0
        assert "are spliced" not in capsys.readouterr().err
        assert json.loads((out / "results.json").read_text())["sae"]["sinks"] == {}


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}bot: {% endif %}"
)
CHAT = {
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
    assert world.run_undrawn(out, "--chat", model=model, **CHAT) == 0
    return out


def refusal(capsys, line):
    assert main([*map(str, line)]) == 2
    return capsys.readouterr().err.removeprefix("glossae: ").rstrip("\n")


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
        measured = run.results.sae.ce[code]
        assert measured.tokens == count
        assert measured.raw == pytest.approx(losses[own].sum() / count, rel=1e-4)


def test_the_autoencoder_says_that_it_read_replies(chatted):
    assert read_sae(chatted / "sae").trained_on.endswith(", as replies in a chat")


def test_prompts_are_the_users_turn(model, chatted, tmp_path, capsys):
    said = str(glossae.open_run(chatted).results.steering.examples)
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
