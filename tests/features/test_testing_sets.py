"""A set as one score, and a frozen set tested again on chosen sentences."""

import dataclasses

import numpy as np
import pytest
from sentence_tables import make_table

from glossae.errors import GlossaeError
from glossae.find import testing

LANGUAGES = ["da"] * 60 + ["en"] * 60 + ["sv"] * 60


def values(seed, shift=(3.0, 0.0, 1.5), units=4, hidden=0.0):
    """Units 0 and 1 are higher by `shift` on each language; the second's values are a hundred times as large."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(180, units))
    found[:, :2] += np.repeat(shift, 60)[:, None]
    found[:, 1] *= 100
    return found + hidden


@pytest.fixture
def found():
    return make_table(values(0), LANGUAGES)


@pytest.fixture
def frozen(found, tmp_path):
    evidence = testing.test_units(found, "da", minimum=0.6, within="all")
    return testing.freeze(evidence, "Danish", tmp_path / "set.json", text="found on")


def test_the_score_is_the_mean_of_standardised_values(found, frozen):
    assert set(frozen.units) == {0, 1}
    other = values(1)
    score = testing.SetScore.of(frozen, found)
    expected = (other / values(0).std(0))[:, list(frozen.units)].mean(1)
    np.testing.assert_allclose(score.values(make_table(other, LANGUAGES)), expected, rtol=1e-5)


def test_its_auroc_counts_every_comparison(found, frozen):
    score, other = testing.SetScore.of(frozen, found), make_table(values(1), LANGUAGES)
    auroc, own = score.auroc(other), score.values(other)
    assert auroc.languages == ("da", "en", "sv")
    assert auroc.of("sv", "en")[0] == (own[120:, None] > own[60:120]).mean()
    # halfway between the other two, and told from both
    assert auroc.of("da", "en")[0] > auroc.of("sv", "en")[0] > 0.7
    some = score.auroc(other, [*range(20), *range(60, 70)])
    assert some.languages == ("da", "en")
    assert some.of("da", "en")[0] == (own[:20, None] > own[60:70]).mean()
    low, high = auroc.interval("sv", "en")
    assert low[0] < auroc.of("sv", "en")[0] < high[0]


def test_a_unit_that_was_always_the_same_adds_nothing(found, frozen):
    score = testing.SetScore.of(frozen, found)
    flat = dataclasses.replace(score, deviation=np.array([0.0, score.deviation[1]]))
    other = values(1)
    second = frozen.units[1]
    expected = other[:, second] / score.deviation[1] / 2
    np.testing.assert_allclose(flat.values(make_table(other, LANGUAGES)), expected, rtol=1e-5)


def test_a_set_of_nothing_and_other_units_are_refused(found, frozen, tmp_path):
    evidence = testing.test_units(make_table(values(2, shift=(0, 0, 0)), LANGUAGES), "da", within="all")
    nothing = testing.freeze(evidence, "Danish", tmp_path / "none.json", text="found on")
    with pytest.raises(GlossaeError, match="is empty"):
        testing.SetScore.of(nothing, found)
    strange = make_table(values(1), LANGUAGES, identity="latent layer3.resid other")
    with pytest.raises(GlossaeError, match="different units"):
        testing.SetScore.of(frozen, found).auroc(strange)
    with pytest.raises(GlossaeError, match="latent layer3.resid other"):
        testing.restrict(frozen, strange, "en", range(120), text="other text")


def test_on_all_sentences_it_is_what_replication_says(frozen):
    other = make_table(values(1), LANGUAGES)
    again = testing.replicate(frozen, other, text="other text", within="all")
    parts = [
        testing.restrict(frozen, other, language, range(180), text="other text") for language in ("en", "sv")
    ]
    np.testing.assert_allclose(np.max([part.p for part in parts], axis=0), again.p)
    assert testing.passing_restricted(frozen, parts).tolist() == again.passed.tolist()
    np.testing.assert_array_equal(parts[0].auroc.of("da", "sv"), again.auroc.of("da", "sv"))


def test_a_unit_that_only_reads_what_is_matched_passes_no_longer(found, frozen):
    # what made the difference is a covariate: among the sentences where it is alike there is none
    covariate = np.r_[np.linspace(1, 3, 60), np.linspace(0, 2, 60), np.zeros(60)]
    table = make_table(
        np.stack([covariate] * 4, axis=1) + np.random.default_rng(0).normal(size=(180, 4)) / 20, LANGUAGES
    )
    alike = np.flatnonzero((covariate >= 1) & (covariate <= 2))
    everything = testing.restrict(frozen, table, "en", range(120), text="other text")
    matched = testing.restrict(frozen, table, "en", alike, text="other text")
    assert everything.auroc.of("da", "en").min() > 0.8
    assert matched.reason is None
    assert np.abs(matched.auroc.of("da", "en") - 0.5).max() < 0.1
    assert testing.passing_restricted(frozen, [everything]).all()
    assert not testing.passing_restricted(frozen, [matched]).any()


def test_too_few_sentences_are_said_and_cannot_pass(frozen):
    other = make_table(values(1), LANGUAGES)
    few = testing.restrict(frozen, other, "en", [0, 1, 2, 60, 61, 62], text="other text")
    assert "3 and 3 sentences are too few" in few.reason
    with pytest.raises(GlossaeError, match="too few"):
        testing.passing_restricted(frozen, [few])
    with pytest.raises(GlossaeError, match="no language"):
        testing.passing_restricted(frozen, [])
    with pytest.raises(GlossaeError, match="is in sv"):
        testing.restrict(frozen, other, "sv", range(120), text="other text")
    with pytest.raises(GlossaeError, match="this very text"):
        testing.restrict(frozen, other, "en", range(120), text="found on")
