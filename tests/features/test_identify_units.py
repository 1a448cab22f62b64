"""A few units tell languages apart as well as they can, and no better; the whole activation likewise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_tables import make_table

from glossae.errors import GlossaeError
from glossae.find import (
    Regression,
    auroc_table,
    identify_by_activations,
    identify_by_largest,
    identify_languages,
    pick,
    sentence_means,
)
from glossae.find.identify.regression import folds
from glossae.lm import Site, activations, batches

LANGUAGES = ("da", "en", "sv")
SITE = Site("resid", 1)


def planted(seed, *, strength=3.0, each=60, units=12, source="old.tsv", identity="latent layer3.resid abc"):
    """Unit i < 3 stands for language i, unit 3 for da and sv; the others are noise, most of them silent."""
    generator = np.random.default_rng(seed)
    languages = np.repeat(LANGUAGES, each)
    values = np.maximum(generator.normal(size=(len(languages), units)), 0)
    for unit, language in enumerate(LANGUAGES):
        values[:, unit] += strength * (languages == language)
    values[:, 3] += strength * (languages != "en")
    return make_table(
        values,
        languages,
        [f"{source} {i % each}" for i in range(len(languages))],
        [source] * len(languages),
        identity,
    )


def test_it_picks_the_planted_units_best_first():
    chosen = pick(auroc_table(planted(0)), 2)
    assert [chosen[language][0] for language in LANGUAGES] == [0, 1, 2]
    assert all(len(units) == 2 for units in chosen.values())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_no_unit_left_out_is_better_against_the_closest_language(seed, n):
    generator = np.random.default_rng(seed)
    languages = np.array([*LANGUAGES * 4])
    auroc = auroc_table(make_table(generator.integers(0, 3, size=(12, 5)), languages))
    for language, chosen in pick(auroc, n).items():
        smallest = np.min([auroc.of(language, other) for other in LANGUAGES if other != language], axis=0)
        assert len(chosen) == min(n, 5)
        assert len(set(chosen)) == len(chosen)
        assert (np.diff(smallest[list(chosen)]) <= 0).all()
        left = np.delete(smallest, list(chosen))
        assert not len(left) or left.max() <= smallest[list(chosen)].min()


@pytest.mark.parametrize("identify", [identify_languages, identify_by_largest])
def test_planted_languages_are_told_apart(identify):
    result = identify(planted(0), planted(1, source="new.tsv"), per_language=1, draws=200, seed=0)
    assert result.units == {"da": (0,), "en": (1,), "sv": (2,)}
    assert result.macro_f1 > 0.95
    assert result.converged
    assert result.languages == LANGUAGES
    assert result.confusion.sum(1).tolist() == [60, 60, 60]


@pytest.mark.parametrize("identify", [identify_languages, identify_by_largest])
def test_noise_is_told_apart_by_chance_only(identify):
    find, held_out = (planted(s, strength=0, each=200, source=f"{s}.tsv") for s in (2, 3))
    result = identify(find, held_out, per_language=4, draws=200, seed=0)
    # 600 sentences: four standard errors about a third
    assert abs(result.accuracy - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)


def test_the_regression_uses_what_no_language_owns():
    """One unit for both Scandinavian languages and one for Swedish are enough for three languages."""
    find, held_out = (planted(s, source=f"{s}.tsv").columns([2, 3, 5]) for s in (4, 5))
    result = identify_languages(find, held_out, per_language=3, draws=50, seed=0)
    assert result.macro_f1 > 0.9


def test_the_order_of_sentences_changes_nothing():
    find, held_out = planted(6, strength=1.0), planted(7, strength=1.0, source="new.tsv")
    order = np.random.default_rng(0).permutation(len(find))
    first = identify_languages(find, held_out, per_language=2, draws=100, seed=1)
    second = identify_languages(find.take(order), held_out.take(order), per_language=2, draws=100, seed=1)
    assert first.as_json() == second.as_json()


def test_a_unit_that_never_fires_does_no_harm():
    silent = [
        make_table(np.pad(t.values.toarray(), ((0, 0), (0, 1))), t.languages, t.pairs, t.sources)
        for t in (planted(8), planted(9, source="new.tsv"))
    ]
    result = identify_languages(*silent, per_language=13, draws=50, seed=0)
    assert result.macro_f1 > 0.95


def test_bad_halves_are_refused():
    table, other = planted(0), planted(1, source="new.tsv")
    with pytest.raises(GlossaeError, match="both fitted to and tested on"):
        identify_languages(table, table, per_language=1)
    with pytest.raises(GlossaeError, match="different units"):
        identify_languages(table, planted(1, source="new.tsv", identity="neuron"), per_language=1)
    with pytest.raises(GlossaeError, match="sv"):
        identify_languages(table.take(np.flatnonzero(table.languages != "sv")), other, per_language=1)
    with pytest.raises(GlossaeError, match="two languages"):
        identify_languages(table.take(table.rows("da")), other.take(other.rows("da")), per_language=1)
    with pytest.raises(GlossaeError, match="0 units"):
        identify_languages(table, other, per_language=0)
    with pytest.raises(GlossaeError, match="no text to test on"):
        identify_by_largest(table, other.take([]), per_language=1)
    few = table.take(np.concatenate([table.rows("da"), table.rows("en")[:1]]))
    with pytest.raises(GlossaeError, match="en has sentences of one pair only"):
        identify_languages(few, other.take(other.rows("da")), per_language=1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(LANGUAGES), st.integers(0, 9)), min_size=6, max_size=40),
    st.integers(0, 9),
)
def test_folds_keep_clusters_whole_in_any_order(rows, seed):
    languages, clusters = (np.array(column).astype(str) for column in zip(*rows, strict=True))
    having = [len(set(clusters[languages == code])) for code in set(languages)]
    if min(having) < 2:
        with pytest.raises(GlossaeError, match="too few"):
            folds(languages, clusters, seed)
        return
    fold = folds(languages, clusters, seed)
    assert all(len(set(fold[clusters == name])) == 1 for name in set(clusters))
    assert len(set(fold)) >= 2
    order = np.random.default_rng(seed).permutation(len(rows))
    assert (folds(languages[order], clusters[order], seed) == fold[order]).all()


def test_the_regression_is_balanced_and_its_penalty_fits_the_text():
    generator = np.random.default_rng(0)
    languages = np.array(["da"] * 30 + ["en"] * 300)
    x = generator.normal(size=(330, 4))
    noise = Regression.fit(x, languages, np.arange(330).astype(str), seed=0)
    x[:, 0] += 4 * (languages == "da")
    clear = Regression.fit(x, languages, np.arange(330).astype(str), seed=0)
    assert noise.strength < clear.strength
    assert clear.losses[clear.strength] == min(clear.losses.values()) < 0.2
    # without balance nothing would be taken for Danish
    assert 0.25 < np.mean(np.array(noise.identify(x)) == "da") < 0.75


def test_means_are_those_of_each_sentence(tiny_lm, tiny_tokens):
    means = sentence_means(tiny_lm, SITE, tiny_tokens, budget=64)
    for number in (0, 7, 53):
        (part,) = activations(tiny_lm, batches(tiny_tokens.take([number]), 4096), [SITE])
        assert np.allclose(means[number], part.sites[SITE].mean(0).numpy(), atol=1e-5)
    assert np.allclose(means, sentence_means(tiny_lm, SITE, tiny_tokens, budget=4096), atol=1e-6)


def test_activations_identify(tiny_lm, tiny_tokens):
    find, held_out = (
        tiny_tokens.take(
            [i for i, s in enumerate(tiny_tokens.corpus.sentences) if int(s.pair[5:]) % 2 == which]
        )
        for which in (0, 1)
    )
    result = identify_by_activations(tiny_lm, SITE, find, held_out, draws=50)
    assert result.accuracy > 0.9
    assert result.converged
    with pytest.raises(GlossaeError, match="both fitted to and tested on"):
        identify_by_activations(tiny_lm, SITE, find, find)
