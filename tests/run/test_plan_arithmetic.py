"""A dry run's arithmetic is that of the code it speaks about."""

import dataclasses
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glossae.corpora import ROLES, build_roles
from glossae.effects import UNTRAINED, UnitRange, direction_set, doses, latent_set, neuron_set
from glossae.errors import GlossaeError
from glossae.evidence import families
from glossae.lm import Site
from glossae.plan import Quantities, Work, bytes_text, model_facts, quantities, tokens_of
from glossae.plan.facts import Amount, known_shape, role_amounts, source_facts
from glossae.plan.machine import Machine, listed_gpus, sizes, this_machine
from glossae.plan.quantities import time_text
from glossae.recipe import Evidence, Grid, Probe, Steering, Tasks, load_recipe
from glossae.sae import Sae, SaeConfig, TrainSettings, step_cost
from glossae.sae.training import Group
from glossae.stages import (
    baselines,
    controls,
    effects,
    evidence,
    grid,
    probe,
    sae,
    stability,
    steering,
    tasks,
)
from glossae.stages.shared import sae_jobs
from glossae.toy import toy_corpus, toy_model
from glossae.units import Neurons

# non-embedding parameters, by the models' cards
PUBLISHED = {
    "EleutherAI/pythia-70m": 18_915_328,
    "EleutherAI/pythia-160m": 85_056_000,
    "EleutherAI/pythia-410m": 302_311_424,
    "EleutherAI/pythia-1b": 805_736_448,
    "EleutherAI/pythia-1.4b": 1_208_602_624,
    "EleutherAI/pythia-2.8b": 2_517_652_480,
}


@pytest.mark.parametrize(("name", "weights"), PUBLISHED.items())
def test_weights_follow_from_the_shape(name, weights):
    assert known_shape(name).block_weights == weights


@pytest.mark.parametrize("name", sizes()["models"])
def test_a_listed_file_holds_the_weights_in_float16_and_the_masks(name):
    shape = known_shape(name)
    file = 2 * shape.weights + shape.layers * 2048**2
    assert file == pytest.approx(sizes()["models"][name]["megabytes"] * 1e6, rel=3e-3)


def test_a_folders_shape_is_the_models(tiny_model, tiny_lm):
    facts = model_facts(str(tiny_model))
    assert facts.where == "folder"
    assert facts.shape.weights == sum(p.numel() for p in tiny_lm.model.parameters())
    assert facts.shape.block_weights == sum(
        p.numel() for p in tiny_lm.model.gpt_neox.layers.parameters()
    ) + sum(p.numel() for p in tiny_lm.model.gpt_neox.final_layer_norm.parameters())
    assert {site: facts.shape.site_width(site) for site in tiny_lm.widths} == tiny_lm.widths
    assert facts.size == sum(
        f.stat().st_size for f in tiny_model.iterdir() if f.suffix in (".safetensors", ".json")
    )


def test_the_toys_shape_is_that_of_its_weights():
    from safetensors.torch import load_file

    facts = model_facts("toy")
    assert facts.where == "folder"
    assert facts.shape.weights == sum(
        w.numel() for w in load_file(toy_model() / "model.safetensors").values()
    )


def test_numbers_taken_from_the_code_are_still_there():
    from glossae import lm
    from glossae.effects import sets as arms
    from glossae.evidence import identification, result
    from glossae.evidence import stability as matching
    from glossae.lm import loss
    from glossae.paper import probes as as_coded
    from glossae.probing import layers, path
    from glossae.sae import quality, sparse, trainer, whole

    assert sizes()["toy"]["pairs"] == len(toy_corpus(["da"]).sentences)
    assert layers.HELD_OUT == probe.HELD_OUT
    assert as_coded.BATCH_SENTENCES == probe.BATCH_SENTENCES
    assert path.MAX_PRECONDITIONED_WIDTH == probe.MAX_EIGH_WIDTH
    assert loss.MAX_LOGITS == quantities.MAX_LOGITS
    assert sparse.PRE_ACTIVATIONS == quantities.PRE_ACTIVATIONS
    assert whole.SHARE == quantities.PLACED
    assert trainer.DENSE_ABOVE == quantities.LIVE
    assert matching.CANDIDATES == stability.CANDIDATES
    own = (result.ATTRIBUTED_SENTENCES, result.RANDOM_TOKENS, identification.SENTENCES)
    assert own == (evidence.ATTRIBUTED_SENTENCES, evidence.RANDOM_TOKENS, evidence.IDENTIFIED_SENTENCES)
    assert inspect.signature(lm.continue_tokens).parameters["at_once"].default == steering.PROMPTS_AT_ONCE
    counts = (arms.LATENT_SHARES, arms.SHARES, arms.MULTIPLES)
    assert tuple(map(len, counts)) == (effects.LATENT_SHARES, effects.SHARES, effects.MULTIPLES)
    assert (quality.RECONSTRUCTED, importlib.import_module("glossae.lm.batches").FIRST) == (
        sae.RECONSTRUCTED,
        sae.FIRST,
    )


