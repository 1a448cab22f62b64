"""In every family: error-preserving edits with unchanged values leave the model what it is, however it is run."""

import numpy as np
import pytest
import torch

from glossae.effects import Edit
from glossae.lm import SITE_NAMES, Site, edits, load, pad, sentence_losses
from glossae.lm import SiteEdit as At
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Latents, Neurons, changed
from tiny_families import FAMILIES, write_family

LENGTHS = [3, 17, 9]
IDS = (0, 5, 11)


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request, tmp_path_factory, tiny_tokenizer):
    """A random model of each family, in which no token ends a text."""
    model = load(str(write_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)))
    model.model.generation_config.eos_token_id = None
    return model


@pytest.fixture(scope="module")
def tokens(random_tokens):
    return random_tokens(LENGTHS)


def units_at(lm, site):
    """Latents that fire everywhere, neurons and directions."""
    d = lm.width(site)
    generator = torch.Generator().manual_seed(0)
    sae = Sae(SaeConfig(d_in=d, latents=12, k=8)).requires_grad_(False)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    vectors = torch.randn(12, d, generator=generator)
    return Latents(sae), Neurons(site, d), Directions(list("abcdefghijkl"), vectors, torch.ones(12))


def unchanged(units):
    """The edits that give every unit the value that it has."""
    yield Edit("scale", IDS, (1.0,) * 3).compile(units)
    yield Edit("add", IDS, (0.0,) * 3).compile(units)
    yield lambda x: changed(units, x, IDS, units.read(x, IDS))


def at_every_site(lm, pick):
    """An edit at each site of the middle layer, of another kind of units each."""
    return [
        At(Site(name, 1), [*unchanged(units_at(lm, Site(name, 1))[(pick + i) % 3])][(pick + i) % 3])
        for i, name in enumerate(SITE_NAMES)
    ]


@torch.no_grad()
def logits(lm, ids, mask=None, **options):
    mask = None if mask is None else mask.long()
    return lm.model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits


def left_padded(tokens):
    longest = max(map(len, tokens.ids))
    ids = np.stack([np.pad(row, (longest - len(row), 0)) for row in tokens.ids])
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in tokens.ids])
    return torch.from_numpy(ids), torch.from_numpy(mask)


@pytest.mark.parametrize("pick", range(3))
def test_no_logit_and_no_loss_changes(lm, tokens, pick):
    right, (ids, mask) = pad(tokens, np.arange(len(tokens))), left_padded(tokens)
    positions = (mask.cumsum(1) - 1).clip(min=0)

    def passes():
        return [
            logits(lm, right.ids, right.mask)[right.mask],
            logits(lm, ids, mask, position_ids=positions)[mask],
            logits(lm, right.ids[1:2])[0],
        ]

    plain, losses = passes(), sentence_losses(lm, tokens)
    with edits(lm, at_every_site(lm, pick)):
        for found, expected in zip(passes(), plain, strict=True):
            assert (found - expected).abs().max() <= 1e-4
        per_token = np.abs(sentence_losses(lm, tokens) - losses) / tokens.predicted
        assert per_token.max() <= 1e-5
    # and they are edits: other values change the logits
    latents = units_at(lm, Site("resid", 1))[0]
    with edits(lm, [At(Site("resid", 1), Edit("scale", IDS, (0.0,) * 3).compile(latents))]):
        assert (passes()[0] - plain[0]).abs().max() > 1e-3


@pytest.mark.parametrize("use_cache", [True, False])
def test_nor_does_what_is_generated(lm, tokens, use_cache):
    ids, mask = left_padded(tokens)

    def generate():
        return lm.model.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=3,
            do_sample=False,
            pad_token_id=0,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )

    plain = generate()
    for pick in range(3):
        with edits(lm, at_every_site(lm, pick)):
            found = generate()
        assert torch.equal(found.sequences, plain.sequences)
        for one, other in zip(found.logits, plain.logits, strict=True):
            assert (one - other).abs().max() <= 1e-4
