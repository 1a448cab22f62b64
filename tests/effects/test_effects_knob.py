"""A knob is one file, and a plain model under it does what it did under the edit."""

import copy
import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

import glossae
from effects_sae import LATENTS, SITE, D, random_sae
from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError
from glossae.lm import Site, edit, load
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Neurons

IDS = (30, 2)
LOW, HIGH = (0.25, -0.5), (2.0, 1.5)


def other_sae(activation):
    sae = Sae(
        SaeConfig(d_in=D, latents=LATENTS, activation=activation, k=6 if activation != "relu" else None)
    )
    generator = torch.Generator().manual_seed(4)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    if activation == "jumprelu":
        sae.threshold = torch.rand(LATENTS, generator=generator)
    elif activation == "batchtopk":
        sae.threshold = torch.tensor(0.7)
    return sae.requires_grad_(False)


def units_of(kind):
    if kind == "neuron":
        return Neurons(SITE, D, signed=True)
    if kind == "direction":
        generator = torch.Generator().manual_seed(5)
        names = [f"direction {i}" for i in range(31)]
        return Directions(names, torch.randn(31, D, generator=generator), torch.ones(31), site=SITE)
    return random_sae() if kind == "topk" else other_sae(kind)


KINDS = [
    (kind, operation)
    for kind in ("topk", "relu", "jumprelu", "batchtopk", "neuron", "direction")
    for operation in ("add", "set", "project_out")
]


def knob_of(lm, kind="topk", operation="add", *, dose=3.0, **options):
    family = UnitSet(f"{kind}_{operation}", units_of(kind), IDS, operation, LOW, HIGH)
    return Knob.of(lm, SITE, family, dose=dose, target="da", reference="en", **options)


@pytest.fixture
def ids(tiny_lm):
    return torch.tensor([[5, 9, 200, 17, 33], [4, 4, 100, 50, 60]])


@torch.no_grad()
def logits(model, ids):
    return model(ids, attention_mask=torch.ones_like(ids)).logits


def written(model, ids, *, max_new_tokens=10, **options):
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=0,
        **options,
    )


@pytest.mark.parametrize(("kind", "operation"), KINDS)
def test_what_is_read_does_what_was_written(tiny_lm, tiny_model, ids, tmp_path, kind, operation):
    made = knob_of(tiny_lm, kind, operation, whole=True)
    found = glossae.Knob.load(made.save(tmp_path / "knob.safetensors"))
    model = tiny_lm.model
    change = made.family.edit(3.0)
    with edit(tiny_lm, SITE, change.compile(made.family.units)):
        expected, text = logits(model, ids), written(model, ids)
    with found.on(model):
        torch.testing.assert_close(logits(model, ids), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(written(model, ids), text)
        assert torch.equal(written(model, ids, use_cache=False), text)
    raw = logits(model, ids)
    assert (raw - expected).abs().max() > 1e-2
    if operation == "add":
        with found.on(model, dose=0):
            torch.testing.assert_close(logits(model, ids), raw, rtol=1e-5, atol=1e-5)
    assert found.hash == made.hash
    assert (found.dose, found.site, found.names) == (3.0, SITE, made.names)
    # saved again it is the same file, and at another dose the same knob
    assert found.save(tmp_path / "again").read_bytes() == (tmp_path / "knob.safetensors").read_bytes()
    assert found.turned(-8).hash == made.hash
    with found.turned(1).on(model, dose=3):
        torch.testing.assert_close(logits(model, ids), expected, rtol=1e-5, atol=1e-5)


def test_the_header_says_what_it_is(tiny_lm, tmp_path):
    made = knob_of(tiny_lm, origin={"recipe": "demo"})
    made.save(tmp_path / "knob.safetensors")
    with safe_open(tmp_path / "knob.safetensors", framework="pt") as file:
        said = json.loads(file.metadata()["glossae_knob"])
    assert said["units"] == list(IDS)
    assert said["names"] == ["latent 30", "latent 2"]
    assert (said["site"], said["layer"], said["width"]) == (SITE.name, SITE.layer, D)
    assert (said["operation"], said["positions"], said["dose"]) == ("add", "all", 3.0)
    assert (said["target"], said["reference"], said["whence"]) == ("da", "en", {"recipe": "demo"})
    assert said["glossae"] == glossae.__version__
    assert len(said["hash"]) == 64
    # where the model lay is not in it
    assert said["model"] == "tiny"
    assert "/" not in json.dumps(said)


def test_a_knob_of_the_former_name_is_read(tiny_lm, tmp_path):
    made = knob_of(tiny_lm)
    path = made.save(tmp_path / "knob.safetensors")
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["glossae_knob"])
    said["sprog"] = said.pop("glossae")
    # which had no hash of its header
    del said["header"]
    save_file(load_file(path), path, metadata={"sprog_knob": json.dumps(said)})
    assert Knob.load(path).hash == made.hash


