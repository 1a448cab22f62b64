"""Which units stand for a language: claims, what a table can carry, what passes, and how often that is wrong."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, false_discovery_control, norm

from glossae.errors import GlossaeError
from glossae.evidence.testing import (
    auroc_table,
    check_panel,
    check_power,
    claims,
    comparisons_needed,
    exact_p,
    languages_to_test,
    minimum_p,
    multipliers,
    permutations,
    q_values,
    studentised,
    units_evidence,
)
from sentence_tables import make_table

# ---- claims


@pytest.mark.parametrize(
    ("panel", "expected"),
    [
        ("da en", [("Danish", "da", "en", ("Scandinavian", "North Germanic", "non-English"))]),
        (
            "da sv nb en",
            [
                ("Danish", "da", "en nb sv", ()),
                ("Danish, Norwegian Bokmål aside", "da", "en sv", ()),
                ("Scandinavian", "da nb sv", "en", ("North Germanic", "non-English")),
            ],
        ),
        (
            "da de en",
            [
                ("Danish", "da", "de en", ("Scandinavian", "North Germanic")),
                ("non-English", "da de", "en", ()),
            ],
        ),
        (
            "da en sv de nl fr",
            [
                ("Danish", "da", "de en fr nl sv", ()),
                ("Scandinavian", "da sv", "de en fr nl", ("North Germanic",)),
                ("Germanic", "da de en nl sv", "fr", ()),
                ("non-English", "da de fr nl sv", "en", ()),
            ],
        ),
        # with none but the closest there is nothing left to tell it from
        ("da nb", [("Danish", "da", "nb", ())]),
        # what is North Germanic need not be Scandinavian
        (
            "da is fr",
            [
                ("Danish", "da", "fr is", ("Scandinavian",)),
                ("North Germanic", "da is", "fr", ("Germanic",)),
            ],
        ),
        # without English nothing can be said about it, and without others nothing about a group
        ("da sv", [("Danish", "da", "sv", ())]),
        # English is never told from itself
        ("en da fr", [("English", "en", "da fr", ()), ("Germanic", "da en", "fr", ())]),
        ("en da", [("English", "en", "da", ())]),
        # a language that the table lacks goes by its code, and two of them are no group
        ("qaa en", [("qaa", "qaa", "en", ("non-English",))]),
        ("qaa qab en", [("qaa", "qaa", "en qab", ()), ("non-English", "qaa qab", "en", ())]),
        ("qaa qab da", [("qaa", "qaa", "da qab", ())]),
    ],
)
def test_a_panel_allows_these(panel, expected):
    """The first language is the target; each claim's name, inside, outside, and wider names that are the same."""
    target, *_ = panel.split()
    assert [
        (claim.name, " ".join(claim.inside), " ".join(claim.outside), claim.same)
        for claim in claims(target, panel.split())
    ] == expected


@given(
    st.sampled_from(["da", "en", "fr", "qaa"]),
    st.lists(
        st.sampled_from(["da", "sv", "nb", "is", "de", "en", "fr", "es", "fi", "qaa", "qab"]), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_claims_divide_the_panel_the_narrowest_first(target, others, random):
    panel = {target, *others}
    if len(panel) == 1:
        return
    found = claims(target, sorted(panel))
    for claim in found:
        assert target in claim.inside
        assert claim.outside
        aside = panel - {*claim.inside, *claim.outside}
        # only what is close to the target is ever left aside, and that is said
        assert aside <= {"nb"}
        assert claim.name.endswith(" aside") == bool(aside)
        assert claim.comparisons == tuple(itertools.product(claim.inside, claim.outside))
    assert found[0].inside == (target,)
    assert len({(claim.inside, claim.outside) for claim in found}) == len(found)
    names = [name for claim in found for name in (claim.name, *claim.same)]
    assert len(set(names)) == len(names)
    # groups contain each other; what is not English need not contain any of them
    groups = [
        set(claim.inside)
        for claim in found
        if claim.name != "non-English" and not claim.name.endswith(" aside")
    ]
    assert all(narrow < wide for narrow, wide in itertools.pairwise(groups))
    # neither order nor repetition matters
    again = [*panel, *others]
    random.shuffle(again)
    assert claims(target, again) == found


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        (("sv", "en"), "the table has no sentence of this language, only en, sv"),
        ((), "the table has no sentence of this language, only none"),
        (("da", "da"), "the table has no other language to tell it from"),
    ],
)
def test_a_target_that_is_not_there_or_alone_is_named(panel, said):
    with pytest.raises(GlossaeError, match=f"^da: {said}$"):
        claims("da", panel)


