"""At the same damage to the target, languages and side effects are compared along known dose-responses."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import by_hand, logits_by_hand, measured_on, random_sae, steps_of
from glossae.corpora import Corpus, Sentence
from glossae.effects import MATCHED_DAMAGE, Edit, Measured, best_dose, selectivity, side_effects
from glossae.effects.sweep import SentenceSideEffects
from glossae.lm import TokenizedCorpus, tokenize

# bytes of a token
BYTES = {"da": 4, "en": 5, "nb": 3, "sv": 2}
# from no edit over 0 down
PATH = (None, 0.0, -2.0, -4.0)


def corpus_of(*languages, each=40):
    """Sentences of 2 to 20 predicted tokens, languages mixed."""
    lengths = np.random.default_rng(0).integers(3, 22, size=each * len(languages))
    codes = [languages[i % len(languages)] for i in range(len(lengths))]
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence(f"text {i}", code, str(i), "made") for i, code in enumerate(codes)),
        ids=tuple(np.ones(length, dtype=np.int64) for length in lengths),
        predicted_bytes=(lengths - 1) * [BYTES[code] for code in codes],
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
        change = Edit("none", splice=splice)
        if dose is not None:
            change = Edit("set", (1,), (dose,), splice, value=dose)
        measured.append(Measured(change, None, base + rise * own * tokens.predicted))
    return measured


def drawn_of(tokens, curves):
    """A direction's way: no edit, drawn halfway, projected (the dose 0), and beyond."""
    edits = [Edit("none"), *(Edit("scale", (0,), (share,), value=share) for share in (0.5, -1.0))]
    edits.insert(2, Edit("project_out", (0,), (1.0,), value=0.0))
    return [
        dataclasses.replace(m, edit=change)
        for m, change in zip(measured_of(tokens, curves), edits, strict=True)
    ]


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
    row = rows[False, 0.1, "en"]
    assert (row.units, row.kind, row.edit, row.text, row.reached) == ("da", "latent", "set", "test", True)
    assert (row.target_delta, row.ratio, row.margin) == pytest.approx((0.1, 5, 0.08))
    # a Danish token has 4 bytes, an English one 5
    assert (row.target_delta_per_byte, row.other_delta_per_byte) == pytest.approx((0.1 / 4, 0.02 / 5))
    assert (row.ratio_per_byte, row.margin_per_byte) == pytest.approx((5 * 5 / 4, 0.1 / 4 - 0.02 / 5))
    # sentences agree, so that the intervals are points
    for row in rows.values():
        for name in ("ratio", "ratio_per_byte", "margin", "margin_per_byte"):
            ends = [getattr(row, f"{name}{end}", getattr(row, name)) for end in ("_low", "_high", "_least")]
            assert ends == pytest.approx([getattr(row, name)] * 3)


@pytest.mark.parametrize(
    ("danish", "english", "at", "value", "other"),
    [
        (KNOWN["da"], KNOWN["en"], 0.1, -2 / 3, 0.02),
        (KNOWN["da"], KNOWN["en"], 0.3, -2.5, 0.04 + 0.25 * 0.46),
        # between no edit and 0 there is no dose
        ((0.0, 0.2, 0.25, 0.28), (0.0, 0.04, 0.1, 0.2), 0.1, None, 0.02),
        # a dose that hits the damage is the dose
        ((0.0, 0.05, 0.1, 0.2), (0.0, 0.01, 0.05, 0.5), 0.1, -2.0, 0.05),
        # the first crossing is taken
        ((0.0, 0.2, 0.05, 0.4), (0.0, 0.02, 0.5, 0.9), 0.1, None, 0.01),
        # a small rise has the ratio that it has
        ((0.0, 0.0, 0.1, 0.3), (0.0, 0.0, 0.0002, 0.05), 0.1, -2.0, 0.0002),
        # where nothing rises there is no ratio but a difference
        ((0.0, 0.0, 0.1, 0.3), (0.0, 0.0, -0.2, 0.05), 0.1, -2.0, -0.2),
    ],
)
def test_where_a_curve_reaches_the_damage(tokens, danish, english, at, value, other):
    row = compare(tokens, measured_of(tokens, {"da": danish, "en": english}))[False, at, "en"]
    assert row.reached
    assert row.value == (None if value is None else pytest.approx(value))
    assert (row.other_delta, row.margin) == pytest.approx((other, at - other))
    ratios = (row.ratio, row.ratio_low, row.ratio_high, row.ratio_least)
    assert ratios == ((None,) * 4 if other < 0 else pytest.approx((at / other,) * 4))


