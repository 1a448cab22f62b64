"""An SAE comes back from its folder as it went in, or not at all."""

import json

import pytest
import torch
from other_libraries import refusal
from safetensors.torch import load_file, save_file

from glossae.errors import GlossaeError
from glossae.results import SpliceLoss
from glossae.sae import Quality, Sae, SaeConfig, UnsoundWarning
from recorded import change_sae, header_of, write_sae

CONFIG = SaeConfig(d_in=6, latents=10, k=3, relu=False, model="tiny", site="resid", layer=2)
QUALITY = Quality(
    fvu={"da": 1 / 3, "en": 0.2},
    fvu_within={"da": 0.4, "en": 0.3},
    fvu_normalised={"da": 0.5, "en": 0.1},
    l0=3.0,
    dead_fraction=0.1,
    top_direction=0.2,
    top_tokens=0.03,
    tokens=1234,
    ce={
        code: SpliceLoss(**dict(zip(SpliceLoss.model_fields, losses, strict=True)))
        for code, losses in {
            "da": (4.0, 4.1, 9.0, 0.98, 64, 900, 0.01),
            "en": (3.0, 3.1, 3.0, None, 1, 9, None),
        }.items()
    },
    judged=("da",),
)


def make(config=CONFIG):
    generator = torch.Generator().manual_seed(0)
    sae = Sae(config).requires_grad_(False)
    for tensor in sae.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return sae


def in_two_files(folder):
    """The files of an earlier version: the tensors alone, and beside them what the header says now."""
    path = folder / "sae.safetensors"
    said, tensors = header_of(path), load_file(path)
    save_file(tensors, path)
    (folder / "cfg.json").write_text(json.dumps(said | {"sha256": None}))


@pytest.fixture
def folder(tmp_path):
    """Where one was saved."""
    make().save(tmp_path / "sae")
    return tmp_path / "sae"


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        (CONFIG, ["W_dec", "W_enc", "b_dec", "b_enc"]),
        (SaeConfig(d_in=6, latents=10, activation="relu", tied=True), ["W_enc", "b_dec", "b_enc"]),
        (SaeConfig(d_in=6, latents=10, activation="relu"), ["W_dec", "W_enc", "b_dec", "b_enc"]),
        (
            SaeConfig(d_in=6, latents=10, k=2, activation="batchtopk", matryoshka=(4, 10)),
            ["W_dec", "W_enc", "b_dec", "b_enc", "threshold"],
        ),
        (
            SaeConfig(d_in=6, latents=10, activation="jumprelu", pre_encoder_bias=False),
            ["W_dec", "W_enc", "b_dec", "b_enc", "threshold"],
        ),
    ],
)
def test_it_comes_back_as_it_went_in(tmp_path, config, tensors):
    sae = make(config)
    sae.save(tmp_path / "a")
    loaded, x = Sae.load(tmp_path / "a"), torch.randn(4, 6)
    assert loaded.config == config
    assert torch.equal(loaded(x), sae(x))
    assert (loaded.W_dec is loaded.W_enc) == config.tied
    # one that was not measured says nothing
    assert (loaded.quality, loaded.trained_on, loaded.unsound) == (None, "", ())
    assert not {"quality", "trained_on"} & set(header_of(tmp_path / "a" / "sae.safetensors"))
    # latent-major, in one file, of the same bytes every time
    stored = load_file(tmp_path / "a" / "sae.safetensors")
    assert sorted(stored) == tensors
    assert stored["W_enc"].shape == (10, 6)
    loaded.save(tmp_path / "b")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in "ab")
    assert set(first) == {"sae.safetensors"}
    assert first == second


def test_measured_fidelity_and_text_are_kept(tmp_path):
    sae = make()
    sae.quality, sae.trained_on = QUALITY, "56,000 tokens of da and en from talks.tsv"
    sae.save(tmp_path)
    loaded = Sae.load(tmp_path)
    assert (loaded.quality, loaded.trained_on, loaded.unsound) == (QUALITY, sae.trained_on, ())
    assert header_of(tmp_path / "sae.safetensors")["quality"]["unsound"] == []


def test_loading_an_unsound_one_warns_once(tmp_path):
    sae = make()
    sae.quality = QUALITY.model_copy(update={"dead_fraction": 0.95})
    sae.save(tmp_path)
    with pytest.warns(UnsoundWarning) as caught:
        loaded = Sae.load(tmp_path)
    (finding,) = loaded.unsound
    assert finding.startswith("95 % of the latents are dead")
    assert [str(warning.message) for warning in caught] == [f"{tmp_path}: {finding}"]
    assert header_of(tmp_path / "sae.safetensors")["quality"]["unsound"] == [finding]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fvu": {"da": "low"}}, 'quality.fvu.da is "low"; it should be a number'),
        ({"fvu": [0.1]}, "quality.fvu is [0.1]; it should be an object"),
        ({"l0": ...}, "the key 'quality.l0' is missing"),
        ({"ce": {"da": {"raw": 1.0}}}, "the key 'quality.ce.da.spliced' is missing"),
        ({"judged": [1]}, "quality.judged is [1]; it should be a list of texts"),
        ({"mse": 1.0}, "the key 'quality.mse' is not known"),
    ],
)
def test_a_fidelity_that_is_none(tmp_path, changes, message):
    sae = make()
    sae.quality = QUALITY
    sae.save(tmp_path)
    change_sae(tmp_path / "sae.safetensors", "quality", **changes)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("name", ["cfg.json", "sae.safetensors"])