def test_added_latents_take_their_directions_only(tiny_lm, tmp_path):
    knob_of(tiny_lm).save(tmp_path / "knob.safetensors")
    tensors = load_file(tmp_path / "knob.safetensors")
    assert tensors["directions"].shape == (2, D)
    assert set(tensors) == {"directions", "offsets", "low", "high", "weights"}
    assert (tmp_path / "knob.safetensors").stat().st_size < 8000


def test_setting_top_k_latents_takes_the_whole_encoder_and_has_to_be_asked_for(tiny_lm):
    with pytest.raises(
        GlossaeError, match=r"knob: 'set' on latents of a top-k .* needs its whole encoder, 0 MB"
    ):
        knob_of(tiny_lm, "topk", "set")
    assert knob_of(tiny_lm, "topk", "set", whole=True)._tensors["W_enc"].shape == (LATENTS, D)
    # latents above a threshold take their own rows
    assert knob_of(tiny_lm, "jumprelu", "set")._tensors["W_enc"].shape == (2, D)


def test_a_knob_of_a_chat_turns_the_reply_only(tiny_lm, ids, tmp_path):
    before = (7, 8, 9)
    chat = dataclasses.replace(tiny_lm, chat=before)
    knob = Knob.load(knob_of(chat, dose=5.0).save(tmp_path / "knob"))
    assert knob.chat == before
    assert knob.hash != knob_of(tiny_lm, dose=5.0).hash
    model = tiny_lm.model
    with knob.on(model):
        turned = logits(model, ids)
    still = logits(model, ids)
    assert torch.equal(turned[:, :3], still[:, :3])
    assert not torch.allclose(turned[:, 3:], still[:, 3:])
    # all that `generate` is given stands before the reply: the first new token is the model's own
    with knob.on(model):
        several, first = written(model, ids, max_new_tokens=8), written(model, ids, max_new_tokens=1)
    assert torch.equal(first, written(model, ids, max_new_tokens=1))
    assert not torch.equal(several, written(model, ids, max_new_tokens=8))


def test_nothing_is_left_behind(tiny_lm, ids, count_hooks):
    hooks, raw = count_hooks(tiny_lm.model), logits(tiny_lm.model, ids)
    knob = knob_of(tiny_lm)
    with pytest.raises(ZeroDivisionError), knob.on(tiny_lm.model):
        _ = 1 / 0
    assert count_hooks(tiny_lm.model) == hooks
    assert torch.equal(logits(tiny_lm.model, ids), raw)


def test_directions_are_added_or_projected_to(tiny_lm, ids, tmp_path):
    knob = Knob.load(knob_of(tiny_lm, "direction", "add").save(tmp_path / "knob"))
    projecting = knob.with_operation("project_out")
    with projecting.on(tiny_lm.model):
        found = logits(tiny_lm.model, ids)
    with knob_of(tiny_lm, "direction", "project_out").on(tiny_lm.model):
        torch.testing.assert_close(logits(tiny_lm.model, ids), found, rtol=1e-4, atol=1e-4)
    assert knob.with_operation("add") is knob
    assert knob.with_operation("set").family.operation == "project_out"
    assert Knob.load(projecting.save(tmp_path / "again")).family.operation == "project_out"
    with pytest.raises(GlossaeError, match="knob: latents saved for add cannot set"):
        knob_of(tiny_lm).with_operation("set")


@pytest.fixture(scope="module")
def others(tmp_path_factory, make_model_folder):
    """Models that differ from the knob's own, by what differs."""
    folder = tmp_path_factory.mktemp("others")
    changes = {
        "wider": {"intermediate_size": 64},
        "shorter": {"num_hidden_layers": 1},
        "deeper": {"num_hidden_layers": 4, "initializer_range": 0.1},
    }
    return {name: load(str(make_model_folder(folder / name, **change))) for name, change in changes.items()}


