"""What all tests share: shapes that are checked, and a language model small enough to be made on the spot."""

import os
from pathlib import Path

from jaxtyping import config, install_import_hook

# before anything imports glossae: every annotated shape and type is checked in every call
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch starts its threads
install_import_hook(["glossae", "planted_world", "planted_sentences"], "typechecker.checked")

# before anything imports Triton: without a GPU its kernels are tested under its interpreter
os.environ.setdefault("TRITON_INTERPRET", "1")

# nothing here may ask the network; the hub client reads this when it is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings

from glossae.corpora import Corpus, Sentence
from glossae.lm import TokenizedCorpus, load, tokenize

# with two processes side by side each has a core of its own
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
# no test holds a clock against a machine that others use too
settings.register_profile("glossae", deadline=None, max_examples=40)
settings.load_profile("glossae")

END = "<|endoftext|>"
MAX_POSITIONS = 64


@pytest.fixture
def unchecked():
    """Arguments of any type arrive, as they do where no tests run."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def pytest_collection_modifyitems(items):
    """The files of whole runs come first, so that the short ones even out when two processes end."""
    items.sort(key=lambda item: not (item.path.parent.name == "run" or item.path.name == "test_api.py"))


PAIRS = [
    (f"{da} {verb_da} {thing_da}.", f"{en} {verb_en} {thing_en}.")
    for da, en in [
        ("Pigen på øen", "The girl on the isle"),
        ("Han", "He"),
        ("Vores gamle nabo", "Our old neighbour"),
    ]
    for verb_da, verb_en in [("så", "saw"), ("købte", "bought"), ("glemmer altid", "always forgets")]
    for thing_da, thing_en in [
        ("æblet", "the apple"),
        ("en blå cykel", "a blue bicycle"),
        ("det 😀", "it 😀"),
    ]
]


@pytest.fixture(scope="session")
def shared():
    """The folder of real text and models that lies beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder 'shared' beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_corpus():
    """27 Danish and 27 English sentences that translate each other."""
    return Corpus.of(
        Sentence(text, language, f"pair-{number}", "tiny.tsv")
        for number, texts in enumerate(PAIRS)
        for text, language in zip(texts, ("da", "en"), strict=True)
    )


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_corpus):
    """A byte-level BPE with a few merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([sentence.text for sentence in tiny_corpus.sentences], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END)


@pytest.fixture(scope="session")
def make_model_folder(tiny_tokenizer):
    """A function that saves a small random GPT-NeoX model, with the tokenizer, into a folder."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    def make(folder, *, tokenizer=tiny_tokenizer, dtype=torch.float32, **changes):
        settings = {
            "vocab_size": 320,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": MAX_POSITIONS,
            "initializer_range": 0.15,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }
        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**(settings | changes)))
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, make_model_folder):
    """The folder of a small random GPT-NeoX model with three layers; not to be written to."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_lm(tiny_model):
    """That model, loaded."""
    return load(str(tiny_model))


@pytest.fixture(scope="session")
def tiny_tokens(tiny_lm, tiny_corpus):
    """The tiny corpus as token ids."""
    return tokenize(tiny_lm, tiny_corpus)


@pytest.fixture(scope="session")
def random_tokens():
    """A function that makes sentences of given lengths out of random token ids."""

    def make(lengths, seed=0):
        generator = np.random.default_rng(seed)
        return TokenizedCorpus(
            corpus=Corpus.of(Sentence(f"text {i}", "da", str(i), "random") for i in range(len(lengths))),
            ids=tuple(generator.integers(1, 300, size=length) for length in lengths),
            predicted_bytes=np.array([length - 1 for length in lengths], dtype=np.int64),
            dropped={},
            cut={},
            prefix=0,
        )

    return make


@pytest.fixture
def count_hooks():
    """A function that counts the hooks attached anywhere inside a module."""

    def count(model):
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    return count


@pytest.fixture
def opus(monkeypatch, tmp_path):
    """A server that OPUS is taken for, with an empty cache; tries follow each other without a pause."""
    from opus_server import OpusServer

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("glossae.corpora.download.PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    with OpusServer() as server:
        monkeypatch.setenv("GLOSSAE_OPUS_BASE", server.address)
        monkeypatch.setenv("GLOSSAE_OPUS_API", f"{server.address}/api")
        yield server
