"""Loading: what is sound goes in, what is not gets one line that says why."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glossae.errors import GlossaeError
from glossae.lm import (
    Architecture,
    Place,
    Site,
    activations,
    batches,
    load,
    resolve_device,
    resolve_dtype,
    tokenize,
)


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the tiny model's folder, to be spoiled."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def refusal(name):
    """The one line that loading this ends in."""
    with pytest.raises(GlossaeError) as caught:
        load(str(name))
    message = str(caught.value)
    assert message.startswith("model: ")
    assert str(name) in message
    assert "\n" not in message
    return message


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# ---- what is refused


def test_a_folder_that_does_not_exist(tmp_path):
    assert "there is no folder" in refusal(tmp_path / "none")


def test_a_name_that_the_hub_cannot_be_asked_for():
    refusal("nobody/no-such-model")


@pytest.mark.parametrize("name", ["", "@main"])
def test_no_name_at_all(name):
    assert "neither a folder nor a hub id" in refusal(name)


def test_an_empty_folder(tmp_path):
    assert "is empty" in refusal(tmp_path)


def test_a_folder_without_config(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


def test_a_config_that_is_not_json(folder):
    (folder / "config.json").write_text("{")
    assert "cannot be loaded" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", "{}", "one of its files is not as it should be (KeyError: "),
        ("config.json", "null", "one of its files is not as it should be (TypeError: "),
    ],
)
def test_a_file_of_another_shape(folder, name, content, words):
    (folder / name).write_text(content)
    assert words in refusal(folder)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "holds no *.safetensors file" in refusal(folder)


def test_pickles_only(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert "only as pickles (pytorch_model.bin)" in message
    assert "safe_serialization" in message


def test_a_truncated_file_of_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in refusal(folder)


def test_a_lacking_tensor(folder):
    lacking = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"
    change_tensors(folder, lambda tensors: tensors.pop(lacking))
    assert f"lacks the tensor {lacking}" in refusal(folder)


def test_several_lacking_tensors(folder):
    def drop(tensors):
        for name in [name for name in tensors if ".layers.1." in name]:
            del tensors[name]

    change_tensors(folder, drop)
    message = refusal(folder)
    assert "lacks the tensor gpt_neox.layers.1." in message
    assert "more" in message


def test_a_tensor_of_another_shape(folder):
    name = "gpt_neox.layers.2.mlp.dense_4h_to_h.bias"

    def widen(tensors):
        tensors[name] = torch.zeros(33)

    change_tensors(folder, widen)
    assert f"the tensor {name} has another shape than config.json says" in refusal(folder)


def test_a_file_in_the_folders_place(folder):
    assert "is a file" in refusal(folder / "model.safetensors")


def test_a_folder_without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer" in refusal(folder)


def test_a_tokenizer_of_another_model(make_model_folder, tmp_path):
    message = refusal(make_model_folder(tmp_path / "model", vocab_size=256))
    assert "its tokenizer has ids up to" in message
    assert "its embedding only 256 rows" in message


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (Place("mlp.rotary", "output"), "has no module 'mlp.rotary'"),
        (Place("mlp.act", "output"), None),
    ],
)
def test_a_place_is_checked_by_running_the_model(tiny_model, place, reason):
    named = Architecture("gpt_neox.layers", {"mlp.hidden": place})
    if reason is None:
        assert load(str(tiny_model), architecture=named).widths == {"mlp.hidden": 48}
    else:
        with pytest.raises(GlossaeError, match=reason):
            load(str(tiny_model), architecture=named)


# ---- what goes in


def test_the_dtype_is_the_one_asked_for_and_not_the_files(make_model_folder, tmp_path):
    folder = make_model_folder(tmp_path / "half", dtype=torch.float16)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    single, half = load(str(folder)), load(str(folder), dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in single.model.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in half.model.parameters()} == {torch.bfloat16}


def test_weights_are_the_files(tiny_lm, tiny_model):
    saved = load_file(tiny_model / "model.safetensors")
    for number, block in enumerate(tiny_lm.blocks):
        name = f"gpt_neox.layers.{number}.mlp.dense_4h_to_h.weight"
        assert torch.equal(block.mlp.dense_4h_to_h.weight, saved[name])


def test_the_model_is_for_reading(tiny_lm):
    assert not tiny_lm.model.training
    assert not any(tensor.requires_grad for tensor in tiny_lm.model.parameters())
    assert tiny_lm.commit is None
    assert (tiny_lm.layers, tiny_lm.max_positions) == (3, 64)


def test_nothing_stays_hooked(tiny_model, count_hooks):
    # transformers may hook its own modules, so a model that only transformers loaded is the measure
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    assert count_hooks(load(str(tiny_model)).model) == count_hooks(plain)


def test_tied_weights_do_not_lack(make_model_folder, tmp_path):
    folder = make_model_folder(tmp_path / "tied", tie_word_embeddings=True)
    lm = load(str(folder))
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight


def test_a_model_of_one_layer_loads(make_model_folder, tmp_path):
    # its last block is its only one, and a layer norm follows
    assert (
        load(str(make_model_folder(tmp_path / "one", num_hidden_layers=1, initializer_range=5.0))).layers == 1
    )


def test_a_model_with_sequential_residuals_loads(make_model_folder, tmp_path):
    assert load(str(make_model_folder(tmp_path / "sequential", use_parallel_residual=False))).layers == 3


def test_pythias_shape_and_tokenizer_load_and_stream(shared, tiny_corpus, make_model_folder, tmp_path):
    from transformers import PreTrainedTokenizerFast

    file = shared / "data" / "tokenizer" / "20B_tokenizer.json"
    if not file.is_file():
        pytest.skip("there is no copy of Pythia's tokenizer in the shared folder")
    end = "<|endoftext|>"
    folder = make_model_folder(
        tmp_path / "pythia",
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_file=str(file), bos_token=end, eos_token=end, unk_token=end
        ),
        vocab_size=50304,
        hidden_size=64,
        num_hidden_layers=24,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=2048,
        rotary_pct=0.25,
    )
    lm = load(str(folder))
    tokens = tokenize(lm, tiny_corpus)
    for (text, *_), ids in zip(tokens.corpus.sentences, tokens.ids, strict=True):
        assert lm.tokenizer.decode(ids) == text
    sites = [Site("mlp.hidden", 16), Site("resid", 23)]
    count = 0
    for part in activations(lm, batches(tokens, 256), sites):
        count += len(part.sentence)
        assert part.sites[sites[0]].shape == (len(part.sentence), 256)
        assert part.sites[sites[1]].shape == (len(part.sentence), 64)
        assert all(torch.isfinite(tensor).all() for tensor in part.sites.values())
    assert count == tokens.lengths.sum()


def test_the_shared_model_loads_with_losses_like_a_trained_ones(shared, tiny_corpus):
    from glossae.lm import sentence_losses

    folder = shared / "models" / "tiny-da-en"
    if not folder.is_dir():
        pytest.skip("there is no trained model in the shared folder")
    lm = load(str(folder))
    tokens = tokenize(lm, tiny_corpus)
    loss = sentence_losses(lm, tokens).sum() / tokens.predicted.sum()
    assert loss < 0.8 * np.log(lm.model.config.vocab_size)


# ---- where and how


def test_devices_and_dtypes_resolve():
    cpu = torch.device("cpu")
    assert resolve_device("cpu") == cpu
    assert resolve_device("auto").type in {"cpu", "cuda"}
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert resolve_dtype("float16", cpu) == torch.float16


@pytest.mark.parametrize("device", ["no-such-device", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(GlossaeError, match=f"^device: '{device}' cannot be used here"):
        resolve_device(device)