def test_files_that_are_missing_or_none(folder, name):
    in_two_files(folder)
    path = folder / name
    whole, words = path.read_bytes(), name if name == "cfg.json" else "sae.safetensors"
    pickled = folder.parent / "pickle"
    torch.save(make().state_dict(), pickled)
    broken = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"d_in": 6}', b"garbage" * 100, whole[:-8]]
    for content in (*broken, pickled.read_bytes()):
        path.write_bytes(content)
        assert words in refusal(folder)
    path.unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "of format 2"),
        ({"normalise": "layer"}, "the key 'normalise' is not known"),
        ({"d_in": ...}, "the key 'd_in' is missing"),
        ({"d_in": 7}, "should be (10, 7) and is (10, 6)"),
        ({"d_in": "6"}, 'd_in is "6"; it should be a number'),
        ({"d_in": 10**12}, "W_enc should be (10, 1000000000000) and is (10, 6)"),
        ({"latents": 2.5}, "latents is 2.5; it should be a whole number of at least 1"),
        ({"relu": 1}, "relu is 1; it should be true or false"),
        ({"layer": -1}, "layer is -1"),
        ({"site": ["resid"]}, 'site is ["resid"]; it should be a text'),
        ({"matryoshka": [1, "x"]}, 'matryoshka is [1, "x"]; it should be a list of whole numbers'),
        ({"k": 0}, "sae.k: has to be between 1 and the 10 latents, got 0"),
        ({"activation": "softmax"}, "sae.activation: 'softmax' is not known"),
    ],
)
def test_an_impossible_config(folder, changes, message):
    change_sae(folder / "sae.safetensors", **changes)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("b_dec", None, "b_dec should be (6,) and is missing"),
        ("threshold", torch.zeros(10), "holds a tensor 'threshold'"),
        ("b_dec", torch.full((6,), torch.nan), "b_dec holds values that are not finite"),
        ("b_dec", torch.full((6,), torch.inf), "b_dec holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit(folder, name, tensor, message):
    path = folder / "sae.safetensors"
    tensors = load_file(path) | {name: tensor}
    write_sae(path, header_of(path), {name: tensor for name, tensor in tensors.items() if tensor is not None})
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({"k": k}, f"^sae.k: has to be between 1 and the 10 latents, got {k}$") for k in (0, -1, 11)),
        ({"k": 3, "activation": "softmax"}, "^sae.activation: 'softmax' is not known"),
        ({"k": 3, "matryoshka": (4, 9)}, "^sae.matryoshka: sizes have to rise and end at the 10 latents"),
    ],
)
def test_an_impossible_kind(settings, message):
    with pytest.raises(GlossaeError, match=message):
        SaeConfig(d_in=6, latents=10, **settings)


# ---- one file, whole or not at all


def test_the_two_files_of_an_earlier_version_are_read_and_replaced_by_one(folder):
    in_two_files(folder)
    sae, x = Sae.load(folder), torch.randn(4, 6)
    assert torch.equal(sae(x), make()(x))
    sae.save(folder)
    assert [path.name for path in folder.iterdir()] == ["sae.safetensors"]
    assert torch.equal(Sae.load(folder)(x), make()(x))


def test_a_flipped_bit_anywhere_is_refused(folder):
    path = folder / "sae.safetensors"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert "sae.safetensors" in refusal(folder) or "cfg.json" in refusal(folder)
    path.write_bytes(whole)
    Sae.load(folder)


@pytest.mark.parametrize("content", [b"mine", "another library's"])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path, content):
    path = tmp_path / "sae.safetensors"
    if isinstance(content, str):
        save_file({"encoder.weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(GlossaeError, match=r"sae\.safetensors: exists and is no autoencoder of glossae"):
        make().save(tmp_path)
    assert path.read_bytes() == before


def test_save_pretrained_replaces_its_own_files_only(tmp_path):
    sae = make(SaeConfig(d_in=6, latents=10, k=3, model="tiny", site="resid", layer=2))
    for _ in range(2):
        sae.save_pretrained(tmp_path / "own")
    assert torch.equal(Sae.from_pretrained(tmp_path / "own").W_enc, sae.W_enc)
    for name in ("README.md", "blocks.2.hook_resid_post/cfg.json"):
        path = tmp_path / name.replace("/", "-") / name
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        with pytest.raises(GlossaeError, match="is no card of glossae|which glossae did not write"):
            sae.save_pretrained(tmp_path / name.replace("/", "-"))
        assert path.read_text() == "{}"
        assert sum(each.is_file() for each in (tmp_path / name.replace("/", "-")).rglob("*")) == 1
