"""A sweep's numbers are those of every sentence by itself, summed by hand; and consecutive sentences are tested."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import SITE, D, by_hand, logits_by_hand, measured_on, random_sae
from glossae.corpora import Corpus, Sentence
from glossae.effects import (
    Dose,
    Edit,
    Measured,
    cells,
    direction_set,
    latent_set,
    measure_growing,
    neuron_set,
    part_edits,
    part_rows,
    serial_correlations,
)
from glossae.effects.serial import autocorrelations, lag_1_test, variance_inflation
from glossae.effects.sweep import FIRST
from glossae.lm import TokenizedCorpus, sentence_losses, tokenize
from glossae.sae import Sae, SaeConfig
from glossae.units import Neurons

UNITS = (30, 2)
DOSES = [Dose(-2.0, (-2.0, -4.0), False), Dose(0.0, (0.0, 0.0), True), Dose(0.5, (0.5, 1.0), True)]
MEAN = torch.linspace(-1, 1, D)


@pytest.fixture(scope="module")
def tokens(tiny_lm, tiny_corpus):
    """Sources of different sizes in mixed order; one has no English."""
    chosen = []
    for number, sentence in enumerate(tiny_corpus.sentences[::3]):
        source = (
            "b.tsv" if number % 3 == 1 else "da.tsv" if sentence.language == "da" and number > 11 else "a.tsv"
        )
        chosen.append(sentence._replace(source=source))
    return tokenize(tiny_lm, Corpus.of(chosen))


@pytest.fixture(scope="module")
def steps():
    """The part of a sweep without the latents' shares, which are no edits that are made by hand."""
    sweep = latent_set("da", random_sae(), UNITS, DOSES, (0.25, 0.125)).sweep
    return [step for step in sweep if step.edit is None or step.edit.operation in ("none", "set", "mean")]


@pytest.fixture(scope="module")
def measured(tiny_lm, tokens, steps):
    return measured_on(tiny_lm, steps, tokens, budget=120)


@pytest.fixture(scope="module")
def losses_by_hand(tiny_lm, tokens, steps):
    """The summed loss of each sentence in a pass of its own, `(edits, sentences)`."""
    entropy = torch.nn.functional.cross_entropy
    table = []
    for step in steps:
        with by_hand(tiny_lm, step.units, step.edit):
            found = [(logits_by_hand(tiny_lm, ids)[:-1], torch.from_numpy(ids[1:])) for ids in tokens.ids]
        table.append([float(entropy(logits, ids, reduction="sum")) for logits, ids in found])
    return np.array(table)


@pytest.fixture(scope="module")
def table(measured, tokens):
    return cells(measured, tokens, name="da", draws=200, seed=1)


# losses


def test_losses_are_each_sentence_s_own(measured, steps, losses_by_hand):
    assert [(m.edit, m.in_range) for m in measured] == [(step.edit, step.in_range) for step in steps]
    for m, expected in zip(measured, losses_by_hand, strict=True):
        np.testing.assert_allclose(m.losses, expected, rtol=1e-4, atol=1e-4)
        # every edit but the error-preserving one of nothing does something
        still = np.abs(expected - losses_by_hand[0]).max() < 1e-3
        assert still == (m.edit in (None, Edit("none"))) == np.array_equal(m.losses, measured[0].losses)


