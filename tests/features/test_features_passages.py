"""Passages: what is joined, and that nothing is lost or made up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.sparse import csc_array
from sentence_tables import make_table

from glossae.errors import GlossaeError
from glossae.find import passages


def random_table(seed, count=60, paired=True):
    random = np.random.default_rng(seed)
    languages = np.tile(["da", "en"], count // 2)
    values = random.random((count, 3)) * (random.random((count, 3)) < 0.5)
    table = make_table(values, languages, [f"p{i // 2}" for i in range(count)] if paired else None)
    table.tokens[:] = random.integers(2, 30, count)
    return table


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 60), paired=st.booleans())
def test_passages_are_long_enough_and_keep_their_translations(seed, tokens, paired):
    table = random_table(seed, paired=paired)
    joined = passages(table, tokens)
    assert (joined.tokens >= tokens).all()
    if paired:
        # a passage of Danish and one of English from the same pairs
        names, counts = np.unique(joined.pairs, return_counts=True)
        assert (counts == 2).all()
        assert len(names) == (joined.languages == "da").sum()
    else:
        assert len(set(joined.pairs.tolist())) == len(joined)


def test_values_are_means_over_all_tokens():
    table = make_table([[1.0], [3.0], [0.0], [10.0]], ["da", "da", "en", "en"])
    table.tokens[:] = [10, 30, 20, 20]
    joined = passages(table, 40)
    joined = joined.take(np.argsort(joined.languages))
    assert joined.languages.tolist() == ["da", "en"]
    assert joined.tokens.tolist() == [40, 40]
    np.testing.assert_allclose(joined.values.toarray()[:, 0], [(10 + 90) / 40, 5.0])
    assert joined.fired.toarray()[:, 0].tolist() == [2, 1]


def test_one_token_leaves_sentences_as_they_are():
    table = random_table(3)
    joined = passages(table, 1)
    order, again = (np.lexsort((t.languages, t.pairs)) for t in (table, joined))
    np.testing.assert_array_equal(table.values.toarray()[order], joined.values.toarray()[again])
    assert table.tokens[order].tolist() == joined.tokens[again].tolist()


def test_the_order_of_sentences_plays_no_part():
    table = random_table(4)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    one, two = passages(table, 40), passages(shuffled, 40)
    order, again = (np.lexsort((t.tokens, t.languages, t.values.toarray()[:, 0])) for t in (one, two))
    np.testing.assert_allclose(one.values.toarray()[order], two.values.toarray()[again], rtol=1e-6)


def test_sources_and_pairs_of_other_languages_are_not_joined():
    table = make_table(
        np.ones((6, 1)),
        ["da", "en", "da", "en", "da", "da"],
        ["p", "p", "q", "q", "r", "s"],
        ["a"] * 4 + ["b"] * 2,
    )
    joined = passages(table, 20)
    assert sorted(zip(joined.sources.tolist(), joined.languages.tolist(), strict=True)) == [
        ("a", "da"),
        ("a", "en"),
        ("b", "da"),
    ]
    assert passages(table, 20).identity == table.identity


def test_too_little_text_is_named():
    table = make_table(np.ones((3, 1)), ["da", "da", "en"])
    with pytest.raises(GlossaeError, match="passages: en: less text than a passage of 15 tokens"):
        passages(table, 15)
    with pytest.raises(GlossaeError, match="0 tokens: give at least 1"):
        passages(table, 0)


@given(
    seed=st.integers(0, 1000),
    tokens=st.integers(1, 120),
    sizes=st.lists(st.integers(0, 6), min_size=4, max_size=12),
)
@example(seed=2, tokens=4, sizes=[0, 0, 0, 0, 0, 0, 0, 1, 5, 6])
def test_passages_of_different_documents_stay_apart(seed, tokens, sizes):
    docs = np.repeat(
        [f"d{number}" if size else "" for number, size in enumerate(sizes)], [max(1, n) for n in sizes]
    )
    table = random_table(seed, count=2 * len(docs))
    table = replace(table, docs=np.repeat(docs, 2))
    try:
        joined = passages(table, tokens)
    except GlossaeError:
        return
    assert (joined.tokens >= tokens).all()
    # every sentence says which it is, so that a passage says what is in it
    marks = np.eye(len(table), dtype=np.float32)
    marked = replace(table, values=csc_array(marks), fired=csc_array(marks.astype(np.int32)))
    members = passages(marked, tokens).fired.toarray()
    assert (members.sum(0) <= 1).all()
    for row, sentences in enumerate(members):
        own = set(table.docs[sentences > 0].tolist())
        for other, others in enumerate(members):
            if own & set(table.docs[others > 0].tolist()) - {""}:
                assert joined.clusters[row] == joined.clusters[other]
        # a document of several pairs with text for a passage is joined by itself
        for doc in own - {""}:
            text = table.take(np.flatnonzero(table.docs == doc))
            if len(own) > 1 and len(set(text.pairs.tolist())) > 1:
                assert min(text.tokens[text.rows(code)].sum() for code in text.present) < tokens


def test_a_document_of_one_pair_is_joined_as_a_pair_without_one():
    table = random_table(5)
    named = replace(table, docs=np.array([f"d{pair}" for pair in table.pairs]))
    one, two = passages(table, 20), passages(named, 20)
    assert one.pairs.tolist() == two.pairs.tolist()
    np.testing.assert_array_equal(one.values.toarray(), two.values.toarray())
