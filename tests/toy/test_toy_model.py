"""The toy model's making, through the same code at a tiny budget."""

import threading
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from glossae.errors import GlossaeError
from glossae.toy import sentences
from glossae.toy.model import make_model, model_hash
from glossae.toy.settings import ModelSettings

TINY = ModelSettings(steps=6, batch=16, hidden=32, layers=2, heads=2, intermediate=64, vocabulary=300)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(TINY, tmp_path_factory.mktemp("cache"))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_folder_is_a_plain_hugging_face_model(tiny):
    names = set(contents(tiny))
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert model.dtype == torch.float32
    assert model.config.model_type == "gpt_neox"
    assert not model.config.tie_word_embeddings
    assert model.config.use_parallel_residual
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    assert model.config.eos_token_id == 0
    text = "Drengen åd et æble, ß 漢字"
    ids = tokenizer(text).input_ids
    assert 0 not in ids
    assert tokenizer.decode(ids) == text
    assert model(torch.tensor([ids])).logits.shape == (1, len(ids), TINY.vocabulary)


def test_same_seed_same_bytes_whatever_the_caller_set(tiny, tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    shares = []
    try:
        torch.set_num_threads(3)
        again = make_model(TINY, tmp_path, shares.append)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert contents(again) == contents(tiny)
    assert again.name == tiny.name
    assert torch.equal(torch.random.get_rng_state(), before)
    assert shares == [pytest.approx((i + 1) / TINY.steps) for i in range(TINY.steps)]


def test_found_again_without_training(tiny):
    called = []
    assert make_model(TINY, tiny.parent, called.append) == tiny
    assert not called


def test_the_hash_follows_the_settings():
    assert model_hash(TINY) == model_hash(replace(TINY))
    assert model_hash(TINY) != model_hash(replace(TINY, seed=1))


def test_a_failure_leaves_nothing(tmp_path):
    def fail(share):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        make_model(TINY, tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_both_end_well(tmp_path):
    # the second maker starts when the first has trained but not yet published
    rivals = []

    def rival(share):
        if share == 1 and not rivals:
            rivals.append(None)
            thread = threading.Thread(target=lambda: rivals.append(make_model(TINY, tmp_path)))
            thread.start()
            thread.join()

    assert make_model(TINY, tmp_path, rival) == rivals[1]
    assert [path.name for path in tmp_path.iterdir()] == [rivals[1].name]


def test_a_cache_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GlossaeError, match="cannot be kept there"):
        make_model(TINY, tmp_path / "file")


def test_training_lowers_the_loss(tmp_path, tiny):
    longer = make_model(replace(TINY, steps=40), tmp_path)

    def loss(folder):
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
        total = 0.0
        with torch.no_grad():
            for texts in sentences(20, 1):
                ids = torch.tensor([tokenizer(texts["en"]).input_ids])
                total += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        return total

    assert loss(longer) < 0.9 * loss(tiny)
