"""At the same damage to the target, other languages are compared along known dose-responses."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from effects_sae import SITE, by_hand, logits_by_hand, random_sae
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import MATCHED_DAMAGE, Edit, Measured, measure_edits, selectivity
from glossae.lm import TokenizedCorpus, tokenize
from glossae.text import Corpus, Sentence

# bytes of a token
BYTES = {"da": 4, "en": 5, "nb": 3}
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
        predicted_bytes=(lengths - 1) * [BYTES[languages[i % len(languages)]] for i in range(len(lengths))],
        dropped={},
        cut={},
        prefix=0,
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
    assert (row.units, row.kind, row.edit, row.reached) == ("da", "latent", "set", True)
    assert row.value == pytest.approx(-2 / 3)
    assert row.target_delta == pytest.approx(0.1)
    assert row.other_delta == pytest.approx(0.02)
    assert row.ratio == pytest.approx(5)
    assert row.margin == pytest.approx(0.08)
    # a Danish token has 4 bytes, an English one 5
    assert row.target_delta_per_byte == pytest.approx(0.1 / 4)
    assert row.other_delta_per_byte == pytest.approx(0.02 / 5)
    assert row.ratio_per_byte == pytest.approx(5 * 5 / 4)
    assert row.margin_per_byte == pytest.approx(0.1 / 4 - 0.02 / 5)

    # a quarter of the way from -2 to -4
    row = rows[False, 0.3, "en"]
    assert row.value == pytest.approx(-2.5)
    assert row.other_delta == pytest.approx(0.04 + 0.25 * 0.46)
    assert row.ratio == pytest.approx(0.3 / 0.155)
    assert row.margin == pytest.approx(0.3 - 0.155)


def test_where_sentences_agree_the_intervals_are_points(tokens):
    for row in compare(tokens, measured_of(tokens, KNOWN)).values():
        assert (row.ratio_low, row.ratio_high) == pytest.approx((row.ratio, row.ratio))
        assert row.ratio_least == pytest.approx(row.ratio)
        assert row.ratio_per_byte_least == pytest.approx(row.ratio_per_byte)
        assert (row.margin_low, row.margin_high) == pytest.approx((row.margin, row.margin))
        ends = (row.margin_per_byte_low, row.margin_per_byte_high)
        assert ends == pytest.approx((row.margin_per_byte, row.margin_per_byte))


def test_where_they_do_not_the_intervals_hold_the_estimates(tokens):
    rows = compare(tokens, measured_of(tokens, KNOWN, noise=0.5), draws=400)
    for row in rows.values():
        assert row.ratio_low < row.ratio_least < row.ratio < row.ratio_high
        assert row.margin_low < row.margin < row.margin_high
        assert row.ratio_per_byte_low < row.ratio_per_byte < row.ratio_per_byte_high
        assert row.margin_per_byte_low < row.margin_per_byte < row.margin_per_byte_high
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
    named = ("units", "kind", "edit", "splice", "text", "at", "versus", "reached")
    # the rest are numbers that would pretend
    assert {value for name, value in asdict(row).items() if name not in named} == {None}


def test_a_small_rise_has_the_ratio_that_it_has(tokens):
    curves = {"da": (0.0, 0.0, 0.1, 0.3), "en": (0.0, 0.0, 0.0002, 0.05)}
    row = compare(tokens, measured_of(tokens, curves))[False, 0.1, "en"]
    assert (row.ratio, row.ratio_least) == pytest.approx((500, 500))
    assert row.ratio_per_byte_least == pytest.approx(500 * 5 / 4)


def test_where_nothing_rises_there_is_no_ratio_but_a_difference(tokens):
    curves = {"da": (0.0, 0.0, 0.1, 0.3), "en": (0.0, 0.0, -0.2, 0.05)}
    row = compare(tokens, measured_of(tokens, curves))[False, 0.1, "en"]
    assert (row.ratio, row.ratio_low, row.ratio_high, row.ratio_least) == (None,) * 4
    assert row.margin == pytest.approx(0.3)
    assert row.margin_per_byte == pytest.approx(0.1 / 4 + 0.2 / 5)
    assert row.other_delta == pytest.approx(-0.2)


def test_the_lower_limit_is_exceeded_by_the_true_ratio_in_95_of_100_samples():
    """English rises by 0.02 nats on average where Danish rises by 0.1: a true ratio of 5, seen on 40 sentences."""
    generator = np.random.default_rng(7)
    tokens = corpus_of("da", "en")
    english = np.array([s.language == "en" for s in tokens.corpus.sentences])
    held, unbounded = 0, 0
    for sample in range(400):
        measured = measured_of(tokens, {"da": (0, 0, 0.1, 0.3), "en": (0, 0, 0.02, 0.05)})
        noise = generator.normal(0, 0.06, size=len(tokens)) * english
        measured[2] = Measured(measured[2].edit, None, measured[2].losses + noise * tokens.predicted)
        row = selectivity(measured, tokens, "da", name="da", draws=200, seed=sample)[0]
        held += row.ratio_least is None or row.ratio_least <= 5
        unbounded += row.ratio_high is None
        if row.ratio_high is None:
            assert row.ratio_least is None or row.ratio_least > 1
    assert 0.91 <= held / 400 <= 0.98
    assert unbounded > 40


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
        if row.reached:
            assert row.ratio == pytest.approx(1 / share, rel=1e-6)
            assert row.ratio_per_byte == pytest.approx(BYTES["en"] / BYTES["da"] / share, rel=1e-6)
            assert row.margin == pytest.approx(row.at * (1 - share), abs=1e-9)
            assert row.value is None or doses[-1] - 1e-6 <= row.value <= 0


def test_rows_per_byte_are_those_of_a_script_of_its_own(tiny_lm, tiny_corpus):
    """Recomputed from losses of single sentences with numpy alone: sums, bytes, interpolation and resamples."""
    text = tokenize(tiny_lm, Corpus.of(tiny_corpus.sentences[:40]))
    sae = random_sae()
    doses = (0.0, -4.0, -16.0, -64.0)
    edits = [Edit("none"), *(Edit("set", (3, 11), (dose,) * 2, value=dose) for dose in doses)]
    measured = measure_edits(tiny_lm, SITE, sae, text, [(change, None) for change in edits])
    draws, seed = 200, 3
    rows = [
        row
        for row in selectivity(measured, text, "da", name="da", draws=draws, seed=seed)
        if row.versus == "en"
    ]
    assert all(row.reached for row in rows)

    losses, tokens, size, own = [], [], [], []
    for number, sentence in enumerate(text.corpus.sentences):
        ids = text.ids[number]
        plain = tiny_lm.tokenizer.convert_ids_to_tokens(ids)
        # a byte-level tokenizer writes one character a byte
        size.append(sum(map(len, plain[1:])))
        tokens.append(len(ids) - 1)
        own.append(sentence.language == "da")
        losses.append([])
        for change in edits:
            with by_hand(tiny_lm, sae, change):
                logits = logits_by_hand(tiny_lm, ids).double().numpy()[:-1]
            top = logits.max(1)
            log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
            losses[-1].append((log_sum - logits[np.arange(len(ids) - 1), ids[1:]]).sum())
    losses, tokens, size, own = map(np.array, (losses, tokens, size, own))
    rises = losses - losses[:, :1]

    def at(weights, height):
        """Both rises per byte where the Danish one per token is first at a height."""
        danish, english = (weights * own, weights * ~own)
        damage = danish @ rises / (danish @ tokens)
        other = english @ rises / (english @ size)
        after = next((step for step in range(1, len(damage)) if damage[step] >= height), None)
        if after is None:
            return None
        share = (height - damage[after - 1]) / (damage[after] - damage[after - 1])
        return height * (danish @ tokens) / (danish @ size), other[after - 1] + share * (
            other[after] - other[after - 1]
        )

    for row in rows:
        found = at(np.ones(len(own)), row.at)
        assert row.reached == (found is not None)
        if not row.reached:
            continue
        target, other = found
        assert row.target_delta_per_byte == pytest.approx(target, rel=1e-4)
        assert row.other_delta_per_byte == pytest.approx(other, rel=1e-2, abs=1e-5)
        assert row.margin_per_byte == pytest.approx(target - other, rel=1e-2, abs=1e-5)
        if other > 0:
            assert row.ratio_per_byte == pytest.approx(target / other, rel=1e-2)
        # an interval of another generator's resamples is as wide
        generator = np.random.default_rng(99)
        margins, shares = [], []
        for _ in range(400):
            weights = np.zeros(len(own))
            for place in (np.flatnonzero(own), np.flatnonzero(~own)):
                np.add.at(weights, generator.choice(place, len(place)), 1)
            if (resampled := at(weights, row.at)) is not None:
                margins.append(resampled[0] - resampled[1])
                shares.append(resampled[1] / resampled[0])
        low, high = np.quantile(margins, [0.025, 0.975])
        width = high - low
        assert abs(row.margin_per_byte_low - low) < 0.3 * width
        assert abs(row.margin_per_byte_high - high) < 0.3 * width
        limit = np.quantile(shares, 0.95)
        if row.ratio_per_byte_least is not None and limit > 0:
            assert row.ratio_per_byte_least == pytest.approx(1 / limit, rel=0.25)
