"""What training adds: the untrained control and the sets switched off, recomputed with transformers and scipy alone."""

import importlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import mannwhitneyu
from tiny_world import untrained_code, untrained_rows, write_panel

from glossae.sae import read_sae
from glossae.stages import baselines
from glossae.stages import sae as sae_stage

switched_off = importlib.import_module("glossae.effects.damage")
LAYER = 1
SMALL = {
    "layer": LAYER,
    "bos": "false",
    "probe__tokens": 400,
    "probe__seeds": 1,
    "evidence__minimum": 0.5,
    "evidence__permutations": 0,
    "evidence__identify": "false",
    "evidence__scores": "false",
    "effects__sweep": "false",
    "features__rule": "tested",
    "baselines__untrained": 2,
    "baselines__trained": 1,
    "baselines__frozen": 1,
    "baselines__sizes": "1,3",
    "baselines__precision": 0.001,
}


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run, its results, and what its untrained autoencoders were made from."""
    folder = tmp_path_factory.mktemp("baselines")
    panel = write_panel(folder)
    seen = {}
    with pytest.MonkeyPatch.context() as patched:
        make, find = sae_stage.untrained, baselines._searched

        def untrained(config, x, **options):
            seen["first"] = x
            return make(config, x, **options)

        def searched(context, panel, progress):
            seen["panel"] = panel.found_on
            return find(context, panel, progress)

        patched.setattr(sae_stage, "untrained", untrained)
        patched.setattr(baselines, "_searched", searched)
        # every token of a sentence has its loss computed, not some of them, so that a script can recompute the sum
        patched.setattr(switched_off, "tokens_to_score", lambda *_: 1000)
        assert world.run_undrawn(folder / "run", **SMALL | {"corpora__panel": panel}) == 0
    results = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    return folder / "run", results["baselines"], seen | {"panel_file": panel}


def plain(world):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(world.model, dtype=torch.float32).eval()


def test_as_many_untrained_latents_pass_as_a_script_of_its_own_finds(world, run):
    folder, found, seen = run
    sae = read_sae(folder / "sae" / "sae.safetensors")
    centre = seen["first"].double().mean(0).numpy()
    tokens, model = seen["panel"], plain(world)
    means = []
    for ids in tokens.ids:
        with torch.no_grad():
            hidden = model(torch.as_tensor(ids)[None], output_hidden_states=True).hidden_states
        means.append(hidden[LAYER + 1][0].double().numpy())
    languages = np.array([s.language for s in tokens.corpus.sentences])
    counted = [row for row in found["autoencoders"] if row["group"] == "untrained"]
    assert [row["seed"] for row in counted] == [0, 1]
    for row in counted:
        rows = untrained_rows(row["seed"], sae.config.latents, sae.config.d_in)
        table = np.stack([untrained_code(x, rows, centre, sae.config.k).mean(0) for x in means])
        own, other = table[languages == "da"], table[languages == "en"]
        auroc = np.array(
            [mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(own.T, other.T, strict=True)]
        )
        # where two latents are equal to the rounding at the edge of a token's top k, either may be in it: that moves
        # one sentence's mean, and by that the AUROC by the share of one of 400 sentences at most
        assert row["weakest"] == pytest.approx(auroc.max(), abs=1 / 400)
        assert 0 <= row["passing"] <= (auroc > 0.5).sum()


def test_what_switching_off_costs_is_what_a_script_of_its_own_measures(world, run):
    folder, found, seen = run
    sae = read_sae(folder / "sae" / "sae.safetensors")
    centre = seen["first"].double().mean(0).numpy()
    losses = pd.read_parquet(folder / "baselines" / "losses.parquet")
    model = plain(world)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world.model)
    test = pd.read_parquet(folder / "baselines" / "losses.parquet").drop_duplicates(["language", "pair"])
    wanted = next(
        row for row in found["sets"] if (row["group"], row["seed"], row["size"]) == ("untrained", 1, 3)
    )
    rows = untrained_rows(1, sae.config.latents, sae.config.d_in)

    def off(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        x = hidden[0].double().numpy()
        code = untrained_code(x, rows, centre, sae.config.k)
        changed = torch.from_numpy(x - code[:, wanted["members"]] @ rows[wanted["members"]]).to(hidden)[None]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    texts = {(s["language"], s["pair"]): s["text"] for s in baselines_texts(world, folder)}
    own = losses[
        (losses.group == "untrained") & (losses.seed == 1) & (losses["size"] == 3) & losses["at"].isna()
    ]
    assert len(own) == len(test)
    block, apart = model.get_submodule("gpt_neox.layers")[LAYER], []
    for row in own.head(12).to_dict("records"):
        ids = torch.tensor(
            [tokenizer(texts[row["language"], row["pair"]], add_special_tokens=False)["input_ids"]]
        )
        nats = []
        for edited in (False, True):
            handle = block.register_forward_hook(off) if edited else None
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            if handle:
                handle.remove()
            nats.append(
                torch.nn.functional.cross_entropy(logits.double(), ids[0, 1:], reduction="sum").item()
            )
        assert row["loss"] == pytest.approx(nats[0], rel=1e-4)
        apart.append(abs(row["change"] - (nats[1] - nats[0])))
    # a sentence with such a token may be apart
    assert sorted(apart)[-2] < 2e-3
    for code, change in wanted["change"].items():
        part = own[own.language == code]
        assert change["delta"] == pytest.approx(part.change.sum() / part.tokens.sum(), rel=1e-9)
        assert change["per_byte"] == pytest.approx(part.change.sum() / part.bytes.sum(), rel=1e-9)
        assert change["low"] <= change["delta"] <= change["high"]


def baselines_texts(world, folder):
    """The sentences of test, by language and pair."""
    from glossae.corpora import build_roles
    from glossae.recipe import load_recipe

    recipe = load_recipe(folder / "recipe.yaml")
    roles = build_roles(
        recipe.corpora.sources,
        target="da",
        reference="en",
        others=recipe.languages.others,
        seed=recipe.seed,
        limit=recipe.corpora.limit,
        panel_limit=recipe.corpora.panel_limit,
        test_limit=recipe.corpora.test_limit,
        trained=recipe.trained_languages,
    )
    return [s._asdict() for s in roles.corpora["test"].sentences]


def test_groups_seeds_and_differences_are_all_there(run):
    _, found, _ = run
    groups = [(row["group"], row["seed"]) for row in found["autoencoders"]]
    assert groups == [
        ("trained", 0),
        ("trained", 1),
        ("frozen decoder", 0),
        ("untrained", 0),
        ("untrained", 1),
        ("coordinates", 0),
    ]
    by = {(row["group"], row["seed"], row["size"]): row for row in found["sets"] if row["at"] is None}
    for row in found["adds"]:
        if row["what"] != "target":
            continue
        for group in ("trained", "untrained"):
            deltas = [by[group, seed, row["size"]]["change"]["da"]["delta"] for seed in (0, 1)]
            assert row[group] == pytest.approx(np.mean(deltas), rel=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]
    carried = next(row for row in found["adds"] if row["what"] == "units")
    assert [len(carried[group]) for group in ("trained", "untrained")] == [2, 2]


def test_a_frozen_decoder_is_that_of_the_untrained_autoencoder(run):
    folder, _, _ = run
    frozen = read_sae(folder / "sae" / "frozen_0" / "sae.safetensors")
    expected = untrained_rows(0, frozen.config.latents, frozen.config.d_in)
    np.testing.assert_allclose(frozen.W_dec.detach().numpy(), expected, atol=1e-6)
    trained = read_sae(folder / "sae" / "sae.safetensors")
    assert not np.allclose(trained.W_dec.detach().numpy(), expected, atol=1e-3)


@pytest.fixture
def copied(run, tmp_path, monkeypatch):
    """The run's folder without its baselines, its settings, and its results."""
    folder, _, seen = run
    monkeypatch.setattr(switched_off, "tokens_to_score", lambda *_: 1000)
    out = shutil.copytree(folder, tmp_path / "run")
    return out, SMALL | {"corpora__panel": seen["panel_file"]}, (folder / "results.json").read_bytes()


