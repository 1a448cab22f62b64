"""Random weights are chosen by the run's own rule: recomputed with transformers, numpy and scipy alone."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, mannwhitneyu
from tiny_world import untrained_code, untrained_rows, write_panel

from glossae.sae import Sae, SaeConfig, read_sae
from glossae.stages import sae as sae_stage
from glossae.stages.shared import measured_sets as effect_arms

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
    "effects__prompts": "false",
    "effects__tune": "false",
    "effects__sentences": 4,
    "effects__families": "latent",
    # rates that a random model's latents have
    "features__min_target": 0.04,
    "features__max_reference": 0.04,
    "features__at_most": 64,
}


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """By rule: the rows of `next_token.chosen`, and the texts that the rule read; and the trained autoencoder."""
    folder = tmp_path_factory.mktemp("untrained")
    panel = write_panel(folder)
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        read = {}

        def find_in(context, latents, half, *rest):
            read["panel"] = half.found_on
            return effect_arms_find_in(context, latents, half, *rest)

        def collect_all(lm, site, families, tokens, **options):
            read["select"] = tokens
            return effect_arms_collect_all(lm, site, families, tokens, **options)

        effect_arms_find_in, effect_arms_collect_all = effect_arms.find_in, effect_arms.collect_all

        def untrained(config, x, **options):
            read["first"] = x
            return make(config, x, **options)

        make = sae_stage.untrained
        patched.setattr(sae_stage, "untrained", untrained)
        patched.setattr(effect_arms, "find_in", find_in)
        patched.setattr(effect_arms, "collect_all", collect_all)
        for rule in ("paper", "tested"):
            changes = SMALL | {"corpora__panel": panel, "features__rule": rule}
            assert world.run_undrawn(folder / "run", **changes) == 0
            results = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
            chosen = results["next_token"]["chosen"]
            text = read["select" if rule == "paper" else "panel"]
            found[rule] = chosen, len(results["features"]["units"]), text
    return found, read_sae(folder / "run" / "sae"), read["first"]


def codes(world, sae, first, seed, tokens):
    """What every latent of an untrained autoencoder reads at every token, sentence by sentence."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world.model, dtype=torch.float32)
    rows = untrained_rows(seed, sae.config.latents, sae.config.d_in)
    found = []
    for ids in tokens.ids:
        with torch.no_grad():
            hidden = model(torch.as_tensor(ids)[None], output_hidden_states=True).hidden_states
        x = hidden[LAYER + 1][0].double().numpy()
        found.append(untrained_code(x, rows, first.double().mean(0).numpy(), sae.config.k))
    return found


def untrained(chosen):
    rows = [row for row in chosen if row["seed"] is not None]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert [row["units"] for row in rows] == [f"random weights {number}" for number in (1, 2, 3)]
    return rows


def test_by_the_papers_rule_as_many_pass_as_rates_say(world, runs):
    found, sae, first = runs
    chosen, size, tokens = found["paper"]
    languages = [s.language for s in tokens.corpus.sentences]
    counts = []
    for row in untrained(chosen):
        code = codes(world, sae, first, row["seed"], tokens)
        rate = {
            language: np.concatenate(
                [each > 0 for each, own in zip(code, languages, strict=True) if own == language]
            ).mean(0)
            for language in ("da", "en")
        }
        difference = rate["da"] - rate["en"]
        passing = (rate["da"] > 0.04) & (rate["en"] < 0.04)
        counts.append(row["passing"])
        assert row["passing"] == passing.sum()
        assert row["rule"] == ("paper" if passing.any() else "fallback")
        if row["rule"] == "paper":
            assert set(row["members"]) <= set(np.flatnonzero(passing))
            assert len(row["members"]) == min(size, passing.sum())
            # those with the largest difference
            left = np.delete(np.where(passing, difference, -1), row["members"])
            assert difference[row["members"]].min() >= left.max() - 1e-9
        means = np.concatenate([each for each, own in zip(code, languages, strict=True) if own == "en"]).mean(
            0
        )
        np.testing.assert_allclose(row["means"], means[row["members"]], rtol=1e-3, atol=1e-5)
    assert any(counts)


def test_by_the_tests_as_many_pass_as_ranks_say(world, runs):
    found, sae, first = runs
    chosen, size, tokens = found["tested"]
    danish = np.array([s.language == "da" for s in tokens.corpus.sentences])
    counts = []
    for row in untrained(chosen):
        code = codes(world, sae, first, row["seed"], tokens)
        means = np.stack([each.mean(0) for each in code])
        pairs = danish.sum() * (~danish).sum()
        auroc = mannwhitneyu(means[danish], means[~danish]).statistic / pairs
        above = np.clip(auroc, 0.5, 1 - 1e-15)
        # Hoeffding (1963): KL(auroc || 1/2)
        divergence = above * np.log(above / 0.5) + (1 - above) * np.log((1 - above) / 0.5)
        p = np.exp(-min(danish.sum(), (~danish).sum()) * divergence)
        passing = np.flatnonzero(false_discovery_control(p) <= 0.05)
        counts.append(len(passing))
        assert row["passing"] == len(passing)
        assert row["rule"] == ("tested" if len(passing) else "fallback")
        if len(passing):
            order = passing[np.argsort(-auroc[passing], kind="stable")]
            np.testing.assert_allclose(auroc[row["members"]], auroc[order[:size]], atol=1e-6)
    assert any(counts)


def test_the_trained_autoencoder_stands_beside_them(runs):
    found, *_ = runs
    for rule, (chosen, size, tokens) in found.items():
        (trained,) = [row for row in chosen if row["seed"] is None]
        assert (trained["units"], trained["asked"]) == ("da", rule)
        assert len(trained["members"]) == size
        assert {row["text"] for row in chosen} == {tokens.corpus.sha256}
        assert {row["of"] for row in chosen} == {64}


def test_an_autoencoder_whose_k_is_unknown_has_untrained_ones_as_sparse_as_it(world, tmp_path):
    given = Sae(SaeConfig(d_in=32, latents=64, activation="jumprelu"))
    generator = torch.Generator().manual_seed(1)
    for parameter in given.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    given.threshold = torch.full((64,), 4.0)
    given.save(tmp_path / "given")
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        make = sae_stage.untrained

        def untrained(config, x, **options):
            seen.append((config.k, make(config, x, **options), x))
            return seen[-1][1]

        patched.setattr(sae_stage, "untrained", untrained)
        changes = SMALL | {"sae__from": tmp_path / "given", "features__units": "3,7"}
        assert world.run(tmp_path / "run", "--until", "effects", **changes) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert seen
    for k, sae, x in seen:
        assert k == round(results["sae"]["l0"])
        assert float(sae.fires(sae.encode(x)).sum()) / len(x) == pytest.approx(k, rel=0.02)
