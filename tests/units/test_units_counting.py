"""One pass counts every unit token by token, whatever the order and the batches."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from every_kind import families, precise
from features_sae import SITE, dense_by_language, random_sae, site_by_hand
from glossae.corpora import Corpus
from glossae.errors import GlossaeError
from glossae.lm import Site, load, tokenize
from glossae.units import (
    LAYOUTS,
    Latents,
    Neurons,
    SentenceTable,
    UnitStatistics,
    collect,
    collect_all,
    latent_statistics,
)

FAMILIES = families()
NAMES = list(FAMILIES)
EVERY_KIND = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return precise(tiny_lm)


@pytest.fixture(scope="module")
def corpus(tiny_corpus):
    """Three languages, of different numbers of sentences, in mixed order."""
    names = {1: "nb", 5: "nb", 8: "nb"}
    return Corpus.of(
        s._replace(language=names.get(i, s.language))
        for i, s in enumerate(tiny_corpus.sentences)
        if i % 7 != 3
    )


@pytest.fixture(scope="module")
def tokens(lm, corpus):
    return tokenize(lm, corpus)


@pytest.fixture(scope="module")
def collected(lm, tokens):
    """{name: (statistics, table)} of one pass."""
    return dict(zip(NAMES, collect_all(lm, SITE, list(FAMILIES.values()), tokens, budget=150), strict=True))


@pytest.fixture(scope="module")
def by_sentence(lm, tokens):
    """{name: a list of what every unit reads at each token, a matrix a sentence}."""
    x = [site_by_hand(lm, ids) for ids in tokens.ids]
    return {
        name: [units.read(part, range(len(units))).double().numpy() for part in x]
        for name, units in FAMILIES.items()
    }


def fires(name, values):
    """By hand: latents without a ReLU fire wherever they are selected."""
    return values != 0 if name == "latents without relu" else values > 0


def check_same(one, other):
    """Statistics and tables say the same, but for rounding."""
    (statistics, table), (others, rows) = one, other
    assert (statistics.languages, statistics.identity) == (others.languages, others.identity)
    for name, tensor in statistics.tensors().items():
        theirs = others.tensors()[name]
        assert tensor.dtype == theirs.dtype
        if tensor.dtype.is_floating_point:
            # sums of either sign can come close to zero
            torch.testing.assert_close(theirs, tensor, rtol=1e-6, atol=1e-6 * float(tensor.abs().max()))
        else:
            assert torch.equal(theirs, tensor), name
    for field in ("languages", "sources", "pairs", "tokens"):
        assert getattr(table, field).tolist() == getattr(rows, field).tolist()
    assert table.identity == rows.identity
    assert (table.fired.toarray() == rows.fired.toarray()).all()
    np.testing.assert_allclose(rows.values.toarray(), table.values.toarray(), rtol=1e-6, atol=1e-6)


# ---- against every token


@EVERY_KIND
def test_statistics_are_those_of_all_tokens(collected, by_sentence, corpus, name):
    statistics, _ = collected[name]
    assert (statistics.languages, statistics.units) == (("da", "en", "nb"), len(FAMILIES[name]))
    for language in statistics.languages:
        row = statistics.row(language)
        mine = zip(by_sentence[name], corpus.sentences, strict=True)
        values = np.concatenate([part for part, s in mine if s.language == language])
        fired = fires(name, values)
        assert fired.any()
        assert not fired.all()
        assert int(statistics.tokens[row]) == len(values)
        assert statistics.fired[row].tolist() == fired.sum(0).tolist()
        np.testing.assert_allclose(statistics.rate(language), fired.mean(0))
        np.testing.assert_allclose(statistics.mean_value(language), values.mean(0), rtol=1e-5, atol=1e-6)
        active = np.where(fired, values, 0).sum(0) / np.maximum(fired.sum(0), 1)
        np.testing.assert_allclose(statistics.mean_active(language), active, rtol=1e-5, atol=1e-6)
        smallest = np.where(fired, values, np.inf).min(0)
        largest = np.where(fired, values, -np.inf).max(0)
        never = ~fired.any(0)
        smallest[never] = largest[never] = 0
        np.testing.assert_allclose(statistics.active_min[row], smallest, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics.active_max[row], largest, rtol=1e-5, atol=1e-6)
        zeros = int(statistics.tokens[row]) - statistics.histogram[row].sum(1)
        assert zeros.tolist() == (values == 0).sum(0).tolist()


@EVERY_KIND
def test_the_table_is_every_sentence_s_mean(collected, by_sentence, corpus, name):
    _, table = collected[name]
    assert table.languages.tolist() == [s.language for s in corpus.sentences]
    assert table.pairs.tolist() == [s.pair for s in corpus.sentences]
    assert table.sources.tolist() == [s.source for s in corpus.sentences]
    assert table.identity == FAMILIES[name].identity
    assert (table.values.dtype, table.fired.dtype) == (np.float32, np.int32)
    assert table.values.has_sorted_indices
    for number, values in enumerate(by_sentence[name]):
        fired = fires(name, values)
        assert table.tokens[number] == len(values)
        assert table.fired[[number]].toarray()[0].tolist() == fired.sum(0).tolist()
        # a direction has no threshold of its own
        mean = values.mean(0) if name == "directions" else np.where(fired, values, 0).mean(0)
        np.testing.assert_allclose(table.values[[number]].toarray()[0], mean, rtol=1e-5, atol=1e-6)
    if name != "directions":
        # nothing is stored of what does not fire
        assert table.fired.nnz == table.values.nnz == int((table.fired.toarray() > 0).sum())


@pytest.mark.parametrize("bos", [False, True])
def test_latent_statistics_are_those_of_the_dense_code_without_pads_and_bos(tiny_lm, tiny_corpus, bos):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    sae = random_sae()
    statistics = latent_statistics(tiny_lm, SITE, sae, tokens, budget=4096)
    assert statistics.tokens.sum() == sum(len(ids) for ids in tokenize(tiny_lm, tiny_corpus).ids)
    for language, (pre, values, fires) in dense_by_language(tiny_lm, sae, tokens).items():
        row = statistics.row(language)
        assert statistics.fired[row].tolist() == fires.sum(0).tolist()
        np.testing.assert_allclose(statistics.mean_pre[row], pre.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(statistics.mean_value(language), values.mean(0), rtol=1e-4, atol=1e-5)
    for field in dataclasses.fields(statistics):
        value = getattr(statistics, field.name)
        assert not isinstance(value, torch.Tensor) or not (value.is_cuda or value.requires_grad)


# ---- order and batches


@EVERY_KIND
@pytest.mark.parametrize("budget", [1, 10_000])
def test_batches_of_any_size_give_the_same(lm, tokens, collected, name, budget):
    check_same(collect(lm, SITE, FAMILIES[name], tokens, budget=budget), collected[name])


@EVERY_KIND
def test_sentences_in_any_order_give_the_same(lm, tokens, collected, name):
    order = np.random.default_rng(0).permutation(len(tokens))
    found = collect(lm, SITE, FAMILIES[name], tokens.take(order), budget=150)
    check_same(found, (collected[name][0], collected[name][1].take(order)))


def test_units_are_taken_some_at_a_time(lm, tokens, collected, monkeypatch):
    monkeypatch.setattr("glossae.units.counting.DENSE_VALUES", 1000)
    found = collect(lm, SITE, FAMILIES["neurons, both ways"], tokens, budget=150)
    check_same(found, collected["neurons, both ways"])


def test_a_model_in_float32_differs_by_its_own_rounding_only(tiny_lm, tokens, collected):
    found = collect_all(tiny_lm, SITE, list(FAMILIES.values()), tokens, budget=10_000)
    for (statistics, _), name in zip(found, NAMES, strict=True):
        for field in ("value_sum", "active_sum", "active_max", "pre_sum"):
            one, other = statistics.tensors()[field], collected[name][0].tensors()[field]
            assert float((one - other).abs().max() / other.abs().max()) < 1e-6


def test_the_model_runs_once_for_all(lm, tokens):
    passes, done = [], []
    handle = lm.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    collect_all(lm, SITE, list(FAMILIES.values()), tokens, budget=150, progress=done.append)
    handle.remove()
    assert len(passes) == len(done) > 3
    assert done == sorted(done)
    assert done[-1] == 1.0


# ---- tables


def test_tables_of_parts_join_to_the_whole_and_those_of_different_units_do_not(collected):
    table, other = collected["latents"][1], collected["latents without relu"][1]
    parts = [table.take(range(20)), table.take(range(20, len(table)))]
    joined = SentenceTable.join(parts)
    assert joined.docs is None
    for field in ("languages", "sources", "pairs", "tokens"):
        assert getattr(joined, field).tolist() == getattr(table, field).tolist()
    assert (joined.values.toarray() == table.values.toarray()).all()
    named = dataclasses.replace(parts[1], docs=np.full(len(parts[1]), "d"))
    assert SentenceTable.join([parts[0], named]).docs.tolist() == [""] * 20 + ["d"] * len(named)
    some = table.columns([7, 2])
    assert (some.units, len(some)) == (2, len(table))
    assert (some.fired.toarray() == table.fired.toarray()[:, [7, 2]]).all()
    with pytest.raises(
        GlossaeError, match=f"^these are different units: {table.identity} and {other.identity}$"
    ):
        SentenceTable.join([table, other])


def test_the_table_is_built_on_request(lm, tokens):
    assert collect(lm, SITE, FAMILIES["latents"], tokens, table=False)[1] is None


# ---- refusals and memory


def test_more_tokens_than_a_histogram_counts_are_refused(lm, tokens, monkeypatch):
    monkeypatch.setattr("glossae.units.counting.MOST_TOKENS", 100)
    with pytest.raises(GlossaeError, match=r"tokens of 'da' are more than a histogram can count \(100\)$"):
        collect(lm, SITE, FAMILIES["latents"], tokens)


def test_units_of_another_site_or_width_are_refused(lm, tokens):
    with pytest.raises(GlossaeError, match="^units: neuron mlp.hidden/1 .* is not of mlp.hidden of layer 2$"):
        collect(lm, Site("mlp.hidden", 2), FAMILIES["neurons"], tokens)
    with pytest.raises(
        GlossaeError, match="^units: latent - .* reads 48 values at a token, and resid of layer 1"
    ):
        collect(lm, Site("resid", 1), FAMILIES["latents"], tokens)


def test_activations_that_are_not_finite_are_refused(make_model_folder, tmp_path, corpus):
    lm = load(str(make_model_folder(tmp_path / "model")))
    lm.blocks[1].mlp.dense_h_to_4h.bias.data[3] = torch.nan
    with pytest.raises(GlossaeError, match="mlp.hidden of layer 1 is NaN or infinite at token 0"):
        collect(lm, SITE, Latents(random_sae()), tokenize(lm, corpus))


def test_a_language_without_text_is_named(collected):
    with pytest.raises(GlossaeError, match="^statistics: no text is in 'sv'; there are da, en, nb$"):
        collected["latents"][0].rate("sv")


def test_65536_latents_and_8_languages_fit_into_200_mb():
    class Many(Latents):
        identity = "latent - many"

        def __len__(self):
            return 65_536

    for units in (Many(random_sae()), Neurons(SITE, 65_536)):
        statistics = UnitStatistics.empty(tuple("abcdefgh"), units)
        assert statistics.histogram.dtype == torch.int32
        assert 8 * 65_536 * 64 * 4 < statistics.nbytes < 200e6


# ---- bins of the histograms


@pytest.mark.parametrize("name", list(LAYOUTS))
@given(
    st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32).filter(bool)
        | st.floats(-(2.0**9), 2.0**9, width=32).filter(bool),
        min_size=2,
        max_size=40,
    )
)
def test_bins_are_intervals_in_the_order_of_values(name, values):
    layout = LAYOUTS[name]
    values = torch.tensor(values, dtype=torch.float32)
    values = values if layout.signed else values.abs()
    bins = layout.of(values)
    assert (bins >= 0).all()
    assert (bins < layout.bins).all()
    assert (bins[values.argsort()].diff() >= 0).all()
    assert torch.equal(bins >= layout.zero, values > 0)
    if layout.signed:
        assert torch.equal(layout.of(-values), layout.bins - 1 - bins)
    # the edge itself belongs to the bin above it
    magnitude = values.abs().double().clamp_min(2.0**-12)
    expected = torch.searchsorted(layout.magnitudes, magnitude, right=True) - 1
    assert torch.equal(bins[values > 0] - layout.zero, expected[values > 0])


def test_layouts_have_the_bins_they_promise():
    values = torch.tensor([1e-9, 0.0625, 0.999, 1.0, 1.24, 1.25, 1.75, 2.0, 255.9, 256.0, 1e30])
    expected = {
        "positive": (64, 0, [0, 8, 23, 24, 24, 25, 27, 28, 55, 56, 63]),
        "signed": (64, 32, [32, 36, 43, 44, 44, 44, 45, 46, 59, 60, 63]),
        "fine": (256, 128, [128, 144, 175, 176, 177, 178, 182, 184, 239, 240, 255]),
    }
    for name, (bins, zero, of) in expected.items():
        layout = LAYOUTS[name]
        assert (layout.bins, layout.zero, layout.of(values).tolist()) == (bins, zero, of)
        edges = layout.magnitudes
        assert (edges.diff() > 0).all()
        # no bin among the usual values is wider than it should be
        ratio = (edges[1:] / edges[:-1])[(edges[:-1] >= 2.0**-4) & (edges[1:] <= 2.0**8)]
        assert ratio.max() <= 1 + 1 / layout.per_octave
    assert LAYOUTS["signed"].of(-values).tolist() == [31, 27, 20, 19, 19, 19, 18, 17, 4, 3, 0]


def test_each_kind_of_unit_has_its_layout(collected):
    found = {name: collected[name][0].layout for name in NAMES}
    assert found == {
        "latents": "positive",
        "latents without relu": "signed",
        "neurons": "signed",
        "neurons, both ways": "signed",
        "directions": "fine",
    }
