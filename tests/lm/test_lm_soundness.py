"""Weights that are no numbers and tokenizers that do not fit are refused; those that only look odd are not."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken

from glossae.errors import GlossaeError
from glossae.lm import load, locate, tokenize
from glossae.text import Corpus, Sentence
from tiny_families import FAMILIES, write_family

TENSOR = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A copy of the tiny model's folder, to be spoiled."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def refusal(folder, **options):
    with pytest.raises(GlossaeError) as caught:
        load(str(folder), **options)
    message = str(caught.value)
    assert message.startswith(f"model: {folder}")
    assert "\n" not in message
    return message


def change_tensor(folder, change, name=TENSOR):
    tensors = load_file(folder / "model.safetensors")
    change(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# ---- weights


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [TENSOR, "gpt_neox.final_layer_norm.bias", "gpt_neox.embed_in.weight"])
def test_one_number_that_is_none(folder, name, number):
    change_tensor(folder, lambda tensor: tensor.view(-1)[-1].fill_(number), name)
    assert f"the tensor {name} holds numbers that are NaN or infinite in float32" in refusal(folder)


def test_numbers_too_large_for_the_precision(folder):
    change_tensor(folder, lambda tensor: tensor[0, 0].fill_(1e6))
    assert load(str(folder)).layers == 3
    assert "that are NaN or infinite in float16" in refusal(folder, dtype=torch.float16)


def test_logits_too_large_for_the_precision(folder):
    change_tensor(folder, lambda tensor: tensor.fill_(3e38), "embed_out.weight")
    assert "its logits are NaN or infinite in float32, although its weights are not" in refusal(folder)


def test_a_model_that_loads_and_does_not_run(tmp_path, tiny_tokenizer):
    # three heads of keys cannot be shared out among four of queries, which nothing before notices
    folder = write_family(tmp_path, "llama", tiny_tokenizer, num_key_value_heads=3)
    assert "cannot be run: " in refusal(folder)


# ---- tokenizers


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_without_tokenizer(tmp_path, tiny_tokenizer, name):
    folder = write_family(tmp_path / "model", name, tiny_tokenizer)
    (folder / "tokenizer.json").unlink()
    for left in (True, False):
        assert "has no tokenizer: there is no tokenizer.json beside its weights" in refusal(folder)
        with pytest.raises(GlossaeError, match="has no tokenizer"):
            locate(str(folder))
        if left:
            (folder / "tokenizer_config.json").unlink()


def test_an_older_kind_of_tokenizer_is_one(folder, tiny_lm):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    text = "Pigen på øen så æblet."
    assert load(str(folder)).tokenizer(text)["input_ids"] == tiny_lm.tokenizer(text)["input_ids"]


@pytest.fixture
def with_token(tiny_model, tiny_tokenizer, tmp_path):
    """A function that loads the tiny model with one more token, beyond its 320 rows if there are `before` it."""
    from transformers import PreTrainedTokenizerFast

    def with_token(*, special, before=30, **roles):
        folder = shutil.copytree(tiny_model, tmp_path / "model")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
        added = [AddedToken(f"<|spare {n}|>", special=True) for n in range(before)]
        tokenizer.add_tokens([*added, AddedToken("<|image|>", special=special)], special_tokens=special)
        tokenizer.eos_token = tokenizer.bos_token = "<|endoftext|>"
        for role, token in roles.items():
            setattr(tokenizer, role, token)
        tokenizer.save_pretrained(folder)
        return folder

    return with_token


def test_more_rows_than_tokens_are_common(tiny_lm):
    assert tiny_lm.model.get_input_embeddings().num_embeddings > len(tiny_lm.tokenizer)


def test_a_token_of_text_beyond_the_embedding(with_token):
    message = refusal(with_token(special=False))
    assert "its tokenizer has ids up to 330, but its embedding only 320 rows" in message


@pytest.mark.parametrize("role", ["bos", "eos", "unk"])
def test_a_role_that_is_needed_beyond_the_embedding(with_token, role):
    message = refusal(with_token(special=True, **{f"{role}_token": "<|image|>"}))
    assert (
        f"its tokenizer's {role} token '<|image|>' has the id 330, but its embedding only 320 rows" in message
    )


def test_a_special_token_that_no_text_becomes_may_lie_beyond_the_embedding(with_token):
    lm = load(str(with_token(special=True, pad_token="<|image|>")))
    assert lm.tokenizer.pad_token_id == 330
    hello = Sentence("Hej med dig", "da", "0", "talks.tsv")
    assert len(tokenize(lm, Corpus.of([hello]))) == 1
    # written out it would be an id without an embedding
    image = Sentence("Se <|image|> her", "da", "1", "talks.tsv")
    with pytest.raises(
        GlossaeError, match=r"^talks.tsv: a da sentence holds '<\|image\|>', which .* no embedding"
    ):
        tokenize(lm, Corpus.of([hello, image]))


def test_a_special_token_within_the_embedding_may_be_written_out(with_token):
    lm = load(str(with_token(special=True, before=0)))
    image = Sentence("Se <|image|> her", "da", "1", "talks.tsv")
    assert len(tokenize(lm, Corpus.of([image]))) == 1
