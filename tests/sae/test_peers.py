"""The other libraries themselves read what glossae exports, and glossae what they write, to the same numbers.

`make test-peers` runs these, in an environment of its own: SAELens brings TransformerLens, and dictionary_learning
an old nnsight, which nobody should need for glossae.
"""

import importlib
import json
import warnings

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.sae import Sae, SaeConfig, to_sae_lens, to_sparsify

# what they warn of is theirs to mend
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

D_IN, LATENTS, K = 16, 48, 6


def library(name):
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip(name, exc_type=ImportError)


@pytest.fixture(scope="module")
def lens():
    return library("sae_lens")


@pytest.fixture(scope="module")
def sparsify(monkeypatch_module):
    monkeypatch_module.setenv("SPARSIFY_DISABLE_TRITON", "1")
    return library("sparsify")


@pytest.fixture(scope="module")
def dictionary_learning():
    return library("dictionary_learning")


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def x():
    return 2 * torch.randn(3, 9, D_IN, generator=torch.Generator().manual_seed(3))


def randomise(module, seed=0):
    """Weights of all signs and lengths; thresholds that leave some latents."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in ("k", "group_sizes"):
                continue
            tensor.copy_(torch.randn(tensor.shape, generator=generator).to(tensor.dtype))
            if "threshold" in name:
                tensor.abs_().add_(0.5)
    return module.requires_grad_(False)


def make(**changes):
    settings = {
        "d_in": D_IN,
        "latents": LATENTS,
        "k": K,
        "model": "EleutherAI/pythia-70m",
        "site": "resid",
        "layer": 3,
    }
    return randomise(Sae(SaeConfig(**(settings | changes))))


def dense(sae, x):
    codes = sae.encode(x)
    return torch.zeros(*x.shape[:-1], sae.config.latents).scatter_add_(-1, codes.indices, codes.values)


def same(sae, x, codes, out):
    """To 1e-5 of the largest value."""
    assert (codes > 0).any()
    assert (codes == 0).any()
    for ours, theirs in ((dense(sae, x), codes), (sae(x), out)):
        assert float((ours - theirs).abs().max()) <= 1e-5 * max(1.0, float(theirs.abs().max()))


# ---- SAELens


@pytest.mark.parametrize("pre_encoder_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ["topk", "relu", "jumprelu", "batchtopk"])
def test_sae_lens_reads_ours(lens, tmp_path, x, activation, tied, pre_encoder_bias):
    sae = make(activation=activation, tied=tied, pre_encoder_bias=pre_encoder_bias)
    to_sae_lens(sae, tmp_path / "out")
    theirs = lens.SAE.load_from_disk(tmp_path / "out")
    same(sae, x, theirs.encode(x), theirs(x))
    assert theirs.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    assert theirs.cfg.metadata.model_name == "EleutherAI/pythia-70m"


@pytest.mark.parametrize("activation", ["topk", "relu", "jumprelu", "batchtopk"])
def test_sae_lens_reads_what_is_pushed(lens, tmp_path, x, monkeypatch, activation):
    sae = make(activation=activation, model="EleutherAI/pythia-70m@0123456789abcdef")
    # what `push_to_hub` and `glossae push` put into the repository
    sae.save_pretrained(tmp_path)
    loaders = importlib.import_module("sae_lens.loading.pretrained_sae_loaders")

    def fetched(repo_id, filename, **_):
        assert repo_id == "me/danish"
        if not (tmp_path / filename).is_file():
            raise importlib.import_module("huggingface_hub.errors").EntryNotFoundError(filename)
        return str(tmp_path / filename)

    monkeypatch.setattr(loaders, "hf_hub_download", fetched)
    theirs = lens.SAE.from_pretrained("me/danish", "blocks.3.hook_resid_post")
    same(sae, x, theirs.encode(x), theirs(x))
    assert theirs.cfg.metadata.model_name == "EleutherAI/pythia-70m"
    assert theirs.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    # and glossae gets back what it wrote, also what SAELens has no word for
    assert Sae.from_pretrained(tmp_path).config == sae.config


def training(lens, architecture, **settings):
    """One of SAELens' autoencoders in training, with random weights."""
    sae_class, config_class = importlib.import_module("sae_lens.registry").get_sae_training_class(
        architecture
    )
    if architecture in ("topk", "batchtopk", "matryoshka_batchtopk"):
        settings["k"] = K
    if architecture == "matryoshka_batchtopk":
        settings["matryoshka_widths"] = [12, LATENTS]
    metadata = importlib.import_module("sae_lens.saes.sae").SAEMetadata(hook_name="blocks.3.hook_resid_post")
    return randomise(sae_class(config_class(d_in=D_IN, d_sae=LATENTS, metadata=metadata, **settings)))


