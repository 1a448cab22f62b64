"""Dashboards agree with values read sentence by sentence; logit effects with the model's own logits."""

import dataclasses

import numpy as np
import pytest
import torch

from features_sae import SITE, random_sae, site_by_hand
from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import Site, load, logit_effects, tokenize
from glossae.units import (
    Directions,
    Latents,
    Neurons,
    look_at_units,
    nearest_units,
    token_counts,
    unit_logits,
)
from glossae.units.dashboards import BEST, SAME, SIDE, own_language

WIDTH = 48


@pytest.fixture(scope="module")
def families():
    """Latents that fire often, seldom and never; neurons; directions."""
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(3, WIDTH, generator=generator)
    directions = Directions(("a", "b", "c"), vectors, torch.zeros(3), site=SITE)
    return [
        (Latents(random_sae()), [17, 3, 25, 39]),
        (Neurons(SITE, WIDTH), [0, 7]),
        (directions, [1]),
        (Directions(("z",), vectors[:1], torch.zeros(1)), []),
    ]


@pytest.fixture(scope="module")
def seen(tiny_lm, families, tiny_tokens):
    return look_at_units(tiny_lm, SITE, families, tiny_tokens, budget=150)


@pytest.fixture(scope="module")
def by_hand(tiny_lm, families, tiny_tokens):
    """By kind, the values of the units at every sentence's tokens."""
    return [
        [
            units.read(site_by_hand(tiny_lm, ids), chosen).double().numpy()
            if chosen
            else np.zeros((len(ids), 0))
            for ids in tiny_tokens.ids
        ]
        for units, chosen in families
    ]


def cases(families, seen, by_hand, tokens):
    """Each unit with its kind, its values by sentence, and the sentences of each language."""
    rows = {
        code: [n for n, s in enumerate(tokens.corpus.sentences) if s.language == code]
        for code in tokens.corpus.languages
    }
    for (units, chosen), found, values in zip(families, seen, by_hand, strict=True):
        for column, _ in enumerate(chosen):
            yield units.kind, found[column], [own[:, column] for own in values], rows


def test_density_is_that_of_every_token(families, seen, by_hand, tiny_tokens):
    for kind, unit, values, rows in cases(families, seen, by_hand, tiny_tokens):
        every = np.concatenate(values)
        if kind != "latent":
            assert 0 < (every >= unit.threshold).mean() <= 0.01
            # one bin lower would be too many
            assert (every >= unit.threshold - np.abs(every).max() / 500).mean() > 0.01
        for code, numbers in rows.items():
            own, density = np.concatenate([values[n] for n in numbers]), unit.density[code]
            fires = own > 0 if kind == "latent" else own >= unit.threshold
            assert (density.tokens, density.sentences) == (len(own), len(numbers))
            assert density.rate == pytest.approx(fires.mean(), abs=1e-9)
            assert density.mean == pytest.approx(own.mean(), rel=1e-3, abs=1e-6)
            assert density.largest == pytest.approx(own.max(), rel=1e-3)
            if fires.any():
                assert density.mean_active == pytest.approx(own[fires].mean(), rel=1e-3)
            else:
                assert density.mean_active is None
            counted = own[own > 0] if kind == "latent" else own
            assert sum(unit.histogram.counts[code]) == len(counted)
            if unit.histogram.edges:
                # an edge is written with six digits
                expected = np.histogram(counted, bins=unit.histogram.edges)[0]
                assert np.abs(expected - unit.histogram.counts[code]).sum() <= 2


