"""Sentences become ids, batches and growing samples without one being lost, doubled or changed."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import batches, growing_samples, half_width, pad, random_order, sentence_batches, tokenize

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=40)


def corpus_of(*texts, language="da", source="a.tsv"):
    return Corpus.of(Sentence(text, language, str(number), source) for number, text in enumerate(texts))


# ---- token ids


def test_ids_are_the_tokenizers_without_special_tokens(tiny_lm):
    tokens = tokenize(tiny_lm, corpus_of("Pigen så æblet 😀.", "He bought it."))
    assert [tiny_lm.tokenizer.decode(ids) for ids in tokens.ids] == ["Pigen så æblet 😀.", "He bought it."]
    assert all(tiny_lm.tokenizer.bos_token_id not in ids for ids in tokens.ids)


def test_a_bos_stands_first_and_is_no_text(tiny_lm):
    plain = tokenize(tiny_lm, corpus_of("Pigen så æblet."))
    with_bos = tokenize(tiny_lm, corpus_of("Pigen så æblet."), prefix=[tiny_lm.tokenizer.bos_token_id])
    assert with_bos.ids[0].tolist() == [tiny_lm.tokenizer.bos_token_id, *plain.ids[0]]
    assert with_bos.lengths == plain.lengths == with_bos.predicted == plain.predicted + 1
    assert not pad(with_bos, np.array([0])).content[0, 0]
    assert pad(with_bos, np.array([0])).content[0, 1:].all()


def test_texts_under_two_tokens_are_dropped_and_counted(tiny_lm):
    short = Corpus((*corpus_of("a", "Hej med dig", "b").sentences, *corpus_of("c", language="en").sentences))
    tokens = tokenize(tiny_lm, short)
    assert [sentence.text for sentence in tokens.corpus.sentences] == ["Hej med dig"]
    assert tokens.dropped == {("a.tsv", "da"): 2, ("a.tsv", "en"): 1}
    assert tokens.cut == {}


@pytest.mark.parametrize("bos", [False, True])
def test_long_texts_are_cut_and_counted(tiny_lm, bos):
    corpus = corpus_of("x" * 3, "abcdefghijklmnop" * 3)
    whole = tokenize(tiny_lm, corpus)
    tokens = tokenize(tiny_lm, corpus, max_tokens=10, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    assert [len(ids) for ids in tokens.ids] == [min(3, whole.lengths[0]) + bos, 10]
    assert tokens.ids[1].tolist() == ([0, *whole.ids[1][:9]] if bos else whole.ids[1][:10].tolist())
    assert tokens.cut == {("a.tsv", "da"): 1}
    assert tokens.dropped == {}


def test_texts_are_cut_at_the_models_positions_and_a_prefix_leaves_room_for_two(tiny_lm):
    tokens = tokenize(tiny_lm, corpus_of("qwxz" * 100), max_tokens=10_000)
    assert tokens.lengths.tolist() == [tiny_lm.max_positions]
    assert sum(tokens.cut.values()) == 1
    with pytest.raises(GlossaeError, match="^max_tokens: 9 tokens stand before each text"):
        tokenize(tiny_lm, corpus_of("Hej med dig"), max_tokens=10, prefix=[5] * 9)


@pytest.mark.parametrize("text", ["Hej på øen", "Ja: æøå ÆØÅ", "Se 😀👨‍👩‍👧!", "plain"])
def test_predicted_bytes_are_those_after_the_first_token(tiny_lm, text):
    tokens = tokenize(tiny_lm, corpus_of(text))
    first = tiny_lm.tokenizer.decode(tokens.ids[0][:1])
    assert tokens.predicted_bytes.tolist() == [len(text.encode()) - len(first.encode())]
    with_bos = tokenize(tiny_lm, corpus_of(text), prefix=[tiny_lm.tokenizer.bos_token_id])
    assert with_bos.predicted_bytes.tolist() == [len(text.encode())]


@given(st.text(st.sampled_from("ab æ語🚀👩‍"), min_size=2, max_size=12), st.integers(2, 12))
def test_predicted_bytes_are_those_of_the_kept_tokens_also_inside_a_character(tiny_lm, text, most):
    tokens = tokenize(tiny_lm, corpus_of(text), max_tokens=most)
    # in this vocabulary each character of a token stands for a byte of the text
    pieces = [tiny_lm.tokenizer.convert_ids_to_tokens(ids.tolist()) for ids in tokens.ids]
    assert tokens.predicted_bytes.tolist() == [sum(map(len, own[1:])) for own in pieces]


@pytest.fixture(scope="module")
def fallback_lm(tiny_lm):
    """The tiny model with a vocabulary of a few letters, which writes all others as single bytes."""
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcs<>", "▁a"]
    vocabulary = {name: place for place, name in enumerate(names)}
    model = models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>")
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>")
    return dataclasses.replace(tiny_lm, tokenizer=fast)


@pytest.mark.parametrize(
    ("text", "most", "predicted"),
    [
        # the first token is the blank that the tokenizer puts before the text
        ("🚀 a", 9, 6),
        ("🚀 a", 3, 2),
        ("b æ", 9, 4),
        ("a æ", 9, 3),
        ("a æ", 3, 2),
        ("<s> æ", 99, 6),
    ],
)
def test_predicted_bytes_with_byte_fallback(fallback_lm, text, most, predicted):
    assert tokenize(fallback_lm, corpus_of(text), max_tokens=most).predicted_bytes.tolist() == [predicted]


def test_a_text_that_spells_a_special_token_is_text(tiny_lm, fallback_lm):
    for lm, token in ((tiny_lm, tiny_lm.tokenizer.eos_token), (fallback_lm, "<s>")):
        tokens = tokenize(lm, corpus_of(f"ab {token} c"))
        assert not {*lm.tokenizer.all_special_ids} & {*tokens.ids[0].tolist()}
        assert len(tokens.ids[0]) > len(token)


def test_take_keeps_the_order_asked_for(tiny_tokens):
    taken = tiny_tokens.take(np.array([7, 2]))
    assert taken.corpus.sentences == (tiny_tokens.corpus.sentences[7], tiny_tokens.corpus.sentences[2])
    assert [ids.tolist() for ids in taken.ids] == [tiny_tokens.ids[i].tolist() for i in (7, 2)]
    assert taken.predicted_bytes.tolist() == tiny_tokens.predicted_bytes[[7, 2]].tolist()


# ---- batches


def assert_rows_are_sentences(batch, tokens):
    assert batch.mask.shape == batch.ids.shape == batch.content.shape
    for ids, mask, number in zip(batch.ids, batch.mask, batch.index, strict=True):
        length = len(tokens.ids[number])
        assert mask.tolist() == [True] * length + [False] * (batch.ids.shape[1] - length)
        assert ids[:length].tolist() == tokens.ids[number].tolist()
        assert not ids[length:].any()


@given(LENGTHS, st.integers(1, 300), st.none() | st.integers(0, 5))
def test_batches_cover_each_sentence_once_within_the_budget(random_tokens, lengths, budget, seed):
    tokens = random_tokens(lengths)
    seen = []
    for batch in batches(tokens, budget, seed=seed):
        assert batch.ids.numel() <= budget or len(batch.ids) == 1
        assert_rows_are_sentences(batch, tokens)
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_more_sentences_than_one_window_are_covered_once(random_tokens):
    tokens = random_tokens([2 + i % 9 for i in range(2500)])
    for seed in (None, 0):
        seen = [i for batch in batches(tokens, 100, seed=seed) for i in batch.index.tolist()]
        assert sorted(seen) == list(range(2500))


def test_batches_are_seeded(random_tokens):
    tokens = random_tokens([2 + i % 9 for i in range(50)])

    def order(seed):
        return [batch.index.tolist() for batch in batches(tokens, 40, seed=seed)]

    assert order(1) == order(1) != order(2)
    assert order(None) == order(None) != order(1)


@given(LENGTHS, st.integers(1, 50), st.integers(0, 5))
def test_sentence_batches_hold_a_fixed_number_of_sentences(random_tokens, lengths, size, seed):
    tokens = random_tokens(lengths)
    drawn = list(sentence_batches(tokens, size, seed=seed))
    assert [len(batch.index) for batch in drawn[:-1]] == [size] * (len(drawn) - 1)
    for batch in drawn:
        assert_rows_are_sentences(batch, tokens)
    assert sorted(i for batch in drawn for i in batch.index.tolist()) == list(range(len(lengths)))
    again = list(sentence_batches(tokens, size, seed=seed))
    assert [batch.index.tolist() for batch in drawn] == [batch.index.tolist() for batch in again]


# ---- growing samples

LANGUAGES = ["da"] * 50 + ["en"] * 200


def test_samples_are_nested_and_come_to_the_whole_text():
    samples = list(growing_samples(LANGUAGES, seed=3, first=20))
    assert [len(sample["en"]) for sample in samples] == [20, 40, 80, 160, 200]
    assert [len(sample["da"]) for sample in samples] == [20, 40, 50, 50, 50]
    for smaller, larger in itertools.pairwise(samples):
        for language, own in smaller.items():
            np.testing.assert_array_equal(larger[language][: len(own)], own)
    assert sorted(samples[-1]["da"]) == list(range(50))
    assert sorted(samples[-1]["en"]) == list(range(50, 250))


def test_a_sample_is_random_and_seeded():
    one, same, other = (next(growing_samples(LANGUAGES, seed=seed))["en"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert set(one) != set(other)
    # not the beginning of the text
    assert one.max() > 100


def test_a_language_is_drawn_alike_whatever_others_there_are():
    alone = random_order(["sv"] * 40, seed=5)["sv"]
    beside = random_order(["sv"] * 40 + ["da"] * 9, seed=5)
    np.testing.assert_array_equal(beside["sv"], alone)


def test_no_text_gives_no_sample():
    assert list(growing_samples([], seed=0)) == []


def test_sentences_of_one_length_give_the_interval_of_a_plain_mean():
    values = np.random.default_rng(0).normal(size=100)
    expected = 1.959964 * values.std(ddof=1) / math.sqrt(100)
    assert half_width(7 * values, np.full(100, 7)) == pytest.approx(expected)


def test_a_constant_loss_a_token_has_no_width():
    counts = np.array([3, 9, 4, 20])
    assert half_width(0.5 * counts, counts) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("counts", [[], [5], [0, 0]])
def test_nothing_to_estimate_from(counts):
    assert half_width(np.zeros(len(counts)), np.array(counts, dtype=np.int64)) == math.inf


def test_the_interval_covers_the_true_ratio_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        counts = generator.poisson(20, size=60) + 1
        # sentences differ from each other, and tokens within a sentence are alike
        sums = counts * (0.3 + generator.normal(scale=0.4, size=60))
        covered += abs(sums.sum() / counts.sum() - 0.3) <= half_width(sums, counts)
    assert 920 <= covered <= 970
