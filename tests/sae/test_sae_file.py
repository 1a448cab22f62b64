"""An autoencoder comes back from its folder as it went in, or not at all."""

import dataclasses
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from glossae.errors import GlossaeError
from glossae.sae import Quality, Sae, SaeConfig, SpliceLoss, UnsoundWarning

CONFIG = SaeConfig(d_in=6, latents=10, k=3, relu=False, model="tiny", site="resid", layer=2)


@pytest.fixture
def sae():
    torch.manual_seed(0)
    sae = Sae(CONFIG)
    for parameter in sae.parameters():
        torch.nn.init.normal_(parameter)
    return sae


@pytest.fixture
def folder(sae, tmp_path):
    """Where it was saved."""
    sae.save(tmp_path / "sae")
    return tmp_path / "sae"


def refusal(folder):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    return message


def change_config(folder, **changes):
    path = folder / "cfg.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))


def test_it_comes_back_as_it_went_in(sae, folder):
    loaded = Sae.load(folder)
    assert loaded.config == CONFIG
    for name, tensor in sae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    x = torch.randn(4, 6)
    assert torch.equal(loaded(x), sae(x))


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
        "da": SpliceLoss(4.0, 4.1, 9.0, 0.98, 64, 900, 0.01),
        "en": SpliceLoss(3.0, 3.1, 3.0, None, 1, 9, None),
    },
    judged=("da",),
)


def test_measured_fidelity_and_text_are_kept(sae, tmp_path):
    sae.quality, sae.trained_on = QUALITY, "56,000 tokens of da and en from talks.tsv"
    sae.save(tmp_path)
    loaded = Sae.load(tmp_path)
    assert (loaded.quality, loaded.trained_on, loaded.unsound) == (QUALITY, sae.trained_on, ())
    assert json.loads((tmp_path / "cfg.json").read_text())["quality"]["unsound"] == []


def test_one_that_was_not_measured_says_nothing(folder):
    loaded = Sae.load(folder)
    assert (loaded.quality, loaded.trained_on, loaded.unsound) == (None, "", ())
    assert not {"quality", "trained_on"} & set(json.loads((folder / "cfg.json").read_text()))


def test_loading_an_unsound_one_warns_once(sae, tmp_path):
    sae.quality = dataclasses.replace(QUALITY, dead_fraction=0.95)
    sae.save(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = Sae.load(tmp_path)
    (finding,) = loaded.unsound
    assert finding.startswith("95 % of the latents are dead")
    (warning,) = caught
    assert warning.category is UnsoundWarning
    assert str(warning.message) == f"{tmp_path}: {finding}"
    assert json.loads((tmp_path / "cfg.json").read_text())["quality"]["unsound"] == [finding]


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
def test_a_fidelity_that_is_none(sae, tmp_path, changes, message):
    sae.quality = QUALITY
    sae.save(tmp_path)
    path = tmp_path / "cfg.json"
    settings = json.loads(path.read_text())
    changed = settings["quality"] | changes
    settings["quality"] = {key: value for key, value in changed.items() if value is not ...}
    path.write_text(json.dumps(settings))
    assert message in refusal(tmp_path)


def test_a_folder_holds_two_files_and_no_others(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae.safetensors"]


def test_saving_twice_gives_the_same_bytes(sae, folder, tmp_path):
    sae.save(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_matrices_are_latent_major(folder):
    tensors = load_file(folder / "sae.safetensors")
    assert tensors["W_enc"].shape == tensors["W_dec"].shape == (10, 6)


def test_a_folder_that_does_not_exist(tmp_path):
    assert "there is no such file or folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize("name", ["cfg.json", "sae.safetensors"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"d_in": 6}'])
def test_a_config_that_is_none(folder, content):
    (folder / "cfg.json").write_bytes(content)
    assert "cfg.json" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x80\x02}q\x00."])
def test_weights_that_are_no_safetensors(folder, content):
    (folder / "sae.safetensors").write_bytes(content)
    assert "cannot be read as safetensors" in refusal(folder)


def test_weights_that_are_a_pickle(sae, folder):
    torch.save(sae.state_dict(), folder / "sae.safetensors")
    assert "cannot be read as safetensors" in refusal(folder)


def test_truncated_weights(folder):
    path = folder / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert "cannot be read as safetensors" in refusal(folder)


def test_an_unknown_key(folder):
    change_config(folder, normalise="layer")
    assert "the key 'normalise' is not known" in refusal(folder)


def test_a_missing_key(folder):
    change_config(folder, d_in=...)
    assert "d_in" in refusal(folder)


def test_another_format(folder):
    change_config(folder, format=1)
    assert "of format 2" in refusal(folder)


def test_a_shape_that_does_not_fit_the_config(folder):
    change_config(folder, d_in=7)
    assert "should be (10, 7) and is (10, 6)" in refusal(folder)


def test_a_missing_tensor(folder):
    path = folder / "sae.safetensors"
    tensors = load_file(path)
    del tensors["b_dec"]
    save_file(tensors, path)
    assert "b_dec should be (6,) and is missing" in refusal(folder)


def test_an_extra_tensor(folder):
    path = folder / "sae.safetensors"
    save_file(load_file(path) | {"threshold": torch.zeros(10)}, path)
    assert "holds a tensor 'threshold'" in refusal(folder)


def test_a_tied_one_has_one_matrix(tmp_path):
    sae = Sae(SaeConfig(d_in=6, latents=10, activation="relu", tied=True))
    torch.nn.init.normal_(sae.W_enc)
    sae.save(tmp_path)
    assert sorted(load_file(tmp_path / "sae.safetensors")) == ["W_enc", "b_dec", "b_enc"]
    loaded = Sae.load(tmp_path)
    assert loaded.W_dec is loaded.W_enc
    assert torch.equal(loaded.W_enc, sae.W_enc)


@pytest.mark.parametrize(
    "config",
    [
        SaeConfig(d_in=6, latents=10, k=2, activation="batchtopk", matryoshka=(4, 10)),
        SaeConfig(d_in=6, latents=10, activation="jumprelu", pre_encoder_bias=False),
        SaeConfig(d_in=6, latents=10, activation="relu"),
    ],
)
def test_every_activation_comes_back(config, tmp_path):
    sae = Sae(config)
    for tensor in sae.state_dict().values():
        tensor.copy_(torch.rand_like(tensor))
    sae.save(tmp_path)
    loaded = Sae.load(tmp_path)
    assert loaded.config == config
    x = torch.randn(5, 6)
    assert torch.equal(loaded(x), sae(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
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
    change_config(folder, **changes)
    assert message in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite(folder, value):
    path = folder / "sae.safetensors"
    tensors = load_file(path)
    tensors["b_dec"][2] = value
    save_file(tensors, path)
    assert "b_dec holds values that are not finite" in refusal(folder)


@pytest.mark.parametrize("k", [0, -1, 11])
def test_an_impossible_k(k):
    with pytest.raises(GlossaeError, match=rf"^sae.k: has to be between 1 and the 10 latents, got {k}$"):
        SaeConfig(d_in=6, latents=10, k=k)


def test_an_unknown_activation():
    with pytest.raises(GlossaeError, match="^sae.activation: 'softmax' is not known"):
        SaeConfig(d_in=6, latents=10, k=3, activation="softmax")


@pytest.mark.parametrize("k", [1, 10])
def test_the_extremes_of_k(k):
    codes = Sae(SaeConfig(d_in=6, latents=10, k=k)).encode(torch.randn(4, 6))
    assert codes.values.shape == codes.indices.shape == (4, k)
