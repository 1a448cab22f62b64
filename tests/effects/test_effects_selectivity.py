"""At the same damage to the target, other languages are compared along known dose-responses."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprog.corpora import Corpus, Sentence
from sprog.effects import MATCHED_DAMAGE, Edit, Measured, selectivity
from sprog.lm import TokenizedCorpus

# from no edit over 0 down
PATH = (None, 0.0, -2.0, -4.0)


def corpus_of(*languages, each=40):
    """Sentences of 2 to 20 predicted tokens, languages mixed."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 22, size=each * len(languages))
    return TokenizedCorpus(
        corpus=Corpus.of(
            Sentence(f"text {i}", languages[i % len(languages)], str(i), "made") for i in range(len(lengths))
        ),
        ids=tuple(generator.integers(1, 300, size=length) for length in lengths),
        predicted_bytes=lengths - 1,
        dropped={},
        cut={},
        bos=False,
    )


def measured_of(tokens, curves, doses=PATH, *, splice=False, noise=0.0, seed=0):
    """Losses that rise by `curves[language][i]` nats a token at dose i, a sentence's own noise on top."""
    generator = np.random.default_rng(seed)
    base = generator.gamma(2.0, 40.0, size=len(tokens))
    own = 1 + noise * generator.standard_normal(len(tokens))
    measured = []
    for place, dose in enumerate(doses):
        rise = np.array([curves[s.language][place] for s in tokens.corpus.sentences])
        change = (
            Edit("none", splice=splice) if dose is None else Edit("set", (1,), (dose,), splice, value=dose)
        )
        measured.append(Measured(change, None, base + rise * own * tokens.predicted))
    return measured


def compare(tokens, measured, target="da", draws=50):
    rows = selectivity(measured, tokens, target, name="da", draws=draws, seed=0)
    return {(row.splice, row.at, row.versus): row for row in rows}


@pytest.fixture(scope="module")
def tokens():
    return corpus_of("da", "en")


KNOWN = {"da": (0.0, 0.05, 0.2, 0.6), "en": (0.0, 0.01, 0.04, 0.5)}


def test_known_curves_have_their_known_answer(tokens):
    rows = compare(tokens, measured_of(tokens, KNOWN))
    assert set(rows) == {(False, at, "en") for at in MATCHED_DAMAGE}
    assert MATCHED_DAMAGE == (0.1, 0.3)

    # a third of the way from 0 to -2
    row = rows[False, 0.1, "en"]
    assert (row.units, row.kind, row.edit, row.reached, row.floored) == ("da", "latent", "set", True, False)
    assert row.value == pytest.approx(-2 / 3)
    assert row.target_delta == pytest.approx(0.1)
    assert row.other_delta == pytest.approx(0.02)
    assert row.ratio == pytest.approx(5)
    assert row.margin == pytest.approx(0.08)

    # a quarter of the way from -2 to -4
    row = rows[False, 0.3, "en"]
    assert row.value == pytest.approx(-2.5)
    assert row.other_delta == pytest.approx(0.04 + 0.25 * 0.46)
    assert row.ratio == pytest.approx(0.3 / 0.155)
    assert row.margin == pytest.approx(0.3 - 0.155)


def test_where_sentences_agree_the_intervals_are_points(tokens):
    for row in compare(tokens, measured_of(tokens, KNOWN)).values():
        assert (row.ratio_low, row.ratio_high) == pytest.approx((row.ratio, row.ratio))
        assert (row.margin_low, row.margin_high) == pytest.approx((row.margin, row.margin))


def test_where_they_do_not_the_intervals_hold_the_estimates(tokens):
    rows = compare(tokens, measured_of(tokens, KNOWN, noise=0.5), draws=400)
    for row in rows.values():
        assert row.ratio_low < row.ratio < row.ratio_high
        assert row.margin_low < row.margin < row.margin_high
    again = compare(tokens, measured_of(tokens, KNOWN, noise=0.5), draws=400)
    assert again == rows
    many = corpus_of("da", "en", each=640)
    for place, row in compare(many, measured_of(many, KNOWN, noise=0.5), draws=400).items():
        assert row.margin_high - row.margin_low < 0.5 * (rows[place].margin_high - rows[place].margin_low)


