"""Controls: drawn sets are like the selected one; what hurts one language only is found, what does nothing is not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import SITE, D, random_sae
from glossae.corpora import Corpus
from glossae.effects import (
    Edit,
    Rises,
    compare_with_draws,
    compare_with_one,
    compile_edits,
    matched_sets,
    measure_rises,
    profiles,
    random_direction_edits,
    smoothed_rate,
)
from glossae.effects.controls import rank
from glossae.errors import GlossaeError
from glossae.lm import edit, gradients, sentence_losses, tokenize
from glossae.units import Directions, Latents, Neurons, activation_samples, random_directions

DRAWS = 39


@pytest.fixture(scope="module")
def tokens(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, Corpus.of(tiny_corpus.sentences[:24]))


@pytest.fixture(scope="module")
def sae():
    return random_sae()


@pytest.fixture(scope="module")
def random_null(tiny_lm, tokens):
    """Random directions, projected to the English mean."""
    x, languages = activation_samples(tiny_lm, SITE, tokens)
    mean = x[torch.from_numpy(languages == "en")].mean(0).double()
    units = random_directions(DRAWS, D, seed=4)
    edits = [Edit.project_to(units, (number,), mean) for number in range(DRAWS)]
    return measure_rises(tiny_lm, SITE, tokens, compile_edits(edits, units), "da", "en")


def test_rises_are_those_of_every_edit_by_itself(tiny_lm, tokens, sae):
    edits = [Edit("zero", (2, 7)), Edit("set", (2,), (3.0,))]
    rises = measure_rises(tiny_lm, SITE, tokens, compile_edits(edits, sae), "da", "en")
    codes = np.array([s.language for s in tokens.corpus.sentences])
    before = sentence_losses(tiny_lm, tokens)
    for number, change in enumerate(edits):
        with edit(tiny_lm, SITE, change.compile(sae)):
            after = sentence_losses(tiny_lm, tokens)
        for code, found in (("da", rises.target), ("en", rises.reference)):
            own = codes == code
            expected = (after - before)[own].sum() / tokens.predicted_bytes[own].sum()
            assert found[number] == pytest.approx(expected, abs=1e-5)


def test_an_edit_that_hurts_the_target_only_beats_every_draw(tiny_lm, tokens, random_null):
    """Planted: Danish tokens, wherever they are told from English ones, go where the loss rises."""
    codes = np.array([s.language for s in tokens.corpus.sentences])
    uphill = {
        key(row): step
        for part in gradients(tiny_lm, tokens, SITE)
        for row, step, sentence in zip(part.x, part.gradient, part.sentence.tolist(), strict=True)
        if codes[sentence] == "da"
    }

    def hurt(x):
        return torch.stack([row + 2 * uphill.get(key(row), torch.zeros(D)) for row in x])

    observed = measure_rises(tiny_lm, SITE, tokens, [hurt], "da", "en")
    assert observed.target[0] > 5 * abs(observed.reference[0])
    rows = compare_with_draws("planted", Edit("zero"), observed, "random directions", random_null)
    assert [row.rank for row in rows] == [1, 1]
    assert [row.statistic for row in rows] == ["target", "target - reference"]
    assert all(row.draws == DRAWS and row.observed > row.null_p95 > row.null_mean for row in rows)


def key(row):
    return tuple(row.numpy().round(3).tolist())


def test_an_edit_that_does_nothing_does_not(tiny_lm, tokens):
    """Against draws that all hurt."""
    fns = [lambda x, number=number: x * (2 + number) for number in range(9)]
    null = measure_rises(tiny_lm, SITE, tokens, fns, "da", "en")
    nothing = measure_rises(tiny_lm, SITE, tokens, [lambda x: x], "da", "en")
    assert nothing.target[0] == pytest.approx(0, abs=1e-6)
    plain, _ = compare_with_draws("nothing", Edit("none"), nothing, "scaled", null)
    assert (null.target > 1e-4).all()
    assert plain.rank == len(fns) + 1


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(-1, 1))
def test_a_rank_counts_the_draws_that_are_as_large(null, observed):
    found = rank(observed, np.array(null))
    assert found == 1 + sum(value >= observed for value in null)
    assert 1 <= found <= len(null) + 1


def test_ranks_are_uniform_where_the_set_is_one_more_draw():
    generator = np.random.default_rng(0)
    found = [rank(row[0], row[1:]) for row in generator.normal(size=(4000, 20))]
    for place in (1, 5, 10):
        assert np.mean(np.array(found) <= place) == pytest.approx(place / 20, abs=0.03)


def test_another_set_is_a_row_without_a_p():
    one, other = Rises(np.array([0.5]), np.array([0.1])), Rises(np.array([0.2]), np.array([0.3]))
    rows = compare_with_one("da", Edit("set", (1,), (2.0,), value=2.0), one, "best neuron", "mean", other)
    assert [(row.observed, row.null_mean) for row in rows] == [(0.5, 0.2), (0.4, pytest.approx(-0.1))]
    assert {(row.draws, row.rank, row.null_p95, row.control_edit, row.value) for row in rows} == {
        (1, None, None, "mean", 2.0)
    }


def test_the_nearest_is_the_language_that_loses_most_beside_the_target(tiny_lm, tokens, sae):
    sentences = [
        s._replace(language="sv") if s.language == "da" and number % 4 == 0 else s
        for number, s in enumerate(tokens.corpus.sentences)
    ]
    three = tokenize(tiny_lm, Corpus.of(sentences))
    fns = compile_edits([Edit("zero", (2, 7)), Edit("set", (2,), (3.0,))], sae)
    rises = measure_rises(tiny_lm, SITE, three, fns, "da", "en")
    swedish = measure_rises(tiny_lm, SITE, three, fns, "sv", "en").target
    np.testing.assert_allclose(rises.nearest, np.maximum(rises.reference, swedish))
    assert list(rises.statistics()) == ["target", "target - reference", "target - nearest"]
    assert measure_rises(tiny_lm, SITE, tokens, fns, "da", "en").nearest is None


def test_every_token_is_moved_as_far_as_by_the_edit_itself_whatever_the_units(sae):
    """Of latents whose rows nearly agree, of a coordinate, and of a direction projected out."""
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.randn(200, D, generator=generator), torch.linspace(-1, 1, D)
    alike = random_sae()
    alike.W_dec.data[:4] = alike.W_dec[0] + 0.01 * torch.randn(4, D, generator=generator)
    direction = Directions(["some"], 3 * torch.randn(1, D, generator=generator), torch.ones(1))
    for change, units in (
        (Edit("set", (0, 1, 2, 3), (4.0,) * 4), alike),
        (Edit("mean", (7,), (0.25,)), Neurons(SITE, D)),
        (Edit.project_to(direction, (0,), mean), direction),
        (Edit("zero", (2, 7)), Latents(sae)),
    ):
        own = change.compile(units)(x) - x
        drawn = [fn(x) - x for fn in random_direction_edits(change, units, 5, seed=2)]
        for other in drawn:
            torch.testing.assert_close(other.norm(dim=1), own.norm(dim=1), rtol=1e-3, atol=1e-5)
            moved = own.norm(dim=1) > 1e-3
            cosine = torch.nn.functional.cosine_similarity(other[moved], own[moved])
            assert cosine.abs().mean() < 0.6
        assert not torch.allclose(drawn[0], drawn[1])
        assert torch.equal(random_direction_edits(change, units, 5, seed=2)[0](x) - x, drawn[0])
    for change in (Edit("add", (0,), (1.0,)), Edit("scale", (0,), (0.5,)), Edit("zero", (0,), splice=True)):
        with pytest.raises(GlossaeError, match=f"'{change.operation}' has no random directions"):
            random_direction_edits(change, alike, 1, seed=0)


def test_text_without_one_of_the_languages_is_refused(tiny_lm, tokens):
    with pytest.raises(GlossaeError, match="no text in sv"):
        measure_rises(tiny_lm, SITE, tokens, [lambda x: x], "sv", "en")


# drawn sets


def population(units=400, seed=0):
    generator = np.random.default_rng(seed)
    rate = np.exp(generator.normal(-4, 1.5, units)).clip(1e-5, 1)
    fired = generator.binomial(5000, (rate * np.exp(generator.normal(-1, 2, units))).clip(0, 1))
    return (
        rate,
        generator.gamma(2.0, 2.0, units),
        generator.uniform(0.5, 2.0, units),
        smoothed_rate(fired, 5000),
    )


def test_drawn_latents_match_on_what_they_are_matched_on():
    facts = population()
    selected = tuple(np.argsort(-facts[0])[20:24].tolist())
    sets = matched_sets(profiles(*facts), selected, 300, seed=1)
    assert sets.shape == (300, 4)
    for values in facts:
        logs = np.log(values)
        apart = np.abs(logs[sets] - logs[list(selected)]).mean()
        # of latents taken at random
        by_chance = np.abs(logs[:, None] - logs[list(selected)]).mean()
        assert apart < 0.5 * by_chance


def test_each_place_is_filled_from_the_nearest_to_it():
    profile = profiles(*population())
    sets = matched_sets(profile, (3, 77), 200, seed=0, candidates=5)
    for place, unit in enumerate((3, 77)):
        distance = np.square(profile - profile[unit]).sum(1)
        distance[[3, 77]] = np.inf
        assert set(sets[:, place]) == set(np.argsort(distance, kind="stable")[:5])


@given(st.integers(1, 6), st.integers(0, 1000))
def test_no_set_has_a_latent_twice_or_one_that_is_selected(size, seed):
    profile, selected = profiles(*population(60, seed)), tuple(range(size))
    sets = matched_sets(profile, selected, 20, seed=seed, candidates=3)
    assert all(len(set(row)) == size for row in sets.tolist())
    assert not np.isin(sets, selected).any()
    assert np.array_equal(sets, matched_sets(profile, selected, 20, seed=seed, candidates=3))


def test_silent_latents_are_never_drawn_and_rows_of_one_length_do_not_count():
    rate, active, _, other = population(50)
    rate[10:30] = 0
    active[10:30] = 0
    profile = profiles(rate, active, 1 + 1e-9 * np.arange(50), other)
    assert np.isnan(profile[10:30]).all()
    assert np.all(profile[:10, 2] == 0)
    sets = matched_sets(profile, (0, 15), 200, seed=0)
    assert not np.isin(sets, range(10, 30)).any()


def test_too_few_latents_are_refused():
    with pytest.raises(GlossaeError, match="2 latents fire besides the 3 selected"):
        matched_sets(profiles(*population(5)), (0, 1, 2), 10, seed=0)


def test_a_latent_that_never_fires_on_the_reference_is_matched_with_those_that_hardly_do():
    rate, active, norm, _ = population()
    fired = np.where(np.arange(400) % 2 == 0, 0, 4000)
    profile = profiles(rate, active, norm, smoothed_rate(fired, 5000))
    assert np.isfinite(profile).all()
    sets = matched_sets(profile, (0,), 100, seed=0)
    assert not (sets % 2).any()
    assert smoothed_rate(np.array([0, 500]), 1000) == pytest.approx([0.5 / 1001, 0.5], rel=1e-9)
