"""Hostile files are refused in one line, before they take memory, time or a command; broken ones are no crash."""

import contextlib
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hostile
from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError
from glossae.lm import Site, load
from glossae.plan import model_facts
from glossae.recipe import load_recipe
from glossae.run.folder import read_column, write_table
from glossae.sae import Sae, SaeConfig, to_sae_lens
from tiny_gguf import write_gguf

SITE = Site("resid", 1)


def autoencoder(activation="relu"):
    sae = Sae(SaeConfig(d_in=32, latents=24, activation=activation, site="resid", layer=1))
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return sae.requires_grad_(False)


@pytest.fixture(scope="module")
def good(tmp_path_factory, tiny_lm, tiny_model):
    """A folder with a good SAE, and a good knob that holds rows of its encoder."""
    place = tmp_path_factory.mktemp("good")
    sae = autoencoder()
    sae.save(place / "sae")
    family = UnitSet("x", sae, (3, 5), "set", (0.0, 0.0), (1.0, 2.0))
    Knob.of(tiny_lm, SITE, family, dose=1.0, target="da", reference="en").save(place / "knob.safetensors")
    return place


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_hostile_files_are_refused_in_one_line_within_two_gigabytes(tmp_path, good, tiny_model, step):
    pytest.importorskip("gguf")
    (tmp_path / "files").mkdir()
    files = list(hostile.corpus(tmp_path / "files", good / "sae", good / "knob.safetensors", tiny_model))
    assert len(files) >= 75
    files = files[::step]
    asked = "".join(json.dumps([what, kind, str(place)]) + "\n" for what, kind, place in files)
    done = subprocess.run(
        [sys.executable, hostile.__file__], input=asked, capture_output=True, text=True, cwd=tmp_path
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [what for what, *_ in answers] == [what for what, *_ in files], done.stderr
    assert [answer for answer in answers if answer[1] != "refused"] == []
    for what, _, line in answers:
        assert "\n" not in line, what
        assert len(line) < 700, what
        # torch's advice would run the file's code
        assert "weights_only" not in line, what
        assert "torch.load" not in line, what
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_a_table_that_does_not_fit_in_memory_is_not_read(tmp_path, monkeypatch):
    write_table(tmp_path / "x.parquet", [{"a": 0, "b": "x"}] * 100_000)
    assert (tmp_path / "x.parquet").stat().st_size < 20_000
    assert len(read_column(tmp_path / "x.parquet", "a", b="x")) == 100_000
    monkeypatch.setattr("glossae.memory.free_memory", lambda: 500_000.0)
    with pytest.raises(GlossaeError, match=r"x\.parquet: needs 0\.0 GB of memory"):
        read_column(tmp_path / "x.parquet", "a", b="x")


def test_weights_that_do_not_fit_in_memory_are_not_loaded(good, tiny_model, tmp_path, monkeypatch):
    to_sae_lens(Sae.load(good / "sae"), tmp_path / "lens")
    monkeypatch.setattr("glossae.memory.free_memory", lambda: 1000.0)
    for read in (
        lambda: Sae.load(tmp_path / "lens"),
        lambda: Knob.load(good / "knob.safetensors"),
        lambda: load(str(tiny_model)),
    ):
        with pytest.raises(GlossaeError, match="GB of memory, and .* GB are free here"):
            read()


def test_a_files_last_byte_decides_whether_it_is_too_large(tmp_path):
    path = tmp_path / "mine.yaml"
    text = "base: demo\nname: mine\n# "
    path.write_text(text + "x" * (2**18 - len(text)))
    assert load_recipe(path).name == "mine"
    path.write_text(text + "x" * (2**18 + 1 - len(text)))
    with pytest.raises(GlossaeError, match=r"mine\.yaml: has more than 262,144 bytes"):
        load_recipe(path)


def read_or_refused(read):
    """What a function returns; None if it raises a `GlossaeError` of one line."""
    found = None
    try:
        found = read()
    except GlossaeError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
    return found


# ---- whatever is changed in a good file, it is read or refused

CHANGES = st.tuples(
    st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9), st.sampled_from([1.0, 1.0, 0.99, 0.5])
)
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def broken(content, change):
    """Bytes with some replaced at a place, and the end cut off."""
    at, removed, added, kept = change
    found = bytearray(content[: int(len(content) * kept)])
    place = int(at * max(0, len(found) - 1))
    found[place : place + removed] = added
    return bytes(found)