def test_only_the_way_down_counts_and_in_its_order(tokens):
    down = measured_of(tokens, KNOWN)
    up = {"da": (0.15, 5.0), "en": (0.15, 5.0)}
    others = measured_of(tokens, up, doses=(0.5, 4.0))
    mean = Measured(Edit("mean", (1,), (0.2,)), None, others[1].losses)
    raw = Measured(None, None, others[1].losses)
    mixed = [raw, down[3], others[1], down[0], mean, down[2], others[0], down[1]]
    assert compare(tokens, mixed) == compare(tokens, down)


def test_between_no_edit_and_0_there_is_no_dose(tokens):
    curves = {"da": (0.0, 0.2, 0.25, 0.28), "en": (0.0, 0.04, 0.1, 0.2)}
    rows = compare(tokens, measured_of(tokens, curves))
    row = rows[False, 0.1, "en"]
    assert row.reached
    assert row.value is None
    assert row.other_delta == pytest.approx(0.02)
    assert row.ratio == pytest.approx(5)


def test_a_dose_that_hits_the_damage_is_the_dose(tokens):
    curves = {"da": (0.0, 0.05, 0.1, 0.2), "en": (0.0, 0.01, 0.05, 0.5)}
    tokens_and_losses = measured_of(tokens, curves)
    row = compare(tokens, tokens_and_losses)[False, 0.1, "en"]
    assert row.value == pytest.approx(-2)
    assert row.other_delta == pytest.approx(0.05)


def test_the_first_crossing_is_taken(tokens):
    curves = {"da": (0.0, 0.2, 0.05, 0.4), "en": (0.0, 0.02, 0.5, 0.9)}
    row = compare(tokens, measured_of(tokens, curves))[False, 0.1, "en"]
    assert row.value is None
    assert row.other_delta == pytest.approx(0.01)


def test_damage_that_is_not_reached_has_no_number(tokens):
    curves = {"da": (0.0, 0.05, 0.2, 0.29), "en": (0.0, 0.5, 0.9, 1.2)}
    rows = compare(tokens, measured_of(tokens, curves))
    assert rows[False, 0.1, "en"].reached
    row = rows[False, 0.3, "en"]
    assert not row.reached
    assert not row.floored
    # units, kind, edit, splice, text, at, versus, reached: the rest are numbers that would pretend
    numbers = [value for value in astuple(row)[8:] if value is not False]
    assert numbers == [None] * 9


def test_a_rise_that_is_hardly_one_is_floored_and_marked(tokens):
    for rise in (0.002, -0.2):
        curves = {"da": (0.0, 0.0, 0.1, 0.3), "en": (0.0, 0.0, rise, 0.05)}
        rows = compare(tokens, measured_of(tokens, curves))
        row = rows[False, 0.1, "en"]
        assert row.floored
        assert row.ratio == row.ratio_low == row.ratio_high == pytest.approx(10)
        # nothing is floored here
        assert row.margin == pytest.approx(0.1 - rise)
        assert row.other_delta == pytest.approx(rise)
        assert not rows[False, 0.3, "en"].floored
        assert rows[False, 0.3, "en"].ratio == pytest.approx(6)