def test_no_edit_is_left_behind(tiny_lm, tokens, steps, count_hooks):
    before, hooks = sentence_losses(tiny_lm, tokens), count_hooks(tiny_lm.model)
    done = []
    measured_on(tiny_lm, steps[:4], tokens, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1
    too_wide = Sae(SaeConfig(d_in=D + 1, latents=40, k=6))
    with pytest.raises(Exception, match="d_in|dimension|size|shape"):
        measured_on(tiny_lm, [step._replace(units=too_wide) for step in steps], tokens)
    assert count_hooks(tiny_lm.model) == hooks
    assert np.array_equal(sentence_losses(tiny_lm, tokens), before)


@pytest.fixture(scope="module")
def arms():
    target_mean = MEAN + torch.randn(D, generator=torch.Generator().manual_seed(0))
    return [
        neuron_set("best neurons", Neurons(SITE, D), (4, 9), MEAN),
        direction_set("difference of means", target_mean - MEAN, MEAN, target_mean),
    ]


def test_a_sample_grows_until_its_changes_are_known(tiny_lm, tiny_corpus, arms):
    text, sweeps = tokenize(tiny_lm, tiny_corpus), [arm.sweep for arm in arms]
    taken, _ = measure_growing(tiny_lm, SITE, sweeps, text, precision=1e3, seed=0)
    counts = {code: len(text.corpus.only(code)) for code in text.corpus.languages}
    assert {code: len(taken.corpus.only(code)) for code in counts} == {
        code: min(FIRST, count) for code, count in counts.items()
    }
    kept = {}
    options = {"precision": None, "seed": 0, "side_effects_on": "en"}
    whole, measured = measure_growing(
        tiny_lm, SITE, sweeps, text, **options, keep=lambda name, work: kept.setdefault(name, work())
    )
    assert whole.corpus.sentences == text.corpus.sentences
    english = np.array([s.language == "en" for s in text.corpus.sentences])
    for arm, own in zip(arms, measured, strict=True):
        # several sweeps in one pass are each sweep by itself
        for m, alone in zip(own, measured_on(tiny_lm, arm.sweep, text), strict=True):
            np.testing.assert_allclose(m.losses, alone.losses, rtol=1e-5, atol=1e-3)
            assert (m.moved.kl > -1e-3).all()
            assert (m.moved.agreed <= text.predicted).all()
            assert not m.moved.kl[~english].any()
        assert np.array_equal(own[0].moved.agreed[english], text.predicted[english])
        assert not own[0].moved.moved.any()
        assert own[1].moved.kl[english].sum() > 0
    _, again = measure_growing(tiny_lm, SITE, sweeps, text, **options, keep=lambda name, _: kept[name])
    for own, other in zip(measured, again, strict=True):
        assert all(np.array_equal(m.losses, n.losses) for m, n in zip(own, other, strict=True))


# cells


def test_cells_are_sums_over_tokens_and_bytes(tiny_lm, table, tokens, steps, losses_by_hand):
    """Every number of every cell but its interval, and one cell for each edit, language and source."""
    decode, sentences = tiny_lm.tokenizer.decode, tokens.corpus.sentences
    sizes = [
        len(s.text.encode()) - len(decode(ids[:1]).encode())
        for s, ids in zip(sentences, tokens.ids, strict=True)
    ]
    groups = [("da", "a.tsv"), ("da", "b.tsv"), ("da", "da.tsv"), ("da", "all")]
    groups += [("en", "a.tsv"), ("en", "b.tsv"), ("en", "all")]
    places = [(*group, number) for group in groups for number in range(len(steps))]
    edits = [step.edit for step in steps]
    assert {(c.language, c.source) for c in table} == set(groups)
    assert len(table) == len(places)
    by_group = sorted(table, key=lambda cell: groups.index((cell.language, cell.source)))
    for cell, (language, source, number) in zip(by_group, places, strict=True):
        change = edits[number]
        said = ("raw", None, None) if change is None else (change.operation, change.splice, change.value)
        assert (cell.units, cell.kind, cell.edit, cell.splice, cell.value) == ("da", "latent", *said)
        own = [i for i, s in enumerate(sentences) if s.language == language and source in ("all", s.source)]
        predicted = sum(len(tokens.ids[i]) - 1 for i in own)
        loss = losses_by_hand[number][own].sum()
        assert (cell.tokens, cell.sentences, cell.in_range) == (predicted, len(own), steps[number].in_range)
        assert cell.ce == pytest.approx(loss / predicted, rel=1e-4)
        assert cell.ce_per_byte == pytest.approx(loss / sum(sizes[i] for i in own), rel=1e-4)
        base = number if change is None else edits.index(Edit("none", splice=change.splice))
        delta = (loss - losses_by_hand[base][own].sum()) / predicted
        assert cell.delta == pytest.approx(delta, abs=1e-3)
        # the same change, over bytes
        assert cell.delta_per_byte == pytest.approx(cell.delta * cell.ce_per_byte / cell.ce)
        assert cell.ci_low - 1e-12 <= cell.delta <= cell.ci_high + 1e-12
        assert cell.byte_ci_low - 1e-12 <= cell.delta_per_byte <= cell.byte_ci_high + 1e-12
        if cell.edit in ("raw", "none"):
            assert (cell.delta, cell.ci_low, cell.ci_high) == (0, 0, 0)
        elif cell.sentences > 2:
            assert cell.ci_low < cell.ci_high


def test_the_seed_decides_the_intervals_and_nothing_else(measured, tokens, table):
    assert cells(measured, tokens, name="da", draws=200, seed=1) == table
    other = cells(measured, tokens, name="da", draws=200, seed=2)
    ends = dict.fromkeys(("ci_low", "ci_high", "byte_ci_low", "byte_ci_high"), 0)
    same = [[cell.model_copy(update=ends) for cell in each] for each in (table, other)]
    assert same[0] == same[1]
    assert other != table
    panel = cells(measured, tokens, name="x", kind="neuron", draws=9, seed=0, pooled="panel", by_source=False)
    assert {(cell.units, cell.kind, cell.source) for cell in panel} == {("x", "neuron", "panel")}


def test_changes_are_paired_by_sentence(tokens):
    """Sentences differ by nats, the edit costs each the same: there is nothing uncertain about it."""
    base = np.random.default_rng(0).gamma(2.0, 40.0, size=len(tokens))
    measured = [
        Measured(None, None, base),
        Measured(Edit("none", splice=True), None, base + 7.0),
        Measured(Edit("set", UNITS, (0.0, 0.0), True, 0.0), True, base + 7.0 + 0.5 * tokens.predicted),
    ]
    for cell in cells(measured, tokens, name="da", draws=100, seed=0):
        expected = 0.5 if cell.edit == "set" else 0.0
        assert (cell.delta, cell.ci_low, cell.ci_high) == pytest.approx((expected,) * 3, abs=1e-9)


# units one by one


def test_parts_are_one_unit_and_all_the_others():
    parts = part_edits(Edit("set", (7, 3, 5), (1.0, 2.0, 3.0), value=1.5))
    assert [(unit, way, edit.units, edit.targets) for unit, way, edit in parts] == [
        (7, "alone", (7,), (1.0,)),
        (7, "left out", (3, 5), (2.0, 3.0)),
        (3, "alone", (3,), (2.0,)),
        (3, "left out", (7, 5), (1.0, 3.0)),
        (5, "alone", (5,), (3.0,)),
        (5, "left out", (7, 3), (1.0, 2.0)),
    ]
    assert [(unit, way) for unit, way, _ in part_edits(Edit("zero", (7,)))] == [(7, "alone")]


def test_rows_of_parts_are_in_their_places(tokens):
    parts = part_edits(Edit("zero", (7, 3)))
    rise = np.where([s.language == "da" for s in tokens.corpus.sentences], 1, 0.5) * tokens.predicted
    edits = (Edit("none"), *(edit for _, _, edit in parts))
    measured = [Measured(change, None, 50.0 + number * rise) for number, change in enumerate(edits)]
    rows = part_rows(parts, measured, tokens, name="da", draws=10, seed=0)
    assert {(row.unit, row.way, row.language): row.delta for row in rows} == pytest.approx(
        {
            (unit, way, code): share * number
            for code, share in (("da", 1), ("en", 0.5))
            for number, (unit, way, _) in enumerate(parts, 1)
        }
    )


# consecutive sentences


def chain(n, rho, generator):
    """A series whose neighbours have correlation `rho`: of first order, stationary, variance 1."""
    values = generator.standard_normal(n)
    for place in range(1, n):
        values[place] = rho * values[place - 1] + np.sqrt(1 - rho**2) * values[place]
    return values


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40).filter(lambda x: np.std(x) > 1e-3))
def test_autocorrelations_are_sums_of_products(values):
    centred = np.array(values) - np.mean(values)
    lags = range(len(centred))
    expected = [centred[lag:] @ centred[: len(centred) - lag] / (centred @ centred) for lag in lags]
    np.testing.assert_allclose(autocorrelations(np.array(values)), expected, atol=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_inflation_is_that_of_the_variance_of_the_mean(rho):
    generator = np.random.default_rng(3)
    series = [chain(2000, rho, generator) for _ in range(60)]
    # of first order, 1 + 2 sum rho^k
    expected = (1 + rho) / (1 - rho)
    assert np.mean([variance_inflation(one) for one in series]) == pytest.approx(expected, rel=0.12)
    assert 2000 * np.var([one.mean() for one in series]) == pytest.approx(expected, rel=0.5)


def test_the_p_value_is_uniform_without_correlation_and_small_with_it():
    generator = np.random.default_rng(5)
    p = [lag_1_test(generator.gamma(1.0, size=60), seed=seed, draws=99)[1] for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.09
    assert 0.4 < np.mean(p) < 0.6
    lag_1, found = lag_1_test(chain(300, 0.4, generator), seed=0, draws=99)
    assert lag_1 == pytest.approx(0.4, abs=0.12)
    assert found == 0.01


def sweep_of(n, *, docs=False):
    """Two sources with losses and changes, of which those of `a` go together with their neighbours in the file."""
    found = [
        Sentence(
            f"{source} {i}", "da", f"{source}{i}", source, f"d{i // 10}" if docs and source == "b" else ""
        )
        for i in range(n)
        for source in "ab"
    ]
    empty = {"dropped": {}, "cut": {}, "prefix": 0, "predicted_bytes": np.full(2 * n, 20)}
    tokens = TokenizedCorpus(
        corpus=Corpus.of(found), ids=tuple(np.arange(5 + i % 7) for i in range(2 * n)), **empty
    )
    generator = np.random.default_rng(0)
    level, noise = chain(n, 0.8, generator).repeat(2), generator.standard_normal(2 * n)
    base = (4.0 + 0.3 * noise) * tokens.predicted
    own = np.where([s.source == "a" for s in found], level, noise)
    after = base + (0.2 + 0.1 * own) * tokens.predicted
    edits = ((None, base), (Edit("none"), base), (Edit("zero", (1,)), after))
    measured = [Measured(edit, None, losses) for edit, losses in edits]
    return measured, tokens, np.arange(2 * n) // 2


def test_it_is_the_order_of_the_file_that_counts():
    measured, tokens, places = sweep_of(300)
    order = np.random.default_rng(1).permutation(len(tokens))
    shuffled = [Measured(m.edit, None, m.losses[order]) for m in measured]
    rows = serial_correlations({"test": (measured, tokens, places)}, seed=0)
    assert serial_correlations({"test": (shuffled, tokens.take(order), places[order])}, seed=0) == rows
    found = {(row.source, row.statistic): row for row in rows}
    assert set(found) == {(source, statistic) for source in "ab" for statistic in ("loss", "change")}
    correlated = found["a", "change"]
    assert correlated.edit == "zero"
    assert correlated.lag_1 > 0.5
    assert 3 < correlated.inflation < 20
    assert [key for key, row in found.items() if row.q <= 0.05] == [("a", "change")]


def test_sources_with_documents_and_short_ones_are_not_tested():
    rows = serial_correlations({"panel": sweep_of(300, docs=True)}, seed=0)
    assert {(row.text, row.source) for row in rows} == {("panel", "a")}
    assert serial_correlations({"test": sweep_of(9)}, seed=0) == []
