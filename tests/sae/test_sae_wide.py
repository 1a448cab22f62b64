"""An SAE that is larger than a process may hold lies in a file, and is read and written without copies."""

import importlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from glossae.errors import GlossaeError
from glossae.files import ALIGNED, tensors_sha256, write_tensors
from glossae.sae import Sae, SaeConfig, sparse, whole
from glossae.sae.sparse import blocks

WIDE = SaeConfig(d_in=512, latents=16384, k=8)
"""32 MiB for each of two matrices."""
MIB = 2**20


def make(config=WIDE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sae = Sae(config).requires_grad_(False)
    for tensor in sae.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return sae


def private_bytes():
    """What this process holds by itself; pages of mapped files are not among it."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith("RssAnon"))


@pytest.fixture
def place(tmp_path):
    make().save(tmp_path / "sae")
    return tmp_path / "sae"


def test_an_sae_is_read_used_and_written_where_its_file_lies(place, tmp_path):
    # libraries that the first call imports
    Sae.load(place).save(tmp_path / "first")
    before = private_bytes()
    sae = Sae.load(place)
    sae.save(tmp_path / "second")
    assert float(sae.W_enc.sum() + sae.W_dec.sum()) != 0
    assert private_bytes() - before < 24 * MIB
    (own, its) = (path / "sae.safetensors" for path in (place, tmp_path / "second"))
    assert own.read_bytes() == its.read_bytes()


def test_a_file_that_is_replaced_stays_what_was_loaded(place):
    sae, x = Sae.load(place), torch.randn(5, WIDE.d_in, generator=torch.Generator().manual_seed(1))
    expected = make()(x)
    make(seed=1).save(place)
    assert torch.equal(sae(x), expected)
    (place / "sae.safetensors").unlink()
    assert torch.equal(sae(x), expected)


def test_only_what_is_copied_has_to_fit_in_memory(place, tmp_path, monkeypatch):
    # matrices of 200 bytes: the second does not begin at a multiple of 64
    make(SaeConfig(d_in=5, latents=10, k=2)).save(tmp_path / "odd")
    monkeypatch.setattr("glossae.memory.free_memory", lambda: 300.0)
    assert Sae.load(place).config == WIDE
    monkeypatch.setattr("glossae.memory.free_memory", lambda: 200.0)
    with pytest.raises(GlossaeError, match=r"sae\.safetensors: needs 0\.0 GB of memory"):
        Sae.load(tmp_path / "odd")


@pytest.mark.parametrize(
    "config", [WIDE, SaeConfig(d_in=5, latents=7, k=2), SaeConfig(d_in=16, latents=9, k=2, tied=True)]
)
@pytest.mark.parametrize("tokens", [1, 3])
def test_what_is_loaded_computes_the_same_bits(tmp_path, config, tokens):
    sae = make(config)
    sae.save(tmp_path)
    loaded, x = Sae.load(tmp_path), torch.randn(tokens, config.d_in)
    assert [tensor.data_ptr() % ALIGNED for tensor in loaded.state_dict().values()] == [0] * 4
    assert torch.equal(loaded.pre_activations(x), sae.pre_activations(x))
    assert torch.equal(loaded(x), sae(x))
    assert (loaded.W_enc is loaded.W_dec) == config.tied


def test_a_file_in_another_precision_is_refused_where_copies_do_not_fit(tmp_path, monkeypatch):
    make().to(torch.bfloat16).save(tmp_path)
    assert Sae.load(tmp_path).W_enc.dtype == torch.float32
    monkeypatch.setattr("glossae.memory.free_memory", lambda: float(MIB))
    with pytest.raises(GlossaeError, match="sae.safetensors"):
        Sae.load(tmp_path)


def test_no_tokens_have_no_pre_activations_elsewhere(place):
    assert Sae.load(place).pre_activations(torch.empty(0, WIDE.d_in, device="meta")).shape == (
        0,
        WIDE.latents,
    )


def test_views_and_shared_tensors_are_written_as_they_look(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "rows": whole[1:3],
        "columns": whole.T,
        "again": whole,
        "low": whole[:, ::2].to(torch.bfloat16),
        "one": torch.tensor(3),
        "none": torch.zeros(0, 3),
        "flags": whole > 3,
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {"said": 'a "word", ä'})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"said": 'a "word", ä'}
    assert tensors_sha256("x", found) == tensors_sha256("x", tensors)


# ---- blocks of latents

KINDS = {
    "topk": {"k": 5},
    "signed": {"k": 5, "relu": False},
    "many": {"k": 40},
    "relu": {"activation": "relu"},
    "batchtopk": {"activation": "batchtopk", "k": 5},
    "jumprelu": {"activation": "jumprelu", "k": 5, "pre_encoder_bias": False},
}


def as_table(codes, latents):
    """The code as a dense table; no latent occurs twice at a token with another value than 0."""
    table = torch.zeros(len(codes.values), latents)
    return table.scatter_add(1, codes.indices, codes.values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("held", "tokens", "wide"), [(64, 9, 4), (300, 9, 2**13), (1, 3, 2**13)])
def test_codes_made_in_blocks_of_latents_are_those_made_at_once(monkeypatch, kind, held, tokens, wide):
    sae = make(SaeConfig(d_in=12, latents=61, **KINDS[kind]))
    x = torch.randn(tokens, 12, generator=torch.Generator().manual_seed(1))
    expected = sae.encode(x)
    products, original = [], torch.addmm

    def product(bias, rows, weight):
        products.append((len(rows), weight.shape[1]))
        return original(bias, rows, weight)

    monkeypatch.setattr(sparse, "PRE_ACTIVATIONS", held)
    monkeypatch.setattr(sparse, "WIDE_TOKENS", wide)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "addmm", product)
        found = sae.encode(x)
    # each weight is read once for `wide` tokens
    assert sum(latents for _, latents in products) == 61 * -(-tokens // wide)
    assert max(rows * latents for rows, latents in products) <= max(held, tokens)
    assert found.values.shape == expected.values.shape
    torch.testing.assert_close(as_table(found, 61), as_table(expected, 61))
    assert torch.equal(as_table(found, 61) != 0, as_table(expected, 61) != 0)
    torch.testing.assert_close(sae.decode(found), sae.decode(expected))


def test_few_latents_are_encoded_all_at_once(monkeypatch):
    sae, x = make(SaeConfig(d_in=12, latents=61, k=5)), torch.randn(20, 12)
    expected = sae.encode(x)
    # slabs of 8 tokens: enough for the weights to be read again
    monkeypatch.setattr(sparse, "PRE_ACTIVATIONS", 8 * 61)
    monkeypatch.setattr(sparse, "ENOUGH_TOKENS", 8)
    sizes = [(rows, [latents for latents, _ in parts]) for rows, parts in blocks(x, sae.W_enc, sae.b_enc)]
    assert [rows.stop - rows.start for rows, _ in sizes] == [8, 8, 4]
    assert {(each.start, each.stop) for _, latents in sizes for each in latents} == {(0, 61)}
    torch.testing.assert_close(sae.encode(x).values, expected.values)


# ---- an SAE that lies elsewhere than what it reads


@pytest.fixture
def away(monkeypatch):
    """Weights are fetched as if they lay on another device, 16 values of them, or of pre-activations, at a time."""
    fetched = []
    original = sparse.rows_on

    def rows_on(weight, some, device):
        rows = original(weight, some, device)
        fetched.append(rows.numel())
        return rows

    for module in (sparse, importlib.import_module("glossae.sae.sae")):
        monkeypatch.setattr(module, "elsewhere", lambda *_: True)
    monkeypatch.setattr(sparse, "rows_on", rows_on)
    monkeypatch.setattr(sparse, "PRE_ACTIVATIONS", 48)
    monkeypatch.setattr(sparse, "GATHERED_VALUES", 240)
    return fetched


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 9])
def test_an_sae_that_lies_elsewhere_gives_the_same(request, kind, tokens):
    sae = make(SaeConfig(d_in=12, latents=61, **KINDS[kind]))
    x = torch.randn(tokens, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    codes, expected = sae.encode(x), sae(x)
    (slope,) = torch.autograd.grad(expected.square().sum(), x)
    pre = sae.pre_activations(x[:, None])
    fetched = request.getfixturevalue("away")
    found, decoded = sae.encode(x), sae(x)
    torch.testing.assert_close(as_table(found, 61), as_table(codes, 61))
    torch.testing.assert_close(decoded, expected)
    torch.testing.assert_close(sae.pre_activations(x[:, None]), pre)
    (its_slope,) = torch.autograd.grad(decoded.square().sum(), x)
    torch.testing.assert_close(its_slope, slope, rtol=1e-5, atol=1e-3)
    # a block of the encoder, or of the decoder the rows of a few tokens
    assert max(fetched) <= max(240, 12 * codes.indices.shape[1]) < 12 * 61


def test_an_sae_goes_to_a_device_of_which_it_takes_at_most_half(monkeypatch):
    config = SaeConfig(d_in=12, latents=61, k=5)
    size = 4 * 2 * 12 * 61
    for room, where in ((2 * size, "meta"), (2 * size - 1, "cpu")):
        monkeypatch.setattr(whole, "device_bytes", lambda _, room=room: room)
        assert whole.placed(make(config), "meta").W_enc.device.type == where
        # of a tied one there is one matrix
        tied = make(SaeConfig(d_in=12, latents=61, k=5, tied=True))
        assert whole.placed(tied, "meta").W_dec.device.type == "meta"
