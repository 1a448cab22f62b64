"""Passages and matched sentences: what is joined or matched, and that nothing is lost, made up or used twice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.sparse import csc_array

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.evidence import match_tokenisation, passages, tokenisation
from glossae.lm import TokenizedCorpus
from sentence_tables import make_table


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


def test_one_token_leaves_sentences_as_they_are_and_their_order_plays_no_part():
    table = random_table(3)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    for one, two in ((table, passages(table, 1)), (passages(table, 40), passages(shuffled, 40))):
        order, again = (np.lexsort((*t.values.toarray().T, t.tokens, t.languages)) for t in (one, two))
        np.testing.assert_allclose(one.values.toarray()[order], two.values.toarray()[again], rtol=1e-6)
        assert one.tokens[order].tolist() == two.tokens[again].tolist()


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


# ---- matched sentences


def text_of(seed, danish, english, shift=0.5):
    """Sentences of ten words and random numbers of tokens; Danish ones have more, by `shift` a word."""
    generator = np.random.default_rng(seed)
    languages = ["da"] * danish + ["en"] * english
    lengths = generator.integers(10, 25, size=len(languages))
    lengths[:danish] += int(10 * shift)
    sentences = [
        Sentence(" ".join(["ord"] * 10), language, f"pair {i}", "made.tsv")
        for i, language in enumerate(languages)
    ]
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=tuple(np.arange(length) for length in lengths),
        predicted_bytes=(lengths - 1) * 3 + generator.integers(0, 9, size=len(lengths)),
        dropped={},
        cut={},
        prefix=0,
    )


def test_covariates_are_counted(tiny_tokens):
    values = tokenisation(tiny_tokens)
    for number in (0, 5, 40):
        text = tiny_tokens.corpus.sentences[number].text
        assert values[number, 0] == len(tiny_tokens.ids[number]) / len(text.split())
        first = len(text.encode()) - tiny_tokens.predicted_bytes[number]
        assert first > 0
        assert values[number, 1] == (len(text.encode()) - first) / (len(tiny_tokens.ids[number]) - 1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.sampled_from([0.1, 0.5, 2.0]))
def test_partners_lie_within_the_caliper_and_are_used_once(seed, danish, english, caliper):
    tokens = text_of(seed, danish, english)
    values = tokenisation(tokens)
    unit = np.sqrt((values[:danish].var(0, ddof=1) + values[danish:].var(0, ddof=1)) / 2)
    between = np.abs(values[:danish, None] - values[danish:])
    if not (between <= caliper * unit).all(2).any():
        with pytest.raises(GlossaeError, match="widen the caliper"):
            match_tokenisation(tokens, "da", "en", caliper=caliper, seed=1)
        return
    found = match_tokenisation(tokens, "da", "en", caliper=caliper, seed=1)
    assert len(set(found.first)) == len(set(found.second)) == len(found) <= min(danish, english)
    assert (found.first < danish).all()
    assert (found.second >= danish).all()
    apart = np.abs(values[found.first] - values[found.second])
    assert (apart <= caliper * unit + 1e-9).all()
    assert max(abs(v) for v in found.after.values()) <= caliper + 1e-9
    assert found.rows.tolist() == sorted([*found.first.tolist(), *found.second.tolist()])
    # nobody left over on both sides could have been matched
    left = (
        np.setdiff1d(np.arange(danish), found.first),
        np.setdiff1d(np.arange(english), found.second - danish),
    )
    assert not (between[np.ix_(*left)] <= (caliper - 1e-9) * unit).all(2).any()


def test_matching_removes_the_difference_it_reports():
    found = match_tokenisation(text_of(0, 300, 400), "da", "en")
    assert found.before["tokens_per_word"] > 0.8
    assert abs(found.after["tokens_per_word"]) < 0.1
    assert abs(found.after["bytes_per_token"]) < 0.1
    assert len(found) > 100
    assert found.found == (300, 400)


def test_the_order_of_the_corpus_and_of_the_languages_changes_nothing():
    tokens = text_of(4, 50, 70)
    order = np.random.default_rng(0).permutation(120)
    first = match_tokenisation(tokens, "da", "en", seed=2)
    mixed = match_tokenisation(tokens.take(order), "da", "en", seed=2)
    turned = match_tokenisation(tokens, "en", "da", seed=2)
    pairs = set(zip(first.first.tolist(), first.second.tolist(), strict=True))
    assert set(zip(order[mixed.first].tolist(), order[mixed.second].tolist(), strict=True)) == pairs
    assert set(zip(turned.second.tolist(), turned.first.tolist(), strict=True)) == pairs
    assert turned.before["tokens_per_word"] == pytest.approx(-first.before["tokens_per_word"])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"second": "da"}, "two languages"),
        ({"second": "sv"}, "0 sentences in sv"),
        ({"second": "en", "caliper": 0.0}, "above 0"),
        # they never meet
        ({"second": "en"}, "widen the caliper"),
    ],
)
def test_what_cannot_be_matched_is_refused(settings, match):
    with pytest.raises(GlossaeError, match=match):
        match_tokenisation(text_of(0, 20, 20, shift=20), "da", **settings)
