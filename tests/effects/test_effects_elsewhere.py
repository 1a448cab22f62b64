"""A knob means the same however the model is run: compiled, adapted, offloaded, and by every way of `generate`.

The oracle has the knob in its weights: a vector that is added to `mlp.out` is a bias of the MLP's last projection.
"""

import copy

import pytest
import torch
from torch import nn

from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError
from glossae.lm import Site, edit, load, wrap_model
from glossae.units import Directions
from tiny_families import LAYERS, WIDTH, write_family

SITE = Site("mlp.out", 1)
PROJECTIONS = {"gpt_neox": "mlp.dense_4h_to_h", "llama": "mlp.down_proj"}
VECTOR = 3 * torch.linspace(-1, 1, WIDTH)

# what peft calls of transformers
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")

IDS = torch.tensor([[0, 0, 5, 9, 200, 17, 33], [4, 4, 100, 50, 60, 7, 8]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])


@pytest.fixture(scope="module", params=PROJECTIONS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_tokenizer, family):
    return write_family(tmp_path_factory.mktemp(family), family, tiny_tokenizer, eos_token_id=None)


@pytest.fixture
def model(folder):
    return load(str(folder)).model


@pytest.fixture(scope="module")
def knob(folder):
    units = Directions(["one"], VECTOR[None], torch.zeros(1), site=SITE)
    length = float(VECTOR.norm())
    family = UnitSet("one", units, (0,), "add", (0.0,), (length,))
    return Knob.of(load(str(folder)), SITE, family, dose=1.0, target="da", reference="en")


@pytest.fixture
def oracle(model, family):
    return with_bias(copy.deepcopy(model), family)


def with_bias(model, family):
    projection = model.base_model.layers[SITE.layer].get_submodule(PROJECTIONS[family])
    old = 0 if projection.bias is None else projection.bias.detach()
    projection.bias = nn.Parameter(old + VECTOR)
    return model


def written(model, *, rows=2, **options):
    """Tokens and logits of every step, after a fixed seed."""
    torch.manual_seed(5)
    options = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0} | options
    found = model.generate(
        IDS[-rows:],
        attention_mask=MASK[-rows:],
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )
    return found.sequences, torch.stack(found.logits)


def assert_turned(knob, given, own, oracle, **options):
    """`own` runs, with the knob on `given`, as the oracle does; and as itself again afterwards."""
    expected, raw = written(oracle, **options), written(own, **options)
    with knob.on(given, any_model=True):
        found = written(own, **options)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)
    assert raw[1].shape != found[1].shape or (raw[1] - found[1]).abs().max() > 0.1
    assert torch.equal(written(own, **options)[0], raw[0])


