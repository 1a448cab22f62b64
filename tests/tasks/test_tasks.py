"""Tasks under edits: scores are scikit-learn's, what is planted is found, what does nothing is not."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, matthews_corrcoef

from effects_sae import SITE, random_sae, steps_of
from glossae.corpora import Example, assemble_task
from glossae.effects import Edit, apply_edit
from glossae.errors import GlossaeError
from glossae.lm import Site, edit
from glossae.tasks import Tuning, bases, by_bootstrap, controlled, encode_texts, fine_tuned, task_set
from glossae.tasks.controlled import erase_labels, pooled_states
from glossae.tasks.scoring import METRICS, by_splits, confusion, divide
from glossae.units import Directions
from labelled_rows import rows

# scores

PREDICTIONS = st.integers(2, 60).flatmap(
    lambda rows: st.tuples(*[arrays(np.int64, rows, elements=st.integers(0, 2))] * 2)
)


@given(PREDICTIONS)
def test_scores_are_those_of_scikit_learn(pair):
    truth, said = pair
    table = confusion(truth, said, 3)
    found = {name: float(measure(table)) for name, measure in METRICS.items()}
    options = {"labels": [0, 1, 2], "zero_division": 0}
    assert found["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", **options))
    assert found["weighted_f1"] == pytest.approx(f1_score(truth, said, average="weighted", **options))
    if len({*truth.tolist(), *said.tolist()}) == 1:
        # which it warns of
        assert found["mcc"] == 0
    else:
        assert found["mcc"] == pytest.approx(matthews_corrcoef(truth, said), abs=1e-12)


def predictions(rows, wrong, seed):
    """Labels, and guesses that are wrong with this chance."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=rows)
    return truth, [
        np.where(generator.random(rows) < chance, (truth + 1) % 3, truth).astype(np.int64) for chance in wrong
    ]


def bootstrapped(truth, said, groups=None, draws=400, bases=None):
    groups, bases = groups or [str(row) for row in range(len(truth))], bases or [0] * len(said)
    options = {"labels": 3, "draws": draws, "seed": 0}
    return by_bootstrap(truth, np.stack(said)[:, None], groups, bases, "macro_f1", **options)


def test_arms_are_compared_on_the_same_rows():
    truth, (good, bad) = predictions(500, [0.2, 0.4], seed=1)
    base, worse, same = bootstrapped(truth, [good, bad, good])
    assert (base.p, base.delta, base.detectable) == (None, 0, None)
    assert (same.p, same.delta, same.delta_low, same.delta_high, same.detectable) == (1, 0, 0, 0, None)
    assert worse.p == pytest.approx(2 / 401)
    assert worse.delta_low <= worse.delta <= worse.delta_high < 0
    assert worse.score == pytest.approx(f1_score(truth, bad, average="macro"))
    assert 0 < worse.detectable < 0.2
    # a spliced arm is held against the splice
    against = bootstrapped(truth, [good, bad, bad], bases=[0, 1, 1])[2]
    assert (against.delta, against.p) == (0, 1)


def test_the_bootstrap_interval_is_as_wide_as_theory_says():
    truth, (good, bad) = predictions(2000, [0.3, 0.3], seed=2)
    compared = bootstrapped(truth, [good, bad], draws=2000)[1]
    # differences of two accuracies with independent errors: sd = sqrt(2 * 0.3 * 0.7 / n), and macro F1 is close to it
    sd = (2 * 0.3 * 0.7 / 2000) ** 0.5
    assert compared.delta_high - compared.delta_low == pytest.approx(2 * 1.96 * sd, rel=0.15)
    assert compared.detectable == pytest.approx(2.80 * sd, rel=0.15)