def bits(content, change):
    """Bytes of which one bit is another."""
    at, number, *_ = change
    found = bytearray(content)
    found[int(at * (len(found) - 1))] ^= 1 << (number % 8)
    return bytes(found)


@QUICK
@given(change=CHANGES, how=st.sampled_from([broken, bits]))
def test_any_knob_is_the_same_or_refused(tmp_path, good, change, how):
    content = (good / "knob.safetensors").read_bytes()
    (tmp_path / "knob").write_bytes(how(content, change))
    whole = Knob.load(good / "knob.safetensors")
    knob = read_or_refused(lambda: Knob.load(tmp_path / "knob"))
    # the hash is of all but the dose and the version
    assert knob is None or knob.hash == whole.hash


SHAPES = {"W_enc": (8, 24), "W_dec": (24, 8), "b_enc": (24,), "b_dec": (8,), "threshold": (24,)}
ARRAYS = {
    name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()
}
LINEAR = {
    "encoder.weight": torch.from_numpy(ARRAYS["W_enc"].T.copy()),
    "decoder.weight": torch.from_numpy(ARRAYS["W_dec"].T.copy()),
    "encoder.bias": torch.from_numpy(ARRAYS["b_enc"]),
    "bias": torch.from_numpy(ARRAYS["b_dec"]),
}


def array_file():
    file = io.BytesIO()
    np.savez(file, **ARRAYS)
    return file.getvalue()


@QUICK
@given(change=CHANGES, how=st.sampled_from([broken, bits]), kind=st.sampled_from(["params.npz", "ae.pt"]))
def test_any_archive_of_weights_is_the_same_or_refused(tmp_path, change, how, kind):
    content = array_file() if kind == "params.npz" else hostile.saved(LINEAR)
    (tmp_path / kind).write_bytes(how(content, change))
    sae = read_or_refused(lambda: Sae.load(tmp_path / kind))
    if sae is not None:
        assert torch.equal(sae.W_enc, torch.from_numpy(ARRAYS["W_enc"].T))
        assert torch.equal(sae.W_dec, torch.from_numpy(ARRAYS["W_dec"]))


@pytest.fixture(scope="module")
def gguf_content(tmp_path_factory, tiny_tokenizer, tiny_lm):
    from tiny_families import write_family

    place = tmp_path_factory.mktemp("gguf")
    folder = write_family(place / "model", "qwen2", tiny_tokenizer)
    return write_gguf(place / "x.gguf", folder, tiny_tokenizer, 320).read_bytes()


@QUICK
@given(change=CHANGES, how=st.sampled_from([broken, bits]), within=st.sampled_from([200, 2000, 10**9]))
def test_any_gguf_header_is_read_or_refused(tmp_path, gguf_content, change, how, within):
    path = tmp_path / "x.gguf"
    # most bytes are weights, and the beginning is the most telling
    path.write_bytes(how(gguf_content[:within], change) + gguf_content[within:])
    with contextlib.suppress(GlossaeError):
        shape = model_facts(str(path)).shape
        assert shape is None or shape.weights <= 2 * len(gguf_content)


NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 3, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1e300])
VALUES = (
    NUMBERS | st.none() | st.booleans() | st.text(max_size=6) | st.lists(NUMBERS, max_size=3) | st.just({})
)
KEYS = """
hidden_size num_hidden_layers num_attention_heads intermediate_size vocab_size max_position_embeddings rotary_pct
rope_parameters hidden_act model_type architectures num_labels id2label torch_dtype dtype tie_word_embeddings head_dim
layer_types eos_token_id bos_token_id pad_token_id layer_norm_eps attention_bias initializer_range auto_map is_decoder
quantization_config text_config use_parallel_residual transformers_version
"""


@pytest.mark.filterwarnings("ignore")
@settings(parent=QUICK, max_examples=20)
@given(changes=st.dictionaries(st.sampled_from(KEYS.split()), VALUES, min_size=1, max_size=2))
def test_any_configuration_is_loaded_with_the_files_weights_or_refused(
    tmp_path, tiny_model, tiny_lm, changes
):
    folder = tmp_path / "model"
    if not folder.exists():
        shutil.copytree(tiny_model, folder)
    config = json.loads((tiny_model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    lm = read_or_refused(lambda: load(str(folder)))
    held = tiny_lm.model.state_dict()
    assert lm is None or all(
        torch.equal(weight, held[name]) for name, weight in lm.model.state_dict().items()
    )