REFUSED = {
    "wider": r"knob: it is for a site of 48 values \(mlp.hidden of layer 1 of tiny\), and that of wider has 64",
    "shorter": r"knob: it is for mlp.hidden of layer 1 of tiny, and shorter has no such site: it has the layers 0 to 0",
    "deeper": r"knob: it is of tiny, and deeper has other weights; any_model \(--any-model\) turns it all the same",
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_model_is_refused_by_name_unless_somebody_insists(tiny_lm, others, ids, name):
    with pytest.raises(GlossaeError, match=REFUSED[name]), knob_of(tiny_lm).on(others[name].model):
        pass
    model = others["deeper"].model
    raw = logits(model, ids)
    with knob_of(tiny_lm).on(model, any_model=True):
        assert not torch.allclose(logits(model, ids), raw)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_same_model_in_half_precision_is_the_same(tiny_lm, tiny_model, ids, dtype):
    lm = load(str(tiny_model), dtype=dtype)
    with knob_of(tiny_lm).on(lm.model):
        assert logits(lm.model, ids).dtype == dtype


class Int8(nn.Module):
    """A linear layer of whole numbers, as bitsandbytes' are."""

    def __init__(self, linear):
        super().__init__()
        self.scale = linear.weight.data.abs().amax(1, keepdim=True) / 127
        rounded = (linear.weight.data / self.scale).round().to(torch.int8)
        self.weight, self.bias = nn.Parameter(rounded, requires_grad=False), linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


class Packed(nn.Module):
    """A linear layer whose weight is unpacked by a method, as torch's own quantized ones are."""

    def __init__(self, linear):
        super().__init__()
        self._scale, self.bias = linear.weight.data.abs().amax(1, keepdim=True) / 127, linear.bias
        self._rounded = (linear.weight.data / self._scale).round().to(torch.int8)

    def weight(self):
        return self._rounded * self._scale

    def forward(self, x):
        return nn.functional.linear(x, self.weight(), self.bias)


@pytest.mark.parametrize("kind", [Int8, Packed])
def test_a_quantized_model_is_refused_by_name_or_turned_in_batches_with_pads(tiny_lm, tiny_model, kind):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for block in model.gpt_neox.layers:
        for parent, name in ((block.attention, "query_key_value"), (block.attention, "dense"),
                             (block.mlp, "dense_h_to_4h"), (block.mlp, "dense_4h_to_h")):  # fmt: skip
            setattr(parent, name, kind(getattr(parent, name)))
    knob = knob_of(tiny_lm, "neuron", "add", dose=20.0)
    with (
        pytest.raises(GlossaeError, match="knob: the weights of .* are quantized, so that they"),
        knob.on(model),
    ):
        pass
    rows = [[5, 9, 200, 17, 33], [100, 50]]
    batch = torch.tensor([[0] * (5 - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (5 - len(row)) + [1] * len(row) for row in rows])
    how = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    raw = model.generate(batch, attention_mask=mask, **how)
    with knob.on(model, any_model=True):
        turned = model.generate(batch, attention_mask=mask, **how)
        alone = [
            written(model, torch.tensor([row]), max_new_tokens=6, min_new_tokens=6)[0, -6:] for row in rows
        ]
    assert not torch.equal(turned, raw)
    assert turned[:, -6:].tolist() == [row.tolist() for row in alone]


def test_a_model_in_training_is_refused(tiny_lm):
    model = copy.deepcopy(tiny_lm.model).train()
    with (
        pytest.raises(GlossaeError, match=r"tiny is in training mode; call model.eval\(\)"),
        knob_of(tiny_lm).on(model),
    ):
        pass


def test_units_of_another_width_are_refused(tiny_lm):
    family = UnitSet("x", Neurons(Site("resid", 1), 32), (0,), "add", (0.0,), (1.0,))
    with pytest.raises(
        GlossaeError, match="knob: the units are of a site of 32 values, and mlp.hidden of layer 1 has 48"
    ):
        Knob.of(tiny_lm, SITE, family, dose=1.0, target="da", reference="en")


def changed(path, **changes):
    """The file with some of what its header says replaced; None takes it away."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["glossae_knob"])
    said = {key: value for key, value in (said | changes).items() if value is not None or key not in changes}
    save_file(tensors, path, metadata={"glossae_knob": json.dumps(said)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "is a knob of format 2, and this glossae reads 1"),
        ({"site": None}, "is a broken knob: 'site'"),
        ({"hash": None}, "is a broken knob: 'hash'"),
        ({"operation": "mul"}, "is a broken knob: .*'mul'"),
        ({"layer": 0}, "is a broken knob: its hash is not that of what it holds"),
        ({"units": [1, 2, 3]}, "is a broken knob: there are not as many directions as units"),
        ({"positions": "some"}, "is a broken knob"),
        ({"dose": float("inf")}, "is a broken knob: knob: dose: inf is not a finite number"),
        ({"dose": float("nan")}, "is a broken knob: knob: dose: nan is not a finite number"),
        ({"dose": True}, "is a broken knob: dose: true is not a number"),
        ({"dose": "4"}, 'is a broken knob: dose: "4" is not a number'),
        ({"dose": 10**400}, "is a broken knob: int too large"),
        ({"dose": 1e41}, "is a broken knob: knob: dose: 1e.41 is too large"),
        ({"dose": 5.0}, "is a broken knob: its hash is not that of what it holds"),
    ],
)
def test_a_header_that_was_changed_is_refused(tiny_lm, tmp_path, change, words):
    path = knob_of(tiny_lm).save(tmp_path / "knob")
    changed(path, **change)
    with pytest.raises(GlossaeError, match=f"knob: {words}") as refused:
        Knob.load(path)
    assert "\n" not in str(refused.value)


def test_only_a_knob_is_replaced(tiny_lm, tmp_path):
    made, file = knob_of(tiny_lm), tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(3)}, file)
    (tmp_path / "README.md").write_text("# Mine")
    before = file.read_bytes()
    for save, name in ((lambda: made.save(file), "model.safetensors: exists and is no knob"),
                       (lambda: made.save(tmp_path), "exists and is no knob"),
                       (lambda: made.save_pretrained(tmp_path), "README.md: exists and is no card")):  # fmt: skip
        with pytest.raises(GlossaeError, match=name):
            save()
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.safetensors"]
    for _ in range(2):
        made.save_pretrained(tmp_path / "own")
    assert Knob.from_pretrained(tmp_path / "own").hash == made.hash


def test_what_is_no_knob_is_refused(tiny_lm, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(GlossaeError, match="file: there is no such file"):
        Knob.load(path)
    path.write_bytes(b"no")
    with pytest.raises(GlossaeError, match="file: cannot be read as safetensors"):
        Knob.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(GlossaeError, match="file: is no knob of glossae"):
        Knob.load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"glossae_knob": 100_000 * "["})
    with pytest.raises(GlossaeError, match="file: cannot be read as safetensors"):
        Knob.load(path)


@pytest.mark.parametrize("operation", ["add", "set", "project_out"])
def test_a_dose_that_no_model_can_compute_with_is_refused(tiny_lm, ids, operation):
    knob = knob_of(tiny_lm, "neuron", operation)
    for dose, words in (
        (9e14, "it writes values up to"),
        (-1e41, "1e.15 is the most"),
        (1e308, "1e.15 is the most"),
    ):
        with pytest.raises(GlossaeError, match=f"knob: dose: .* is too large: {words}"):
            knob.turned(dose)
        with pytest.raises(GlossaeError, match="is too large"), knob.on(tiny_lm, dose=dose):
            pass
    for dose in (float("inf"), float("nan")):
        with pytest.raises(GlossaeError, match="knob: dose: (inf|nan) is not a finite number"):
            knob.turned(dose)
    # what is allowed is computed
    with knob.turned(1e14).on(tiny_lm.model):
        assert logits(tiny_lm.model, ids).isfinite().all()
    half = copy.deepcopy(tiny_lm.model).half()
    with (
        pytest.raises(GlossaeError, match=r"6.55e\+04 is the most that a model in float16"),
        knob.on(half, dose=1e6),
    ):
        pass


def test_a_tensor_that_was_changed_is_refused(tiny_lm, tmp_path):
    path = knob_of(tiny_lm).save(tmp_path / "knob")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["directions"][0, 0] += 1
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(GlossaeError, match="its hash is not that"):
        Knob.load(path)
    del tensors["offsets"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(GlossaeError, match="is a broken knob: 'offsets'"):
        Knob.load(path)
