"""The sweep's numbers are those of every sentence by itself, summed by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from effects_sae import SITE, D, by_hand, logits_by_hand, random_sae

from glossae.effects import Dose, Edit, Measured, cells, measure_edits, sweep_edits
from glossae.lm import sentence_losses, tokenize
from glossae.sae import Sae, SaeConfig
from glossae.text import Corpus

UNITS = (30, 2)
DOSES = [Dose(-2.0, (-2.0, -4.0), False), Dose(0.0, (0.0, 0.0), True), Dose(0.5, (0.5, 1.0), True)]
MEANS = (0.25, 0.125)


@pytest.fixture(scope="module")
def sae():
    return random_sae()


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
def edits():
    return sweep_edits(UNITS, DOSES, MEANS)


@pytest.fixture(scope="module")
def measured(tiny_lm, sae, tokens, edits):
    return measure_edits(tiny_lm, SITE, sae, tokens, edits, budget=120)


@pytest.fixture(scope="module")
def losses_by_hand(tiny_lm, sae, tokens, edits):
    """The summed loss of each sentence in a pass of its own, `(edits, sentences)`."""
    table = []
    for change, _ in edits:
        with by_hand(tiny_lm, sae, change):
            table.append(
                [
                    float(
                        torch.nn.functional.cross_entropy(
                            logits_by_hand(tiny_lm, ids)[:-1], torch.from_numpy(ids[1:]), reduction="sum"
                        )
                    )
                    for ids in tokens.ids
                ]
            )
    return np.array(table)


@pytest.fixture(scope="module")
def table(measured, tokens):
    return cells(measured, tokens, name="da", draws=200, seed=1)


def key(cell):
    return cell.units, cell.kind, cell.edit, cell.splice, cell.value, cell.language, cell.source


# ---- the sweep


def test_the_sweep_is_the_model_then_every_dose_spliced_and_not(edits):
    described = [
        ("raw",)
        if change is None
        else (change.operation, change.splice, change.value, change.targets, inside)
        for change, inside in edits
    ]
    expected = [("raw",)]
    for splice in (True, False):
        expected.append(("none", splice, None, (), None))
        expected += [("set", splice, dose.value, dose.targets, dose.in_range) for dose in DOSES]
        expected.append(("mean", splice, None, MEANS, None))
    assert described == expected
    assert {change.units for change, _ in edits if change and change.operation != "none"} == {UNITS}


def test_without_units_there_is_nothing_to_set():
    described = [change and (change.operation, change.splice) for change, _ in sweep_edits((), [], ())]
    assert described == [None, ("none", True), ("none", False)]


# ---- the losses


def test_losses_are_each_sentence_s_own(measured, edits, losses_by_hand):
    assert [(m.edit, m.in_range) for m in measured] == edits
    for m, expected in zip(measured, losses_by_hand, strict=True):
        np.testing.assert_allclose(m.losses, expected, rtol=1e-4, atol=1e-4)
    # every edit but the error-preserving one of nothing does something
    none = next(i for i, (change, _) in enumerate(edits) if change == Edit("none", splice=False))
    for number in range(1, len(edits)):
        same = np.abs(losses_by_hand[number] - losses_by_hand[0]).max() < 1e-3
        assert same == (number == none)


def test_the_edit_of_nothing_is_the_model_to_the_last_bit(measured):
    (none,) = [m for m in measured if m.edit == Edit("none", splice=False)]
    assert np.array_equal(none.losses, measured[0].losses)


def test_the_model_is_left_as_it_was(tiny_lm, sae, tokens, edits, count_hooks):
    before, hooks = sentence_losses(tiny_lm, tokens), count_hooks(tiny_lm.model)
    measure_edits(tiny_lm, SITE, sae, tokens, edits[:4])
    assert count_hooks(tiny_lm.model) == hooks
    assert np.array_equal(sentence_losses(tiny_lm, tokens), before)


def test_no_edit_is_left_behind_after_an_exception(tiny_lm, tokens, edits, count_hooks):
    before, hooks = sentence_losses(tiny_lm, tokens), count_hooks(tiny_lm.model)
    too_wide = Sae(SaeConfig(d_in=D + 1, latents=40, k=6))
    with pytest.raises(Exception, match="d_in|dimension|size|shape"):
        measure_edits(tiny_lm, SITE, too_wide, tokens, edits)
    assert count_hooks(tiny_lm.model) == hooks
    assert np.array_equal(sentence_losses(tiny_lm, tokens), before)


def test_progress_comes_to_its_end(tiny_lm, sae, tokens, edits):
    done = []
    measure_edits(tiny_lm, SITE, sae, tokens, edits[:4], progress=done.append)
    assert done == [0.25, 0.5, 0.75, 1.0]


# ---- the cells


def test_cells_are_sums_over_tokens_and_bytes(tiny_lm, table, tokens, edits, losses_by_hand):
    """Every number of every cell but its interval."""
    decode = tiny_lm.tokenizer.decode
    sizes = [
        len(s.text.encode()) - len(decode(ids[:1]).encode())
        for s, ids in zip(tokens.corpus.sentences, tokens.ids, strict=True)
    ]
    for cell in table:
        number = next(
            i
            for i, (change, _) in enumerate(edits)
            if (cell.edit, cell.splice, cell.value)
            == (("raw", None, None) if change is None else (change.operation, change.splice, change.value))
        )
        base = 0 if cell.splice is None else edits.index((Edit("none", splice=cell.splice), None))
        own = [
            i
            for i, s in enumerate(tokens.corpus.sentences)
            if s.language == cell.language and cell.source in ("all", s.source)
        ]
        predicted = sum(len(tokens.ids[i]) - 1 for i in own)
        loss = sum(losses_by_hand[number][i] for i in own)
        assert (cell.units, cell.kind) == ("da", "latent")
        assert (cell.tokens, cell.sentences, cell.in_range) == (predicted, len(own), edits[number][1])
        assert cell.ce == pytest.approx(loss / predicted, rel=1e-4)
        assert cell.ce_per_byte == pytest.approx(loss / sum(sizes[i] for i in own), rel=1e-4)
        change = 0 if cell.edit == "raw" else loss - sum(losses_by_hand[base][i] for i in own)
        assert cell.delta == pytest.approx(change / predicted, abs=1e-3)
        # the same change, over bytes
        assert cell.delta_per_byte == pytest.approx(cell.delta * cell.ce_per_byte / cell.ce)


def test_danish_letters_are_two_bytes(table):
    raw = {cell.language: cell for cell in table if cell.edit == "raw" and cell.source == "all"}
    assert all(cell.ce_per_byte < cell.ce for cell in raw.values())


def test_there_is_one_row_for_each_key(table, edits):
    keys = [key(cell) for cell in table]
    assert len(set(keys)) == len(keys)
    groups = {(cell.language, cell.source) for cell in table}
    assert groups == {
        ("da", "a.tsv"), ("da", "b.tsv"), ("da", "da.tsv"), ("da", "all"),
        ("en", "a.tsv"), ("en", "b.tsv"), ("en", "all"),
    }  # fmt: skip
    assert len(keys) == len(groups) * len(edits)


def test_the_model_itself_has_no_splice_and_no_change(table):
    for cell in table:
        assert (cell.splice is None) == (cell.edit == "raw")
        if cell.edit in ("raw", "none"):
            assert (cell.delta, cell.ci_low, cell.ci_high) == (0, 0, 0)
            assert cell.value is cell.in_range is None


def test_intervals_hold_their_estimates(table):
    for cell in table:
        assert cell.ci_low <= cell.delta + 1e-12
        assert cell.delta <= cell.ci_high + 1e-12
        assert cell.byte_ci_low - 1e-12 <= cell.delta_per_byte <= cell.byte_ci_high + 1e-12
        # of few sentences, but not of one
        if cell.edit not in ("raw", "none") and cell.sentences > 2:
            assert cell.ci_low < cell.ci_high


def test_the_seed_decides_the_intervals(measured, tokens, table):
    assert cells(measured, tokens, name="da", draws=200, seed=1) == table
    other = cells(measured, tokens, name="da", draws=200, seed=2)
    ends = dict.fromkeys(("ci_low", "ci_high", "byte_ci_low", "byte_ci_high"), 0)
    assert [dataclasses.replace(cell, **ends) for cell in other] == [
        dataclasses.replace(cell, **ends) for cell in table
    ]
    assert other != table


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


def test_without_units_the_sweep_still_measures_the_model(tiny_lm, sae, tokens):
    table = cells(
        measure_edits(tiny_lm, SITE, sae, tokens, sweep_edits((), [], ())),
        tokens,
        name="da",
        draws=10,
        seed=0,
    )
    pooled = {(c.edit, c.splice): c for c in table if (c.language, c.source) == ("da", "all")}
    assert set(pooled) == {("raw", None), ("none", True), ("none", False)}
    assert pooled["none", False].ce == pooled["raw", None].ce
    assert pooled["none", True].ce != pytest.approx(pooled["raw", None].ce, abs=1e-3)