def test_resamples_that_fall_short_are_carried_on_along_their_last_segment(tokens):
    curves = {"da": (0.0, 0.05, 0.08, 0.1), "en": (0.0, 0.01, 0.02, 0.03)}
    danish = np.array([s.language == "da" for s in tokens.corpus.sentences])
    exact, noisy = measured_of(tokens, curves), measured_of(tokens, curves, noise=0.6)
    base = exact[0].losses
    # just enough of a rise over all Danish sentences, so not in about half of the resamples; English ones agree
    scale = 0.1001 * tokens.predicted[danish].sum() / (noisy[3].losses - base)[danish].sum()
    measured = [
        Measured(one.edit, None, np.where(danish, base + scale * (other.losses - base), one.losses))
        for one, other in zip(exact, noisy, strict=True)
    ]
    row = compare(tokens, measured, draws=300)[False, 0.1, "en"]
    assert row.reached
    assert row.value == pytest.approx(-4, abs=0.02)
    # English rises by 0.03 at the last dose, and goes on by 0.01 for every 0.02 of Danish
    assert row.margin == pytest.approx(0.07, abs=1e-3)
    assert row.margin_low < 0.068
    assert row.ratio_low < 0.1 / 0.032
    assert row.margin_high > row.margin
    assert all(math.isfinite(value) for value in (row.ratio_low, row.ratio_high, row.margin_low))


def test_spliced_and_error_preserving_are_compared_each_with_its_own_base(tokens):
    other = {"da": (0.0, 0.1, 0.2, 0.4), "en": (0.0, 0.05, 0.1, 0.2)}
    spliced = [
        Measured(m.edit, None, m.losses + 3.0 * tokens.predicted)
        for m in measured_of(tokens, other, splice=True, seed=1)
    ]
    rows = compare(tokens, spliced + measured_of(tokens, KNOWN))
    assert set(rows) == {(splice, at, "en") for splice in (False, True) for at in MATCHED_DAMAGE}
    assert rows[True, 0.3, "en"].ratio == pytest.approx(2)
    assert rows[True, 0.3, "en"].value == pytest.approx(-3)
    assert rows[False, 0.1, "en"].ratio == pytest.approx(5)


def test_each_other_language_has_its_row():
    tokens = corpus_of("nb", "da", "en")
    curves = {**KNOWN, "nb": (0.0, 0.04, 0.1, 0.3)}
    rows = compare(tokens, measured_of(tokens, curves))
    assert {versus for _, _, versus in rows} == {"en", "nb", "mean of others", "nearest"}
    assert rows[False, 0.1, "nb"].other_delta == pytest.approx(0.06)
    assert rows[False, 0.1, "en"].other_delta == pytest.approx(0.02)


def test_languages_change_places(tokens):
    row = compare(tokens, measured_of(tokens, KNOWN), target="en")[False, 0.3, "da"]
    share = (0.3 - 0.04) / 0.46
    assert row.versus == "da"
    assert row.other_delta == pytest.approx(0.2 + share * 0.4)
    assert row.ratio < 1


def test_nothing_to_compare_gives_no_rows(tokens):
    measured = measured_of(tokens, KNOWN)
    assert compare(tokens, measured, target="sv") == {}
    assert compare(tokens, measured[:1]) == {}
    danish = corpus_of("da")
    assert compare(danish, measured_of(danish, KNOWN)) == {}


@given(
    st.lists(st.floats(0.001, 0.3), min_size=1, max_size=6),
    st.floats(0.05, 3.0),
)
def test_a_language_that_suffers_in_proportion_has_that_ratio(steps, share):
    tokens = corpus_of("da", "en", each=4)
    rises = [0.0, *np.cumsum(steps).tolist()]
    doses = [None, *(-2.0 * i for i in range(len(steps)))]
    curves = {"da": rises, "en": [share * rise for rise in rises]}
    for row in compare(tokens, measured_of(tokens, curves, doses), draws=5).values():
        if abs(rises[-1] - row.at) < 1e-9:
            continue
        assert row.reached == (rises[-1] > row.at)
        if row.reached and abs(share * row.at - 0.01) > 1e-6:
            assert row.ratio == pytest.approx(min(1 / share, row.at / 0.01), rel=1e-6)
            assert row.floored == (share * row.at < 0.01)
            assert row.margin == pytest.approx(row.at * (1 - share), abs=1e-9)
            assert row.value is None or doses[-1] - 1e-6 <= row.value <= 0
