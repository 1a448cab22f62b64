"""The first of each language: as many as are wanted, or as much."""

from hypothesis import given
from hypothesis import strategies as st

from glossae.text import first_of_each


@given(st.lists(st.sampled_from(["da", "en", "sv"])), st.integers(0, 5))
def test_as_many_of_each_as_are_wanted_and_the_first_ones(languages, wanted):
    places = first_of_each(languages, wanted)
    for language in set(languages):
        there = [place for place, own in enumerate(languages) if own == language]
        assert [place for place in places if languages[place] == language] == there[:wanted]
    assert places == sorted(places)


def test_sizes_count_until_there_is_enough():
    languages, sizes = ["da", "en", "da", "da", "en"], [3, 9, 2, 4, 1]
    assert first_of_each(languages, 5, sizes) == [0, 1, 2]
    assert first_of_each(languages, 6, sizes) == [0, 1, 2, 3]
    assert first_of_each(languages, 100, sizes) == [0, 1, 2, 3, 4]
