"""A site is the tensor it says it is."""

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import SITE_NAMES, Site, activations, edit, pad

ALL_SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(3)]


@torch.no_grad()
def by_hand(model, ids):
    """Every site of a GPT-NeoX model with the parallel residual, from the sub-modules' own arithmetic."""
    inner = model.gpt_neox
    x = inner.embed_in(ids)
    position_embeddings = inner.rotary_emb(x, torch.arange(ids.shape[1])[None])
    sites = {}
    for number, block in enumerate(inner.layers):
        attended = block.attention(
            block.input_layernorm(x),
            attention_mask=causal(ids.shape[1]),
            position_embeddings=position_embeddings,
        )[0]
        hidden = torch.nn.functional.gelu(block.mlp.dense_h_to_4h(block.post_attention_layernorm(x)))
        written = block.mlp.dense_4h_to_h(hidden)
        x = x + attended + written
        sites |= {
            Site("mlp.hidden", number): hidden[0],
            Site("mlp.out", number): written[0],
            Site("attn.out", number): attended[0],
            Site("resid", number): x[0],
        }
    return sites


def causal(length):
    return torch.full((length, length), float("-inf")).triu(1)[None, None]


def test_sites_equal_a_capture_by_hand(tiny_lm, tiny_tokens):
    batch = pad(tiny_tokens, np.array([5]))
    (streamed,) = activations(tiny_lm, [batch], ALL_SITES)
    expected = by_hand(tiny_lm.model, batch.ids)
    assert set(streamed.sites) == set(expected)
    for site, tensor in expected.items():
        torch.testing.assert_close(streamed.sites[site], tensor, atol=1e-4, rtol=1e-4, msg=str(site))


def test_widths_are_those_of_the_tensors(tiny_lm, tiny_tokens):
    (streamed,) = activations(tiny_lm, [pad(tiny_tokens, np.array([0, 1]))], ALL_SITES)
    for site, tensor in streamed.sites.items():
        assert tiny_lm.width(site) == tensor.shape[1] == (48 if site.name == "mlp.hidden" else 32)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_the_model_does_not_have_is_refused(tiny_lm, tiny_tokens, layer):
    wrong = Site("resid", layer)
    with pytest.raises(GlossaeError, match=rf"^layer: .* has the layers 0 to 2, and {layer} is not one"):
        tiny_lm.width(wrong)
    with pytest.raises(GlossaeError, match="^layer: "):
        next(activations(tiny_lm, [pad(tiny_tokens, np.array([0]))], [wrong]))
    with pytest.raises(GlossaeError, match="^layer: "), edit(tiny_lm, wrong, torch.clone):
        pass


def test_a_site_the_model_does_not_have_is_refused(tiny_lm, tiny_tokens):
    wrong = Site("mlp.hiden", 1)
    with pytest.raises(GlossaeError, match=r"^site: 'mlp.hiden' is not a site; there are mlp.hidden, "):
        tiny_lm.width(wrong)
    with pytest.raises(GlossaeError, match="^site: "):
        next(activations(tiny_lm, [pad(tiny_tokens, np.array([0]))], [wrong]))
    with pytest.raises(GlossaeError, match="^site: "), edit(tiny_lm, wrong, torch.clone):
        pass
