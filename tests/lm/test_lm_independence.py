"""What is measured depends on nothing that glossae did not set: not on other files, other packages, or the batch."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from glossae.errors import GlossaeError
from glossae.lm import continue_prompts, continue_tokens, end_tokens, load, sentence_losses
from tiny_families import write_family

PROMPTS = [np.array([5, 6, 7]), np.array([40, 41, 42, 43, 44, 45, 46])]
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


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the tiny model's folder."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def measured(lm, tokens):
    """Losses, continuations as text and as tokens, greedy and drawn."""
    written = [continue_tokens(lm, PROMPTS, new_tokens=8, seed=seed) for seed in (None, 1)]
    return (
        sentence_losses(lm, tokens).tolist(),
        continue_prompts(lm, ["He saw", "Pigen"], max_tokens=20),
        [[row.tolist() for row in rows] for rows in written],
        end_tokens(lm),
    )


# ---- a model's own settings of generation


@pytest.mark.parametrize("habit", [*HABITS, "all", "broken"])
def test_generation_config_is_not_read(folder, tiny_lm, tiny_tokens, habit):
    said = HABITS if habit == "all" else {habit: HABITS.get(habit)}
    (folder / "generation_config.json").write_text("{" if habit == "broken" else json.dumps(said))
    assert measured(load(str(folder)), tiny_tokens) == measured(tiny_lm, tiny_tokens)


def test_a_text_ends_where_the_tokenizer_or_the_configuration_says(folder, tiny_lm):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [7, 0]}))
    assert end_tokens(tiny_lm) == [0]
    assert end_tokens(load(str(folder))) == [0, 7]


def test_a_model_without_tokens_for_the_beginning_and_the_end(tmp_path, make_model_folder, tiny_tokenizer):
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
    lm = load(str(make_model_folder(tmp_path / "bare", tokenizer=bare, bos_token_id=None, eos_token_id=None)))
    assert (lm.tokenizer.bos_token_id, end_tokens(lm)) == (None, [])
    assert [len(row) for row in continue_tokens(lm, PROMPTS, new_tokens=8)] == [8, 8]
    assert len(continue_prompts(lm, ["He saw"], max_tokens=20)) == 1


# ---- what else lies in the folder


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_an_adapter_in_the_folder_is_left_alone(folder, tiny_lm, tiny_tokens):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    settings = peft.LoraConfig(
        target_modules=["query_key_value"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings)
    adapted.save_pretrained(folder)
    assert (folder / "adapter_config.json").is_file()
    assert measured(load(str(folder)), tiny_tokens) == measured(tiny_lm, tiny_tokens)


def test_other_weights_in_the_folder_are_left_alone(folder, tiny_lm, tiny_tokens):
    tensors = load_file(folder / "model.safetensors")
    others = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    for name in ("consolidated.safetensors", "model-00001-of-00001.safetensors", "model.fp16.safetensors"):
        save_file(others, folder / name, metadata={"format": "pt"})
    torch.save(others, folder / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(others, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert measured(load(str(folder)), tiny_tokens) == measured(tiny_lm, tiny_tokens)


def test_weights_in_several_files(folder, tiny_lm, tiny_tokens):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, its in halves.items():
        save_file({name: tensors[name] for name in its}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, its in halves.items() for name in its}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    (folder / "model.safetensors").unlink()
    assert measured(load(str(folder)), tiny_tokens) == measured(tiny_lm, tiny_tokens)


def test_quantized_weights_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    quantized = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(config | quantized))
    with pytest.raises(GlossaeError, match=r"^model: \S+ is quantized \(bitsandbytes in its config.json\)"):
        load(str(folder))


# ---- which packages are installed


@pytest.mark.parametrize("asked", ["flash_attention_2", "eager", "kernels-community/flash-attn"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_that_a_configuration_asks_for_is_not_looked_for(folder, tiny_lm, key, asked):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: asked}))
    assert load(str(folder)).model.config._attn_implementation == "sdpa"
    assert tiny_lm.model.config._attn_implementation == "sdpa"


def test_attention_with_a_soft_cap_is_the_plain_one(tmp_path, tiny_tokenizer):
    lm = load(str(write_family(tmp_path, "gemma2", tiny_tokenizer)))
    assert lm.model.config._attn_implementation == "eager"


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


# ---- the batch


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "qwen3_5_text", "gemma4_text", "llama"])
def test_a_sentence_is_the_same_alone_and_among_others(tmp_path, tiny_tokenizer, random_tokens, family):
    lm = load(str(write_family(tmp_path, family, tiny_tokenizer)))
    tokens = random_tokens([3, 30, 9, 14, 2, 30])
    together = [sentence_losses(lm, tokens, budget=budget) for budget in (30, 70, 10_000)]
    alone = np.array([sentence_losses(lm, tokens.take([row]))[0] for row in range(len(tokens))])
    for losses in together:
        np.testing.assert_allclose(losses, alone, rtol=2e-5)
