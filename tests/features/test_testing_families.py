"""Every claim tested over every unit: what passes, what it is called, and how often that is wrong."""

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control, norm
from sentence_tables import make_table

from glossae.errors import GlossaeError
from glossae.find import auroc_table, minimum_p, multipliers, permutations, studentised, testing

MINIMUM = 0.8
SHIFT = np.sqrt(2) * norm.ppf(MINIMUM)
PANEL = ("da", "de", "en", "sv")
N = 60
HIGH_ON = (("da",), ("da", "sv"), ("da", "de", "sv"), ("en",), PANEL, ("sv",), ())
"""What the units of `panel` are high on."""


def shifted(codes, n, units, generator, by):
    """Normal values of `units` units on n sentences of each language, `by` a function of language giving shifts."""
    values = np.concatenate([generator.normal(size=(n, units)) + by(code) for code in codes])
    return make_table(values, np.repeat(codes, n))


@pytest.fixture(scope="module")
def panel():
    """Four languages; unit by unit what is high where, and one that is low on Danish, and one that never fires."""
    generator = np.random.default_rng(0)
    values = np.concatenate(
        [
            generator.normal(size=(N, len(HIGH_ON) + 2))
            + np.array([6.0 * (code in on) for on in HIGH_ON] + [-6.0 * (code == "da"), 0])
            for code in PANEL
        ]
    )
    values[:, -1] = 0
    return make_table(values, np.repeat(PANEL, N))


@pytest.fixture(scope="module")
def found(panel):
    return testing.test_units(panel, "da")


def test_a_unit_is_called_by_the_most_specific_claim_that_it_passes(found):
    assert [evidence.claim.name for evidence in found.claims] == ["Danish", "Scandinavian", "non-English"]
    assert found.names == ("Danish", "Scandinavian", "non-English", None, None, None, None, None, None)
    assert found.passing("Danish") == (0,)
    assert found.passing("Scandinavian") == (1,)
    assert found.passing("non-English") == (2,)
    assert (found.reference, found.minimum, found.level) == ("en", MINIMUM, 0.05)


def test_a_unit_that_is_lower_on_the_target_passes_nothing(found):
    low = found.units([7])[0]
    assert low.name is None
    assert max(low.auroc.values()) < 0.01
    assert set(low.p.values()) == {1.0}


@pytest.mark.parametrize("method", ["exact", "studentised"])
def test_a_claims_p_is_the_largest_over_its_comparisons(panel, method):
    found = testing.test_units(panel, "da", method=method)
    for evidence in found.claims:
        each = [minimum_p(found.auroc, a, b, MINIMUM, method=method) for a, b in evidence.claim.comparisons]
        np.testing.assert_array_equal(evidence.p, np.max(each, axis=0))
        np.testing.assert_allclose(evidence.q, false_discovery_control(evidence.p), rtol=1e-12)
        weakest = np.min([found.auroc.of(a, b) for a, b in evidence.claim.comparisons], axis=0)
        np.testing.assert_array_equal(found.weakest(evidence.claim.name), weakest)
        assert evidence.family_wise is None
    assert found.permutations is None


def test_for_every_dependence_it_costs_more(panel, found):
    dear = testing.test_units(panel, "da", dependence="any")
    for one, other in zip(found.claims, dear.claims, strict=True):
        np.testing.assert_allclose(other.q, false_discovery_control(one.p, method="by"), rtol=1e-12)


def test_what_is_known_of_a_unit(found):
    danish, scandinavian, not_english = found.units([0, 1, 2])
    assert (danish.unit, danish.name, danish.fires_on) == (0, "Danish", ())
    assert (scandinavian.name, scandinavian.fires_on) == ("Scandinavian", ("sv",))
    assert (not_english.name, not_english.fires_on) == ("non-English", ("de", "sv"))
    assert set(danish.auroc) == set(danish.interval) == {"de", "en", "sv"}
    for other, (low, high) in danish.interval.items():
        assert low <= danish.auroc[other] <= high
    assert danish.p == {evidence.claim.name: evidence.p[0] for evidence in found.claims}
    assert danish.q == {evidence.claim.name: evidence.q[0] for evidence in found.claims}