def test_damage_that_is_not_reached_has_no_number(tokens):
    curves = {"da": (0.0, 0.05, 0.2, 0.29), "en": (0.0, 0.5, 0.9, 1.2)}
    rows = compare(tokens, measured_of(tokens, curves))
    assert rows[False, 0.1, "en"].reached
    row = rows[False, 0.3, "en"].to_json()
    named = ("units", "kind", "edit", "splice", "text", "at", "versus", "reached")
    assert not row["reached"]
    # the rest are numbers that would pretend
    assert {value for name, value in row.items() if name not in named} == {None}


def test_where_sentences_differ_the_intervals_hold_the_estimates(tokens):
    rows = compare(tokens, measured_of(tokens, KNOWN, noise=0.5), draws=400)
    many = corpus_of("da", "en", each=640)
    narrow = compare(many, measured_of(many, KNOWN, noise=0.5), draws=400)
    for place, row in rows.items():
        assert row.ratio_low < row.ratio_least < row.ratio < row.ratio_high
        assert row.margin_low < row.margin < row.margin_high
        assert row.ratio_per_byte_low < row.ratio_per_byte < row.ratio_per_byte_high
        assert row.margin_per_byte_low < row.margin_per_byte < row.margin_per_byte_high
        width, less = (found.margin_high - found.margin_low for found in (row, narrow[place]))
        assert less < 0.5 * width


def test_only_the_way_down_counts_and_in_its_order(tokens):
    down = measured_of(tokens, KNOWN)
    others = measured_of(tokens, {"da": (0.15, 5.0), "en": (0.15, 5.0)}, doses=(0.5, 4.0))
    mean = Measured(Edit("mean", (1,), (0.2,)), None, others[1].losses)
    raw = Measured(None, None, others[1].losses)
    mixed = [raw, down[3], others[1], down[0], mean, down[2], others[0], down[1]]
    assert compare(tokens, mixed) == compare(tokens, down)


def test_spliced_and_error_preserving_are_compared_each_with_its_own_base(tokens):
    other = {"da": (0.0, 0.1, 0.2, 0.4), "en": (0.0, 0.05, 0.1, 0.2)}
    spliced = measured_of(tokens, other, splice=True, seed=1)
    spliced = [dataclasses.replace(m, losses=m.losses + 3.0 * tokens.predicted) for m in spliced]
    rows = compare(tokens, spliced + measured_of(tokens, KNOWN))
    assert set(rows) == {(splice, at, "en") for splice in (False, True) for at in MATCHED_DAMAGE}
    assert (rows[True, 0.3, "en"].ratio, rows[True, 0.3, "en"].value) == pytest.approx((2, -3))
    assert rows[False, 0.1, "en"].ratio == pytest.approx(5)


def test_languages_change_places_and_nothing_to_compare_gives_no_rows(tokens):
    measured = measured_of(tokens, KNOWN)
    row = compare(tokens, measured, target="en")[False, 0.3, "da"]
    assert row.other_delta == pytest.approx(0.2 + (0.3 - 0.04) / 0.46 * 0.4)
    assert compare(tokens, measured, target="sv") == compare(tokens, measured[:1]) == {}
    danish = corpus_of("da")
    assert compare(danish, measured_of(danish, KNOWN)) == {}


