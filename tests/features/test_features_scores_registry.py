"""All scores by name, over one set of units; and how alike they order them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr
from score_tables import table_of

from glossae.errors import GlossaeError
from glossae.find import (
    HIGHER_IS_BETTER,
    SCORES,
    Attribution,
    TokenCounts,
    all_scores,
    best_units,
    chosen_by,
    random_token_difference,
    random_token_filter,
    random_token_sequences,
)
from glossae.find.scores import Evidence, agreement
from glossae.lm import tokenize
from glossae.text import Sentence

UNITS, BEST, FOREIGN, DEAD = 30, 4, 9, 11
LANGUAGES = ("da", "en", "sv")


def planted(seed=0):
    """Units that fire alike everywhere, one on Danish only, one on English only, and one that never fires."""
    generator = np.random.default_rng(seed)
    names = np.repeat(LANGUAGES, 400)
    rate = np.full((len(names), UNITS), 0.15)
    for unit, language in ((BEST, "da"), (FOREIGN, "en")):
        rate[:, unit] = np.where(names == language, 0.6, 0.004)
    rate[:, DEAD] = 0
    fires = generator.random((len(names), 20, UNITS)) < rate[:, None]
    values = (0.5 + generator.exponential(1, fires.shape)) * fires
    table = table_of(values.mean(1), names, fired=fires.sum(1), tokens=np.full(len(names), 20))
    rows = [names == language for language in LANGUAGES]
    bins = np.digitize(values, [0, 1, 2, 3], right=True)
    counts = TokenCounts(
        languages=LANGUAGES,
        tokens=np.array([int(row.sum()) * 20 for row in rows]),
        fired=np.stack([fires[row].sum((0, 1)) for row in rows]),
        sums=np.stack([values[row].sum((0, 1)) for row in rows]),
        histogram=np.stack(
            [np.stack([(bins[row] == b).sum((0, 1)) for b in range(1, 5)], axis=-1) for row in rows]
        ),
    )
    effect = generator.normal(0, 1, (3, UNITS))
    effect[0, BEST], effect[1, FOREIGN] = 500, 500
    return Evidence(
        target="da",
        counts=counts,
        table=table,
        attribution=Attribution(LANGUAGES, counts.tokens - 400, effect),
        random_rate=np.where(np.arange(UNITS) == BEST, 0.01, 0.3),
    )


@pytest.fixture(scope="module")
def evidence():
    return planted()


@pytest.fixture(scope="module")
def scores(evidence):
    return all_scores(evidence)


# ---- all of them


def test_every_score_is_there_for_every_unit(scores):
    assert list(scores) == list(SCORES)
    for name, score in scores.items():
        assert score.shape == (UNITS,), name
        assert np.isfinite(np.delete(score, DEAD)).all(), name
        assert len(np.unique(score)) > 1, name


@pytest.mark.parametrize("name", SCORES)
def test_every_score_finds_the_planted_unit(scores, name):
    alive = np.arange(UNITS) != DEAD
    best = best_units(scores[name], higher_is_better=HIGHER_IS_BETTER[name], among=alive, top=2).tolist()
    # a score that does not say which language is the high one may like the English unit as well
    assert BEST in (best[:1] if SCORES[name].directed else best)


# random tokens are compared with text of the target only, and so say nothing of other languages
@pytest.mark.parametrize(
    "name", [name for name, score in SCORES.items() if score.directed and name != "random_tokens"]
)
def test_directed_scores_are_low_where_another_language_is_high(scores, name):
    alike = np.delete(scores[name], [BEST, FOREIGN, DEAD])
    assert scores[name][FOREIGN] <= np.median(alike) < scores[name][BEST]


@pytest.mark.parametrize("name", [name for name, score in SCORES.items() if "probe" not in name])
def test_scores_follow_their_units(evidence, scores, name):
    order = np.random.default_rng(1).permutation(UNITS)
    counts = evidence.counts
    moved = dataclasses.replace(
        evidence,
        counts=dataclasses.replace(
            counts,
            fired=counts.fired[:, order],
            sums=counts.sums[:, order],
            histogram=counts.histogram[:, order],
        ),
        table=evidence.table.columns(order),
        attribution=dataclasses.replace(evidence.attribution, effect=evidence.attribution.effect[:, order]),
        random_rate=evidence.random_rate[order],
    )
    found = all_scores(moved, [name])[name]
    np.testing.assert_allclose(found, scores[name][order], rtol=1e-9, atol=1e-12)


def test_rules_choose_the_planted_unit(evidence):
    chosen = chosen_by(evidence)
    assert set(chosen) == {"paper", "lape", "sae_lape", "random_tokens"}
    for name in ("paper", "sae_lape", "random_tokens"):
        assert np.flatnonzero(chosen[name]).tolist() == [BEST], name
    # one per cent of 30 units is none
    assert not chosen["lape"].any()


def test_only_what_is_known_is_scored(evidence):
    only_table = all_scores(Evidence("da", table=evidence.table), None)
    assert {SCORES[name].needs for name in only_table} == {frozenset({"table"})}
    plain = dataclasses.replace(evidence.counts, histogram=None)
    known = all_scores(Evidence("da", counts=plain))
    assert "rate_difference" in known
    assert "token_auroc" not in known
    assert all_scores(Evidence("da")) == {}
    assert set(chosen_by(Evidence("da", counts=plain))) == {"paper", "lape"}
    noise = np.zeros(UNITS)
    assert "random_tokens" in chosen_by(Evidence("da", counts=plain, random_rate=noise))


def test_what_is_asked_for_has_to_be_there(evidence):
    with pytest.raises(
        GlossaeError, match=r"^scores: 'nonsense' is not a score; there are rate_difference, "
    ):
        all_scores(evidence, ["nonsense"])
    with pytest.raises(GlossaeError, match=r"^scores: sentence_auroc needs table$"):
        all_scores(Evidence("da", counts=evidence.counts), ["sentence_auroc"])
    with pytest.raises(GlossaeError, match=r"^scores: there are no tokens of nb, only of da, en, sv$"):
        all_scores(dataclasses.replace(evidence, target="nb"), ["rate_difference"])
    with pytest.raises(GlossaeError, match=r"^scores: there is no attribution for nb$"):
        all_scores(dataclasses.replace(evidence, target="nb"), ["attribution"])
    with pytest.raises(
        GlossaeError, match=r"^scores: these are not the same units: 30 in counts, 3 in random_rate$"
    ):
        dataclasses.replace(evidence, table=None, attribution=None, random_rate=np.zeros(3))


# ---- agreement


def test_agreement_is_scipys(scores):
    among = np.arange(UNITS) != DEAD
    found = agreement(scores, higher_is_better=HIGHER_IS_BETTER, among=among, top=5)
    assert found.names == tuple(scores)
    assert (found.units, found.top) == (UNITS - 1, 5)
    for matrix in (found.spearman, found.kendall, found.overlap):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(np.diag(matrix), 1)
    signs = {name: 1 if HIGHER_IS_BETTER[name] else -1 for name in scores}
    for i, one in enumerate(found.names):
        for j, other in enumerate(found.names):
            a, b = signs[one] * scores[one][among], signs[other] * scores[other][among]
            assert found.spearman[i, j] == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)
            assert found.kendall[i, j] == pytest.approx(kendalltau(a, b).statistic, abs=1e-9)


def test_the_best_units_are_compared():
    scores = {"up": np.arange(10.0), "down": -np.arange(10.0), "shifted": np.roll(np.arange(10.0), 2)}
    higher = {"up": True, "down": False, "shifted": True}
    found = agreement(scores, higher_is_better=higher, among=np.ones(10, dtype=bool), top=4)
    assert found.spearman[0, 1] == pytest.approx(1)
    assert found.overlap.tolist() == [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]]
    few = agreement(scores, higher_is_better=higher, among=np.arange(10) < 3, top=4)
    assert (few.top, few.units) == (3, 3)
    assert few.overlap.min() == 1


def test_ties_and_holes():
    scores = {"holes": np.array([np.nan, 1, 3, np.nan, 2]), "same": np.ones(5), "plain": np.arange(5.0)}
    higher = dict.fromkeys(scores, True)
    everything = np.ones(5, dtype=bool)
    found = agreement(scores, higher_is_better=higher, among=everything, top=2)
    assert np.isnan(found.spearman[1]).all()
    assert np.isnan(found.kendall[:, 1]).all()
    assert best_units(scores["holes"], higher_is_better=True, among=everything).tolist() == [2, 4, 1, 0, 3]
    # low is good, and a hole still is not
    assert best_units(scores["holes"], higher_is_better=False, among=everything).tolist() == [1, 4, 2, 0, 3]
    assert best_units(scores["same"], higher_is_better=True, among=np.arange(5) > 1).tolist() == [2, 3, 4]


def test_one_unit_agrees_with_nothing():
    with pytest.raises(
        GlossaeError, match=r"^scores: there are 1 units to compare scores on, and 2 are needed$"
    ):
        agreement({"a": np.ones(3)}, higher_is_better={"a": True}, among=np.arange(3) == 1)


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 3), min_size=4, max_size=12), st.integers(1, 5))
def test_agreement_sees_order_only(values, top):
    one = np.array(values, dtype=np.float64)
    scores = {"one": one, "stretched": np.exp(one), "turned": -one}
    higher = {"one": True, "stretched": True, "turned": False}
    found = agreement(scores, higher_is_better=higher, among=np.ones(len(one), dtype=bool), top=top)
    assert (found.overlap == 1).all()
    if len(set(values)) > 1:
        np.testing.assert_allclose(found.spearman, 1)
        np.testing.assert_allclose(found.kendall, 1)


# ---- random tokens


@pytest.mark.parametrize("bos", [False, True])
def test_random_sequences_are_as_long_and_of_any_token(tiny_lm, tiny_corpus, bos):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    drawn = random_token_sequences(tiny_lm, tokens, seed=1)
    assert drawn.lengths.tolist() == tokens.lengths.tolist()
    assert drawn.prefix == bos
    assert drawn.corpus.languages == ("random",)
    special = set(tiny_lm.tokenizer.all_special_ids)
    ids = np.concatenate([own[int(bos) :] for own in drawn.ids])
    assert not special & set(ids.tolist())
    assert ids.max() < len(tiny_lm.tokenizer)
    # uniform: every token is drawn, none much more often than others
    many = random_token_sequences(tiny_lm, tokens.take(list(range(len(tokens))) * 30), seed=0)
    count = np.bincount(
        np.concatenate([own[int(bos) :] for own in many.ids]), minlength=len(tiny_lm.tokenizer)
    )
    expected = count.sum() / (len(count) - len(special))
    assert count[1:].min() > 0.5 * expected
    assert count[1:].max() < 1.6 * expected
    if bos:
        assert all(own[0] == tiny_lm.tokenizer.bos_token_id for own in drawn.ids)
    assert all(own is not other and len(own) for own, other in zip(drawn.ids, tokens.ids, strict=True))


def test_random_sequences_are_seeded(tiny_lm, tiny_tokens):
    one, same, other = (random_token_sequences(tiny_lm, tiny_tokens, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one.ids, same.ids, strict=True))
    assert any((a != b).any() for a, b in zip(one.ids, other.ids, strict=True))
    first = one.corpus.sentences[0]
    assert isinstance(first, Sentence)
    assert first.text == tiny_lm.tokenizer.decode(one.ids[0])
    assert one.predicted_bytes[0] == len(tiny_lm.tokenizer.decode(one.ids[0][1:]).encode())


def test_the_filter_keeps_what_is_consistent_and_no_noise():
    rate, noise = np.array([0.9, 0.9, 0.4, 0.5]), np.array([0.01, 0.2, 0.0, 0.05])
    assert random_token_filter(rate=rate, random_rate=noise).tolist() == [True, False, False, True]
    np.testing.assert_allclose(random_token_difference(rate=rate, random_rate=noise), [0.89, 0.7, 0.4, 0.45])