def test_baselines_that_were_cut_off_do_not_switch_off_what_was_switched_off(world, copied, dies, passes):
    out, settings, expected = copied
    assert world.run(out, **settings) == 0
    loading = passes[0]
    shutil.rmtree(out / "baselines")
    passes[0] = -loading
    dies(out, "baselines", 0.99, **settings)
    before = passes[0]
    (spent,) = out.glob("baselines/parts/*/seconds.json")
    first = json.loads(spent.read_text())
    done = {path: path.stat().st_mtime_ns for path in spent.parent.iterdir() if path != spent}
    assert {"claim", "autoencoders"} <= {path.stem for path in done}
    assert [path for path in done if path.match("off-*-0-da.npz")]
    passes[0] = -loading
    assert world.run(out, **settings) == 0
    assert passes[0] < before
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert (out / "results.json").read_bytes() == expected
    # what is said of the stage's time is that of both tries
    assert json.loads((out / "run.json").read_text())["stages"]["baselines"]["seconds"] > first


def test_other_resamples_switch_nothing_off(world, copied, passes):
    out, settings, expected = copied
    assert world.run(out, **settings) == 0
    loading = passes[0]
    passes[0] = -loading
    assert world.run(out, **settings, effects__bootstrap=30) == 0
    assert passes[0] == 0
    one, other = (json.loads(text)["baselines"] for text in (expected, (out / "results.json").read_bytes()))
    assert one["autoencoders"] == other["autoencoders"]
    (first, *_), (again, *_) = one["sets"], other["sets"]
    assert first["change"]["da"]["delta"] == again["change"]["da"]["delta"]
    assert first["change"]["da"]["low"] != again["change"]["da"]["low"]