TRAINED = [
    ("standard", {}),
    ("jumprelu", {}),
    ("jumprelu", {"apply_b_dec_to_input": False}),
    ("topk", {"rescale_acts_by_decoder_norm": True}),
    ("topk", {"rescale_acts_by_decoder_norm": False}),
    ("batchtopk", {"rescale_acts_by_decoder_norm": True}),
    ("batchtopk", {"rescale_acts_by_decoder_norm": False}),
    ("matryoshka_batchtopk", {"rescale_acts_by_decoder_norm": True}),
]


@pytest.mark.parametrize(("architecture", "settings"), TRAINED)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_we_read_sae_lens(lens, tmp_path, x, architecture, settings, scale):
    # a checkpoint on the way, then what SAELens itself makes of it at the end
    theirs = training(
        lens,
        architecture,
        normalize_activations="none" if scale is None else "expected_average_only_in",
        **settings,
    )
    theirs.save_model(tmp_path / "checkpoint")
    scaler = importlib.import_module("sae_lens.training.activation_scaler").ActivationScaler(
        scaling_factor=scale
    )
    scaler.save(str(tmp_path / "checkpoint" / "activation_scaler.json"))
    if scale is not None:
        theirs.fold_activation_norm_scaling_factor(scale)
    theirs.save_inference_model(tmp_path / "final")
    final = lens.SAE.load_from_disk(tmp_path / "final")
    for folder in ("checkpoint", "final"):
        sae = Sae.load(tmp_path / folder)
        same(sae, x, final.encode(x), final(x))
        assert (sae.config.site, sae.config.layer) == ("resid", 3)


def test_we_read_sae_lens_before_version_6(lens, tmp_path, x):
    sae = make(pre_encoder_bias=False)
    to_sae_lens(sae, tmp_path / "out")
    path = tmp_path / "out" / "cfg.json"
    config = json.loads(path.read_text())
    del config["metadata"], config["architecture"], config["k"], config["reshape_activations"]
    config |= {
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "hook_name": "blocks.3.hook_mlp_out",
    }
    config |= {"hook_layer": 3, "normalize_activations": False, "finetuning_scaling_factor": False}
    path.write_text(json.dumps(config))
    (tmp_path / "out" / "glossae.json").unlink()
    theirs = lens.SAE.load_from_disk(tmp_path / "out")
    back = Sae.load(tmp_path / "out")
    same(back, x, theirs.encode(x), theirs(x))
    assert back.config.site == "mlp.out"


@pytest.mark.parametrize("architecture", ["gated", "matching_pursuit"])
def test_what_we_do_not_read_of_sae_lens(lens, tmp_path, architecture):
    training(lens, architecture).save_inference_model(tmp_path)
    with pytest.raises(GlossaeError, match=f'architecture is "{architecture}"'):
        Sae.load(tmp_path)


