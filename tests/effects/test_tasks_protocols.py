"""Tasks under edits: what is planted is found, what does nothing is not, and the paper's way is the paper's."""

import dataclasses

import numpy as np
import pytest
import torch
from effects_sae import SITE, random_sae
from glossae.tasks.splitting import divide
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from glossae.effects import Edit
from glossae.errors import GlossaeError
from glossae.lm import Site, edit
from glossae.paper import as_coded
from glossae.tasks import (
    Tuning,
    arms_of,
    controlled,
    encode_texts,
    erase_labels,
    fine_tuned,
    padded_states,
    pooled_states,
)
from glossae.text import Example, Row, assemble_task
from glossae.units import Directions

RESID = Site("resid", 2)
WORDS = {"fruit": ["æblet", "the apple", "det"], "ride": ["en blå cykel", "a blue bicycle", "cykel"]}


def rows(count, seed, noise=0.1):
    """Sentences that end in one word or the other, some of them with the wrong label."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = ("fruit", "ride")[number % 2]
        word = generator.choice(WORDS[label])
        start = generator.choice(["Pigen så", "Han købte", "She saw", "Vores nabo", "Our old neighbour"])
        shown = label if generator.random() > noise else ("ride", "fruit")[number % 2]
        found.append(Row(f"{start} {word} {1000 * seed + number}", shown, f"line {number}"))
    return found


@pytest.fixture(scope="module")
def task():
    return assemble_task("things", "da", "things", {"train": rows(300, 1), "test": rows(220, 2)})


@pytest.fixture(scope="module")
def without_test():
    return assemble_task("things", "da", "things", {"train": rows(260, 3)})


def found(scores, metric="macro_f1"):
    return [score for score in scores if score.metric == metric]


def with_more(units, vector):
    """The directions, and one more that means nothing."""
    return Directions(
        [*units.names, "random"],
        torch.cat([units.vectors, vector[None].double()]),
        torch.zeros(len(units) + 1, dtype=torch.float64),
    )


def no_op(unit):
    return Edit("scale", (unit,), (1.0,), value=1.0)


@pytest.mark.parametrize("splits", [1, 10])
def test_a_planted_effect_is_found_and_a_no_op_is_not(tiny_lm, task, without_test, splits):
    given = task if splits == 1 else without_test
    units, erase = erase_labels(tiny_lm, RESID, given)
    both = with_more(units, torch.randn(32, generator=torch.Generator().manual_seed(0)))
    scores = controlled(tiny_lm, RESID, both, given, [erase, no_op(len(units))], name="label", draws=500)
    raw, planted, nothing = found(scores)
    assert raw.score > 0.8
    assert (raw.edit, planted.edit, nothing.edit) == ("raw", "project_out", "scale")
    assert planted.p < 0.01
    assert planted.delta_high < 0
    assert planted.delta < -planted.detectable < 0
    assert nothing.p == 1
    assert nothing.delta == 0
    assert [score.splits for score in scores] == [splits] * 6
    assert {score.metric for score in scores} == {"macro_f1", "mcc"}
    assert all(score.converged and score.penalty == raw.penalty for score in scores)
    assert found(scores, "mcc")[1].p < 0.01


def test_erasing_makes_the_labels_means_equal(tiny_lm, task):
    units, erase = erase_labels(tiny_lm, RESID, task)
    # the site of the last block is all that the final norm reads
    division = divide(task, rows=4000, seed=0)
    train = [division.rows[place] for place in division.splits[0][0]]
    tokens = encode_texts(tiny_lm, train)
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
    edits = [Edit("set", (1, 2), (3.0, -2.0)), Edit("zero", (3,), positions="not_first")]
    tokens = encode_texts(tiny_lm, task.train[:9])
    fns = [None, *(one.compile(sae) for one in edits)]
    places = ["all", "all", "not_first"]
    states = pooled_states(tiny_lm, SITE, tokens, fns, positions=places, budget=40)
    for number, (fn, place) in enumerate(zip(fns, places, strict=True)):
        for row, ids in enumerate(tokens.ids):
            with edit(tiny_lm, SITE, fn or (lambda x: x), positions=place), torch.no_grad():
                out = tiny_lm.model(torch.from_numpy(ids)[None], output_hidden_states=True)
            expected = out.hidden_states[-1][0].mean(0).numpy()
            assert states[number, row] == pytest.approx(expected, abs=1e-4)


def test_a_bos_is_not_in_the_mean(tiny_lm, task):
    tokens = encode_texts(tiny_lm, task.train[:3], prefix=[tiny_lm.tokenizer.bos_token_id])
    (states,) = pooled_states(tiny_lm, SITE, tokens, [None])
    ids = torch.from_numpy(tokens.ids[0])
    assert ids[0] == tiny_lm.tokenizer.bos_token_id
    with torch.no_grad():
        out = tiny_lm.model(ids[None], output_hidden_states=True).hidden_states[-1][0]
    assert states[0] == pytest.approx(out[1:].mean(0).numpy(), abs=1e-4)


def test_as_coded_is_what_the_papers_code_does(tiny_lm, task):
    """Written again with `transformers` and scikit-learn alone."""
    sae = random_sae()
    change = Edit("set", (1, 2), (4.0, 4.0), splice=True, value=4.0)
    scores = as_coded(tiny_lm, SITE, sae, task, [change], draws=50)
    texts = [row.text for row in task.train]
    tokenizer = tiny_lm.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    inputs = tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")

    def replaced(_module, args):
        codes = change.compile(sae)(args[0].flatten(0, 1))
        return (codes.view(args[0].shape),)

    states = {}
    for arm in ("raw", "set"):
        handle = tiny_lm.blocks[1].mlp.dense_4h_to_h.register_forward_pre_hook(
            replaced if arm == "set" else lambda _module, _args: None
        )
        with torch.no_grad():
            out = tiny_lm.model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                output_hidden_states=True,
            )
        handle.remove()
        states[arm] = out.hidden_states[-1].mean(1).numpy()
    labels = [row.label for row in task.train]
    for score in scores:
        if score.edit == "none":
            assert score.splice
            continue
        x_train, x_test, y_train, y_test = train_test_split(
            states[score.edit], labels, test_size=0.2, random_state=42
        )
        said = LogisticRegression(random_state=0).fit(x_train, y_train).predict(x_test)
        assert score.score == pytest.approx(f1_score(y_test, said, average="weighted"), abs=1e-6)
        assert (score.n_train, score.n_test, score.protocol) == (240, 60, "as_coded")
    assert [score.edit for score in scores] == ["raw", "none", "set"]
    assert scores[0].p is scores[1].p is None
    assert scores[2].p is not None


def test_as_coded_says_where_the_solver_stopped_short(tiny_lm, task):
    # a hundred steps do not do where features are large
    units = Directions(["big"], torch.ones(1, 32, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    handle = tiny_lm.model.base_model.final_layer_norm.register_forward_hook(lambda _m, _a, out: 1e3 * out)
    try:
        raw, _ = as_coded(tiny_lm, RESID, units, task, [no_op(0)], draws=20)
    finally:
        handle.remove()
    assert raw.converged is False


def test_full_train_is_what_the_papers_code_takes(tiny_lm, task):
    splits = {"train": rows(300, 1), "full_train": rows(2100, 5)}
    full = assemble_task("things", "da", "things", splits)
    (score,) = as_coded(tiny_lm, SITE, random_sae(), full, [], draws=20)
    assert (score.n_train, score.n_test) == (1600, 400)


def test_arms():
    spliced = Edit("set", (1,), (2.0,), splice=True)
    kept = Edit("set", (1,), (2.0,))
    arms = arms_of([spliced, kept])
    assert [(arm.edit, arm.base) for arm in arms] == [
        (None, 0),
        (Edit("none", splice=True), 1),
        (spliced, 1),
        (kept, 0),
    ]
    # without units there is nothing to do
    assert [arm.edit for arm in arms_of([Edit("none"), Edit("set", splice=False)])] == [None]


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
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        GlossaeError, match=r"pip install 'glossae\[tasks\]' \(in a checkout: .*\), or pip install peft$"
    ):
        fine_tuned(tiny_lm, SITE, random_sae(), task, [])


def test_padded_states_need_an_eos(tiny_lm, task, monkeypatch):
    tokens = encode_texts(tiny_lm, task.train[:3])
    bare = dataclasses.replace(tiny_lm, tokenizer=type("Bare", (), {"eos_token_id": None})())
    with pytest.raises(GlossaeError, match="as_coded pads with EOS"):
        padded_states(bare, SITE, tokens, [None])


def test_every_text_is_kept_and_one_without_tokens_is_named(tiny_lm):
    rows = [Example(text, "a", str(number)) for number, text in enumerate(("Han", "a", "Pigen så det"))]
    tokens = encode_texts(tiny_lm, rows, name="task", language="da", max_tokens=3)
    assert [sentence.text for sentence in tokens.corpus.sentences] == [row.text for row in rows]
    assert len(tokens.ids[1]) == 1
    assert max(map(len, tokens.ids)) == 3
    with pytest.raises(GlossaeError, match=r"^task: '' has no tokens in "):
        encode_texts(tiny_lm, [rows[0], Example("", "a", "3"), rows[2]], name="task")
