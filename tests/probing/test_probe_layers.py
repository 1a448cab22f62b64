"""Probes on every layer: what is sampled, what is reported, which layer is chosen, and whether seeds agree."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import Site, TokenizedCorpus, activations, batches
from glossae.probing import (
    choose_layer,
    clustered_mean,
    probe_layers,
    rank_agreement,
    sample_sentences,
)
from glossae.results import ProbeCell

PENALTIES = [1e-3, 0.05, 1e3]


@pytest.fixture(scope="module", params=[True, False], ids=["published", "controlled"])
def swept(request, tiny_lm, sample):
    """(published, cells) of a sweep of the tiny model."""
    options = {"site": "resid", "reference": "en", "penalties": PENALTIES, "budget": 200}
    return request.param, probe_layers(tiny_lm, sample, published=request.param, **options)


# ---- the sample


def long_text(sentences):
    generator = np.random.default_rng(1)
    languages = ["da", "en"] * (sentences // 2)
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence("", language, str(i), "") for i, language in enumerate(languages)),
        ids=tuple(generator.integers(1, 300, size=generator.integers(2, 20)) for _ in languages),
        predicted_bytes=np.ones(sentences, dtype=np.int64),
        dropped={},
        cut={},
        prefix=0,
    )


def spoken(tokens):
    return np.array([sentence.language for sentence in tokens.corpus.sentences])


def test_the_sample_is_whole_sentences_up_to_the_budget_a_fifth_of_them_held_out():
    tokens = long_text(2000)
    sample = sample_sentences(tokens, ("da", "en"), 4000, seeds=3, seed=0)
    languages, lengths = spoken(sample.tokens), sample.tokens.lengths
    pairs = [sentence.pair for sentence in sample.tokens.corpus.sentences]
    assert len(set(pairs)) == len(pairs)
    for ids, pair in zip(sample.tokens.ids, pairs, strict=True):
        assert np.array_equal(ids, tokens.ids[int(pair)])
    for language in ("da", "en"):
        assert 2500 <= lengths[languages == language].sum() < 2500 + 20
        for held_out in sample.held_out:
            assert held_out[languages == language].mean() == pytest.approx(0.2, abs=0.01)
    for held_out in sample.held_out:
        assert lengths[~held_out].sum() == pytest.approx(4000, rel=0.05)
    assert len({row.tobytes() for row in sample.held_out}) == 3


@pytest.mark.parametrize("shared", [True, False], ids=["both languages", "one language"])
def test_documents_are_held_out_whole(shared):
    tokens = long_text(400)
    sentences = [
        s._replace(doc=f"{'' if shared else s.language} {number // 20}")
        for number, s in enumerate(tokens.corpus.sentences)
    ]
    tokens = dataclasses.replace(tokens, corpus=Corpus.of(sentences))
    sample = sample_sentences(tokens, ("da", "en"), 10_000, seeds=4, seed=0)
    docs = np.array([s.doc for s in sample.tokens.corpus.sentences])
    languages = spoken(sample.tokens)
    for held_out in sample.held_out:
        assert not set(docs[held_out]) & set(docs[~held_out])
        for language in ("da", "en"):
            assert 0.2 <= held_out[languages == language].mean() <= 0.3
    assert len({row.tobytes() for row in sample.held_out}) > 1


def test_the_sample_is_seeded():
    def drawn(seed):
        sample = sample_sentences(long_text(400), ("da", "en"), 400, seeds=2, seed=seed)
        return [s.pair for s in sample.tokens.corpus.sentences], sample.held_out.tolist()

    assert drawn(3) == drawn(3) != drawn(4)


def test_other_languages_stay_out(tiny_tokens):
    mixed = [
        s._replace(language="sv") if n % 6 == 0 else s for n, s in enumerate(tiny_tokens.corpus.sentences)
    ]
    tokens = dataclasses.replace(tiny_tokens, corpus=Corpus.of(mixed))
    sample = sample_sentences(tokens, ("da", "en"), 10_000, seeds=1, seed=0)
    assert set(sample.tokens.corpus.languages) == {"da", "en"}


def test_too_few_sentences_and_documents_are_refused(tiny_tokens):
    with pytest.raises(GlossaeError, match=r"^corpora.train: 9 sentences of 'en' are too few"):
        sample_sentences(tiny_tokens.take(np.arange(19)), ("da", "en"), 1000, seeds=1, seed=0)
    # one document cannot be held out and fitted
    whole = Corpus.of(s._replace(doc=s.language) for s in tiny_tokens.corpus.sentences)
    with pytest.raises(GlossaeError, match=r"^corpora.train: the documents of 'da' are too few for a probe"):
        sample_sentences(dataclasses.replace(tiny_tokens, corpus=whole), ("da", "en"), 1000, seeds=1, seed=0)


# ---- the sweep


def test_cells_say_what_was_fitted_for_every_layer_lambda_and_seed(swept, sample, tiny_lm):
    published, cells = swept
    grid = [(cell.layer, cell.penalty, cell.seed) for cell in cells if not cell.rule]
    assert sorted(grid) == sorted(
        (layer, p, seed) for layer in range(3) for p in PENALTIES for seed in range(2)
    )
    rule = [(cell.layer, cell.seed) for cell in cells if cell.rule]
    assert sorted(rule) == [(layer, seed) for layer in range(3) for seed in range(2)]
    for cell in cells:
        assert cell.model == tiny_lm.name
        assert cell.standardised == (cell.rule or not published)
        assert cell.tokens == sample.tokens.lengths[~sample.held_out[cell.seed]].sum()
        assert cell.subgradient <= 1e-4
        assert 0 <= cell.accuracy <= 1
        assert cell.bce > 0
        assert cell.accuracy_se >= 0
        assert cell.bce_se >= 0
        if cell.rule:
            assert cell.penalty == pytest.approx(0.1 * cell.critical_lambda)


def test_probes_collapse_from_their_critical_lambda_on_and_weak_penalties_tell_the_languages_apart(swept):
    published, cells = swept
    collapsed = Counter(cell.norm == 0 for cell in cells)
    assert collapsed[True] >= 6
    assert collapsed[False] >= 6
    for cell in cells:
        assert cell.collapsed == (cell.norm == 0) == (cell.penalty >= cell.critical_lambda)
        if cell.penalty == PENALTIES[0]:
            assert cell.accuracy > 0.75
            assert cell.bce < 0.55
        if cell.norm == 0 and published:
            # all logits are zero
            assert cell.bce == pytest.approx(np.log(2))


def test_critical_lambdas_equal_those_by_hand(swept, sample, tiny_lm):
    _, cells = swept
    languages = spoken(sample.tokens)
    sites = [Site("resid", layer) for layer in range(3)]
    parts = list(activations(tiny_lm, batches(sample.tokens, 300), sites))
    sentence = torch.cat([part.sentence for part in parts]).numpy()
    y = (languages[sentence] == "en").astype(float)
    for cell in cells:
        x = torch.cat([part.sites[sites[cell.layer]] for part in parts]).double().numpy()
        if cell.standardised:
            x = (x - x.mean(0)) / x.std(0)
        fitted = ~sample.held_out[cell.seed][sentence]
        x, labels = x[fitted], y[fitted]
        if cell.standardised:
            gradient = x.T @ (labels.mean() - labels) / len(x)
        else:
            gradient = np.append(x, np.ones((len(x), 1)), axis=1).T @ (0.5 - labels) / len(x)
        assert cell.critical_lambda == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_the_sweep_is_deterministic_and_leaves_nothing_behind(tiny_lm, sample, tmp_path):
    done = []

    options = {"site": "mlp.hidden", "reference": "en", "penalties": PENALTIES, "scratch": tmp_path}
    one, again = (probe_layers(tiny_lm, sample, progress=done.append, **options) for _ in range(2))
    assert one == again
    assert list(tmp_path.iterdir()) == []
    assert done[: len(done) // 2] == sorted(done[: len(done) // 2])
    assert done[-1] == pytest.approx(1)


# ---- standard errors


def test_the_standard_error_agrees_with_a_bootstrap_over_sentences():
    generator = np.random.default_rng(0)
    sizes = generator.integers(2, 30, size=150)
    sentence = np.repeat(np.arange(150), sizes)
    # tokens of a sentence go right and wrong together
    values = generator.normal(size=150)[sentence] + 0.5 * generator.normal(size=len(sentence))
    mean, error = clustered_mean(torch.from_numpy(values), torch.from_numpy(sentence * 7))
    sums = np.bincount(sentence, values)
    drawn = generator.integers(0, 150, size=(4000, 150))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(means.std(), rel=0.08)
    # and tokens are not what was drawn
    assert error > 2 * values.std() / np.sqrt(len(values))
    # one sentence has no spread
    assert clustered_mean(torch.tensor([1.0, 3.0]).double(), torch.tensor([4, 4])) == (2.0, 0.0)


# ---- the choice


def cell(layer, bce, *, bce_se=0.01, seed=0, rule=True):
    return ProbeCell(
        model="m",
        layer=layer,
        penalty=0.1,
        seed=seed,
        accuracy=0.9,
        accuracy_se=0.01,
        bce=bce,
        bce_se=bce_se,
        norm=1.0,
        collapsed=False,
        critical_lambda=1.0,
        tokens=10,
        standardised=True,
        subgradient=0.0,
        rule=rule,
    )


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([0.50, 0.40, 0.30, 0.20], 3),
        ([0.50, 0.209, 0.30, 0.20], 1),
        ([0.20, 0.20, 0.20], 0),
        ([0.211, 0.20, 0.30], 1),
    ],
)
def test_the_earliest_layer_within_one_standard_error_is_chosen(losses, best):
    choice = choose_layer([cell(layer, loss) for layer, loss in reversed(list(enumerate(losses)))])
    assert choice.best == best
    assert [row.layer for row in choice.layers] == list(range(len(losses)))
    assert [row.bce for row in choice.layers] == losses


def test_the_standard_error_is_the_best_layers():
    assert choose_layer([cell(0, 0.25, bce_se=1.0), cell(1, 0.20, bce_se=0.01)]).best == 1
    assert choose_layer([cell(0, 0.25, bce_se=0.001), cell(1, 0.20, bce_se=0.06)]).best == 0


def test_seeds_are_averaged_and_the_grid_is_not_looked_at():
    cells = [cell(0, 0.1), cell(0, 0.5, seed=1), cell(1, 0.25), cell(1, 0.25, seed=1)]
    cells += [cell(0, 0.0, rule=False), cell(2, 0.9)]
    choice = choose_layer(cells)
    assert choice.best == 1
    (own, *_) = (tuple(dict(row).values()) for row in choice.layers)
    assert own == ("m", 0, pytest.approx(0.3), pytest.approx(0.01), pytest.approx(0.08**0.5), 1.0)


# ---- the order of the layers


def test_seeds_that_agree_and_seeds_that_do_not():
    assert rank_agreement(np.array([[0.1, 0.2, 0.3], [1.0, 5.0, 6.0]])) == pytest.approx(1)
    assert rank_agreement(np.array([[0.1, 0.2, 0.3], [3.0, 2.0, 1.0]])) == pytest.approx(-1)
    # 1, -1 and -1 over the three pairs
    assert rank_agreement(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])) == pytest.approx(-1 / 3)


def test_where_there_is_no_order_there_is_no_agreement():
    assert rank_agreement(np.array([[0.1, 0.2, 0.3]])) is None
    assert rank_agreement(np.array([[0.5], [0.6]])) is None
    assert rank_agreement(np.array([[0.5, 0.5], [0.6, 0.7]])) is None


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=2, max_size=2))
def test_a_pairs_agreement_is_scipys_spearman(pair):
    from scipy.stats import spearmanr

    scores = np.array(pair, dtype=float)
    if np.ptp(scores, axis=1).all():
        assert rank_agreement(scores) == pytest.approx(float(spearmanr(*scores).statistic))
    else:
        assert rank_agreement(scores) is None