def test_gemma_scope_as_sae_lens_reads_it(lens, tmp_path, x, monkeypatch):
    loaders = importlib.import_module("sae_lens.loading.pretrained_sae_loaders")
    repository, folder = "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"
    place = tmp_path / repository / folder
    place.mkdir(parents=True)
    generator = np.random.default_rng(0)
    shapes = {
        "W_enc": (D_IN, LATENTS),
        "W_dec": (LATENTS, D_IN),
        "b_enc": LATENTS,
        "b_dec": D_IN,
        "threshold": LATENTS,
    }
    np.savez(
        place / "params.npz", **{n: generator.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    )
    monkeypatch.setattr(loaders, "hf_hub_download", lambda **_: str(place / "params.npz"))
    config, state, _ = loaders.gemma_2_sae_huggingface_loader(repository, folder)
    config = loaders.handle_config_defaulting(config | {"d_in": D_IN, "d_sae": LATENTS})
    theirs = lens.SAE.from_dict(config)
    theirs.load_state_dict(state)
    sae = Sae.load(place)
    same(sae, x, theirs.encode(x), theirs(x))
    assert (sae.config.model, sae.config.site, sae.config.layer) == ("google/gemma-2-2b", "resid", 20)


# ---- sparsify


def their_codes(sparsify_sae, x):
    top = sparsify_sae.encode(x)
    return torch.zeros(len(x), LATENTS).scatter_(-1, top.top_indices, top.top_acts)


@pytest.mark.parametrize("pre_encoder_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_sparsify_reads_ours(sparsify, tmp_path, x, tied, pre_encoder_bias):
    sae, x = make(tied=tied, pre_encoder_bias=pre_encoder_bias), x.flatten(0, 1)
    to_sparsify(sae, tmp_path, "layers.3")
    theirs = sparsify.SparseCoder.load_many(str(tmp_path), local=True)["layers.3"].requires_grad_(False)
    same(sae, x, their_codes(theirs, x), theirs(x).sae_out)


@pytest.mark.parametrize("settings", [{"num_latents": LATENTS}, {"expansion_factor": LATENTS // D_IN}])
@pytest.mark.parametrize("normalised", [True, False])
def test_we_read_sparsify(sparsify, tmp_path, x, settings, normalised):
    config = sparsify.SparseCoderConfig(k=K, normalize_decoder=normalised, **settings)
    theirs, x = randomise(sparsify.SparseCoder(D_IN, config)), x.flatten(0, 1)
    theirs.save_to_disk(tmp_path / "layers.3.mlp")
    sae = Sae.load(tmp_path / "layers.3.mlp")
    same(sae, x, their_codes(theirs, x), theirs(x).sae_out)
    assert (sae.config.site, sae.config.layer) == ("mlp.out", 3)


@pytest.mark.parametrize("key", ["transcode", "skip_connection"])
def test_what_we_do_not_read_of_sparsify(sparsify, tmp_path, key):
    config = sparsify.SparseCoderConfig(k=K, num_latents=LATENTS, **{key: True})
    sparsify.SparseCoder(D_IN, config).save_to_disk(tmp_path)
    with pytest.raises(GlossaeError, match=f"{key} is true"):
        Sae.load(tmp_path)


# ---- dictionary_learning


# each with its trainer, whose config is what lies beside the file
TRAINERS = [
    ("standard", "StandardTrainer", {}),
    ("standard", "StandardTrainerAprilUpdate", {}),
    ("p_anneal", "PAnnealTrainer", {}),
    ("top_k", "TopKTrainer", {"k": K}),
    ("batch_top_k", "BatchTopKTrainer", {"k": K}),
    ("matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer", {"k": K, "group_fractions": [0.25, 0.75]}),
    ("jumprelu", "JumpReluTrainer", {}),
]


def trainer(module, name, **settings):
    trainer_class = getattr(importlib.import_module(f"dictionary_learning.trainers.{module}"), name)
    common = {"activation_dim": D_IN, "dict_size": LATENTS, "layer": 8, "lm_name": "EleutherAI/pythia-70m"}
    schedule = {"steps": 10, "warmup_steps": 1, "sparsity_warmup_steps": 1, "device": "cpu"}
    wanted = trainer_class.__init__.__code__.co_varnames
    schedule |= {"submodule_name": "resid_post_layer_8", "seed": 0}
    return trainer_class(
        **common, **{key: value for key, value in schedule.items() if key in wanted}, **settings
    )


def saved(one, folder):
    """The files that their training leaves."""
    torch.save(one.ae.state_dict(), folder / "ae.pt")
    buffer = {"d_submodule": D_IN, "io": "out", "n_ctxs": 4, "ctx_len": 8, "refresh_batch_size": 2}
    config = {"trainer": one.config, "buffer": buffer | {"out_batch_size": 2, "device": "cpu"}}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(("module", "name", "settings"), TRAINERS)
def test_we_read_dictionary_learning(dictionary_learning, tmp_path, x, module, name, settings):
    one, x = trainer(module, name, **settings), x.flatten(0, 1)
    randomise(one.ae)
    saved(one, tmp_path)
    sae = Sae.load(tmp_path)
    same(sae, x, one.ae.encode(x), one.ae(x))
    assert (sae.config.model, sae.config.site, sae.config.layer) == ("EleutherAI/pythia-70m", "resid", 8)


def test_we_read_their_class_without_a_pre_encoder_bias(dictionary_learning, tmp_path, x):
    dictionary = importlib.import_module("dictionary_learning.dictionary")
    theirs = randomise(dictionary.AutoEncoderNew(D_IN, LATENTS))
    torch.save(theirs.state_dict(), tmp_path / "ae.pt")
    same(Sae.load(tmp_path), x, theirs.encode(x), theirs(x))


@pytest.mark.parametrize(
    ("module", "name", "settings", "message"),
    [
        ("gdm", "GatedSAETrainer", {}, "no gate"),
        ("batch_top_k", "BatchTopKTrainer", {"k": K}, "threshold is -1, so it was never set"),
    ],
)
def test_what_we_do_not_read_of_dictionary_learning(
    dictionary_learning, tmp_path, module, name, settings, message
):
    saved(trainer(module, name, **settings), tmp_path)
    with pytest.raises(GlossaeError, match=message):
        Sae.load(tmp_path)
