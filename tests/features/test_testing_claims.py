"""What a panel of languages allows a unit to be called, and against what each name is held."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.find.testing import claims


def as_said(target, *languages):
    """Each claim's name, languages inside and outside, and the wider names that are the same here."""
    return [
        (claim.name, " ".join(claim.inside), " ".join(claim.outside), claim.same)
        for claim in claims(target, languages)
    ]


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
    ],
)
def test_a_panel_allows_these(panel, expected):
    assert as_said("da", *panel.split()) == expected


def test_english_is_never_told_from_itself():
    assert as_said("en", "da", "en", "fr") == [
        ("English", "en", "da fr", ()),
        ("Germanic", "da en", "fr", ()),
    ]
    assert as_said("en", "da", "en") == [("English", "en", "da", ())]


def test_a_language_that_the_table_lacks_goes_by_its_code():
    assert as_said("qaa", "qaa", "en") == [("qaa", "qaa", "en", ("non-English",))]
    assert as_said("qaa", "qaa", "qab", "en") == [
        ("qaa", "qaa", "en qab", ()),
        ("non-English", "qaa qab", "en", ()),
    ]
    # two of them are no group
    assert [claim.name for claim in claims("qaa", ("qaa", "qab", "da"))] == ["qaa"]


def test_every_language_inside_is_compared_with_every_one_outside():
    scandinavian = claims("da", ("da", "en", "sv", "de", "nl", "fr"))[1]
    assert scandinavian.comparisons == tuple(
        itertools.product(("da", "sv"), ("de", "en", "fr", "nl")),
    )


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
        assert len(claim.comparisons) == len(claim.inside) * len(claim.outside)
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


def test_a_target_that_is_not_there_is_named():
    with pytest.raises(GlossaeError, match=r"^da: the table has no sentence of this language, only en, sv$"):
        claims("da", ("sv", "en"))
    with pytest.raises(GlossaeError, match=r"^da: the table has no sentence of this language, only none$"):
        claims("da", ())


def test_a_target_alone_can_be_told_from_nothing():
    with pytest.raises(GlossaeError, match=r"^da: the table has no other language to tell it from$"):
        claims("da", ("da", "da"))
