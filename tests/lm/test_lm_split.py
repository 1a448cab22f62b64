"""Models shared out by accelerate: what is refused, and that sites work behind its hooks.

Blocks on several GPUs take several GPUs; where there are fewer, blocks whose weights accelerate fetches for
every pass stand in: its hooks are the same, only the copies from device to device are not.
"""

import pytest
import torch

import glossae.lm.split
from glossae.errors import GlossaeError
from glossae.lm import (
    SITE_NAMES,
    Site,
    activations,
    batches,
    continue_prompts,
    edit,
    load,
    resolve_device,
    resolve_dtype,
    sentence_losses,
)
from tiny_families import write_family

SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(3)]
GPUS = torch.cuda.device_count()


def push(x):
    return x + 3 * torch.linspace(-1, 1, x.shape[1], device=x.device)


def everything(lm, tokens):
    """Streams, losses and continuations, plain and edited; the edits see tokens where ids go in."""

    def seen_at_home(x):
        assert x.device == lm.device
        return push(x)

    found = []
    for part in activations(lm, batches(tokens, 60), SITES):
        assert {x.device for x in part.sites.values()} == {lm.device}
        found += [part.sites[site].cpu() for site in SITES]
    found.append(torch.from_numpy(sentence_losses(lm, tokens)))
    texts = continue_prompts(lm, ["Pigen på øen"])
    for site in SITES:
        with edit(lm, site, seen_at_home):
            found.append(torch.from_numpy(sentence_losses(lm, tokens, budget=40)))
            texts += continue_prompts(lm, ["Pigen på øen"])
    return found, texts


def places(lm, block, others):
    """A map for accelerate: the second block in one place, everything else in another."""
    inside = f"{lm.architecture.blocks}.1"
    leaves = [name for name, module in lm.model.named_modules() if not list(module.children())]
    return {inside: block} | {name: others for name in leaves if not name.startswith(f"{inside}.")}


def assert_same(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert one[1] == other[1]


@pytest.mark.parametrize("name", ["gpt_neox", "opt", "llama", "gemma2"])
def test_sites_work_where_accelerate_fetches_the_weights(tmp_path, tiny_tokenizer, random_tokens, name):
    from accelerate import dispatch_model

    folder, tokens = write_family(tmp_path / "model", name, tiny_tokenizer), random_tokens([3, 17, 9, 25])
    expected = everything(load(str(folder)), tokens)
    lm = load(str(folder))
    dispatch_model(lm.model, places(lm, "disk", "cpu"), main_device="cpu", offload_dir=str(tmp_path / "disk"))
    assert any(weight.is_meta for weight in lm.blocks[1].parameters())
    assert_same(everything(lm, tokens), expected)


@pytest.mark.skipif(GPUS < 1, reason="there is no GPU")
def test_a_split_model_is_the_same_model(tmp_path, tiny_tokenizer, random_tokens):
    folder, tokens = write_family(tmp_path, "llama", tiny_tokenizer), random_tokens([3, 17, 9, 25])
    lm = load(str(folder), device="split")
    assert_same(everything(lm, tokens), everything(load(str(folder), device="cuda:0"), tokens))


@pytest.mark.skipif(GPUS < 2, reason="there are not two GPUs")
@pytest.mark.parametrize("name", ["gpt_neox", "opt", "llama", "gemma2"])
def test_sites_work_across_gpus(tmp_path, tiny_tokenizer, random_tokens, name):
    from accelerate import dispatch_model

    folder, tokens = write_family(tmp_path, name, tiny_tokenizer), random_tokens([3, 17, 9, 25])
    expected = everything(load(str(folder), device="cuda:0"), tokens)
    lm = load(str(folder), device="cuda:0")
    dispatch_model(lm.model, places(lm, 1, 0))
    assert {weight.device.index for weight in lm.model.parameters()} == {0, 1}
    assert_same(everything(lm, tokens), expected)


# ---- what is refused


def test_without_accelerate(tiny_model, monkeypatch):
    monkeypatch.setattr(glossae.lm.split, "find_spec", lambda _name: None)
    for use in (resolve_device, lambda device: load(str(tiny_model), device=device)):
        with pytest.raises(
            GlossaeError, match="^device: 'split' needs accelerate, and it is not installed: pip "
        ):
            use("split")


@pytest.mark.skipif(GPUS > 0, reason="there is a GPU")
def test_without_a_gpu(tiny_model):
    for use in (resolve_device, lambda device: load(str(tiny_model), device=device)):
        with pytest.raises(
            GlossaeError, match="^device: 'split' shares a model out among GPUs, and there is none"
        ):
            use("split")


def test_a_model_that_does_not_fit(tiny_model, monkeypatch):
    # what accelerate makes of a model too large for the GPUs that are there
    from transformers import AutoModelForCausalLM

    def too_large(*_args, **_options):
        model = plain(tiny_model, output_loading_info=True)
        model[0].hf_device_map = {"gpt_neox.embed_in": 0, "gpt_neox.layers.1": "cpu", "embed_out": "disk"}
        return model

    plain = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_large)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(
        GlossaeError, match=r"^device: .* does not fit on .* GPUs here: gpt_neox.layers.1 and 1 more"
    ):
        load(str(tiny_model), device="split")


def test_a_gpu_is_first_of_the_split(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = resolve_device("split")
    assert device == torch.device("cuda", 0)
    assert resolve_dtype("auto", device) == torch.bfloat16