@pytest.fixture
def counting(tiny_model):
    """The demo on the tiny model, with 100 sentences of 20 tokens in each role and language."""
    recipe = load_recipe("demo", {"model": str(tiny_model), "layer": "1", "sae.k": "4"})
    amounts = {code: Amount(100, 2000) for code in ("da", "en")}
    return Quantities(
        recipe,
        model_facts(str(tiny_model)).shape,
        dict.fromkeys(("train", "select", "tune", "test"), amounts),
    )


def test_a_passes_flops_are_those_that_are_counted_while_it_runs(counting, tiny_model):
    from transformers import GPTNeoXForCausalLM

    # torch does not count what is inside a fused attention
    model = GPTNeoXForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    ids = torch.randint(0, 300, (5, 20))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, use_cache=False)
    own = counting.forward(100, counting.shape.layers, output=True).model_flops
    assert own == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_a_pass_that_stops_early_costs_its_share(counting):
    whole = counting.forward(100, 3).model_flops
    assert counting.forward(100, 1).model_flops == pytest.approx(whole / 3)


def test_edits_are_as_many_as_the_sets_have(counting):
    ranges = [UnitRange(0.5, 1.5, 3.0, 5.0)]
    dose_list = doses(counting.recipe.effects.values, ranges, "latent")
    one = Sae(SaeConfig(d_in=8, latents=4, k=2))
    arm = latent_set("da", one, (1,), dose_list, (0.1,))
    # the raw model and its error-preserving edit of nothing are one pass
    assert edits_of(arm) == effects.edits_of(counting) + 2

    mean, neurons = torch.zeros(8), Neurons(Site("resid", 1), 8, signed=True)
    below = [dose for dose in dose_list if dose.value <= 0]
    others = [
        *[latent_set("random weights", one, (2,), below, (0.0,), splice=False)] * UNTRAINED,
        *[neuron_set("best", neurons, (3,), mean)] * 2,
        *[direction_set("probe", torch.ones(8), mean, torch.ones(8))] * 2,
    ]
    # each has no edit at all among its own
    assert sum(edits_of(arm) - 1 for arm in others) == effects.cheaper(counting)


def edits_of(arm):
    return len(arm.sweep)


def test_controls_run_every_draw_on_no_more_than_the_frozen_sentences(counting):
    def cost(amount, draws):
        amounts = dict.fromkeys(("da", "en"), amount)
        settings = counting.recipe.effects.model_copy(update={"controls": draws, "families": ()})
        recipe = counting.recipe.model_copy(update={"effects": settings, "site": "resid"})
        other = dataclasses.replace(counting, recipe=recipe, roles=counting.roles | {"test": amounts})
        return other, controls.cost(other).model_flops

    other, few = cost(Amount(100, 2000), 10)
    # matched latents under each edit, and random directions in the selected latents' place
    drawn = len(other.recipe.effects.controls_edits) + 1
    every = other.forward(4000 * 10 * drawn, other.blocks_above, output=True)
    once = other.forward(4000, other.shape.layers, output=True)
    assert few == pytest.approx(every.model_flops + once.model_flops)
    # of a longer text the same is read, twice as many sentences at most
    assert cost(Amount(5000, 100_000), 10)[1] == pytest.approx(2 * few)
    assert cost(Amount(100, 2000), 1000)[1] == pytest.approx(few + 99 * every.model_flops)


