"""What a table can carry: languages of one source, enough sentences, and how many are independent."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_tables import make_table

from glossae.errors import GlossaeError
from glossae.find import auroc_table, carried_languages, check_panel, check_power, comparisons_needed, exact_p
from glossae.find import test_units as find_units
from glossae.find.testing import independence

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
            "^en and da: their sentences come from different sources (news is 100% of en and 0% of da, talks the other "
            "way round): test a table of one source, or say within='all'$",
        ),
        (
            {"da": {"talks": 100}, "en": {"talks": 94, "news": 6}},
            "^en and da: their sentences come from different sources (news is 6% of en and 0% of da, talks",
        ),
        # the one language that differs is named, whatever stands before it
        (
            {"da": {"talks": 10}, "en": {"talks": 10}, "sv": {"talks": 5, "news": 5}},
            "^sv and da: their sentences come from different sources (news is 50% of sv",
        ),
    ],
)
def test_languages_from_different_sources_are_named(sources, said):
    table = of_sources(**sources)
    with pytest.raises(GlossaeError, match=said.replace("(", r"\(").replace(")", r"\)")):
        check_panel(table)
    check_panel(table, "all")


# ---- how many sentences it takes


@pytest.mark.parametrize(("units", "minimum", "q"), [(1, 0.8, 0.05), (20, 0.8, 0.05), (1000, 0.5, 0.1)])
@pytest.mark.parametrize("paired", [False, True])
def test_as_many_sentences_as_it_says_are_enough_and_one_less_are_not(units, minimum, q, paired):
    needed = math.ceil(math.log(q / units) / math.log(minimum))
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


def test_the_comparison_that_lacks_sentences_is_named():
    values = np.zeros((205, 1))
    auroc = auroc_table(make_table(values, ["da"] * 100 + ["en"] * 100 + ["sv"] * 5))
    check_power(auroc, [("da", "en")], 10, 0.8, 0.05)
    with pytest.raises(GlossaeError, match="^da and sv: 100 and 5 sentences are too few: .* and here are 5:"):
        check_power(auroc, [("da", "en"), ("da", "sv")], 10, 0.8, 0.05)


@pytest.mark.parametrize(
    ("units", "minimum", "q", "needed"),
    # 0.8^m <= 0.05 / 4096 from m = 51 on; 0.5^m <= 0.05 from 5 on
    [(4096, 0.8, 0.05, 51), (1, 0.5, 0.05, 5), (65_536, 0.6, 0.05, 28)],
)
def test_comparisons_needed_are_the_fewest_with_which_a_unit_can_pass(units, minimum, q, needed):
    assert comparisons_needed(units, minimum, q) == needed
    assert minimum**needed <= q / units < minimum ** (needed - 1)


def lone(**sizes):
    """So many sentences of each language, none a translation of another."""
    return {code: [f"{code} {number}" for number in range(size)] for code, size in sizes.items()}


def test_languages_with_too_few_sentences_are_not_testable():
    assert carried_languages(lone(da=51, en=60, nb=50, sv=51), "da", "en", 4096) == ("da", "en", "sv")
    assert carried_languages(lone(da=50, en=60, sv=51), "da", "en", 4096) == ()
    assert carried_languages(lone(da=51, sv=51), "da", "en", 4096) == ()
    assert carried_languages({}, "da", "en", 1) == ()
    # pairs are worth half
    paired = {code: [*map(str, range(size))] for code, size in (("da", 102), ("en", 102), ("sv", 101))}
    assert carried_languages(paired, "da", "en", 4096) == ("da", "en")


@pytest.mark.parametrize("sizes", [{"nb": 8}, {"nb": 7}, {"sv": 8, "nb": 8}, {"sv": 9, "nb": 7, "de": 8}])
def test_the_test_itself_takes_the_languages_that_are_testable_and_no_others(sizes):
    sizes = {"da": 20, "en": 30} | sizes
    # 0.7^8 is .058, 0.7^9 is .040
    assert comparisons_needed(1, 0.7, 0.05) == 9

    def test(codes):
        languages = [code for code in codes for _ in range(sizes[code])]
        table = make_table(np.ones((len(languages), 1)), languages)
        return find_units(table, "da", minimum=0.7, q=0.05, reference="en")

    kept = carried_languages(lone(**sizes), "da", "en", 1, 0.7, 0.05)
    assert set(test(kept).auroc.languages) == set(kept)
    for code in sizes.keys() - set(kept):
        with pytest.raises(GlossaeError, match="sentences are too few"):
            test([*kept, code])


# ---- independent comparisons


def worth(*clusters):
    """The ways of clusters with (target, reference) sentences."""
    return independence(np.array(clusters))


def test_alone_as_many_as_the_smaller_language_has():
    assert worth(*[(1, 0)] * 7, *[(0, 1)] * 4) == [(0.0, 4)]
    # clusters of up to three sentences are worth a third
    assert worth(*[(3, 0)] * 4, *[(0, 1)] * 12) == [(0.0, 4)]


@pytest.mark.parametrize("pairs", [2, 3, 10, 11])
def test_pairs_are_worth_half(pairs):
    across, one_sided = worth(*[(1, 1)] * pairs)
    assert across == (pytest.approx(1 / pairs), pairs // 2)
    # with one side of every pair left out nothing is there to compare
    assert one_sided == (1.0, 0)


def test_of_a_few_pairs_one_side_is_left_out():
    across, one_sided = worth((1, 1), *[(1, 0)] * 19, *[(0, 1)] * 9)
    assert across.left_out == pytest.approx(1 / 200)
    # the target has more to spare
    assert one_sided == (pytest.approx(1 / 20), 10)
    assert one_sided.blocks > across.blocks


def test_one_cluster_has_nothing_to_compare():
    assert worth((3, 2)) == [(1.0, 0), (1.0, 0)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_no_more_than_can_be_without_a_common_cluster(clusters):
    """A set of m comparisons for every so many, and every cluster's comparisons in different sets."""
    counts = np.array(clusters)
    n_a, n_b = counts.sum(0)
    if not (n_a and n_b):
        return
    for number, way in enumerate(independence(counts)):
        kept = counts.copy()
        if number:
            both = (counts > 0).all(1)
            sides = [np.where(both[:, None] & (np.arange(2) == side), 0, counts) for side in (0, 1)]
            kept = sides[0] if n_a >= n_b else sides[1]
        a, b = kept.T
        edges = a.sum() * b.sum() - (a * b).sum()
        assert way.left_out == pytest.approx(1 - edges / (n_a * n_b))
        degree = (a * (b.sum() - b) + b * (a.sum() - a)).max()
        # sets that differ by one at most, and no fewer of them than a cluster has comparisons
        assert way.blocks * degree <= edges
        # no set is larger than half of the clusters that have any
        assert way.blocks <= (kept.any(1)).sum() // 2
        # nor is any given away: three halves of that many sets are always enough (Shannon 1949)
        assert way.blocks >= edges // max(3 * degree // 2, 1)
