"""One pass counts every unit token by token, whatever the order, the batches and the processes."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from every_kind import WIDTH, families, precise
from features_sae import LATENTS, SITE, random_sae, site_by_hand

from glossae.errors import GlossaeError
from glossae.lm import Site, load, tokenize
from glossae.text import Corpus
from glossae.units import (
    Directions,
    Latents,
    Neurons,
    SentenceTable,
    UnitStatistics,
    collect,
    collect_all,
    load_statistics,
    merge,
    save_statistics,
)
from glossae.units.statistics import MOST_TOKENS

FAMILIES = families()
NAMES = list(FAMILIES)


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


def same(one, other, *, rtol=1e-6):
    """Whether two statistics say the same."""
    assert one.languages == other.languages
    assert one.identity == other.identity
    for name, tensor in one.tensors().items():
        theirs = other.tensors()[name]
        assert tensor.dtype == theirs.dtype
        if tensor.dtype.is_floating_point:
            # sums of either sign can come close to zero
            scale = float(tensor.abs().max())
            torch.testing.assert_close(theirs, tensor, rtol=rtol, atol=rtol * scale)
        else:
            assert torch.equal(theirs, tensor), name


def same_rows(one, other, *, rtol=1e-6):
    """Whether two tables say the same, row by row."""
    for field in ("languages", "sources", "pairs", "tokens"):
        assert getattr(one, field).tolist() == getattr(other, field).tolist()
    assert one.identity == other.identity
    assert (one.fired.toarray() == other.fired.toarray()).all()
    np.testing.assert_allclose(other.values.toarray(), one.values.toarray(), rtol=rtol, atol=rtol)


# ---- against every token


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_those_of_all_tokens(collected, by_sentence, corpus, name):
    statistics, _ = collected[name]
    units = FAMILIES[name]
    assert (statistics.languages, statistics.units) == (("da", "en", "nb"), len(units))
    for language in statistics.languages:
        row = statistics.row(language)
        own = [
            values
            for values, s in zip(by_sentence[name], corpus.sentences, strict=True)
            if s.language == language
        ]
        values = np.concatenate(own)
        fired = fires(name, values)
        assert fired.any()
        assert not fired.all()
        assert int(statistics.tokens[row]) == len(values)
        assert int(statistics.sentences[row]) == len(own)
        assert statistics.fired[row].tolist() == fired.sum(0).tolist()
        in_sentences = sum(fires(name, part).any(0).astype(int) for part in own)
        assert statistics.sentences_fired[row].tolist() == in_sentences.tolist()
        np.testing.assert_allclose(statistics.rate(language), fired.mean(0))
        np.testing.assert_allclose(statistics.sentence_rate(language), in_sentences / len(own))
        np.testing.assert_allclose(statistics.mean_value(language), values.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics.variance(language), values.var(0), rtol=1e-5, atol=1e-6)
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


@pytest.mark.parametrize("name", NAMES)
def test_auroc_and_precision_are_within_their_bounds(collected, by_sentence, corpus, name):
    from sklearn.metrics import average_precision_score, roc_auc_score

    statistics, _ = collected[name]
    of = [s.language for s in corpus.sentences]
    chosen = [i for i, language in enumerate(of) if language in ("da", "en")]
    values = np.concatenate([by_sentence[name][i] for i in chosen]).astype(np.float32)
    labels = np.repeat([of[i] == "da" for i in chosen], [len(by_sentence[name][i]) for i in chosen])
    for found, exact in (
        (statistics.auroc("da", "en"), roc_auc_score),
        (statistics.average_precision("da", "en"), average_precision_score),
    ):
        truth = np.array([exact(labels, column) for column in values.T])
        error = np.abs(found.value.numpy() - truth)
        assert (error <= found.bound.numpy() + 1e-9).all()
        assert truth.std() > 0.01
        # which says something: bounds are no wider than this
        assert np.median(found.bound) < 0.15


@pytest.mark.parametrize("name", NAMES)
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
    if name == "directions":
        return
    # nothing is stored of what does not fire
    assert table.fired.nnz == table.values.nnz == int((table.fired.toarray() > 0).sum())


# ---- order, batches, processes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_batches_of_any_size_give_the_same(lm, tokens, collected, name, budget):
    statistics, table = collect(lm, SITE, FAMILIES[name], tokens, budget=budget)
    same(statistics, collected[name][0])
    same_rows(table, collected[name][1])


@pytest.mark.parametrize("name", NAMES)
def test_sentences_in_any_order_give_the_same(lm, tokens, collected, name):
    order = np.random.default_rng(0).permutation(len(tokens))
    statistics, table = collect(lm, SITE, FAMILIES[name], tokens.take(order), budget=150)
    same(statistics, collected[name][0])
    same_rows(table, collected[name][1].take(order))


def test_a_model_in_float32_differs_by_its_own_rounding_only(tiny_lm, tokens, collected):
    for budget in (1, 10_000):
        found = collect_all(tiny_lm, SITE, list(FAMILIES.values()), tokens, budget=budget)
        for (statistics, _), name in zip(found, NAMES, strict=True):
            exact = collected[name][0]
            for field in ("value_sum", "square_sum", "active_sum", "active_max", "pre_sum"):
                one, other = statistics.tensors()[field], exact.tensors()[field]
                assert float((one - other).abs().max() / other.abs().max()) < 1e-6


def test_units_are_taken_some_at_a_time(lm, tokens, collected, monkeypatch):
    monkeypatch.setattr("glossae.units.streaming.DENSE_VALUES", 1000)
    statistics, table = collect(lm, SITE, FAMILIES["neurons, both ways"], tokens, budget=150)
    same(statistics, collected["neurons, both ways"][0])
    same_rows(table, collected["neurons, both ways"][1])


@pytest.mark.parametrize("name", NAMES)
def test_parts_merge_to_the_whole(lm, tokens, collected, tmp_path, name):
    """Uneven parts, of which one lacks a language, written and read."""
    whole, table = collected[name]
    nb = [i for i, s in enumerate(tokens.corpus.sentences) if s.language == "nb"]
    first = [i for i in range(20) if i not in nb]
    rest = [i for i in range(len(tokens)) if i not in first]
    parts, tables = [], []
    for number, chosen in enumerate((first, rest)):
        statistics, part = collect(lm, SITE, FAMILIES[name], tokens.take(chosen), budget=77)
        save_statistics(statistics, tmp_path / "deep" / f"{number}.safetensors")
        parts.append(load_statistics(tmp_path / "deep" / f"{number}.safetensors"))
        same(parts[-1], statistics, rtol=0)
        tables.append(part)
    assert parts[0].languages == ("da", "en")
    for one, other in (parts, parts[::-1]):
        same(merge(one, other), whole)
    same_rows(SentenceTable.join(tables), table.take([*first, *rest]))


def test_the_empty_statistics_change_nothing(collected):
    for name, (statistics, _) in collected.items():
        empty = UnitStatistics.empty((), FAMILIES[name])
        same(merge(empty, statistics), statistics, rtol=0)


SCRIPT = """
import sys
import numpy as np, torch
from pathlib import Path
from glossae.text import Corpus, Sentence
from glossae.find import Neurons, collect, save_statistics
from glossae.lm import Site, load, tokenize
model, out, texts = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
lm = load(model)
corpus = Corpus.of(Sentence(*line.split("\\t")) for line in texts)
units = Neurons(Site("mlp.hidden", 1), 48, signed=True)
save_statistics(collect(lm, units.site, units, tokenize(lm, corpus), table=False)[0], out)
"""


@pytest.mark.slow
def test_two_processes_merge_to_the_same_numbers(tiny_model, corpus, tmp_path):
    running, files = [], [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    for half, file in enumerate(files):
        texts = ["\t".join(s) for s in corpus.sentences[half::2]]
        running.append(subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny_model), str(file), *texts]))
    lm = load(str(tiny_model))
    units = Neurons(SITE, WIDTH, signed=True)
    whole, _ = collect(lm, SITE, units, tokenize(lm, corpus), table=False)
    assert [process.wait() for process in running] == [0, 0]
    merged = merge(*(load_statistics(file) for file in files))
    assert merged.tokens.tolist() == whole.tokens.tolist()
    assert merged.sentences.tolist() == whole.sentences.tolist()
    for name, tensor in whole.tensors().items():
        difference = (merged.tensors()[name] - tensor).double().abs().max()
        if tensor.dtype.is_floating_point:
            assert float(difference / tensor.abs().max()) < 1e-6
        else:
            # float32 rounds by the company a token is in, so a value may be across an edge
            assert float(difference) <= 1


# ---- what counts


@pytest.mark.parametrize("bos", [False, True])
def test_the_first_token_can_be_left_out_and_a_bos_never_counts(lm, corpus, bos):
    tokens = tokenize(lm, corpus, prefix=[lm.tokenizer.bos_token_id] if bos else [])
    units = FAMILIES["neurons"]
    statistics, table = collect(lm, SITE, units, tokens, skip_first=True)
    x = [site_by_hand(lm, ids)[1:] for ids in tokens.ids]
    assert int(statistics.tokens.sum()) == sum(len(part) for part in x)
    assert table.tokens.tolist() == [len(part) for part in x]
    np.testing.assert_allclose(statistics.value_sum.sum(0), torch.cat(x).sum(0), rtol=1e-5, atol=1e-5)
    everything, _ = collect(lm, SITE, units, tokens)
    left_out = int(everything.tokens.sum() - statistics.tokens.sum())
    assert left_out == (0 if bos else len(tokens))
    with pytest.raises(GlossaeError, match="some leave out the first token"):
        merge(statistics, everything)


def test_a_sentence_of_one_token_may_have_none_left(lm, random_tokens):
    tokens = random_tokens([1, 5, 1])
    statistics, table = collect(lm, SITE, FAMILIES["latents"], tokens, skip_first=True)
    assert table.tokens.tolist() == [0, 4, 0]
    assert (int(statistics.tokens), int(statistics.sentences)) == (4, 1)
    assert not table.values[[0, 2]].toarray().any()
    nothing, table = collect(lm, SITE, FAMILIES["latents"], tokens.take([0]), skip_first=True)
    assert (int(nothing.tokens), table.fired.nnz, len(table)) == (0, 0, 1)
    assert not nothing.active_max.any()


def test_the_model_runs_once_for_all(lm, tokens, monkeypatch):
    passes = []
    handle = lm.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    done = []
    collect_all(lm, SITE, list(FAMILIES.values()), tokens, budget=150, progress=done.append)
    handle.remove()
    assert len(passes) == len(done) > 3
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_the_table_is_built_on_request(lm, tokens):
    assert collect(lm, SITE, FAMILIES["latents"], tokens, table=False)[1] is None


# ---- memory


def test_65536_latents_and_8_languages_fit_into_200_mb():
    class Many(Latents):
        identity = "latent - many"

        def __len__(self):
            return 65_536

    for units in (Many(random_sae()), Neurons(SITE, 65_536)):
        statistics = UnitStatistics.empty(tuple("abcdefgh"), units)
        assert statistics.histogram.dtype == torch.int32
        assert 8 * 65_536 * 64 * 4 < statistics.nbytes < 200e6


# ---- refusals


def test_different_units_never_merge(collected):
    one, other = collected["latents"], collected["latents without relu"]
    assert one[0].units == other[0].units
    line = f"^these are different units: {one[0].identity} and {other[0].identity}$"
    with pytest.raises(GlossaeError, match=line):
        merge(one[0], other[0])
    with pytest.raises(GlossaeError, match=line):
        SentenceTable.join([one[1], other[1]])


def test_more_tokens_than_a_histogram_counts_are_refused(lm, tokens, collected):
    full = UnitStatistics.empty(("en",), FAMILIES["latents"])
    full.tokens[0] = MOST_TOKENS
    assert merge(full, UnitStatistics.empty(("en",), FAMILIES["latents"])).tokens.tolist() == [MOST_TOKENS]
    with pytest.raises(
        GlossaeError, match=r"tokens of 'en' are more than a histogram can count \(2147483647\)"
    ):
        merge(full, collected["latents"][0])


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
        collected["latents"][0].auroc("sv", "en")


# ---- files


def test_a_file_that_is_something_else_is_refused(collected, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "statistics.safetensors"
    with pytest.raises(GlossaeError, match=f"^{path}: cannot be read as statistics"):
        load_statistics(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(GlossaeError, match=f"^{path}: cannot be read as statistics"):
        load_statistics(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(GlossaeError, match=f"^{path}: holds no glossae statistics of format 1$"):
        load_statistics(path)
    statistics, _ = collected["latents"]
    save_statistics(statistics, path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = statistics.tensors()
    save_file({**tensors, "histogram": tensors["histogram"][:, :, :3].clone()}, path, header)
    with pytest.raises(GlossaeError, match=rf"^{path}: histogram should be \(3, {LATENTS}, 64\) and is"):
        load_statistics(path)
    del tensors["histogram"]
    save_file(tensors, path, header)
    with pytest.raises(GlossaeError, match=f"^{path}: statistics are incomplete .*histogram"):
        load_statistics(path)


def test_writing_leaves_the_old_file_or_the_new_one(collected, tmp_path, monkeypatch):
    path = tmp_path / "statistics.safetensors"
    save_statistics(collected["latents"][0], path)
    before = path.read_bytes()

    def breaks(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", breaks)
    with pytest.raises(GlossaeError, match=f"^{path}: cannot be written"):
        save_statistics(collected["neurons"][0], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_directions_have_finer_bins(collected):
    directions, neurons = collected["directions"][0], collected["neurons"][0]
    assert isinstance(FAMILIES["directions"], Directions)
    assert directions.histogram.shape[2] == 4 * neurons.histogram.shape[2] == 256
