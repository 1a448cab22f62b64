"""A family that the table lacks: the refusal says how to name its sites, and what it says can be done."""

import re

import pytest
import torch
import transformers

from glossae.errors import GlossaeError
from glossae.lm import SITE_NAMES, Architecture, Place, Site, activations, edit, load, pad

SETTINGS = {
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "Falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "StableLm": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    # experts have no one output projection
    "Mixtral": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_local_experts": 2,
    },
}


@pytest.fixture
def make(tiny_tokenizer, tmp_path):
    """A function that saves a random model of a family without known sites."""

    def make(family):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=320, initializer_range=0.2, bos_token_id=0, eos_token_id=0, **SETTINGS[family]
        )
        getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(tmp_path)
        tiny_tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return make


def refusal(folder, **options):
    with pytest.raises(GlossaeError) as caught:
        load(str(folder), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def suggested(message):
    """The architecture that a refusal suggests, as it would be pasted."""
    return eval(re.search(r"architecture=(Architecture\(.*\))\), if", message)[1])


def test_the_refusal_names_the_family_and_its_modules(make):
    message = refusal(make("Bloom"))
    assert message.startswith(
        "model: no sites are known for the architecture 'bloom' (known: gpt_neox, gpt2, "
    )
    assert "transformer.h (x2: self_attention.query_key_value (32 to 96), " in message
    assert "mlp.dense_4h_to_h (128 to 32)" in message
    assert suggested(message) == Architecture(
        "transformer.h",
        {
            "mlp.hidden": Place("mlp.dense_4h_to_h", "input"),
            "mlp.out": Place("mlp.dense_4h_to_h", "output"),
            "attn.out": Place("self_attention.dense", "output"),
            "resid": Place("", "output"),
        },
    )


@pytest.mark.parametrize("family", ["Bloom", "Falcon", "StableLm"])
def test_what_it_suggests_works(make, random_tokens, family):
    folder = make(family)
    lm = load(str(folder), architecture=suggested(refusal(folder)))
    batch = pad(random_tokens([9]), torch.tensor([0]).numpy())
    sites = [Site(name, 1) for name in SITE_NAMES]
    before = Site("resid", 0)
    (streamed,) = activations(lm, [batch], [*sites, before])
    _, mlp, attn, resid = (streamed.sites[site] for site in sites)
    # they are what each adds to the residual stream
    torch.testing.assert_close(resid, streamed.sites[before] + attn + mlp, atol=1e-4, rtol=1e-4)
    with edit(lm, sites[0], torch.zeros_like):
        (edited,) = activations(lm, [batch], sites)
    assert not torch.allclose(edited.sites[sites[-1]], resid)


def test_a_family_without_positions_has_no_longest_text(make):
    folder = make("Bloom")
    lm = load(str(folder), architecture=suggested(refusal(folder)))
    assert lm.max_positions > 10**9


def test_experts_have_no_one_projection_to_suggest(make):
    folder = make("Mixtral")
    known = suggested(refusal(folder))
    assert set(known.places) == {"attn.out", "resid"}
    lm = load(str(folder), architecture=known)
    assert lm.widths == {"attn.out": 32, "resid": 32}
    with pytest.raises(GlossaeError, match=r"^site: 'mlp.out' is not a site; there are attn.out, resid"):
        lm.tap(Site("mlp.out", 0))


def test_a_flattened_place_is_refused_unless_it_is_said_to_be(make):
    folder = make("Mixtral")
    # the router is handed its tokens without rows
    places = {"resid": Place("", "output"), "mlp.hidden": Place("mlp.gate", "input")}
    assert "should carry (1, 5, d) but carries (5, 32)" in refusal(
        folder, architecture=Architecture("model.layers", places)
    )
    places["mlp.hidden"] = Place("mlp.gate", "input", flat=True)
    lm = load(str(folder), architecture=Architecture("model.layers", places))
    assert lm.widths == {"resid": 32, "mlp.hidden": 32}