def test_what_it_fires_on_is_held_against_the_reference(panel):
    found = testing.test_units(panel, "da", reference="sv")
    # told from Swedish, which it is silent on
    assert found.units([3])[0].fires_on == ("en",)
    # without English it is the first language outside
    without = panel.take(np.flatnonzero(panel.languages != "en"))
    assert testing.test_units(without, "da").reference == "de"
    assert testing.test_units(without, "de").reference == "da"


def test_those_that_pass_come_with_the_strongest_first():
    generator = np.random.default_rng(1)
    table = shifted(("da", "en"), 80, 4, generator, lambda code: np.array([2.5, 6, 0, 6]) * (code == "da"))
    found = testing.test_units(table, "da", minimum=0.6)
    # 1 and 3 are without exception: of equals, the first
    assert found.weakest("Danish")[[1, 3]].tolist() == [1, 1]
    assert found.passing("Danish") == (1, 3, 0)


# ---- what says nothing


@pytest.mark.parametrize("method", ["exact", "studentised"])
def test_neither_order_of_sentences_nor_of_units_matters(panel, method):
    settings = {"minimum": 0.6, "method": method, "permutations": 40, "seed": 3}
    one = testing.test_units(panel, "da", **settings)
    generator = np.random.default_rng(5)
    rows, columns = generator.permutation(len(panel)), generator.permutation(panel.units)
    other = testing.test_units(panel.take(rows).columns(columns), "da", **settings)
    np.testing.assert_allclose(other.auroc.estimate, one.auroc.estimate[columns], atol=1e-12)
    for before, after in zip(one.claims, other.claims, strict=True):
        assert after.claim == before.claim
        np.testing.assert_allclose(after.p, before.p[columns], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(after.q, before.q[columns], rtol=1e-9, atol=1e-12)
        # drawn in single precision: a draw may change sides
        np.testing.assert_allclose(after.family_wise, before.family_wise[columns], atol=1.01 / 41)
    assert other.names == tuple(one.names[unit] for unit in columns)
    np.testing.assert_allclose(other.permutations.maxima, one.permutations.maxima, rtol=1e-5)


def test_a_seed_gives_the_same_again(panel):
    one, same, other = (testing.test_units(panel, "da", permutations=40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.permutations.maxima, same.permutations.maxima)
    assert not np.array_equal(one.permutations.maxima, other.permutations.maxima)
    for a, b in zip(one.claims, same.claims, strict=True):
        np.testing.assert_array_equal(a.family_wise, b.family_wise)


def test_progress_comes_to_its_end(panel):
    done = []
    testing.test_units(panel, "da", permutations=8, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0


# ---- strong claims about single units


def test_drawn_is_what_the_parts_draw(panel):
    found = testing.test_units(panel, "da", permutations=40, seed=2)
    compared = found.permutations.comparisons
    assert compared == tuple(dict.fromkeys(pair for each in found.claims for pair in each.claim.comparisons))
    drawn = multipliers(panel, found.auroc, compared, draws=40, seed=2)
    dealt = permutations(panel, compared, draws=40, seed=2)
    np.testing.assert_array_equal(found.permutations.maxima, dealt.maxima)
    for evidence in found.claims:
        pairs = evidence.claim.comparisons
        score = np.array([studentised(found.auroc, *pair, MINIMUM) for pair in pairs])
        np.testing.assert_array_equal(evidence.family_wise, drawn.adjusted(score, pairs))


def test_adjusted_for_all_units_is_no_smaller_than_for_one_and_in_order_of_the_scores():
    generator = np.random.default_rng(4)
    units, pairs = 30, (("da", "en"), ("da", "sv"))
    table = shifted(
        ("da", "en", "sv"), 40, units, generator, lambda code: np.linspace(0, 3, units) * (code == "da")
    )
    auroc = auroc_table(table)
    score = np.array([studentised(auroc, *pair, 0.6) for pair in pairs])
    adjusted = multipliers(table, auroc, pairs, draws=200).adjusted(score, pairs)
    order = np.argsort(score.min(0))
    assert (np.diff(adjusted[order]) <= 0).all()
    assert adjusted.min() == 1 / 201
    for unit in range(units):
        alone = table.columns([unit])
        one = multipliers(alone, auroc_table(alone), pairs, draws=200).adjusted(score[:, [unit]], pairs)
        # its own draws are among all
        assert adjusted[unit] >= one[0] - 1.01 / 201
        # and its own p-value is what its draws are about: five standard errors
        p = np.exp(norm.logsf(score[:, unit].min()))
        assert one[0] >= p - 5 * np.sqrt(p * (1 - p) / 200)


# ---- how often it is wrong


def test_at_the_minimum_a_family_is_as_seldom_wrong_as_it_says():
    # told from Swedish without fail, from English at an AUROC of exactly the minimum: no unit is Danish
    generator = np.random.default_rng(7)
    tables, level, wrong, discoveries = 60, 0.1, 0, 0
    shift = {"da": SHIFT, "en": 0.0, "sv": -6.0}
    for seed in range(tables):
        table = shifted(("da", "en", "sv"), 50, 25, generator, shift.get)
        found = testing.test_units(table, "da", q=level, method="studentised", permutations=80, seed=seed)
        danish = found.claim("Danish")
        wrong += danish.family_wise.min() <= level
        discoveries += bool(found.passing("Danish"))
    # more would be so once in ten thousand times
    most = binom.ppf(0.9999, tables, level)
    assert wrong <= most
    assert discoveries <= most
    # and a test that never rejects would pass the above
    assert wrong > 0


def test_of_what_passes_few_are_wrong():
    # ten units of sixty are Danish, and fifty at the minimum
    generator = np.random.default_rng(8)
    tables, level = 40, 0.1
    strength = np.where(np.arange(60) < 10, 3.0, SHIFT)
    shares = []
    for _ in range(tables):
        table = shifted(("da", "en"), 50, 60, generator, lambda code: strength * (code == "da"))
        passing = testing.test_units(table, "da", q=level, method="studentised").passing("Danish")
        assert len(passing) >= 8
        shares.append(np.mean([unit >= 10 for unit in passing]))
    assert 0 < np.mean(shares) <= level + 4 * np.std(shares) / np.sqrt(tables)


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"minimum": 0.49}, "^minimum: is 0.49: give an AUROC of at least 0.5 and less than 1$"),
        ({"minimum": 1.0}, "^minimum: is 1.0: give an AUROC of at least 0.5"),
        ({"minimum": float("nan")}, "^minimum: is nan"),
        ({"q": 0.0}, "^q: is 0.0: give a rate between 0 and 1$"),
        ({"q": 1.0}, "^q: is 1.0: give a rate between 0 and 1$"),
        ({"q": -0.1}, "^q: is -0.1"),
        ({"q": float("nan")}, "^q: is nan"),
        ({"permutations": -1}, "^permutations: is -1: give a number of draws, or 0 for none$"),
        ({"reference": "fr"}, "^reference: fr is not one of the table's other languages$"),
        ({"reference": "da"}, "^reference: da is not one of the table's other languages$"),
    ],
)
def test_a_setting_out_of_its_range_is_named(panel, changes, said):
    with pytest.raises(GlossaeError, match=said):
        testing.test_units(panel, "da", **changes)


def test_what_the_panel_lacks_is_named(panel, found):
    with pytest.raises(
        GlossaeError, match=r"^fr: the table has no sentence of this language, only da, de, en"
    ):
        testing.test_units(panel, "fr")
    said = r"^Germanic: the table's languages allow no such claim, only Danish, Scandinavian, non-English$"
    for ask in (found.claim, found.passing, found.weakest):
        with pytest.raises(GlossaeError, match=said):
            ask("Germanic")


def test_other_sources_and_too_few_sentences_are_refused(panel):
    apart = make_table(panel.values.toarray(), panel.languages, sources=np.repeat(["a", "a", "b", "a"], N))
    with pytest.raises(GlossaeError, match="^en and da: their sentences come from different sources"):
        testing.test_units(apart, "da")
    assert testing.test_units(apart, "da", within="all").passing("Danish") == (0,)
    few = panel.take(np.concatenate([panel.rows(code)[:20] for code in PANEL]))
    with pytest.raises(GlossaeError, match="^da and de: 20 and 20 sentences are too few"):
        testing.test_units(few, "da")