# ---- sources


def of_sources(**sources):
    """A table of one unit, with so many sentences of each source for each language."""
    rows = [(code, name) for code, by in sources.items() for name, count in by.items() for _ in range(count)]
    return make_table(np.ones((len(rows), 1)), [code for code, _ in rows], sources=[name for _, name in rows])


def test_languages_of_one_source_or_the_same_shares_are_fine():
    check_panel(of_sources(da={"talks": 5}, en={"talks": 50}))
    check_panel(
        of_sources(da={"talks": 30, "news": 10}, en={"talks": 3, "news": 1}, sv={"talks": 6, "news": 2})
    )
    # a twentieth may be from elsewhere
    check_panel(of_sources(da={"talks": 100}, en={"talks": 95, "news": 5}))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (
            {"da": {"talks": 10}, "en": {"news": 10}},
            "en and da: their sentences come from different sources (news is 100% of en and 0% of da, talks the other "
            "way round): test a table of one source, or say within='all'",
        ),
        (
            {"da": {"talks": 100}, "en": {"talks": 94, "news": 6}},
            "en and da: their sentences come from different sources (news is 6% of en and 0% of da, talks",
        ),
        # the one language that differs is named, whatever stands before it
        (
            {"da": {"talks": 10}, "en": {"talks": 10}, "sv": {"talks": 5, "news": 5}},
            "sv and da: their sentences come from different sources (news is 50% of sv",
        ),
    ],
)
def test_languages_from_different_sources_are_named(sources, said):
    table = of_sources(**sources)
    with pytest.raises(GlossaeError) as refused:
        check_panel(table)
    assert str(refused.value).startswith(said)
    check_panel(table, "all")


# ---- how many sentences it takes


@pytest.mark.parametrize(("units", "minimum", "q"), [(1, 0.8, 0.05), (4096, 0.8, 0.05), (1000, 0.5, 0.1)])
@pytest.mark.parametrize("paired", [False, True])
def test_as_many_sentences_as_it_says_are_enough_and_one_less_are_not(units, minimum, q, paired):
    needed = comparisons_needed(units, minimum, q)
    assert minimum**needed <= q / units < minimum ** (needed - 1)
    size = 2 * needed if paired else needed

    def check(n):
        pairs = [*map(str, range(n))] * 2 if paired else None
        values = np.repeat([1.0, 0.0], n)[:, None]
        auroc = auroc_table(make_table(values, ["da"] * n + ["en"] * n, pairs))
        check_power(auroc, [("da", "en")], units, minimum, q)
        return exact_p(auroc, "da", "en", minimum)[0]

    # and a unit without exception passes then, were it the only one
    assert check(size) <= q / units
    worth = (size - 1) // (2 if paired else 1)
    said = (
        f"^da and en: {size - 1} and {size - 1} sentences are too few: no unit of {units:,} could show an AUROC over "
        f"{minimum} at q = {q}; that takes {needed} independent comparisons and here are {worth}: {needed} sentences "
        f"of each language, or {2 * needed} pairs$"
    )
    with pytest.raises(GlossaeError, match=said):
        check(size - 1)


def lone(**sizes):
    """So many sentences of each language, none a translation of another."""
    return {code: [f"{code} {number}" for number in range(size)] for code, size in sizes.items()}


def test_languages_with_too_few_sentences_are_not_testable():
    assert languages_to_test(lone(da=51, en=60, nb=50, sv=51), "da", "en", 4096) == ("da", "en", "sv")
    assert languages_to_test(lone(da=50, en=60, sv=51), "da", "en", 4096) == ()
    assert languages_to_test(lone(da=51, sv=51), "da", "en", 4096) == ()
    assert languages_to_test({}, "da", "en", 1) == ()
    # pairs are worth half
    paired = {code: [*map(str, range(size))] for code, size in (("da", 102), ("en", 102), ("sv", 101))}
    assert languages_to_test(paired, "da", "en", 4096) == ("da", "en")