def test_as_coded_is_counted_on_top(counting):
    def flops(protocol):
        recipe = counting.recipe.model_copy(update={"protocol": protocol})
        return effects.cost(dataclasses.replace(counting, recipe=recipe)).model_flops

    assert flops("published") < flops("as_coded") < 2 * flops("published")


def test_an_edit_runs_what_is_above_its_site(counting):
    tuned = counting.recipe.effects.model_copy(update={"tune": True})
    for site, layer, above in (
        ("resid", "1", 1),
        ("mlp.hidden", "1", 2),
        ("resid", "2", 0),
        ("resid", "auto", 3),
    ):
        layer = layer if layer == "auto" else int(layer)
        other = dataclasses.replace(
            counting,
            recipe=counting.recipe.model_copy(update={"site": site, "layer": layer, "effects": tuned}),
        )
        assert other.blocks_above == above
        # on what is measured of test, and of the target's sentences of tune and of test
        own = tokens_of(effects.measured_on(other, "test"), ("da",))
        assert (
            tokens_of(effects.measured_on(other, "test"))
            == 2 * own
            == 2 * tokens_of(effects.measured_on(other, "tune"), ("da",))
        )
        tried = (
            effects.edits_of(other) // 2
            + effects.cheaper(other)
            + effects.ways(other) * effects.MATCHED * effects.DOSES_TRIED
        )
        edits = 2 * (effects.edits_of(other) + effects.compared(other)) + tried
        every = other.forward(own * edits, above, output=True)
        once = other.forward(3 * own, 3, output=True)
        # directions from train, latents of random weights on select
        read = 4000 + 2 * families.PER_DIMENSION * other.d_in
        read = other.forward(read, other.depth)
        flops = sum(work.model_flops for work in (every, once, read))
        assert effects.cost(other).model_flops == pytest.approx(flops)