def test_the_lower_limit_is_exceeded_by_the_true_ratio_in_95_of_100_samples():
    """English rises by 0.02 nats on average where Danish rises by 0.1: a true ratio of 5, seen on 40 sentences."""
    generator = np.random.default_rng(7)
    tokens = corpus_of("da", "en")
    english = np.array([s.language == "en" for s in tokens.corpus.sentences])
    measured = measured_of(tokens, {"da": (0, 0, 0.1, 0.3), "en": (0, 0, 0.02, 0.05)})
    exact, held, unbounded = measured[2].losses, 0, 0
    for sample in range(400):
        noise = generator.normal(0, 0.06, size=len(tokens)) * english
        measured[2] = dataclasses.replace(measured[2], losses=exact + noise * tokens.predicted)
        row = selectivity(measured, tokens, "da", name="da", draws=200, seed=sample)[0]
        held += row.ratio_least is None or row.ratio_least <= 5
        unbounded += row.ratio_high is None
        assert row.ratio_high is not None or row.ratio_least is None or row.ratio_least > 1
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


CURVES = {
    "da": (0, 0.1, 0.2, 0.6),
    "en": (0, 0, 0.01, 0.05),
    "nb": (0, 0.05, 0.1, 0.3),
    "sv": (0, 0, 0.04, 0.1),
}


def test_the_mean_of_others_and_the_nearest_are_what_they_say():
    tokens = corpus_of("da", "en", "nb", "sv")
    measured = drawn_of(tokens, CURVES)
    rows = selectivity(measured, tokens, "da", name="d", kind="direction", draws=50, seed=0, text="panel")
    found = {(row.at, row.versus): row for row in rows}
    assert {row.edit for row in rows} == {"scale"}
    # a quarter of the way from the projection to the share -1
    assert found[0.3, "en"].value == pytest.approx(-0.25)
    rises = {code: found[0.3, code].other_delta for code in ("en", "nb", "sv")}
    assert rises == pytest.approx({"en": 0.02, "nb": 0.15, "sv": 0.055})
    mean, nearest = found[0.3, "mean of others"], found[0.3, "nearest"]
    assert mean.ratio == pytest.approx(0.3 / np.mean([*rises.values()]))
    assert (nearest.ratio, nearest.ratio_low, nearest.margin_high) == pytest.approx((2, 2, 0.15))
    assert nearest.text == "panel"
    # nothing of the English loss has moved there
    row = found[0.1, "en"]
    assert (row.ratio, row.margin, row.value) == (None, pytest.approx(0.1), pytest.approx(0.5))


def test_the_nearest_is_found_in_every_resample():
    """Two others that are as near: the largest of them is above either, and its interval with it."""
    tokens = corpus_of("da", "en", "nb", each=60)
    near = (0, 0.02, 0.05, 0.1)
    others = np.array([s.language != "da" for s in tokens.corpus.sentences])
    noise = 1 + np.random.default_rng(1).normal(1, 2.0, len(tokens)) * others
    exact = drawn_of(tokens, {"da": (0, 0.1, 0.2, 0.6), "en": near, "nb": near})
    base = exact[0].losses
    noisy = [dataclasses.replace(m, losses=base + (m.losses - base) * noise) for m in exact]
    rows = selectivity(noisy, tokens, "da", name="d", kind="direction", draws=400, seed=0)
    found = {row.versus: row for row in rows if row.at == 0.3}
    assert found["nearest"].other_delta == max(found[code].other_delta for code in ("en", "nb"))
    assert found["nearest"].margin_high <= min(found[code].margin_high for code in ("en", "nb")) + 1e-9


