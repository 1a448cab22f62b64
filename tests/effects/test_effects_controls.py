"""Nulls and ranks: what hurts one language only is found, what does nothing is not."""

import numpy as np
import pytest
import torch
from effects_sae import SITE, D, random_sae
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import (
    Edit,
    Rises,
    centred,
    compare_with_draws,
    compare_with_one,
    compile_edits,
    measure_rises,
    projection,
    rank,
    redirected_edits,
)
from glossae.errors import GlossaeError
from glossae.lm import edit, gradients, sentence_losses, tokenize
from glossae.text import Corpus
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
    mean = means_of(tiny_lm, tokens)["en"]
    units = centred("random", random_directions(DRAWS, D, seed=4).vectors, mean)
    edits = [projection(units, (number,), mean) for number in range(DRAWS)]
    return measure_rises(tiny_lm, SITE, tokens, compile_edits(edits, units), "da", "en")


def means_of(lm, tokens):
    x, languages = activation_samples(lm, SITE, tokens)
    return {code: x[torch.from_numpy(languages == code)].mean(0).double() for code in ("da", "en")}


def test_rises_are_those_of_every_edit_by_itself(tiny_lm, tokens, sae):
    edits = [Edit("zero", (2, 7)), Edit("set", (2,), (3.0,))]
    rises = measure_rises(tiny_lm, SITE, tokens, compile_edits(edits, sae), "da", "en", budget=100)
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


# ---- random directions in the decoder's place


def test_what_is_written_elsewhere_is_as_long_token_by_token(sae):
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(0))
    for change in (Edit("zero", (5,)), Edit("set", (5,), (3.0,)), Edit("mean", (5,), (0.5,))):
        own = change.compile(sae)(x) - x
        drawn = [fn(x) - x for fn in redirected_edits(change, sae, 3, seed=2)]
        for other in drawn:
            torch.testing.assert_close(other.norm(dim=1), own.norm(dim=1), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(drawn[0], drawn[1])
        again = redirected_edits(change, sae, 3, seed=2)[0](x) - x
        assert torch.equal(again, drawn[0])
    with pytest.raises(GlossaeError, match="'scale' has no random directions"):
        redirected_edits(Edit("scale", (5,), (0.5,)), sae, 1, seed=0)


def test_every_token_is_moved_as_far_as_by_the_edit_itself_whatever_the_units(sae):
    """Of latents whose rows nearly agree, of a coordinate, and of a direction projected out."""
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.randn(200, D, generator=generator), torch.linspace(-1, 1, D)
    alike = random_sae()
    alike.W_dec.data[:4] = alike.W_dec[0] + 0.01 * torch.randn(4, D, generator=generator)
    direction = centred("some", 3 * torch.randn(1, D, generator=generator), mean)
    for change, units in (
        (Edit("set", (0, 1, 2, 3), (4.0,) * 4), alike),
        (Edit("mean", (7,), (0.25,)), Neurons(SITE, D)),
        (projection(direction, (0,), mean), direction),
        (Edit("zero", (2, 7)), Latents(sae)),
    ):
        own = change.compile(units)(x) - x
        drawn = [fn(x) - x for fn in redirected_edits(change, units, 5, seed=2)]
        for other in drawn:
            torch.testing.assert_close(other.norm(dim=1), own.norm(dim=1), rtol=1e-3, atol=1e-5)
            moved = own.norm(dim=1) > 1e-3
            cosine = torch.nn.functional.cosine_similarity(other[moved], own[moved])
            assert cosine.abs().mean() < 0.6
    with pytest.raises(GlossaeError, match="'add' has no random directions"):
        redirected_edits(Edit("add", (0,), (1.0,)), direction, 1, seed=0)


def test_a_projection_brings_a_direction_to_the_mean(tiny_lm, tokens):
    x, _ = activation_samples(tiny_lm, SITE, tokens)
    mean = means_of(tiny_lm, tokens)["en"]
    units = centred("some", torch.randn(1, D, generator=torch.Generator().manual_seed(5)), mean)
    assert isinstance(units, Directions)
    after = projection(units, (0,), mean).compile(units)(x)
    torch.testing.assert_close(units.read(after, (0,)), torch.zeros(len(x), 1), atol=1e-4, rtol=0)


def test_text_without_one_of_the_languages_is_refused(tiny_lm, tokens):
    with pytest.raises(GlossaeError, match="no text in sv"):
        measure_rises(tiny_lm, SITE, tokens, [lambda x: x], "sv", "en")