@pytest.mark.parametrize("sizes", [{"nb": 8}, {"nb": 7}, {"sv": 8, "nb": 8}, {"sv": 9, "nb": 7, "de": 8}])
def test_the_test_itself_takes_the_languages_that_are_testable_and_no_others(sizes):
    sizes = {"da": 20, "en": 30} | sizes
    # 0.7^8 is .058, 0.7^9 is .040
    assert comparisons_needed(1, 0.7, 0.05) == 9

    def test(codes):
        languages = [code for code in codes for _ in range(sizes[code])]
        table = make_table(np.ones((len(languages), 1)), languages)
        return units_evidence(table, "da", minimum=0.7, q=0.05, reference="en")

    kept = languages_to_test(lone(**sizes), "da", "en", 1, 0.7, 0.05)
    assert set(test(kept).auroc.languages) == set(kept)
    for code in sizes.keys() - set(kept):
        with pytest.raises(GlossaeError, match="sentences are too few"):
            test([*kept, code])


# ---- what passes

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
    return units_evidence(panel, "da")


def test_a_unit_is_called_by_the_most_specific_claim_that_it_passes(found):
    assert [evidence.claim.name for evidence in found.claims] == ["Danish", "Scandinavian", "non-English"]
    assert found.names == ("Danish", "Scandinavian", "non-English", None, None, None, None, None, None)
    assert found.passing("Danish") == (0,)
    assert found.passing("Scandinavian") == (1,)
    assert found.passing("non-English") == (2,)
    assert (found.reference, found.minimum, found.level) == ("en", MINIMUM, 0.05)
    # a unit that is lower on the target passes nothing
    low = found.units([7])[0]
    assert max(low.auroc.values()) < 0.01
    assert set(low.p.values()) == {1.0}


@pytest.mark.parametrize("method", ["exact", "studentised"])
def test_a_claims_p_is_the_largest_over_its_comparisons(panel, method):
    found = units_evidence(panel, "da", method=method)
    for evidence in found.claims:
        each = [minimum_p(found.auroc, a, b, MINIMUM, method=method) for a, b in evidence.claim.comparisons]
        np.testing.assert_array_equal(evidence.p, np.max(each, axis=0))
        np.testing.assert_allclose(evidence.q, false_discovery_control(evidence.p), rtol=1e-12)
        weakest = np.min([found.auroc.of(a, b) for a, b in evidence.claim.comparisons], axis=0)
        np.testing.assert_array_equal(found.weakest(evidence.claim.name), weakest)
        assert evidence.family_wise is None
    assert found.permutations is None


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
    # told from Swedish, which it is silent on
    assert units_evidence(panel, "da", reference="sv").units([3])[0].fires_on == ("en",)
    # without English it is the first language outside
    without = panel.take(np.flatnonzero(panel.languages != "en"))
    assert [units_evidence(without, code).reference for code in ("da", "de")] == ["de", "da"]


def test_those_that_pass_come_with_the_strongest_first():
    generator = np.random.default_rng(1)
    table = shifted(("da", "en"), 80, 4, generator, lambda code: np.array([2.5, 6, 0, 6]) * (code == "da"))
    found = units_evidence(table, "da", minimum=0.6)
    # 1 and 3 are without exception: of equals, the first
    assert found.weakest("Danish")[[1, 3]].tolist() == [1, 1]
    assert found.passing("Danish") == (1, 3, 0)


# ---- what says nothing