def test_steps_and_tokens_are_those_of_the_training(counting):
    own = counting.recipe.sae
    assert (counting.train_tokens, counting.steps) == (4000, -(-4000 * own.epochs // own.batch_tokens))
    by_sentence = counting.recipe.model_copy(
        update={"sae": own.model_copy(update={"batch_sentences": 32, "epochs": 1})}
    )
    counted = dataclasses.replace(counting, recipe=by_sentence)
    assert (counted.steps, round(counted.step_tokens)) == (7, 571)


def test_costs_add_up_and_the_larger_memory_counts():
    machine = Machine(
        "m", model_rate=10, float_rate=5, half_rate=20, bandwidth=2, memory=100, model_bytes=2, gpu=True
    )
    work = Work(model_flops=10, half_flops=20, weights=3, held=7) + Work(
        float_flops=10, moved=8, spared=4, seconds=1, weights=2, held=9, tables=5
    )
    assert work.time(machine) == 1 + 1 + 2 + 2 + 1
    assert work.time(dataclasses.replace(machine, gpu=False)) == 1 + 1 + 2 + 4 + 1
    assert work.memory(machine) == 2 * 3 + 9
    assert work.memory(dataclasses.replace(machine, gpu=False)) == 2 * 3 + 9 + 5 + quantities.BASE


def test_an_sae_of_more_than_half_of_a_gpu_is_counted_on_the_cpu():
    card = Machine(
        "m", model_rate=1, float_rate=1, half_rate=1, bandwidth=1, memory=100, model_bytes=2, gpu=True
    )
    phases = Work(held=50) + Work(held=80, sae=40, movable=70, fetched=quantities.FETCHING).beside(
        Work(held=9)
    )
    for size, memory, seconds in ((40, 89, 0), (50, 89, 0), (51, 50, 1)):
        work = dataclasses.replace(phases, sae=size)
        assert (work.memory(card), work.time(card)) == (memory, seconds)
        # and there it is the machine's anyway
        on_cpu = dataclasses.replace(card, gpu=False)
        assert (work.memory(on_cpu), work.time(on_cpu)) == (89 + quantities.BASE, 0)


def test_ranks_keep_a_whole_sae_on_disk_meanwhile(counting):
    weights, three = 2 * counting.d_in * counting.latents, counting.recipe.baselines.untrained
    two = dataclasses.replace(counting, ranks=2)
    trained = 1 + len(sae.baseline_jobs(counting.recipe))
    assert (sae.cost(counting).shared, sae.cost(two).shared) == (0, 4 * weights * trained)
    assert baselines.cost(two).shared == 4 * weights * three
    assert three


def test_the_papers_autoencoder_weighs_what_it_weighs():
    recipe = load_recipe("paper")
    amounts = {code: Amount(100, 2000) for code in ("da", "en")}
    counting = Quantities(recipe, known_shape(recipe.model), dict.fromkeys(ROLES, amounts))
    assert (counting.d_in, counting.latents, counting.depth) == (8192, 65536, 17)
    assert sae.cost(counting).written == 4 * 2 * 8192 * 65536
    # weights and two moments, and the model beside them
    gpu = next(machine for machine in listed_gpus("auto") if machine.name.startswith("H100"))
    assert sae.cost(counting).memory(gpu) > 12 * 2 * 8192 * 65536 + 2 * counting.shape.weights
    halved = recipe.model_copy(update={"sae": recipe.sae.model_copy(update={"moments": "bfloat16"})})
    counting = dataclasses.replace(counting, recipe=halved)
    # the passes of the model take some besides
    assert 8 * 2 * 8192 * 65536 < sae.cost(counting).memory(gpu) - 2 * counting.shape.weights < 13e9
    # a card of 16 GB, of which drivers and fragmentation take 15 %
    small = dataclasses.replace(counting, recipe=halved.model_copy(update={"batch_tokens": 1024}))
    assert sae.cost(small).memory(gpu) < 0.85 * 16e9


@pytest.mark.parametrize("low", [False, True])
def test_a_steps_product_and_what_it_keeps_are_those_of_the_training(low):
    config = SaeConfig(d_in=16, latents=64, k=4)
    x = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    dtype = "bfloat16" if low else "float32"
    group = Group.started([(config, TrainSettings(steps=10, tokens=1000, encoder_dtype=dtype))], x)
    with FlopCounterMode(display=False) as counter:
        group.step(x)
    cost = step_cost(config, 100, low=low)
    # a product in bfloat16 has columns for biases besides
    products = counter.get_flop_counts()["Global"]
    assert products[torch.ops.aten.mm if low else torch.ops.aten.addmm] >= cost.flops * (
        48 / 16 if low else 1
    )
    tensors = {name: each for name, each in group.trainers[0].tensors().items() if each.ndim == 2}
    assert sum(each.nbytes for each in tensors.values()) == cost.kept


def test_of_several_ranks_each_holds_its_share_and_sends_what_the_others_need():
    config = SaeConfig(d_in=512, latents=32768, k=32)
    one, two, four = (step_cost(config, 1024, low=False, count=count) for count in (1, 2, 4))
    assert (two.flops, two.kept, two.held) == (one.flops / 2, one.kept / 2, one.held / 2)
    assert four.kept == one.kept / 4
    # the reconstruction and the decoder's bias, the candidates, and the activations; nothing without others
    tensor, bias, candidates = 4 * 1024 * 512, 4 * 512, 4 * 1024 * 32
    assert one.sent == one.collectives == 0
    assert two.sent == tensor + bias + candidates + tensor / 2
    assert four.sent == 1.5 * (tensor + bias) + 3 * candidates + 0.75 * tensor
    assert step_cost(config, 1024, low=True, count=2).sent == two.sent - candidates / 2
    with pytest.raises(GlossaeError, match="cannot be divided among 4 ranks"):
        step_cost(SaeConfig(d_in=4, latents=3, k=1), 8, count=4)


def test_the_tables_of_the_docs_are_those_of_the_arithmetic():
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    text = {"languages.target": "da", "corpora.text": "toy", "site": "mlp.hidden", "layer": "16"}
    training = {
        "sae.k": "32",
        "sae.batch_tokens": "4096",
        "sae.moments": "bfloat16",
        "sae.tokens": "1000000000",
    }
    for expansion in (8, 32, 256):
        config = SaeConfig(d_in=8192, latents=8192 * expansion, k=32)
        exact = step_cost(config, 4096, kernels=True)
        half, each = (
            step_cost(config, 4096, moments="bfloat16", kernels=True, count=count) for count in (1, 8)
        )
        row = [f"{expansion}", f"{config.latents:,}", f"{half.flops + half.sparse_flops:.2g}"]
        sizes_ = (exact.moved, exact.held, half.held, each.held, each.sent)
        assert f"| {' | '.join([*row, *map(bytes_text, sizes_)])} |" in page
        wanted = {"model": "EleutherAI/pythia-1.4b", "sae.expansion": str(expansion), "sae.stream": "x.jsonl"}
        wanted["baselines.untrained"] = "0"
        recipe = load_recipe("find", text | training | wanted)
        amounts = {code: Amount(100, 2000) for code in ("da", "en")}
        counts = Quantities(recipe, known_shape(recipe.model), dict.fromkeys(ROLES, amounts))
        work = sae_jobs.training_work(counts, counts.shape, 17, counts.latents, [32.0], [False])
        times = [time_text(work.time(gpu)) for gpu in listed_gpus("auto")]
        assert f"| {expansion} | {' | '.join(times)} |" in page
        if expansion > 8:
            # a rank's share in training, which is more than what measures the whole SAE
            count, words = {32: (2, "two"), 256: (8, "eight")}[expansion]
            needed = sae.cost(dataclasses.replace(counts, ranks=count)).memory(listed_gpus("auto")[0])
            assert f"{needed / 1e9:.0f} GB for each of {words}" in " ".join(page.split())


def test_ranks_divide_the_passes_and_the_training(counting):
    halved = dataclasses.replace(counting, ranks=2)
    assert halved.forward(100, 3).flops == counting.forward(100, 3).flops / 2
    assert sae.cost(halved).half_flops == sae.cost(counting).half_flops / 2
    assert sae.cost(halved).checkpoints == sae.cost(counting).checkpoints
    assert "a step of one of 2 ranks: " in sae.words(halved)
    assert " sent); then measured" in sae.words(halved)
    assert " held); then measured" in sae.words(counting)


def test_fidelity_is_foretold_by_its_precision(counting):
    amounts = dict.fromkeys(("da", "en"), Amount(10_000, 200_000))

    def of(**changes):
        recipe = counting.recipe.model_copy(update=changes)
        return dataclasses.replace(counting, recipe=recipe, roles=dict.fromkeys(ROLES, amounts))

    own = counting.recipe.sae
    coarse, fine = (of(sae=own.model_copy(update={"precision": p})) for p in (0.1, 0.02))
    # of a standard deviation of 0.5: 96 and 2,401 sentences, and samples of 32, 64, 128, ...
    assert (sae.fidelity_sentences(coarse), sae.fidelity_sentences(fine)) == (128, 4096)
    assert sae.fidelity_tokens(coarse) == (50_000, 2 * 128 * 20)
    assert sae.cost(fine).model_flops > sae.cost(coarse).model_flops
    # the paper measures all of its text
    paper = of(sae=own.model_copy(update={"precision": 0.1}), protocol="published")
    assert sae.fidelity_sentences(paper) is None
    assert sae.fidelity_tokens(paper) == (400_000, 400_000)
    # the finest that there is asks for no more than all there is
    assert sae.fidelity_sentences(of(sae=own.model_copy(update={"precision": 1e-300}))) == 16_384
    # and there is no more than there is
    assert sae.fidelity_tokens(dataclasses.replace(fine, roles=counting.roles)) == (4000, 4000)


def test_a_chats_template_is_passed_over_too(counting):
    plain, chat = counting, dataclasses.replace(counting, prefix_tokens=20)
    for output in (False, True):
        own, more = (one.forward(100, 2, output=output).model_flops for one in (plain, chat))
        unembedding = 2 * plain.shape.vocabulary * plain.shape.width * 100 * output
        # sentences of 20 tokens after 20 of the template: twice as many, and attention to twice as much
        attention = 4 * 20 * plain.shape.width * 2 * 100
        assert more - unembedding == pytest.approx(2 * (own - unembedding + attention))


def test_replaying_the_papers_probes_costs_another_pass_and_its_steps(counting):
    def of(model="toy", **changes):
        recipe = counting.recipe.model_copy(update={"probe": Probe(tokens=400, **changes)})
        counts = dataclasses.replace(counting, recipe=recipe)
        return probe.probing_work(counts, model, counts.shape, 0)

    plain, one, two = of(seeds=1), of(seeds=1, as_coded=True), of(seeds=2, as_coded=True)
    assert one.model_flops == 2 * plain.model_flops
    # three layers, 501 steps of 32 sentences of 20 tokens, a probe for each of ten lambdas; two products of each
    values = 32 * 20 * counting.shape.site_width(counting.recipe.site)
    steps = 3 * 501
    assert one.float_flops == pytest.approx(2 * plain.float_flops + 4 * 10 * values * steps)
    assert two.float_flops - of(seeds=2).float_flops * 2 == pytest.approx(2 * 4 * 10 * values * steps)
    assert one.held == plain.held
    # the paper's code took other numbers of batches of some models
    small = of("EleutherAI/pythia-14m", seeds=1, as_coded=True)
    assert one.float_flops - small.float_flops == pytest.approx(4 * 10 * values * 3 * (501 - 329))


def test_a_grid_costs_one_pass_of_the_model_and_every_encoder(counting):
    def of(**changes):
        recipe = counting.recipe.model_copy(update={"grid": Grid(latents=64, layer=2, **changes)})
        return grid.cost(dataclasses.replace(counting, recipe=recipe, models={"another": counting.shape}))

    one, four = of(k=(4,), tied=(False,), pre_encoder_bias=(True,)), of(k=(4,))
    d, tokens = counting.shape.site_width(counting.recipe.site), 4000 * counting.recipe.sae.epochs
    assert one.model_flops == four.model_flops
    assert (one.half_flops, one.float_flops) == (2 * d * 64 * tokens, 2 * d * 64 * 4000)
    assert four.flops - four.model_flops == 4 * (one.flops - one.model_flops)
    # two tied ones hold half as much; weights and two moments, twice
    assert four.checkpoints - one.checkpoints == 2 * 12 * 2 * d * 64 * 2
    assert of(l1=(0.1,)).moved > 0
    weights = counting.shape.weights
    assert one.weights == weights
    assert of(k=(4,), model="another").weights == 2 * weights


def test_other_seeds_cost_a_training_each(counting):
    def of(seeds):
        recipe = counting.recipe.model_copy(update={"evidence": Evidence(seeds=seeds)})
        return stability.cost(dataclasses.replace(counting, recipe=recipe))

    none, one, three = of(0), of(1), of(3)
    assert none == Work()
    d, m, tokens = counting.d_in, counting.latents, 4000 * counting.recipe.sae.epochs
    # its training, three encodings of half of select, and every decoder row with every other
    assert one.half_flops + one.float_flops == 2 * d * m * (tokens + 1.5 * 4000 + m)
    assert three.flops == 3 * one.flops
    assert three.written == 3 * 4 * 2 * d * m
    assert (three.held, three.checkpoints) == (one.held, one.checkpoints)


def test_steering_costs_what_is_written_and_every_kl(counting):
    def of(**changes):
        recipe = counting.recipe.model_copy(update={"steering": Steering(**{"prompts": 20} | changes)})
        return steering.cost(dataclasses.replace(counting, recipe=recipe))

    def passes(tokens):
        return counting.forward(tokens, counting.shape.layers, output=True).model_flops

    means = counting.forward(4000, 2).model_flops
    # 24 prompts with the paper's, 20 whole sentences of 20 tokens
    one = of(families=("means_add",), values=(1.0,), kl=(), prompt_tokens=8, tokens=20)
    written, text = 24 * 28, 20 * 20
    assert one.model_flops == pytest.approx(means + passes(2 * 2 * written + 2 * text))
    matched = of(families=("means_add",), values=(1.0,), kl=(0.1,), prompt_tokens=8, tokens=20)
    assert matched.model_flops == pytest.approx(means + passes(3 * 2 * written + 5 * text))
    # there are no more than 100 sentences to cut
    assert of(prompts=100).model_flops == of(prompts=1000).model_flops
    assert of(tokens=40).operations > of(tokens=20).operations


@pytest.mark.parametrize(
    ("others", "overrides"),
    [
        ((), {}),
        (("test",), {}),
        (("select",), {"corpora.limit": "60"}),
        (("select", "tune", "test"), {"corpora.limit": "1000"}),
    ],
)
def test_roles_are_as_large_as_the_run_cuts_them(tmp_path, others, overrides):
    generator = np.random.default_rng(0)

    def write(name):
        rows = [
            f"{name} {generator.integers(10**12)} {('og to', 'and two')[i % 2]}\t{i % 2}" for i in range(300)
        ]
        path = tmp_path / f"{name}.tsv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(path)

    files = {f"corpora.{role}": write(role) for role in ("train", *others)}
    recipe = load_recipe("demo", {**files, **overrides})
    counted = role_amounts(recipe, source_facts(recipe, lambda *_: 3.0))
    cut = build_roles(
        {role: getattr(recipe.corpora, role) for role in ROLES},
        target="da",
        reference="en",
        seed=0,
        limit=recipe.corpora.limit,
    )
    for role, corpus in cut.corpora.items():
        for language in ("da", "en"):
            assert counted[role][language].sentences == pytest.approx(len(corpus.only(language)), abs=8), role


@pytest.mark.parametrize("limits", [{}, {"corpora.panel_limit": "20", "corpora.test_limit": "10"}])
def test_roles_are_as_large_as_the_run_cuts_them_out_of_a_text(tmp_path, limits):
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    sizes = {"da": 300, "en": 400, "sv": 100}
    for code, size in sizes.items():
        lines = ["".join(word) for word in letters[generator.integers(26, size=(size, 12))]]
        (tmp_path / code).write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = " ".join(f"{code}={tmp_path / code}" for code in sizes)
    recipe = load_recipe("demo", {"languages.target": "da", "corpora.text": text, **limits})
    counted = role_amounts(recipe, source_facts(recipe, lambda *_: 3.0))
    cut = build_roles(
        recipe.corpora.sources,
        target="da",
        reference="en",
        others=recipe.languages.others,
        seed=0,
        panel_limit=recipe.corpora.panel_limit,
        test_limit=recipe.corpora.test_limit,
        trained=recipe.trained_languages,
    )
    assert set(counted) == set(cut.corpora)
    for role, corpus in cut.corpora.items():
        for language in sizes:
            assert counted[role][language].sentences == pytest.approx(len(corpus.only(language)), abs=2), role


def test_this_machine_is_measured():
    machine = this_machine("cpu", "auto")
    assert machine.float_rate == machine.model_rate > 1e8
    assert machine.bandwidth > 1e8
    assert (machine.model_bytes, machine.gpu) == (4, False)
    assert this_machine("cpu", "bfloat16").model_bytes == 2
    # a device that is not here is planned for on the CPU
    assert this_machine("cuda:99", "auto").gpu is False


def test_tasks_cost_a_pass_and_what_lies_above_the_site_for_every_edit(counting):
    def work(**changes):
        recipe = counting.recipe.model_copy(update={"layer": 1, "tasks": Tasks(**changes)})
        return tasks.cost(dataclasses.replace(counting, recipe=recipe))

    assert work() == Work()
    one = work(names="angry-tweets")
    two = work(names="angry-tweets scala-da")
    assert two.model_flops == pytest.approx(2 * one.model_flops)
    tokens, arms = 4000 * 45, 13
    layers = counting.shape.layers
    # a pass to the site for what is planted, a whole one, and the blocks above it for every other arm
    passes = (2 + layers + (arms - 1) * (layers - 2)) / layers
    whole = dataclasses.replace(counting, recipe=counting.recipe.model_copy(update={"layer": 1}))
    once = whole.forward(tokens, layers).model_flops
    assert one.model_flops == pytest.approx(passes * once)
    assert tasks.task_arms(Tasks(names="angry-tweets")) == arms
    assert work(names="x", protocol="both").model_flops > one.model_flops
    assert work(names="x", finetune=True).model_flops > 10 * one.model_flops
