"""Loading: what is sound goes in, whatever lies beside it, and what is not gets one line that says why."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import (
    SITE_NAMES,
    Architecture,
    Place,
    Site,
    activations,
    batches,
    continue_prompts,
    continue_tokens,
    edit,
    load,
    resolve_device,
    resolve_dtype,
    sentence_losses,
    tokenize,
)
from tiny_families import LAYERS, load_family, push, write_family

SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(LAYERS)]
PROMPTS = [np.array([5, 6, 7]), np.array([40, 41, 42, 43, 44, 45, 46])]
TENSOR = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the tiny model's folder, to be spoiled."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def refusal(name, **options):
    """The one line that loading this ends in."""
    with pytest.raises(GlossaeError) as caught:
        load(str(name), **options)
    message = str(caught.value)
    assert message.startswith("model: ")
    assert str(name) in message
    assert "\n" not in message
    return message


def change_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "neither a folder nor a hub id"),
        ("@main", "neither a folder nor a hub id"),
        ("./none", "there is no folder"),
        ("nobody/no-such-model", ""),
    ],
)
def test_a_name_of_no_model(name, words):
    assert words in refusal(name)


def only_pickles(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def without_files(pattern):
    def spoil(folder):
        for file in folder.glob(pattern):
            file.unlink()

    return spoil


def broken_index(folder):
    (folder / WEIGHTS).rename(folder / "model-1.safetensors")
    (folder / INDEX).write_text("[]")


SPOILT = {
    "empty": (without_files("*"), "is empty"),
    "no config": (without_files("config.json"), "has no config.json"),
    "no weights": (without_files("*.safetensors"), "holds no *.safetensors file"),
    "no tokenizer": (without_files("tokenizer*"), "has no tokenizer"),
    "pickles": (
        only_pickles,
        "only as pickles (pytorch_model.bin), which can run code when opened; save it again with",
    ),
    "config no JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    "config of another shape": (
        lambda folder: (folder / "config.json").write_text("null"),
        "cannot be loaded: its config.json is no JSON object",
    ),
    "tokenizer of another shape": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "one of its files is not as it should be (KeyError: ",
    ),
    "index of another shape": (broken_index, f"its {INDEX} cannot be read ("),
    "truncated": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000]),
        "model.safetensors: cannot be read as safetensors: its header would be longer than the file",
    ),
    "one tensor lacks": (
        lambda folder: change_tensors(folder, lambda tensors: tensors.pop(TENSOR)),
        f"lacks the tensor {TENSOR}",
    ),
    "two tensors lack": (
        lambda folder: change_tensors(
            folder, lambda found: [found.pop(TENSOR), found.pop("embed_out.weight")]
        ),
        f"lacks the tensor {TENSOR} and 1 more",
    ),
    "a tensor of another shape": (
        lambda folder: change_tensors(folder, lambda tensors: tensors.update({TENSOR: torch.zeros(33)})),
        f"the tensor {TENSOR} has another shape than config.json says",
    ),
    "no layers": (
        lambda folder: change_config(folder, num_hidden_layers=0),
        "its config.json says num_hidden_layers 0, and a model has at least one",
    ),
    "quantized without a word in the config": (
        lambda folder: change_tensors(
            folder, lambda found: found.update({TENSOR: found[TENSOR].to(torch.int8)})
        ),
        f"the weights {TENSOR} are I8, no floating-point numbers of 16 bits or more, so they are quantized",
    ),
    "weights of 8 bits": (
        lambda folder: change_tensors(
            folder, lambda found: found.update({TENSOR: found[TENSOR].to(torch.float8_e4m3fn)})
        ),
        f"the weights {TENSOR} are F8_E4M3, no floating-point numbers of 16 bits or more",
    ),
    "fewer layers in the config": (
        lambda folder: change_config(folder, num_hidden_layers=2),
        "has the tensor gpt_neox.layers.2.attention.dense.bias and 11 more, and its config.json says 2 layers",
    ),
    "quantized": (
        lambda folder: change_config(folder, quantization_config={"quant_method": "bitsandbytes"}),
        "is quantized (bitsandbytes in its config.json)",
    ),
    "logits too large for the precision": (
        lambda folder: change_tensors(folder, lambda tensors: tensors["embed_out.weight"].fill_(3e38)),
        "its logits are NaN or infinite in float32, although its weights are not",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_folder(folder, how):
    spoil, words = SPOILT[how]
    spoil(folder)
    assert words in refusal(folder)


def test_a_file_in_the_folders_place(folder):
    assert "is a file" in refusal(folder / WEIGHTS)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [TENSOR, "gpt_neox.final_layer_norm.bias", "gpt_neox.embed_in.weight"])
def test_one_number_that_is_none(folder, name, number):
    change_tensors(folder, lambda tensors: tensors[name].view(-1)[-1].fill_(number))
    assert f"the tensor {name} holds numbers that are NaN or infinite in float32" in refusal(folder)


def test_numbers_too_large_for_the_precision(folder):
    change_tensors(folder, lambda tensors: tensors[TENSOR][0, 0].fill_(1e6))
    assert load(str(folder)).layers == 3
    assert "that are NaN or infinite in float16" in refusal(folder, dtype=torch.float16)


def test_a_model_that_loads_and_does_not_run(tmp_path, tiny_tokenizer):
    # three heads of keys cannot be shared out among four of queries, which nothing before notices
    assert "cannot be run: " in refusal(
        write_family(tmp_path, "llama", tiny_tokenizer, num_key_value_heads=3)
    )


def test_a_place_is_checked_by_running_the_model(tiny_model):
    missing, found = (
        Architecture("gpt_neox.layers", {"mlp.hidden": Place(path, "output")})
        for path in ("mlp.rotary", "mlp.act")
    )
    assert "has no module 'mlp.rotary'" in refusal(tiny_model, architecture=missing)
    assert load(str(tiny_model), architecture=found).widths == {"mlp.hidden": 48}


# ---- tokenizers


def test_a_tokenizer_without_its_merges(make_model_folder, tmp_path):
    folder = make_model_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert "its tokenizer gives none of the longer tokens of its vocabulary" in refusal(folder)


def test_a_tokenizer_of_another_model(make_model_folder, tmp_path):
    message = refusal(make_model_folder(tmp_path / "model", vocab_size=256))
    assert "its tokenizer has ids up to" in message
    assert "but its embedding only 256 rows: they do not belong together" in message


def test_an_older_kind_of_tokenizer_is_one(folder, tiny_lm):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    without_files("tokenizer*")(folder)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    text = "Pigen på øen så æblet."
    assert load(str(folder)).tokenizer(text)["input_ids"] == tiny_lm.tokenizer(text)["input_ids"]


@pytest.fixture
def with_token(folder, tiny_tokenizer):
    """A function that saves the tiny model with one more token, beyond its 320 rows if there are `before` it."""

    def with_token(*, special, before=30, **roles):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
        added = [AddedToken(f"<|spare {n}|>", special=True) for n in range(before)]
        tokenizer.add_tokens([*added, AddedToken("<|image|>", special=special)], special_tokens=special)
        tokenizer.eos_token = tokenizer.bos_token = "<|endoftext|>"
        for role, token in roles.items():
            setattr(tokenizer, role, token)
        tokenizer.save_pretrained(folder)
        return folder

    return with_token


def test_a_token_of_text_beyond_the_embedding(with_token):
    assert "ids up to 330, but its embedding only 320 rows" in refusal(with_token(special=False))


@pytest.mark.parametrize("role", ["bos", "eos", "unk"])
def test_a_role_that_is_needed_beyond_the_embedding(with_token, role):
    message = refusal(with_token(special=True, **{f"{role}_token": "<|image|>"}))
    assert f"{role} token '<|image|>' has the id 330, but its embedding only 320 rows" in message


@pytest.mark.parametrize("before", [30, 0])
def test_a_special_token_that_no_text_becomes_may_lie_beyond_the_embedding(with_token, before):
    lm = load(str(with_token(special=True, before=before, pad_token="<|image|>")))
    assert lm.tokenizer.pad_token_id == 300 + before
    hello = Sentence("Hej med dig", "da", "0", "talks.tsv")
    image = Sentence("Se <|image|> her", "da", "1", "talks.tsv")
    assert len(tokenize(lm, Corpus.of([hello]))) == 1
    # written out it is text
    (ids,) = tokenize(lm, Corpus.of([image])).ids
    assert max(ids) < 300


# ---- what goes in


def test_weights_are_the_files_in_the_dtype_that_is_asked_for(make_model_folder, tmp_path):
    folder = make_model_folder(tmp_path / "half", dtype=torch.float16)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    saved = load_file(folder / WEIGHTS)
    for dtype in (torch.float32, torch.bfloat16):
        weights = dict(load(str(folder), dtype=dtype).model.named_parameters())
        assert {weight.dtype for weight in weights.values()} == {dtype}
        # transformers calls the unembedding by another name than the file
        same = {name: tensor for name, tensor in saved.items() if name in weights}
        assert len(same) == len(weights) - 1
        assert all(torch.equal(weights[name], tensor.to(dtype)) for name, tensor in same.items())


def test_the_model_is_for_reading(tiny_model, count_hooks):
    # transformers may hook its own modules, so a model that only transformers loaded is the measure
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    lm = load(str(tiny_model))
    assert not lm.model.training
    assert not any(tensor.requires_grad for tensor in lm.model.parameters())
    assert count_hooks(lm.model) == count_hooks(plain)
    assert (lm.commit, lm.layers, lm.max_positions) == (None, 3, 64)
    # rows to spare are common
    assert lm.model.get_input_embeddings().num_embeddings > len(lm.tokenizer)


@pytest.mark.parametrize(
    ("layers", "changes"),
    [
        # its last block is its only one, and a layer norm follows
        (1, {"num_hidden_layers": 1, "initializer_range": 5.0}),
        (3, {"use_parallel_residual": False}),
        # tied weights do not lack
        (3, {"tie_word_embeddings": True}),
    ],
)
def test_other_models_of_the_family_load(make_model_folder, tmp_path, layers, changes):
    lm = load(str(make_model_folder(tmp_path / "model", **changes)))
    assert lm.layers == layers
    tied = lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    assert tied == ("tie_word_embeddings" in changes)


def test_pythias_shape_and_tokenizer_load_and_stream(shared, tiny_corpus, make_model_folder, tmp_path):
    file = shared / "data" / "tokenizer" / "20B_tokenizer.json"
    if not file.is_file():
        pytest.skip("there is no copy of Pythia's tokenizer in the shared folder")
    end = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    folder = make_model_folder(
        tmp_path / "pythia",
        tokenizer=PreTrainedTokenizerFast(tokenizer_file=str(file), **end),
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
    widths = {Site("mlp.hidden", 16): 256, Site("resid", 23): 64}
    count = 0
    for part in activations(lm, batches(tokens, 256), [*widths]):
        count += len(part.sentence)
        for site, width in widths.items():
            assert part.sites[site].shape == (len(part.sentence), width)
            assert torch.isfinite(part.sites[site]).all()
    assert count == tokens.lengths.sum()


def test_the_shared_model_loads_with_losses_like_a_trained_ones(shared, tiny_corpus):
    folder = shared / "models" / "tiny-da-en"
    if not folder.is_dir():
        pytest.skip("there is no trained model in the shared folder")
    lm = load(str(folder))
    tokens = tokenize(lm, tiny_corpus)
    loss = sentence_losses(lm, tokens).sum() / tokens.predicted.sum()
    assert loss < 0.8 * np.log(lm.model.config.vocab_size)


# ---- what is measured depends on nothing that glossae did not set


def measured(lm, tokens):
    """Losses, continuations as text and as tokens, greedy and drawn."""
    written = [continue_tokens(lm, PROMPTS, new_tokens=8, seed=seed) for seed in (None, 1)]
    return (
        sentence_losses(lm, tokens).tolist(),
        continue_prompts(lm, ["He saw", "Pigen"], max_tokens=20),
        [[row.tolist() for row in rows] for rows in written],
        lm.model.generation_config.eos_token_id,
    )


# what a model's file may say of generation
HABITS = {
    "do_sample": True,
    "temperature": 3.0,
    "top_k": 3,
    "top_p": 0.2,
    "repetition_penalty": 1.8,
    "no_repeat_ngram_size": 1,
    "max_length": 9,
    "max_new_tokens": 2,
    "min_new_tokens": 12,
    "num_beams": 3,
    "suppress_tokens": list(range(1, 200)),
    "begin_suppress_tokens": [3, 4],
    "forced_eos_token_id": 0,
    "bad_words_ids": [[9]],
    "eos_token_id": list(range(200)),
}


def with_an_adapter(folder):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(
        target_modules=["query_key_value"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings).save_pretrained(folder)
    assert (folder / "adapter_config.json").is_file()


def with_other_weights(folder):
    others = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    for name in ("consolidated.safetensors", "model-00001-of-00001.safetensors", "model.fp16.safetensors"):
        save_file(others, folder / name, metadata={"format": "pt"})
    torch.save(others, folder / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(others, "model-00001-of-00001.safetensors")}
    (folder / INDEX).write_text(json.dumps(index))


def in_several_files(folder):
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, its in halves.items():
        save_file({name: tensors[name] for name in its}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, its in halves.items() for name in its}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / WEIGHTS).unlink()


def saying(text):
    return lambda folder: (folder / "generation_config.json").write_text(text)


BESIDE = {
    "an adapter": with_an_adapter,
    "other weights": with_other_weights,
    "several files": in_several_files,
    "a broken generation_config": saying("{"),
    "every habit": saying(json.dumps(HABITS)),
} | {name: saying(json.dumps({name: value})) for name, value in HABITS.items()}


@pytest.fixture(scope="module")
def few(tiny_tokens):
    return tiny_tokens.take(range(8))


@pytest.fixture(scope="module")
def as_it_is(tiny_lm, few):
    return measured(tiny_lm, few)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
@pytest.mark.parametrize("what", BESIDE)
def test_what_else_lies_in_the_folder_changes_nothing(folder, few, as_it_is, what):
    BESIDE[what](folder)
    assert measured(load(str(folder)), few) == as_it_is


def test_a_text_ends_where_the_tokenizer_or_the_configuration_says(folder, tiny_lm):
    change_config(folder, eos_token_id=[7, 0])
    assert tiny_lm.model.generation_config.eos_token_id == [0]
    assert load(str(folder)).model.generation_config.eos_token_id == [0, 7]


def test_a_model_without_tokens_for_the_beginning_and_the_end(tmp_path, make_model_folder, tiny_tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
    lm = load(str(make_model_folder(tmp_path / "bare", tokenizer=bare, bos_token_id=None, eos_token_id=None)))
    assert (lm.tokenizer.bos_token_id, lm.model.generation_config.eos_token_id) == (None, None)
    assert [len(row) for row in continue_tokens(lm, PROMPTS, new_tokens=8)] == [8, 8]
    assert len(continue_prompts(lm, ["He saw"], max_tokens=20)) == 1


@pytest.mark.parametrize("asked", ["flash_attention_2", "eager", "kernels-community/flash-attn"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_that_a_configuration_asks_for_is_not_looked_for(folder, tiny_lm, key, asked):
    change_config(folder, **{key: asked})
    assert load(str(folder)).model.config._attn_implementation == "sdpa"
    assert tiny_lm.model.config._attn_implementation == "sdpa"


def test_a_package_with_faster_functions_is_not_used(tmp_path, tiny_tokenizer):
    folder = write_family(tmp_path / "model", "qwen3_5_text", tiny_tokenizer)
    for package in ("fla", "causal_conv1d"):
        (tmp_path / "packages" / package).mkdir(parents=True)
        (tmp_path / "packages" / package / "__init__.py").write_text(
            "class Faster:\n"
            "    def __getattr__(self, name):\n        return self\n"
            "    def __call__(self, *_, **__):\n        raise RuntimeError('the fast path')\n"
            "def __getattr__(name):\n"
            "    if name.startswith('__'):\n        raise AttributeError(name)\n"
            "    return Faster()\n"
        )
    script = (
        "import sys; from glossae.lm import load; load(sys.argv[1])\n"
        "import fla; print('here', fla.ops is not None)"
    )
    places = [str(tmp_path / "packages"), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "here True"


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "qwen3_5_text", "gemma4_text", "llama"])
def test_a_sentence_is_the_same_alone_and_among_others(tmp_path, tiny_tokenizer, random_tokens, family):
    lm = load_family(tmp_path, family, tiny_tokenizer)
    # attention with a soft cap is the plain one
    assert (lm.model.config._attn_implementation == "eager") == (family == "gemma2")
    tokens = random_tokens([3, 30, 9, 14, 2, 30])
    alone = np.array([sentence_losses(lm, tokens.take([row]))[0] for row in range(len(tokens))])
    for budget in (30, 70, 10_000):
        np.testing.assert_allclose(sentence_losses(lm, tokens, budget=budget), alone, rtol=2e-5)


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0}


@pytest.mark.parametrize(("family", "kind"), [("phi3", LONG), ("llama", LONG), ("llama", DYNAMIC)])
def test_rotary_embeddings_that_change_with_the_longest_text_of_a_batch_limit_texts(
    tmp_path, tiny_tokenizer, tiny_corpus, family, kind
):
    folder = write_family(tmp_path / "model", family, tiny_tokenizer)
    key = "max_position_embeddings" if kind is DYNAMIC else "original_max_position_embeddings"
    change_config(folder, rope_parameters=kind | {"rope_theta": 10000.0, key: 8}, **{key: 8})
    lm = load(str(folder))
    assert lm.max_positions == 8
    tokens = tokenize(lm, tiny_corpus).take(range(9))
    assert max(map(len, tokens.ids)) == 8
    alone = np.array([sentence_losses(lm, tokens.take([row]))[0] for row in range(len(tokens))])
    np.testing.assert_allclose(sentence_losses(lm, tokens), alone, rtol=2e-5)
    # the model itself does otherwise beyond them
    ids = torch.arange(1, 13)[None]
    short = lm.model(ids[:, :8]).logits
    assert not torch.allclose(lm.model(ids).logits[:, :8], short, atol=1e-3)
    with pytest.raises(GlossaeError, match="more than the 8 that"):
        continue_tokens(lm, [np.array([5, 6, 7])], new_tokens=6)


# ---- where and how


def test_devices_and_dtypes_resolve(monkeypatch):
    cpu = torch.device("cpu")
    assert resolve_device("cpu") == cpu
    assert resolve_device("auto").type in {"cpu", "cuda"}
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("float16", cpu) == torch.float16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = resolve_device("split")
    assert device == torch.device("cuda", 0)
    assert resolve_dtype("auto", device) == torch.bfloat16


@pytest.mark.parametrize("device", ["no-such-device", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(GlossaeError, match=f"^device: '{device}' cannot be used here"):
        resolve_device(device)


@pytest.mark.parametrize(
    ("accelerate", "line"),
    [
        (False, "needs accelerate, and it is not installed: pip "),
        (True, "shares a model out among GPUs, and there is none here; give auto or cpu"),
    ],
)
def test_a_model_that_cannot_be_split(tiny_model, monkeypatch, accelerate, line):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if not accelerate:
        monkeypatch.setitem(sys.modules, "accelerate", None)
    for use in (resolve_device, lambda device: load(str(tiny_model), device=device)):
        with pytest.raises(GlossaeError, match=f"^device: 'split' {line}"):
            use("split")


def test_a_model_that_does_not_fit_when_split(tiny_model, monkeypatch):
    def too_large(*_args, **_options):
        # what accelerate makes of a model too large for the GPUs that are there
        model = plain(tiny_model, output_loading_info=True)
        model[0].hf_device_map = {"gpt_neox.embed_in": 0, "gpt_neox.layers.1": "cpu", "embed_out": "disk"}
        return model

    plain = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_large)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    line = r"^device: .* does not fit on .* GPUs here: gpt_neox.layers.1 and 1 more would stay outside"
    with pytest.raises(GlossaeError, match=line):
        load(str(tiny_model), device="split")


# Blocks on several GPUs take several GPUs; where there are fewer, blocks whose weights accelerate fetches for every
# pass stand in: its hooks are the same, only the copies from device to device are not.


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


def dispatch(lm, block, others, **options):
    """Have accelerate put the second block in one place, everything else in another."""
    from accelerate import dispatch_model

    inside = f"{lm.architecture.blocks}.1"
    leaves = [name for name, module in lm.model.named_modules() if not list(module.children())]
    places = {name: others for name in leaves if not name.startswith(f"{inside}.")}
    dispatch_model(lm.model, {inside: block} | places, **options)


def assert_same(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert one[1] == other[1]


@pytest.mark.parametrize("name", ["opt", "gemma2"])
def test_sites_work_where_accelerate_fetches_the_weights(tmp_path, tiny_tokenizer, random_tokens, name):
    folder, tokens = write_family(tmp_path / "model", name, tiny_tokenizer), random_tokens([3, 17, 9, 25])
    expected, lm = everything(load(str(folder)), tokens), load(str(folder))
    dispatch(lm, "disk", "cpu", main_device="cpu", offload_dir=str(tmp_path / "disk"))
    assert any(weight.is_meta for weight in lm.blocks[1].parameters())
    assert_same(everything(lm, tokens), expected)


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="there is no GPU")
def test_a_split_model_is_the_same_model(tmp_path, tiny_tokenizer, random_tokens):
    folder, tokens = write_family(tmp_path, "llama", tiny_tokenizer), random_tokens([3, 17, 9, 25])
    whole, split = (load(str(folder), device=device) for device in ("cuda:0", "split"))
    assert_same(everything(split, tokens), everything(whole, tokens))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs")
@pytest.mark.parametrize("name", ["gpt_neox", "opt", "llama", "gemma2"])
def test_sites_work_across_gpus(tmp_path, tiny_tokenizer, random_tokens, name):
    folder, tokens = write_family(tmp_path, name, tiny_tokenizer), random_tokens([3, 17, 9, 25])
    expected = everything(load(str(folder), device="cuda:0"), tokens)
    lm = load(str(folder), device="cuda:0")
    dispatch(lm, 1, 0)
    assert {weight.device.index for weight in lm.model.parameters()} == {0, 1}
    assert_same(everything(lm, tokens), expected)