@pytest.mark.parametrize("method", ["exact", "studentised"])
def test_neither_order_of_sentences_nor_of_units_matters(panel, method):
    settings = {"minimum": 0.6, "method": method, "permutations": 40, "seed": 3}
    one = units_evidence(panel, "da", **settings)
    generator = np.random.default_rng(5)
    rows, columns = generator.permutation(len(panel)), generator.permutation(panel.units)
    other = units_evidence(panel.take(rows).columns(columns), "da", **settings)
    np.testing.assert_allclose(other.auroc.estimate, one.auroc.estimate[columns], atol=1e-12)
    for before, after in zip(one.claims, other.claims, strict=True):
        assert after.claim == before.claim
        np.testing.assert_allclose(after.p, before.p[columns], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(after.q, before.q[columns], rtol=1e-9, atol=1e-12)
        # drawn in single precision: a draw may change sides
        np.testing.assert_allclose(after.family_wise, before.family_wise[columns], atol=1.01 / 41)
    assert other.names == tuple(one.names[unit] for unit in columns)
    np.testing.assert_allclose(other.permutations.maxima, one.permutations.maxima, rtol=1e-5)


def test_a_seed_gives_the_same_again_and_progress_comes_to_its_end(panel):
    done = []
    one, same, other = (
        units_evidence(panel, "da", permutations=40, seed=seed, progress=done.append) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.permutations.maxima, same.permutations.maxima)
    assert not np.array_equal(one.permutations.maxima, other.permutations.maxima)
    for a, b in zip(one.claims, same.claims, strict=True):
        np.testing.assert_array_equal(a.family_wise, b.family_wise)
    own = done[: len(done) // 3]
    assert own == sorted(own)
    assert own[-1] == 1.0


# ---- strong claims about single units


def test_drawn_is_what_the_parts_draw(panel):
    found = units_evidence(panel, "da", permutations=40, seed=2)
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
        found = units_evidence(table, "da", q=level, method="studentised", permutations=80, seed=seed)
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
        passing = units_evidence(table, "da", q=level, method="studentised").passing("Danish")
        assert len(passing) >= 8
        shares.append(np.mean([unit >= 10 for unit in passing]))
    assert 0 < np.mean(shares) <= level + 4 * np.std(shares) / np.sqrt(tables)


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"minimum": 0.49}, "^minimum: is 0.49: give an AUROC of at least 0.5 and less than 1$"),
        ({"minimum": float("nan")}, "^minimum: is nan"),
        ({"q": 0.0}, "^q: is 0.0: give a rate between 0 and 1$"),
        ({"q": float("nan")}, "^q: is nan"),
        ({"permutations": -1}, "^permutations: is -1: give a number of draws, or 0 for none$"),
        ({"reference": "fr"}, "^reference: fr is not one of the table's other languages$"),
        ({"reference": "da"}, "^reference: da is not one of the table's other languages$"),
    ],
)
def test_a_setting_out_of_its_range_is_named(panel, changes, said):
    with pytest.raises(GlossaeError, match=said):
        units_evidence(panel, "da", **changes)


def test_what_the_panel_lacks_is_named(panel, found):
    with pytest.raises(
        GlossaeError, match=r"^fr: the table has no sentence of this language, only da, de, en"
    ):
        units_evidence(panel, "fr")
    said = r"^Germanic: the table's languages allow no such claim, only Danish, Scandinavian, non-English$"
    for ask in (found.claim, found.passing, found.weakest):
        with pytest.raises(GlossaeError, match=said):
            ask("Germanic")


def test_other_sources_and_too_few_sentences_are_refused(panel):
    apart = make_table(panel.values.toarray(), panel.languages, sources=np.repeat(["a", "a", "b", "a"], N))
    with pytest.raises(GlossaeError, match="^en and da: their sentences come from different sources"):
        units_evidence(apart, "da")
    assert units_evidence(apart, "da", within="all").passing("Danish") == (0,)
    few = panel.take(np.concatenate([panel.rows(code)[:20] for code in PANEL]))
    with pytest.raises(GlossaeError, match="^da and de: 20 and 20 sentences are too few"):
        units_evidence(few, "da")


# ---- false discovery rates


@given(
    st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), max_size=40),
    st.floats(0.001, 0.999),
    st.randoms(use_true_random=False),
)
def test_q_values_are_those_of_the_step_up_procedure_and_of_scipy(p, level, random):
    p = np.array(p)
    q = q_values(p)
    np.testing.assert_allclose(q, false_discovery_control(p) if len(p) else p, rtol=1e-12, atol=1e-300)
    tests = np.arange(1, len(p) + 1)
    passing = np.flatnonzero(np.sort(p) * len(p) / tests <= level)
    np.testing.assert_array_equal(q <= level, p <= (np.sort(p)[passing[-1]] if len(passing) else -1.0))
    order = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(q_values(p[order]), q[order])