WAYS = {
    "a cache": {},
    "no cache": {"use_cache": False},
    "a static cache": {"cache_implementation": "static"},
    "a static cache without pads": {"cache_implementation": "static", "rows": 1},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beams in a static cache": {"num_beams": 3, "cache_implementation": "static"},
    "draws": {"do_sample": True, "num_return_sequences": 3},
    "a prompt in chunks": {"prefill_chunk_size": 2},
    "drafts from the prompt": {"prompt_lookup_num_tokens": 3, "rows": 1},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_generate_is_turned(knob, model, oracle, way):
    assert_turned(knob, model, model, oracle, **WAYS[way])


def test_assisted_decoding_is_turned_and_its_assistant_not(knob, model, oracle, count_hooks):
    assistant = copy.deepcopy(model)
    assert_turned(knob, model, model, oracle, rows=1, assistant_model=assistant)
    assert count_hooks(assistant) == 0


# transformers drafts from the early layers of some families only
@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_a_draft_of_the_model_itself_leaves_the_prompt_known(folder, family):
    lm = load(str(folder))
    with edit(lm, Site("resid", 0), lambda x: x + VECTOR, positions="generated"):
        expected = written(lm.model, rows=1)[0]
        found = written(lm.model, rows=1, assistant_early_exit=1)[0]
    assert torch.equal(found, expected)
    assert not torch.equal(found, written(lm.model, rows=1)[0])


@pytest.mark.parametrize("positions", ["not_first", "prompt", "generated", "last"])
def test_positions_are_the_same_in_a_static_cache(folder, positions):
    lm = load(str(folder))
    with edit(lm, SITE, lambda x: x + VECTOR, positions=positions):
        expected, found = written(lm.model), written(lm.model, cache_implementation="static")
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def logits(model):
    return model(IDS[1:], attention_mask=MASK[1:]).logits


def inexact(graph, _inputs):
    """A backend whose results are not the uncompiled model's to the bit, as those of inductor."""
    return lambda *inputs: [x + 1e-4 if x.is_floating_point() else x for x in graph(*inputs)]


@pytest.mark.parametrize("family", ["llama"], indirect=True)
@pytest.mark.parametrize("when", ["before", "before, in place", "inside"])
def test_a_compiled_model_is_turned_inside_only(knob, model, oracle, when):
    torch._dynamo.reset()
    options = {"backend": inexact, "fullgraph": True}
    expected, raw, compiled = logits(oracle), logits(model), model
    if when == "before, in place":
        model.compile(**options)
    elif when == "before":
        compiled = torch.compile(model, **options)
    if when != "inside":
        assert_compiled(compiled, raw)
    for given in (model, compiled):
        with knob.on(given):
            if when == "inside":
                compiled = torch.compile(model, **options)
            torch.testing.assert_close(logits(compiled), expected, rtol=1e-5, atol=1e-5)
    assert_compiled(compiled, raw)


def assert_compiled(model, raw):
    torch.testing.assert_close(logits(model), raw + 1e-4, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_blocks_that_end_out_of_order_leave_compiled_models_compiled(knob, model):
    torch._dynamo.reset()
    raw = logits(model)
    compiled = torch.compile(model, backend=inexact, fullgraph=True)
    first, second = knob.on(compiled), knob.on(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert_compiled(compiled, raw)


def adapted(model, family):
    """With LoRA on the site's own projection and elsewhere, of random weights."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    targets = [PROJECTIONS[family].split(".")[1], "query_key_value" if family == "gpt_neox" else "q_proj"]
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(model, config).eval()


def test_a_model_with_an_adapter_is_turned_before_and_after_merging(knob, model, oracle, family):
    expected, found = adapted(oracle, family), adapted(model, family)
    assert_turned(knob, found, found, expected)
    assert_turned(knob, found.get_base_model(), found, expected)
    assert_turned(knob, *2 * [found.merge_and_unload()], expected.merge_and_unload())


def test_an_adapter_that_comes_or_goes_inside_is_refused(folder, model, family):
    site = Site("mlp.hidden", 1)
    words = f"edit: the module '{PROJECTIONS[family]}' has been replaced since the edit began"
    with edit(wrap_model(model), site, lambda x: 2 * x):
        found = adapted(model, family)
        with pytest.raises(GlossaeError, match=words):
            written(found)
    with edit(wrap_model(found), site, lambda x: 2 * x):
        merged = found.merge_and_unload()
        with pytest.raises(GlossaeError, match=words):
            written(merged)


def test_tokens_that_peft_puts_before_the_text_are_refused(knob, model):
    from peft import PromptTuningConfig, get_peft_model

    prompted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with pytest.raises(GlossaeError, match=r"PEFT \(PromptTuningConfig\) puts tokens"), knob.on(prompted):
        pass


@pytest.mark.parametrize("kept", ["cpu", "disk", "some on disk"])
def test_an_offloaded_model_is_turned(knob, folder, oracle, tmp_path, kept):
    accelerate = pytest.importorskip("accelerate")
    lm = load(str(folder))
    model, blocks = lm.model, lm.architecture.blocks
    if kept == "cpu":
        accelerate.cpu_offload(model, execution_device="cpu")
    elif kept == "disk":
        accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    else:
        places = {name: "cpu" for name, module in model.named_modules() if name and not [*module.children()]}
        places = {name: place for name, place in places.items() if not name.startswith(f"{blocks}.")}
        places |= {f"{blocks}.{layer}": "disk" if layer == SITE.layer else "cpu" for layer in range(LAYERS)}
        accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    with knob.on(model):
        found = written(model)
    torch.testing.assert_close(found, written(oracle), rtol=1e-5, atol=1e-5)


def test_a_mask_that_does_not_fit_the_cache_is_refused(knob, model):
    from transformers import StaticCache

    cache = StaticCache(config=model.config, max_cache_len=12)
    wide = torch.ones(2, 12, dtype=torch.long)
    with (
        knob.on(model),
        pytest.raises(GlossaeError, match="the attention mask has 12 columns, and cache and text have 7"),
    ):
        model(IDS, attention_mask=wide, past_key_values=cache)