def test_contexts_are_the_largest_and_no_near_duplicates(families, seen, by_hand, tiny_tokens):
    for kind, unit, values, rows in cases(families, seen, by_hand, tiny_tokens):
        for code, numbers in rows.items():
            contexts = unit.contexts[code]
            peaks = np.array([values[n].max() for n in numbers])
            assert len(contexts) <= BEST
            shown = [context.values[context.peak] for context in contexts]
            assert shown == sorted(shown, reverse=True)
            if kind == "latent":
                assert all(value > 0 for value in shown)
            if shown:
                assert shown[0] == pytest.approx(peaks.max(), rel=1e-3)
            for place, context in enumerate(contexts):
                assert context.language == code
                assert context.values[context.peak] == max(context.values)
                words = set(context.ids)
                for other in contexts[:place]:
                    assert len(words & set(other.ids)) <= SAME * len(words | set(other.ids))
                own = [n for n in numbers if tiny_tokens.ids[n].tolist() == context.ids]
                assert own or any(context.cut)
                for n in own:
                    assert context.values == pytest.approx(values[n], rel=1e-3, abs=1e-5)
                    assert "".join(context.tokens) == tiny_tokens.corpus.sentences[n].text


def test_intervals_are_equal_and_cover_every_sentence(families, seen, by_hand, tiny_tokens):
    for _, unit, values, _ in cases(families, seen, by_hand, tiny_tokens):
        peaks = np.array([own.max() for own in values])
        if not (peaks > 0).any():
            assert unit.intervals == []
            continue
        edges = np.linspace(0, peaks.max(), 6)
        assert [each.high for each in unit.intervals] == pytest.approx(edges[1:].tolist(), rel=1e-3)
        assert sum(each.sentences for each in unit.intervals) == (peaks > 0).sum()
        for each in unit.intervals:
            assert len(each.contexts) == min(3, each.sentences)
            for context in each.contexts:
                assert each.low * 0.999 <= context.values[context.peak] <= each.high * 1.001


def test_silent_sentences_have_no_firing_token(families, seen, by_hand, tiny_tokens):
    for kind, unit, values, _ in cases(families, seen, by_hand, tiny_tokens):
        peaks = np.array([own.max() for own in values])
        silent = peaks <= 0 if kind == "latent" else peaks < unit.threshold
        assert len(unit.silent) == min(15, silent.sum())
        for context in unit.silent:
            largest = context.values[context.peak]
            assert largest == 0 if kind == "latent" else largest < unit.threshold


def test_a_seed_gives_the_same_and_another_seed_other_draws(tiny_lm, families, seen, tiny_tokens):
    again, other = (
        look_at_units(tiny_lm, SITE, families, tiny_tokens, budget=150, seed=seed) for seed in (0, 1)
    )
    assert again == seen
    alike = [dataclasses.replace(unit, intervals=[], silent=[]) for kind in other for unit in kind]
    assert alike == [dataclasses.replace(unit, intervals=[], silent=[]) for kind in seen for unit in kind]
    assert other != seen


def test_a_window_leaves_the_rest_of_a_long_sentence(tiny_lm, families):
    """Also with tokens before each text, and with characters of several tokens."""
    text = "Han så det 😀 " + "en blå cykel og æblet " * 4
    lm = dataclasses.replace(tiny_lm, bos=True)
    corpus = Corpus.of([Sentence(text, "da", "1", "a"), Sentence("He saw it 😀 again", "en", "2", "a")])
    tokens = tokenize(lm, corpus, max_tokens=60, prefix=lm.prefix)
    (latents, neurons, _, _) = look_at_units(lm, SITE, families, tokens)
    for unit in (*latents, *neurons):
        for context in (context for contexts in unit.contexts.values() for context in contexts):
            assert len(context.tokens) == len(context.values) == len(context.ids)
            assert len(context.ids) <= 2 * SIDE + 5
            assert "".join(context.tokens) in text + corpus.sentences[1].text
            whole = tokens.ids[0 if context.language == "da" else 1][1:].tolist()
            assert context.cut == (context.ids[0] != whole[0], context.ids[-1] != whole[-1])