def test_rows_of_a_pair_are_drawn_together():
    truth, (good, bad) = predictions(400, [0.1, 0.3], seed=3)

    def twice(values):
        return np.repeat(values, 2)

    groups = [str(row // 2) for row in range(800)]
    doubled = bootstrapped(twice(truth), [twice(good), twice(bad)], groups)
    single = bootstrapped(truth, [good, bad], [str(row) for row in range(400)])
    # a row that is there twice is one row's worth of evidence
    width = [found.delta_high - found.delta_low for found in (doubled[1], single[1])]
    assert width[0] == pytest.approx(width[1], rel=0.1)


def test_false_alarms_of_the_bootstrap_are_rare():
    alarms = 0
    for seed in range(200):
        truth, (one, other) = predictions(150, [0.3, 0.3], seed=100 + seed)
        alarms += bootstrapped(truth, [one, other], draws=200)[1].p < 0.05
    # binomial(200, 0.05): 22 and more has a chance of one in a thousand
    assert alarms < 22


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_splits_are_compared_with_a_corrected_t(seed):
    generator = np.random.default_rng(seed)
    scores = generator.normal(0.5, 0.1, size=(10, 2))
    base, other = by_splits(scores, [0, 0], train=400, test=100)
    deltas = scores[:, 1] - scores[:, 0]
    error = (0.1 + 0.25) ** 0.5 * deltas.std(ddof=1)
    assert base.p is None
    assert other.delta == pytest.approx(deltas.mean())
    assert other.delta_high - other.delta == pytest.approx(2.262157 * error)
    # the interval leaves 0 out just where p is below 5 %
    assert (other.p < 0.05) == (other.delta_low > 0 or other.delta_high < 0)
    assert other.detectable == pytest.approx((2.262157 + 0.883404) * error)


def test_splits_that_all_say_the_same():
    scores = np.repeat(np.array([[0.5, 0.5, 0.7]]), 10, axis=0)
    _, same, better = by_splits(scores, [0, 0, 0], train=400, test=100)
    assert (same.p, same.detectable) == (1, None)
    assert better.p == 0


# protocols

RESID = Site("resid", 2)


@pytest.fixture(scope="module")
def task():
    return assemble_task("things", "da", "things", {"train": rows(300, 1), "test": rows(220, 2)})


@pytest.fixture(scope="module")
def without_test():
    return assemble_task("things", "da", "things", {"train": rows(260, 3)})


def found(scores, metric="macro_f1"):
    return [score for score in scores if score.metric == metric]


@pytest.mark.parametrize("splits", [1, 10])
def test_a_planted_effect_is_found_and_a_no_op_is_not(tiny_lm, task, without_test, splits):
    given = task if splits == 1 else without_test
    units, erase = erase_labels(tiny_lm, RESID, given)
    nothing = Edit("scale", (0,), (1.0,), value=1.0)
    scores = controlled(tiny_lm, RESID, units, given, [erase, nothing], planted=True, draws=500)
    raw, planted, nothing, again = found(scores)
    assert (again.units, again.kind, again.edit) == ("label", "direction", "project_out")
    assert (again.score, again.delta, again.p) == (planted.score, planted.delta, planted.p)
    assert raw.score > 0.8
    assert (raw.edit, planted.edit, nothing.edit) == ("raw", "project_out", "scale")
    assert planted.p < 0.01
    assert planted.delta_high < 0
    assert planted.delta < -planted.detectable < 0
    assert nothing.p == 1
    assert nothing.delta == 0
    assert [score.splits for score in scores] == [splits] * 8
    assert {score.metric for score in scores} == {"macro_f1", "mcc"}
    assert all(score.converged and score.penalty == raw.penalty for score in scores)
    assert found(scores, "mcc")[1].p < 0.01


def test_erasing_makes_the_labels_means_equal(tiny_lm, task):
    units, erase = erase_labels(tiny_lm, RESID, task)
    # the site of the last block is all that the final norm reads
    division = divide(task, rows=4000, seed=0)
    train = [division.rows[place] for place in division.splits[0][0]]
    tokens = encode_texts(tiny_lm, train, task=task)
    seen = []
    with edit(tiny_lm, RESID, erase.compile(units)):
        handle = tiny_lm.blocks[2].register_forward_hook(
            lambda _m, _a, out: seen.append(out if torch.is_tensor(out) else out[0])
        )
        for ids in tokens.ids:
            tiny_lm.model(torch.from_numpy(ids)[None])
        handle.remove()
    means = torch.stack([x[0].detach().double().mean(0) for x in seen])
    labels = torch.from_numpy(division.labels[division.splits[0][0]])
    difference = means[labels == 0].mean(0) - means[labels == 1].mean(0)
    assert difference.norm() < 1e-4 * means.norm(dim=1).mean()


def test_pooled_states_are_those_of_each_text_alone_under_each_edit(tiny_lm, task):
    sae = random_sae()
    edits = [None, Edit("set", (1, 2), (3.0, -2.0)), Edit("zero", (3,), positions="not_first")]
    tokens = encode_texts(tiny_lm, task.train[:9], task=task)
    states = pooled_states(tiny_lm, SITE, tokens, steps_of(sae, edits), budget=40)
    for number, change in enumerate(edits):
        for row, ids in enumerate(tokens.ids):
            with apply_edit(tiny_lm, SITE, sae, change), torch.no_grad():
                out = tiny_lm.model(torch.from_numpy(ids)[None], output_hidden_states=True)
            expected = out.hidden_states[-1][0].mean(0).numpy()
            assert states[number, row] == pytest.approx(expected, abs=1e-4)


def test_a_bos_is_not_in_the_mean(tiny_lm, task):
    tokens = encode_texts(tiny_lm, task.train[:3], task=task, prefix=[tiny_lm.tokenizer.bos_token_id])
    (states,) = pooled_states(tiny_lm, SITE, tokens, steps_of(random_sae(), [None]))
    ids = torch.from_numpy(tokens.ids[0])
    assert ids[0] == tiny_lm.tokenizer.bos_token_id
    with torch.no_grad():
        out = tiny_lm.model(ids[None], output_hidden_states=True).hidden_states[-1][0]
    assert states[0] == pytest.approx(out[1:].mean(0).numpy(), abs=1e-4)


def test_a_task_is_set_without_an_edit_and_under_each():
    spliced, kept = Edit("set", (1,), (2.0,), splice=True), Edit("set", (1,), (2.0,))
    steps = task_set(random_sae(), [spliced, kept], "da").sweep
    assert [step.edit for step in steps] == [None, Edit("none", splice=True), spliced, kept]
    assert bases(steps) == [0, 1, 1, 0]
    # without units there is nothing to do
    (step,) = task_set(random_sae(), [Edit("none"), Edit("set")], "da").sweep
    assert step.edit is None


def test_rows_are_limited_in_proportion_and_pairs_stay_whole(task):
    division = divide(task, rows=260, seed=0)
    ((train, test),) = division.splits
    assert (len(train), len(test)) == pytest.approx((150, 110), abs=4)
    pairs = [row._replace(pair=f"pair {number // 2}") for number, row in enumerate(rows(200, 1, noise=0))]
    paired = assemble_task("paired", "da", "paired", {"train": pairs})
    for learned, tried in divide(paired, rows=100, seed=1).splits:
        groups = divide(paired, rows=100, seed=1).groups
        assert not set(groups[learned]) & set(groups[tried])
        assert len(learned) + len(tried) == 100


def test_a_text_of_test_is_not_learned_from(task):
    both = assemble_task("t", "da", "t", {"train": rows(300, 1) + rows(20, 2), "test": rows(220, 2)})
    division = divide(both, rows=4000, seed=0)
    ((learned, tried),) = division.splits
    texts = [{division.rows[place].text for place in part} for part in (learned, tried)]
    assert not texts[0] & texts[1]
    assert division.left_out >= 20


def test_too_few_rows_are_refused(tiny_lm):
    few = assemble_task("few", "da", "few", {"train": rows(8, 1, noise=0), "test": rows(8, 2, noise=0)})
    with pytest.raises(GlossaeError, match="cross-validation needs 5"):
        controlled(tiny_lm, SITE, random_sae(), few, [])
    lone = assemble_task(
        "lone", "da", "lone", {"train": rows(8, 1, noise=0), "test": rows(8, 2, noise=0)[::2]}
    )
    with pytest.raises(GlossaeError, match="among the 4 rows to test on none has the label 'ride'"):
        controlled(tiny_lm, SITE, random_sae(), lone, [])


def test_an_edit_that_does_not_fit_is_refused(tiny_lm, task):
    with pytest.raises(GlossaeError, match="there is no latent 40"):
        controlled(tiny_lm, SITE, random_sae(), task, [Edit("zero", (40,))])
    with pytest.raises(GlossaeError, match="layer"):
        controlled(tiny_lm, Site("resid", 9), random_sae(), task, [])


TUNING = Tuning(epochs=4, seeds=2, lr=5e-3)


def test_fine_tuning_learns_with_the_edit_in_place_and_leaves_the_model_as_it_was(tiny_lm, task):
    before = {name: weight.clone() for name, weight in tiny_lm.model.state_dict().items()}
    learns = [weight.requires_grad for weight in tiny_lm.model.parameters()]
    modules = [type(module) for module in tiny_lm.model.modules()]
    # everything that the last block gives is set to the mean: nothing is left to learn from
    wipe = Directions(
        [str(n) for n in range(32)], torch.eye(32).double(), torch.zeros(32, dtype=torch.float64)
    )
    gone = Edit("project_out", tuple(range(32)))
    scores = fine_tuned(tiny_lm, RESID, wipe, task, [gone], tuning=TUNING, draws=300, seed=1)
    raw, wiped = found(scores)
    assert raw.score > 0.75
    assert wiped.p < 0.01
    assert wiped.score < 0.6
    assert (raw.protocol, raw.seeds, raw.converged, raw.penalty) == ("fine_tuned", 2, None, None)
    after = tiny_lm.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [weight.requires_grad for weight in tiny_lm.model.parameters()] == learns
    assert [type(module) for module in tiny_lm.model.modules()] == modules


def test_fine_tuning_does_the_same_again(tiny_lm, without_test):
    tuning = dataclasses.replace(TUNING, epochs=1, seeds=1)
    units = random_sae()
    first, second = (
        fine_tuned(tiny_lm, SITE, units, without_test, [Edit("zero", (1,))], tuning=tuning, draws=20)
        for _ in range(2)
    )
    assert first == second
    assert first[0].n_test == 52


def test_fine_tuning_without_peft_says_what_to_install(tiny_lm, task, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        GlossaeError, match=r"pip install 'glossae\[tasks\]' \(in a checkout: .*\), or pip install peft$"
    ):
        fine_tuned(tiny_lm, SITE, random_sae(), task, [])


def test_every_text_is_kept_and_one_without_tokens_is_named(tiny_lm, task):
    rows = [Example(text, "a", str(number)) for number, text in enumerate(("Han", "a", "Pigen så det"))]
    tokens = encode_texts(tiny_lm, rows, task=task, max_tokens=3)
    assert [sentence.text for sentence in tokens.corpus.sentences] == [row.text for row in rows]
    assert len(tokens.ids[1]) == 1
    assert max(map(len, tokens.ids)) == 3
    with pytest.raises(GlossaeError, match=r"^things: '' has no tokens in "):
        encode_texts(tiny_lm, [rows[0], Example("", "a", "3"), rows[2]], task=task)
