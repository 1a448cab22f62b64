"""The gradient at a site is what finite differences of the loss say it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.lm import (
    SITE_NAMES,
    Site,
    activations,
    batches,
    edit,
    gradients,
    load,
    sentence_losses,
    tokenize,
)
from glossae.text import Corpus, Sentence
from tiny_families import FAMILIES, write_family


def double(folder):
    """A model in float64, so that differences can be taken."""
    lm = load(str(folder))
    lm.model.double()
    return lm


def exact_losses(lm, tokens):
    """The summed loss of each sentence, alone and in float64."""
    losses = []
    for ids in tokens.ids:
        ids = torch.from_numpy(ids)
        with torch.no_grad():
            logits = lm.model(ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0, :-1]
        losses.append(float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")))
    return np.array(losses)


def slopes(lm, site, tokens, direction, step=1e-5):
    """How fast each sentence's loss rises if `direction` is added to the site at all its tokens."""
    with edit(lm, site, lambda x: x + step * direction):
        above = exact_losses(lm, tokens)
    with edit(lm, site, lambda x: x - step * direction):
        below = exact_losses(lm, tokens)
    return (above - below) / (2 * step)


def summed(lm, site, tokens, direction, **settings):
    """The same from the gradients."""
    found = np.zeros(len(tokens))
    for part in gradients(lm, tokens, site, **settings):
        np.add.at(found, part.sentence.numpy(), (part.gradient @ direction).numpy())
    return found


@pytest.fixture(scope="module")
def lm(tiny_model):
    return double(tiny_model)


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    return tiny_tokens.take([0, 7, 20, 31, 50])


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("name", SITE_NAMES)
def test_gradients_are_finite_differences(lm, tokens, name, layer):
    site = Site(name, layer)
    direction = torch.randn(lm.width(site), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = slopes(lm, site, tokens, direction)
    assert np.abs(expected).min() > 1e-4
    # the loss itself is computed in float32
    np.testing.assert_allclose(summed(lm, site, tokens, direction), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_in_every_family(family, tmp_path, tiny_tokenizer, tokens):
    lm = double(write_family(tmp_path / "model", family, tiny_tokenizer))
    few = tokens.take([0, 3])
    for name in SITE_NAMES:
        site = Site(name, 1)
        direction = torch.randn(lm.width(site), generator=torch.Generator().manual_seed(1)).double()
        found = summed(lm, site, few, direction)
        # some norms work in float32 whatever the model's precision, and small steps drown in that; large ones cross
        # the kinks of a ReLU
        errors = [
            np.abs(found - slopes(lm, site, few, direction, step=step)).max() for step in (1e-5, 1e-3, 5e-3)
        ]
        assert min(errors) < 5e-3 * max(1.0, np.abs(found).max())
        assert np.abs(found).max() > 0.05


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=8), st.integers(1, 200))
def test_batches_of_any_size_give_the_same(tiny_lm, random_tokens, lengths, budget):
    tokens, site = random_tokens(lengths), Site("resid", 1)
    direction = torch.linspace(-1, 1, 32)
    one = summed(tiny_lm, site, tokens, direction)
    other = summed(tiny_lm, site, tokens, direction, budget=budget)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_all_that_stands_there_comes_along(tiny_lm, tiny_tokens):
    site = Site("mlp.hidden", 1)
    seen = list(gradients(tiny_lm, tiny_tokens, site, budget=200))
    plain = list(activations(tiny_lm, batches(tiny_tokens, 200), [site]))
    assert len(seen) == len(plain) > 3
    losses = sentence_losses(tiny_lm, tiny_tokens)
    for part, other in zip(seen, plain, strict=True):
        torch.testing.assert_close(part.x, other.sites[site], atol=1e-5, rtol=1e-5)
        assert torch.equal(part.sentence, other.sentence)
        assert torch.equal(part.position, other.position)
        np.testing.assert_allclose(part.losses, losses[part.batch.index], rtol=1e-4)
        assert not part.x.requires_grad
        assert not part.gradient.requires_grad
        assert not part.losses.requires_grad


def test_the_last_token_acts_on_nothing(tiny_lm, tiny_tokens):
    for part in gradients(tiny_lm, tiny_tokens, Site("resid", 0), budget=300):
        last = part.position == torch.from_numpy(tiny_tokens.lengths)[part.sentence] - 1
        assert int(last.sum()) == len(part.batch.index)
        assert not part.gradient[last].any()
        assert part.gradient[~last].any(1).all()


def test_a_bos_is_no_text(tiny_lm, tiny_corpus):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    (part,) = gradients(tiny_lm, tokens.take([0]), Site("resid", 1))
    assert len(part.x) == len(part.gradient) == int(tokens.lengths[0])
    assert part.position.min() == 1


def test_gradients_of_an_edited_model(lm, tokens):
    site, direction = Site("resid", 2), torch.linspace(-1, 1, 32).double()
    plain = summed(lm, site, tokens, direction)
    with edit(lm, Site("resid", 0), lambda x: x * torch.linspace(0, 2, 32).double()):
        edited = summed(lm, site, tokens, direction)
        expected = slopes(lm, site, tokens, direction)
    np.testing.assert_allclose(edited, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(edited - plain).max() > 1e-3


def test_nothing_is_left_behind(tiny_lm, tiny_tokens, count_hooks):
    # transformers may have left some of its own
    hooks = count_hooks(tiny_lm.model)
    stream = gradients(tiny_lm, tiny_tokens, Site("resid", 1), budget=100)
    with torch.no_grad():
        next(stream)
    stream.close()
    assert count_hooks(tiny_lm.model) == hooks
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny_lm.model.parameters())


def test_a_site_that_is_not_there_is_refused(tiny_lm):
    tokens = tokenize(tiny_lm, Corpus.of([Sentence("Hej med dig", "da", "1", "")]))
    with pytest.raises(GlossaeError, match=r"^layer: .* has the layers 0 to 2, and 3 is not one of them$"):
        next(gradients(tiny_lm, tokens, Site("resid", 3)))