def test_nearest_units_have_the_largest_cosine(families):
    latents = families[0][0]
    rows = latents.sae.W_dec.double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    for unit, near in zip((3, 8), nearest_units(latents, (3, 8)), strict=True):
        cosine = (rows @ rows[unit]).tolist()
        expected = sorted((n for n in range(len(rows)) if n != unit), key=lambda n: -cosine[n])[:5]
        assert [each.unit for each in near] == expected
        assert [each.cosine for each in near] == pytest.approx([cosine[n] for n in expected], abs=1e-3)
    assert nearest_units(families[1][0], (0, 1)) == [[], []]
    assert [each.label for each in nearest_units(families[2][0], (1,))[0]] != ["b"]


@pytest.mark.parametrize("site", ["resid", "mlp.out", "attn.out", "mlp.hidden"])
def test_logit_effects_are_the_change_of_the_logits_at_the_last_block(tiny_lm, site):
    """To first order: the final norm divides by the size of the state, which a small step hardly changes."""
    last = Site(site, tiny_lm.layers - 1)
    width, model = tiny_lm.width(last), tiny_lm.model
    direction = torch.randn(width, generator=torch.Generator().manual_seed(1))
    state = torch.randn(1, 32, generator=torch.Generator().manual_seed(2))
    added = direction @ tiny_lm.blocks[-1].mlp.dense_4h_to_h.weight.T if site == "mlp.hidden" else direction
    centred = added - added.mean()
    # at a right angle to the state, so that its size stays
    unit = (state - state.mean())[0]
    centred = centred - (centred @ unit) / (unit @ unit) * unit
    norm, head = model.gpt_neox.final_layer_norm, model.get_output_embeddings()
    with torch.no_grad():
        change = (head(norm(state + 1e-3 * centred)) - head(norm(state - 1e-3 * centred)))[0]
    turned = centred if site != "mlp.hidden" else None
    if turned is None:
        # only the whole of it can be asked for
        expected = (norm.weight * (added - added.mean())) @ head.weight.T
    else:
        expected, direction = change, turned
    (effect,) = logit_effects(tiny_lm, last, direction[None].detach())
    expected = expected.detach()[: len(effect)]
    expected = expected - expected.mean()
    assert effect.mean() == pytest.approx(0, abs=1e-6)
    assert torch.cosine_similarity(effect, expected, dim=0) > 0.9999


def test_a_model_that_reads_its_state_otherwise_has_no_logit_effects(tiny_model, tiny_tokens):
    lm = load(str(tiny_model))
    other = torch.nn.Linear(32, 320, bias=False).requires_grad_(False)
    lm.model.get_output_embeddings = lambda: other
    with pytest.raises(GlossaeError, match="not an unembedding"):
        logit_effects(lm, Site("resid", 1), torch.ones(1, 32))
    counts = token_counts(tiny_tokens, 320)
    assert "not an unembedding" in unit_logits(lm, Site("resid", 1), torch.ones(1, 32), counts, ["da", "en"])


def test_a_token_is_of_the_language_that_has_it_twice_as_often():
    counts = np.array([[8, 2, 0, 5, 0], [2, 4, 0, 9, 1]])
    # shares: 8/15 against 2/16; 2/15 against 4/16; nowhere; 5/15 against 9/16; only in the second
    assert own_language(counts).tolist() == [0, -1, -1, -1, 1]
    assert own_language(counts[:1]).tolist() == [0, 0, -1, 0, -1]


def test_raised_tokens_and_their_languages(tiny_lm, tiny_tokens):
    counts = token_counts(tiny_tokens, len(tiny_lm.tokenizer))
    assert counts.sum() == tiny_tokens.lengths.sum()
    site = Site("resid", 1)
    direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
    (found,) = unit_logits(tiny_lm, site, direction, counts, ("da", "en"))
    effect = logit_effects(tiny_lm, site, direction)[0].numpy()
    order = np.argsort(-effect, kind="stable")
    assert [each.id for each in found.raised] == order[:10].tolist()
    assert [each.id for each in found.lowered] == order[::-1][:10].tolist()
    assert sum(found.counts) == len(effect)
    own = own_language(counts)[order[:100]]
    assert found.languages == {"da": (own == 0).mean(), "en": (own == 1).mean()}
    assert found.of == 100