@given(st.lists(st.floats(0.001, 0.3), min_size=1, max_size=6), st.floats(0.05, 3.0))
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
    measured = measured_on(tiny_lm, steps_of(sae, edits), text)
    rows = selectivity(measured, text, "da", name="da", draws=200, seed=3)
    assert [(row.versus, row.reached) for row in rows] == [("en", True)] * 2

    own = np.array([s.language == "da" for s in text.corpus.sentences])
    tokens = np.array([len(ids) - 1 for ids in text.ids])
    # a byte-level tokenizer writes one character a byte
    plain = [tiny_lm.tokenizer.convert_ids_to_tokens(ids)[1:] for ids in text.ids]
    size = np.array([sum(map(len, pieces)) for pieces in plain])
    losses = np.zeros((len(own), len(edits)))
    for column, change in enumerate(edits):
        with by_hand(tiny_lm, sae, change):
            for row, ids in enumerate(text.ids):
                logits = logits_by_hand(tiny_lm, ids).double().numpy()[:-1]
                top = logits.max(1)
                log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
                losses[row, column] = (log_sum - logits[np.arange(len(ids) - 1), ids[1:]]).sum()
    rises = losses - losses[:, :1]

    def at(weights, height):
        """Both rises per byte where the Danish one per token is first at a height; None where it never is."""
        danish, english = (weights * own, weights * ~own)
        damage = danish @ rises / (danish @ tokens)
        other = english @ rises / (english @ size)
        after = next((step for step in range(1, len(damage)) if damage[step] >= height), None)
        if after is None:
            return None
        share = (height - damage[after - 1]) / (damage[after] - damage[after - 1])
        target = height * (danish @ tokens) / (danish @ size)
        return target, other[after - 1] + share * (other[after] - other[after - 1])

    generator = np.random.default_rng(99)
    for row in rows:
        target, other = at(np.ones(len(own)), row.at)
        assert row.target_delta_per_byte == pytest.approx(target, rel=1e-4)
        assert row.other_delta_per_byte == pytest.approx(other, rel=1e-2, abs=1e-5)
        assert row.margin_per_byte == pytest.approx(target - other, rel=1e-2, abs=1e-5)
        # an interval of another generator's resamples is as wide
        found = []
        for _ in range(400):
            weights = np.zeros(len(own))
            for place in (np.flatnonzero(own), np.flatnonzero(~own)):
                np.add.at(weights, generator.choice(place, len(place)), 1)
            found.append(at(weights, row.at))
        margins, shares = np.array([(t - o, o / t) for t, o in filter(None, found)]).T
        low, high = np.quantile(margins, [0.025, 0.975])
        assert abs(row.margin_per_byte_low - low) < 0.3 * (high - low)
        assert abs(row.margin_per_byte_high - high) < 0.3 * (high - low)
        limit = np.quantile(shares, 0.95)
        if row.ratio_per_byte_least is not None and limit > 0:
            assert row.ratio_per_byte_least == pytest.approx(1 / limit, rel=0.25)


def test_side_effects_are_read_where_the_damage_is_matched(tokens):
    def effects(danish):
        predicted = tokens.predicted.astype(float)
        sweep = [
            dataclasses.replace(
                m,
                moved=SentenceSideEffects(
                    0.04 * place * predicted,
                    (1 - 0.1 * place) * predicted,
                    0.5 * place * predicted,
                    10 * predicted,
                ),
            )
            for place, m in enumerate(drawn_of(tokens, {"da": danish, "en": (0, 0, 0.01, 0.05)}))
        ]
        options = {"name": "d", "kind": "direction", "draws": 30, "seed": 0}
        return {row.at: row for row in side_effects(sweep, tokens, "da", "en", **options)}

    found = effects((0, 0.1, 0.2, 0.6))
    row = found[0.3]
    assert (row.kl, row.agreement, row.change) == pytest.approx((0.04 * 2.25, 1 - 0.225, 0.05 * 2.25))
    assert (row.kl_low, row.kl_high) == pytest.approx((row.kl, row.kl))
    assert found[0.1].kl == pytest.approx(0.04)
    # a way that never gets there
    for row in effects((0, 0.01, 0.02, 0.05)).values():
        assert (row.reached, row.kl, row.agreement, row.change) == (False, None, None, None)


def test_the_dose_is_chosen_on_one_text_and_reported_on_another():
    tune, test = corpus_of("da", each=20), corpus_of("da", "en", each=50)

    def best(tuned, measured):
        options = {"name": "d", "kind": "direction", "draws": 50, "seed": 0}
        return best_dose(tuned, tune, measured, test, "da", **options)

    # on tune it is the share of one half, which does nothing for test
    tuned = drawn_of(tune, {"da": (0, -0.03, 0.2, -0.01)})
    row = best(tuned, drawn_of(test, {"da": (0, 0.01, 0.2, -0.2), "en": (0, -1, -1, -1)}))
    assert (row.edit, row.value, row.helps) == ("scale", 0.5, False)
    assert (row.tune_delta, row.delta) == pytest.approx((-0.03, 0.01))
    helped = drawn_of(test, {"da": (0, -0.02, 0.2, 0), "en": (0, 0, 0, 0)})
    assert best(tuned, helped).helps
    assert best(tuned[:1], helped) is None
