"""Scores are what their papers say: by hand, scikit-learn's, and on a unit that was planted."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array
from scipy.stats import spearmanr
from sklearn.feature_selection import f_classif
from sklearn.metrics import average_precision_score, mutual_info_score, roc_auc_score

from features_sae import SITE, random_sae
from glossae.errors import GlossaeError
from glossae.evidence.scores import (
    HIGHER_IS_BETTER,
    SCORES,
    Attribution,
    Score,
    ScoreInputs,
    TokenCounts,
    agreement,
    all_scores,
    lape,
    random_token_filter,
)
from glossae.units import SentenceTable, latent_statistics
from sentence_tables import make_table

LANGUAGES = ("da", "en", "sv")
UNITS, BEST, FOREIGN, DEAD = 30, 4, 9, 11
# these do not say which language is the high one
UNDIRECTED = {"histogram_overlap", "lape", "mutual_information", "f_statistic", "adaptive_probe"}

some = settings(max_examples=40)


def score(name, evidence):
    return SCORES[name].compute(evidence)


def evidence_of(tokens=(1, 1, 1), *, fired=None, sums=None, histogram=None, table=None, effect=None, **given):
    """Evidence of what is given; the rest is zeros, and `table` has a sentence of each language."""
    tokens = np.asarray(tokens)
    languages = LANGUAGES[: len(tokens)]
    units = (
        table.units if table else next(a for a in (fired, sums, histogram, effect) if a is not None).shape[1]
    )
    zeros = np.zeros((len(tokens), units))
    negative_bins = given.pop("negative_bins", 0)
    return ScoreInputs(
        target=given.pop("target", "da"),
        counts=TokenCounts(
            languages,
            tokens,
            zeros.astype(int) if fired is None else fired,
            zeros if sums is None else sums,
            zeros.astype(int)[:, :, None] if histogram is None else histogram,
            negative_bins,
        ),
        table=table or make_table(zeros, languages),
        attribution=Attribution(languages, tokens, zeros if effect is None else effect),
        random_rate=zeros[0],
        **given,
    )


@st.composite
def tables(draw, units=4):
    """Tables with many zeros, ties and negative values; every language has a sentence."""
    more = draw(st.lists(st.sampled_from(LANGUAGES), max_size=20))
    names = draw(st.permutations([*LANGUAGES, *more]))
    value = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, -1.0, 0.25]) | st.floats(-5, 5, width=32)
    row = st.lists(value, min_size=units, max_size=units)
    return make_table(draw(st.lists(row, min_size=len(names), max_size=len(names))), names)


@st.composite
def token_counts(draw, languages=3, units=4, bins=5):
    """Tokens of each language, a histogram of the values where units fire, and how many bins are below zero."""
    tokens = np.array(draw(st.lists(st.integers(1, 60), min_size=languages, max_size=languages)))
    histogram = np.zeros((languages, units, bins), dtype=np.int64)
    for language in range(languages):
        for unit in range(units):
            where = draw(st.lists(st.integers(0, bins - 1), max_size=int(tokens[language])))
            histogram[language, unit] = np.bincount(where, minlength=bins)
    return tokens, histogram, draw(st.integers(0, bins))


TOKENS = np.array([100, 200, 50])
FIRED = np.array([[60, 10, 0, 50], [20, 20, 0, 100], [1, 5, 0, 25]])
# 10 tokens each; the rest is silent. Unit 0: shares (.2, .3 | .5) and (.1, 0 | .9)
BINS = np.array([[[2, 3], [5, 5], [0, 0]], [[1, 0], [0, 0], [0, 0]]])
SENTENCES = make_table([[3], [1], [0], [0]], ["da", "en", "da", "en"])
# the same, with two stored zeros
stored = csc_array(
    (np.array([3, 1, -0.0, 0], dtype=np.float32), np.arange(4), np.array([0, 4])), shape=(4, 1)
)
STORED = dataclasses.replace(SENTENCES, values=stored)
VARIED = make_table([[1, 5, 2, 0], [3, 5, 2, 0], [5, 5, 1, 0], [7, 5, 1, 0]], ["da", "da", "en", "en"])
ODDS = np.array([np.log(3.5 / 1.5) - np.log(1.5 / 7.5), np.log(0.5 / 4.5 / (0.5 / 8.5))])
ERRORS = np.sqrt([1 / 3.5 + 2 / 1.5 + 1 / 7.5, 1 / 0.5 + 1 / 4.5 + 1 / 0.5 + 1 / 8.5])


@pytest.mark.parametrize(
    ("name", "evidence", "expected"),
    [
        # the closest language is taken off
        ("rate_difference", evidence_of(TOKENS, fired=FIRED), [0.6 - 0.1, 0.1 - 0.1, 0, 0]),
        ("rate_difference", evidence_of(TOKENS, fired=FIRED, target="sv"), [0.02 - 0.6, 0.1 - 0.1, 0, 0]),
        (
            "attribution",
            evidence_of([10, 20, 10], effect=np.array([[5.0, -1], [8, 0], [1, 1]])),
            [0.5 - 0.4, -0.1 - 0.1],
        ),
        # every other language counts the same
        (
            "mean_difference",
            evidence_of(TOKENS, sums=np.array([[50.0, -10], [200, 0], [100, 5]])),
            [0.5 - (1 + 2) / 2, -0.1 - (0 + 0.1) / 2],
        ),
        ("histogram_overlap", evidence_of([10, 10], histogram=BINS), [0.1 + 0 + 0.5, 0, 1]),
        (
            "lape",
            evidence_of([10, 10, 20], fired=np.array([[5, 2, 0, 4], [0, 2, 0, 4], [0, 4, 0, 0]])),
            [0, np.log(3), np.nan, np.log(2)],
        ),
        # da: 3, 0; en: 1, 0
        ("sentence_auroc", evidence_of(table=SENTENCES), [(1 + 1 + 0 + 0.5) / 4]),
        ("sentence_auroc", evidence_of(table=STORED), [(1 + 1 + 0 + 0.5) / 4]),
        ("sentence_average_precision", evidence_of(table=STORED), [0.5 * 1 + 0.5 * 2 / 4]),
        ("log_odds", evidence_of([4, 4, 4], fired=np.array([[3, 0], [1, 0], [0, 0]])), ODDS),
        ("log_odds_z", evidence_of([4, 4, 4], fired=np.array([[3, 0], [1, 0], [0, 0]])), ODDS / ERRORS),
        # means 2 and 6 around 4: 16 between, (1 + 1 + 1 + 1) / 2 within; the same everywhere; within groups; silent
        ("f_statistic", evidence_of(table=VARIED), [16 / 2, 0, np.inf, 0]),
    ],
)
def test_scores_by_hand(name, evidence, expected):
    np.testing.assert_allclose(score(name, evidence), expected, atol=1e-15)


@some
@given(token_counts(languages=2))
def test_two_languages_are_against_each_other(counts):
    tokens, histogram, _ = counts
    given = {"fired": histogram.sum(2), "sums": histogram @ np.arange(5.0)}
    da, en = (evidence_of(tokens, target=target, **given) for target in ("da", "en"))
    for name in ("rate_difference", "mean_difference", "log_odds", "log_odds_z"):
        np.testing.assert_allclose(score(name, da), -score(name, en), atol=1e-12)


def test_counts_of_latents_are_taken_over(tiny_lm, tiny_tokens):
    statistics = latent_statistics(tiny_lm, SITE, random_sae(), tiny_tokens)
    counts = TokenCounts.of(statistics)
    of = evidence_of(counts.tokens, fired=counts.fired, sums=counts.sums)
    assert counts.languages == ("da", "en")
    np.testing.assert_allclose(score("rate_difference", of), statistics.rate("da") - statistics.rate("en"))
    nu = statistics.mean_value("da") - statistics.mean_value("en")
    np.testing.assert_allclose(score("mean_difference", of), nu)


@some
@given(token_counts(), st.permutations(range(5)))
def test_overlap_is_a_share_and_knows_no_order(counts, order):
    tokens, histogram, _ = counts
    found = score("histogram_overlap", evidence_of(tokens, histogram=histogram))
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()
    swapped = evidence_of(tokens, histogram=histogram[:, :, order], negative_bins=2)
    np.testing.assert_allclose(found, score("histogram_overlap", swapped))
    # the closest of the others is what counts
    pairs = [evidence_of(tokens[[0, i]], histogram=histogram[[0, i]]) for i in (1, 2)]
    np.testing.assert_allclose(found, np.maximum(*(score("histogram_overlap", pair) for pair in pairs)))


@some
@given(token_counts(), st.permutations(range(3)), st.integers(1, 9))
def test_entropy_knows_no_order_of_languages_and_no_size(counts, order, times):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = score("lape", evidence_of(tokens, fired=fired))
    for other in (
        evidence_of(tokens[order], fired=fired[order]),
        evidence_of(times * tokens, fired=times * fired),
    ):
        np.testing.assert_allclose(score("lape", other), found, atol=1e-12)
    fires = fired.any(0)
    assert np.isnan(found[~fires]).all()
    assert ((found[fires] >= 0) & (found[fires] <= np.log(3) + 1e-12)).all()


def test_lape_keeps_the_lowest_of_those_that_are_high_somewhere():
    # 100 units on 2 languages; the 190th of 200 rates is .50, so that .51 and above are high
    fired = np.tile([[500], [500]], 100)
    fired[:, :5] = [[900, 510, 20, 0, 990], [10, 510, 0, 0, 980]]
    tokens = np.array([1000, 1000])
    found = lape(fired=fired, tokens=tokens, share=0.02)
    # a unit may be for several languages
    assert np.argwhere(found.languages.T).tolist() == [[0, 0], [4, 0], [4, 1]]
    # unit 2 is purer than any, but fires on 2 % only
    assert found.entropy[2] == 0
    # one per cent of 100 units is one
    assert np.argwhere(lape(fired=fired, tokens=tokens).languages.T).tolist() == [[0, 0]]


@some
@given(token_counts(units=8), st.floats(0, 1), st.floats(0, 1))
def test_lape_fills_up_with_no_unit_that_is_high_nowhere(counts, percentile, share):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = lape(fired=fired, tokens=tokens, percentile=percentile, share=share)
    kept = found.languages.any(0)
    assert kept.sum() <= round(share * 8)
    rate = fired / tokens[:, None]
    bar = np.sort(rate.ravel())[min(max(round(percentile * rate.size), 1), rate.size) - 1]
    np.testing.assert_array_equal(found.languages, (rate > bar) & kept)
    left = (rate > bar).any(0) & ~kept
    if kept.any() and left.any():
        assert found.entropy[kept].max() <= found.entropy[left].min() + 1e-12


@some
@given(tables(), st.randoms(use_true_random=False))
def test_sentences_are_detected_as_scikit_learn_says_in_any_order(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = evidence_of(table=table), evidence_of(table=table.take(order))
    values = table.values.toarray()
    for name, expected in (
        ("sentence_auroc", roc_auc_score),
        ("sentence_average_precision", average_precision_score),
    ):
        found = score(name, one)
        by_unit = [expected(table.languages == "da", column) for column in values.T]
        np.testing.assert_allclose(found, by_unit, atol=1e-12)
        np.testing.assert_array_equal(score(name, other), found)


@some
@given(token_counts())
def test_tokens_are_detected_as_scikit_learn_says(counts):
    tokens, histogram, negative_bins = counts
    of = evidence_of(tokens, histogram=histogram, negative_bins=negative_bins, target="en")
    # bins below zero, silence, bins above
    places = np.insert(np.arange(5.0), negative_bins, negative_bins - 0.5)
    for unit in range(histogram.shape[1]):
        silent = tokens - histogram[:, unit].sum(1)
        bins = np.insert(histogram[:, unit], negative_bins, silent, axis=1)
        values = np.concatenate([np.repeat(places, row) for row in bins])
        labels = np.repeat([False, True, False], tokens)
        assert score("token_auroc", of)[unit] == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
        expected = average_precision_score(labels, values)
        assert score("token_average_precision", of)[unit] == pytest.approx(expected, abs=1e-12)


def test_units_in_parts_are_the_same(monkeypatch):
    generator = np.random.default_rng(0)
    values = generator.integers(-2, 3, (60, 40)) * (generator.random((60, 40)) < 0.3)
    given = {
        "histogram": generator.integers(0, 5, (3, 40, 8)),
        "table": make_table(values, generator.choice(["da", "en"], 60)),
    }
    names = ("histogram_overlap", "token_auroc", "token_average_precision", "sentence_auroc")
    whole = [score(name, evidence_of([40, 60, 35], **given)) for name in names]
    chunks = SentenceTable.chunks
    monkeypatch.setattr(SentenceTable, "chunks", lambda self: chunks(self, 40))
    monkeypatch.setattr("glossae.evidence.scores.ENTRIES", 100)
    assert len(list(given["table"].chunks())) > 5
    for name, expected in zip(names, whole, strict=True):
        np.testing.assert_array_equal(score(name, evidence_of([40, 60, 35], **given)), expected)


@some
@given(token_counts())
def test_information_is_scikit_learn_s_and_knows_not_what_firing_is(counts):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = score("mutual_information", evidence_of(tokens, fired=fired))
    for unit in range(fired.shape[1]):
        two = np.stack([fired[:, unit], tokens - fired[:, unit]]) @ [[1, 0], [0, 1], [0, 1]]
        # a half more in every cell
        expected = mutual_info_score(None, None, contingency=2 * two + 1)
        assert found[unit] == pytest.approx(max(expected, 0), abs=1e-10)
    silent = evidence_of(tokens, fired=tokens[:, None] - fired)
    np.testing.assert_allclose(score("mutual_information", silent), found, atol=1e-12)
    np.testing.assert_allclose(
        score("log_odds", silent), -score("log_odds", evidence_of(tokens, fired=fired)), atol=1e-12
    )


@some
@given(tables())
def test_f_is_scikit_learn_s(table):
    found = score("f_statistic", evidence_of(table=table))
    values, danish = table.values.toarray().astype(np.float64), table.languages == "da"
    varying = [u for u in range(4) if max(values[danish, u].std(), values[~danish, u].std()) > 1e-3]
    if varying:
        expected = f_classif(values[:, varying], danish)[0]
        np.testing.assert_allclose(found[varying], expected, rtol=1e-6, atol=1e-9)


# ---- probes


def probed(sentences=2000, units=40, *, scale=1.0, seed=0):
    """Units that fire on a fifth of all sentences; 3 on most Danish ones, 4 on a bit more of them, 5 on English."""
    generator = np.random.default_rng(0)
    danish = np.arange(sentences) % 2 == 0
    values = generator.exponential(1, (sentences, units)) * (generator.random((sentences, units)) < 0.2)
    for unit, rate in ((3, (0.95, 0.03)), (4, (0.5, 0.2)), (5, (0.1, 0.8))):
        fires = generator.random(sentences) < np.where(danish, *rate)
        values[:, unit] = generator.exponential(1, sentences) * fires + 0.5 * fires
    values[:, 7] = 0
    values[:, 8] = 2
    pairs = [f"pair-{i // 2}" for i in range(sentences)]
    return evidence_of(table=make_table(values * scale, np.where(danish, "da", "en"), pairs=pairs), seed=seed)


def test_the_l1_probe_knows_which_units_speak_for_what():
    found = score("l1_probe", probed())
    assert found.argmax() == 3
    assert found.argmin() == 5
    assert found[5] < 0
    # few units are taken; never those that never fire or are always the same
    assert 0 < np.count_nonzero(found) < 10
    assert found[[7, 8]].tolist() == [0, 0]


def test_thresholding_starts_from_a_power_of_two_and_keeps_the_best(monkeypatch):
    found = score("adaptive_probe", probed())
    assert np.argsort(-found)[:2].tolist() == [3, 5]
    # 38 units differ: 32 are taken up, and every one is dropped at a time of its own
    assert sorted(found[found > 0].tolist()) == list(range(1, 33))
    monkeypatch.setattr("glossae.evidence.scores.LARGEST_PROBE", 5)
    assert sorted(score("adaptive_probe", probed())) == [0] * 36 + [1, 2, 3, 4]


def test_probes_know_no_scale_and_repeat_with_the_seed():
    scaled = probed(scale=np.geomspace(0.01, 100, 40))
    l1, adaptive = (score(name, probed()) for name in ("l1_probe", "adaptive_probe"))
    np.testing.assert_allclose(score("l1_probe", scaled), l1, rtol=1e-3, atol=1e-3)
    assert np.argsort(-score("adaptive_probe", scaled))[:4].tolist() == np.argsort(-adaptive)[:4].tolist()
    for name, found in (("l1_probe", l1), ("adaptive_probe", adaptive)):
        np.testing.assert_array_equal(score(name, probed()), found)
        assert (score(name, probed(seed=1)) != found).any()


def test_a_fit_that_did_not_converge_is_silent(monkeypatch):
    monkeypatch.setattr("glossae.evidence.scores.MAX_STEPS", 1)
    assert score("l1_probe", probed()).argmax() == 3


def test_probes_leave_out_whole_pairs(monkeypatch):
    taken, take = [], SentenceTable.take
    monkeypatch.setattr(SentenceTable, "take", lambda self, rows: taken.append(rows) or take(self, rows))
    of = probed(100)
    pairs = of.table.pairs
    score("l1_probe", of)
    (fitted,) = taken
    assert len(fitted) == 70
    assert not set(pairs[fitted]) & set(np.delete(pairs, fitted))
    # the same pairs, whatever the order of the sentences
    shuffled = take(of.table, np.random.default_rng(0).permutation(100))
    score("l1_probe", dataclasses.replace(of, table=shuffled))
    assert set(shuffled.pairs[taken[1]]) == set(pairs[fitted])


@pytest.mark.parametrize("name", ["l1_probe", "adaptive_probe"])
def test_a_probe_needs_both_languages_and_a_unit_that_differs(name):
    lonely = make_table(np.eye(20), ["da"] + ["en"] * 19)
    # the Danish sentence is left out
    seed = next(s for s in range(99) if 0 in np.random.default_rng(s).permutation(20)[:6])
    with pytest.raises(
        GlossaeError, match=r"^scores: a probe has to fit on sentences of da .* there are 0 and 14$"
    ):
        score(name, evidence_of(table=lonely, seed=seed))
    with pytest.raises(GlossaeError, match=r"^scores: no unit differs"):
        score(name, evidence_of(table=make_table(np.ones((40, 2)), ["da", "en"] * 20)))


# ---- all of them


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
    return ScoreInputs(
        target="da",
        counts=counts,
        table=make_table(values.mean(1), names),
        attribution=Attribution(LANGUAGES, counts.tokens - 400, effect),
        random_rate=np.where(np.arange(UNITS) == BEST, 0.01, 0.3),
    )


@pytest.fixture(scope="module")
def evidence():
    return planted()


def test_a_score_is_added_by_a_function_in_the_registry(evidence, monkeypatch):
    monkeypatch.setitem(SCORES, "flat", Score("nobody", True, lambda of: np.zeros(len(of.random_rate))))
    assert (all_scores(evidence)["flat"] == 0).all()


@pytest.fixture(scope="module")
def found(evidence):
    return all_scores(evidence)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_finds_the_planted_unit(found, name):
    assert list(found) == list(SCORES)
    values = found[name]
    assert values.shape == (UNITS,)
    assert np.isfinite(np.delete(values, DEAD)).all()
    oriented = np.where(np.isnan(values), -np.inf, values if HIGHER_IS_BETTER[name] else -values)
    best = np.argsort(-oriented, kind="stable")[:2].tolist()
    # a score that does not say which language is the high one may like the English unit as well
    assert BEST in (best if name in UNDIRECTED else best[:1])
    alike = np.delete(values, [BEST, FOREIGN, DEAD])
    # random tokens are compared with text of the target only, and so say nothing of other languages
    if name not in {*UNDIRECTED, "random_tokens"}:
        assert values[FOREIGN] <= np.median(alike) < values[BEST]


def test_the_filter_keeps_what_is_consistent_and_no_noise(evidence):
    rate, noise = np.array([0.9, 0.9, 0.4, 0.5]), np.array([0.01, 0.2, 0.0, 0.05])
    assert random_token_filter(rate=rate, random_rate=noise).tolist() == [True, False, False, True]
    kept = random_token_filter(rate=evidence.token_rate, random_rate=evidence.random_rate)
    assert np.flatnonzero(kept).tolist() == [BEST]
    np.testing.assert_allclose(
        score("random_tokens", evidence), evidence.counts.fired[0] / 8000 - evidence.random_rate
    )


def test_evidence_that_does_not_fit_together_is_refused(evidence):
    counts, attribution = evidence.counts, evidence.attribution
    for other, message in (
        ({"target": "nb"}, "there are no tokens of nb, only of da, en, sv"),
        (
            {"attribution": Attribution(("en",), counts.tokens[:1], attribution.effect[:1])},
            "there is no attribution",
        ),
        ({"random_rate": np.zeros(3)}, "these are not the same units: 30 in counts, .*, 3 in random_rate"),
        ({"table": evidence.table.take(range(400))}, "sentences of da and .*, and there are 400 and 0"),
        ({"table": evidence.table.take(range(400, 500))}, "sentences of da and .*, and there are 0 and 100"),
    ):
        with pytest.raises(GlossaeError, match=f"^scores: {message}"):
            dataclasses.replace(evidence, **other)
    with pytest.raises(GlossaeError, match=r"^scores: language 1 of the counts has no tokens$"):
        score("rate_difference", evidence_of([5, 0, 5], fired=FIRED))


# ---- agreement


def test_agreement_is_scipys(found):
    among = np.arange(UNITS) != DEAD
    agreed = agreement(found, higher_is_better=HIGHER_IS_BETTER, among=among, top=5)
    assert (agreed.names, agreed.top) == (tuple(found), 5)
    signs = {name: 1 if HIGHER_IS_BETTER[name] else -1 for name in found}
    values = np.stack([signs[name] * found[name][among] for name in found])
    np.testing.assert_allclose(agreed.spearman, spearmanr(values.T).statistic, atol=1e-9)
    np.testing.assert_array_equal(agreed.overlap, agreed.overlap.T)


def test_the_best_units_are_compared():
    scores = {"up": np.arange(10.0), "down": -np.arange(10.0), "shifted": np.roll(np.arange(10.0), 2)}
    higher = {"up": True, "down": False, "shifted": True}
    agreed = agreement(scores, higher_is_better=higher, among=np.ones(10, dtype=bool), top=4)
    assert agreed.spearman[0, 1] == pytest.approx(1)
    assert agreed.overlap.tolist() == [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]]
    few = agreement(scores, higher_is_better=higher, among=np.arange(10) < 3, top=4)
    assert (few.top, few.overlap.min()) == (3, 1)


@pytest.mark.parametrize(("higher", "best"), [(True, [2, 4]), (False, [1, 4])])
def test_holes_are_worse_than_anything_and_ties_go_by_number(higher, best):
    holes, ties = np.array([np.nan, 1, 3, np.nan, 2]), np.array([1.0, 2, 2, 1, 2])
    named = {"holes": holes, "same": np.ones(5), "best": np.isin(np.arange(5), best) * 1.0, "ties": ties}
    agreed = agreement(
        named,
        higher_is_better={"holes": higher, "same": True, "best": True, "ties": True},
        among=np.ones(5, dtype=bool),
        top=2,
    )
    assert np.isnan(agreed.spearman[1]).all()
    assert agreed.overlap[0, 2] == 1
    # the first two of each
    assert agreed.overlap[1, 3] == 0.5


def test_one_unit_agrees_with_nothing():
    with pytest.raises(
        GlossaeError, match=r"^scores: there are 1 units to compare scores on, and 2 are needed$"
    ):
        agreement({"a": np.ones(3)}, higher_is_better={"a": True}, among=np.arange(3) == 1)
