"""A closer look agrees with scikit-learn, numpy and the dense code; texts show each number at its own token."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from features_sae import SITE, codes_by_hand, dense_by_language, random_sae, site_by_hand
from glossae.corpora import Corpus, Sentence
from glossae.evidence import identify
from glossae.lm import NormRange, tokenize
from glossae.units import latent_statistics, readable_tokens, sentences_to_show, token_texts, unit_details
from glossae.units.contexts import LONGEST_SHOWN

NEVER = 39
UNITS = (17, 3, 25)


@pytest.fixture(scope="module", params=[True, False], ids=["relu", "no relu"])
def sae(request):
    return random_sae(relu=request.param)


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    """More Danish than English."""
    return tiny_tokens.take([i for i in range(len(tiny_tokens)) if i % 4 != 1])


@pytest.fixture(scope="module")
def units(tiny_lm, sae, tokens):
    """Two that fire often, not in order of their numbers, one that rarely does, and one that never does."""
    fired = latent_statistics(tiny_lm, SITE, sae, tokens).fired[0]
    order = fired.argsort(descending=True).tolist()
    rare = next(unit for unit in reversed(order) if fired[unit])
    return [max(order[:2]), min(order[:2]), rare, NEVER]


@pytest.fixture(scope="module")
def details(tiny_lm, sae, tokens, units):
    return unit_details(tiny_lm, SITE, sae, tokens, units, "da", "en", budget=150)


@pytest.fixture(scope="module")
def dense(tiny_lm, sae, tokens):
    return dense_by_language(tiny_lm, sae, tokens)


def test_auroc_is_scikit_learn_s_and_quantiles_are_numpy_s(details, units, dense):
    (da, values, fires), (en, _, _) = dense["da"], dense["en"]
    assert [detail.unit for detail in details] == units
    for detail in details:
        expected = roc_auc_score([1] * len(da) + [0] * len(en), [*da[:, detail.unit], *en[:, detail.unit]])
        assert detail.auroc == pytest.approx(expected, abs=1e-4)
        # where the unit fires on the target
        own = values[fires[:, detail.unit], detail.unit]
        if detail.unit == NEVER:
            assert (len(own), detail.quantiles) == (0, None)
        else:
            assert detail.quantiles == pytest.approx(np.quantile(own, [0.5, 0.99]), rel=1e-4, abs=1e-5)


def test_histograms_hold_every_token_once(details, dense):
    for detail in details:
        assert set(detail.counts) == {"da", "en"}
        assert len(detail.edges) == 61
        for language, counts in detail.counts.items():
            own = dense[language][0][:, detail.unit]
            assert counts.sum() == len(own)
            # rounding may carry the odd token over an edge
            expected = np.histogram(own.clip(*detail.edges[[0, -1]]), bins=detail.edges)[0]
            np.testing.assert_allclose(np.cumsum(counts), np.cumsum(expected), atol=2)
        everything = np.concatenate([dense[language][0][:, detail.unit] for language in ("da", "en")])
        assert detail.edges[[0, -1]] == pytest.approx([everything.min(), everything.max()], abs=1e-4)
        assert (np.diff(detail.edges) > 0).all()


def test_a_constant_unit_breaks_nothing(tiny_lm, tokens):
    sae = random_sae()
    sae.W_enc.data[7] = 0
    sae.b_enc.data[7] = 50
    (detail,) = unit_details(tiny_lm, SITE, sae, tokens, [7], "da", "en")
    assert detail.auroc == 0.5
    assert detail.quantiles == (50, 50)
    lengths = {"da": 0, "en": 0}
    for length, sentence in zip(tokens.lengths, tokens.corpus.sentences, strict=True):
        lengths[sentence.language] += int(length)
    assert {language: int(counts.sum()) for language, counts in detail.counts.items()} == lengths


def test_batches_of_any_size_give_the_same_and_no_units_need_no_pass(tiny_lm, sae, tokens, units, details):
    done = []
    again = unit_details(tiny_lm, SITE, sae, tokens, units, "da", "en", budget=20, progress=done.append)
    for one, other in zip(details, again, strict=True):
        assert one.auroc == pytest.approx(other.auroc, abs=1e-4)
        np.testing.assert_allclose(one.edges, other.edges, atol=1e-4)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert unit_details(tiny_lm, SITE, sae, tokens, [], "da", "en") == []


# ---- tokens as strings


def sentence(text, language, pair, source="a.tsv"):
    return Sentence(text, language, pair, source)


def ids_of(lm, text):
    return lm.tokenizer(text, add_special_tokens=False)["input_ids"]


TEXTS = ["Rødgrød med fløde på Ærø", "Se 😀👨‍👩‍👧!", " to  blanke ", "x\ufffdy æ", "日本語"]


@given(
    st.sampled_from(TEXTS)
    | st.text(min_size=1, max_size=40).map(lambda text: text.encode("utf-8", "ignore").decode())
)
def test_tokens_together_are_the_text(tiny_lm, text):
    ids = ids_of(tiny_lm, text)
    strings = readable_tokens(tiny_lm, ids)
    assert len(strings) == len(ids)
    assert "".join(strings) == text


@pytest.mark.parametrize(("text", "first", "rest"), [("Æ Ø!", "Æ", " Ø!"), ("🚀ok", "🚀", "ok")])
def test_a_character_of_several_tokens_stands_at_its_first(tiny_lm, text, first, rest):
    ids = ids_of(tiny_lm, text)
    assert len(ids) > 4, "the tokenizer has learnt these characters whole, so this shows nothing"
    strings = readable_tokens(tiny_lm, ids)
    assert strings[:2] == [first, ""]
    assert "".join(strings[1:]) == rest


def test_tokens_that_cross_letters_are_put_together(tiny_lm):
    # bytes of one letter and of the next in one token, again and again
    class Crossing:
        pieces = (b"\xc3", b"\xa5\xc3", b"\xa5\xc3", b"\xa5\xc3", b"\xa5\xc3", b"\xa5", b" ja")

        def decode(self, ids):
            return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")

    strings = readable_tokens(dataclasses.replace(tiny_lm, tokenizer=Crossing()), list(range(7)))
    assert len(strings) == 7
    assert "".join(strings) == "ååååå ja"
    assert strings[-1] == " ja"


# ---- numbers at tokens


@pytest.fixture(scope="module")
def corpus():
    return Corpus.of(
        [
            sentence("Pigen på øen så det 😀.", "da", "one", "x.tsv"),
            sentence("The girl on the isle saw it 😀.", "en", "one", "x.tsv"),
            sentence("Å, Æ og Ø", "da", "two"),
        ]
    )


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("relu", [True, False])
def test_activations_stand_at_their_tokens(tiny_lm, corpus, bos, relu):
    sae, tokens = (
        random_sae(relu=relu),
        tokenize(tiny_lm, corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos),
    )
    texts = token_texts(tiny_lm, SITE, sae, tokens, UNITS)
    fired = set()
    for text, own, ids in zip(texts, corpus.sentences, tokens.ids, strict=True):
        assert (text["pair"], text["source"], text["language"]) == (own.pair, own.source, own.language)
        assert "".join(text["tokens"]) == own.text
        pre, _, fires = codes_by_hand(sae, site_by_hand(tiny_lm, ids, prefix=int(bos)))
        assert list(text["units"]) == [str(unit) for unit in UNITS]
        for unit in UNITS:
            found = text["units"][str(unit)]
            assert len(found["pre"]) == len(found["fires"]) == len(text["tokens"])
            assert found["pre"] == pytest.approx(pre[:, unit].tolist(), rel=1e-4, abs=1e-5)
            assert found["fires"] == fires[:, unit].tolist()
            fired |= set(found["fires"])
    assert fired == {True, False}


def test_a_long_text_is_cut_where_its_numbers_are(tiny_lm):
    text = "qwxz" * 16
    tokens = tokenize(tiny_lm, Corpus.of([sentence(text, "da", "one")]))
    assert len(tokens.ids[0]) > LONGEST_SHOWN
    (shown,) = token_texts(tiny_lm, SITE, random_sae(), tokens, UNITS)
    assert len(shown["tokens"]) == LONGEST_SHOWN
    assert text.startswith("".join(shown["tokens"]))
    assert all(len(unit["pre"]) == len(unit["fires"]) == LONGEST_SHOWN for unit in shown["units"].values())


def test_texts_can_be_shown_without_units(tiny_lm, corpus):
    texts = token_texts(tiny_lm, SITE, random_sae(), tokenize(tiny_lm, corpus), ())
    assert [text["units"] for text in texts] == [{}, {}, {}]


# ---- which sentences


def test_translations_stand_side_by_side(tiny_corpus):
    shuffled = Corpus(tiny_corpus.sentences[::-1])
    shown = sentences_to_show(shuffled, "da", "en", 4).sentences
    assert [s.language for s in shown] == ["da", "en"] * 4
    assert all(one.pair == other.pair for one, other in zip(shown[::2], shown[1::2], strict=True))
    assert [s.pair for s in shown[::2]] == ["pair-26", "pair-25", "pair-24", "pair-23"]


def test_what_has_no_translation_is_passed_over():
    corpus = Corpus.of(
        [
            sentence("kun dansk", "da", "a"),
            sentence("only English", "en", "b"),
            sentence("Hei", "nb", "c"),
            sentence("Hi", "en", "c"),
            sentence("Hello", "en", "d"),
            sentence("Hej", "da", "d"),
        ]
    )
    assert [s.text for s in sentences_to_show(corpus, "da", "en", 6).sentences] == ["Hej", "Hello"]


def unpaired(danish, english):
    return Corpus.of(
        [sentence(f"da {i}", "da", f"da-{i}") for i in range(danish)]
        + [sentence(f"en {i}", "en", f"en-{i}") for i in range(english)]
        + [sentence("nb 0", "nb", "nb-0")]
    )


@pytest.mark.parametrize(
    ("corpus", "count", "expected"),
    [
        (unpaired(9, 9), 6, ["da 0", "da 1", "da 2", "en 0", "en 1", "en 2"]),
        (unpaired(1, 9), 6, ["da 0", "en 0", "en 1", "en 2"]),
        (unpaired(9, 1), 4, ["da 0", "da 1", "en 0"]),
        (unpaired(3, 3), 0, []),
        (Corpus(()), 0, []),
    ],
)
def test_without_translations_each_language_has_its_first(corpus, count, expected):
    assert [s.text for s in sentences_to_show(corpus, "da", "en", count).sentences] == expected


def test_attention_sinks_are_left_out_with_their_tokens(tiny_lm, corpus):
    sae, tokens = random_sae(), tokenize(tiny_lm, corpus)
    norms = torch.cat([site_by_hand(tiny_lm, ids).norm(dim=1) for ids in tokens.ids])
    # a third of the tokens, so that some stand in the middle of a sentence
    limit = NormRange(0.0, float(norms.quantile(0.67)))
    lm = dataclasses.replace(tiny_lm, sinks={SITE: limit})
    shown = token_texts(lm, SITE, sae, tokens, UNITS)
    sample = identify.sample_tokens(lm, SITE, tokens, per_language=1000)
    left_out = 0
    for number, (text, ids) in enumerate(zip(shown, tokens.ids, strict=True)):
        x = site_by_hand(tiny_lm, ids)
        kept = (x.norm(dim=1) <= limit.largest).numpy()
        readable = [
            token for token, keep in zip(readable_tokens(lm, ids.tolist()), kept, strict=True) if keep
        ]
        assert text["tokens"] == readable
        pre, _, _ = codes_by_hand(sae, x)
        for unit in UNITS:
            assert text["units"][str(unit)]["pre"] == pytest.approx(
                pre[kept, unit].tolist(), rel=1e-4, abs=1e-5
            )
        own = sample.sentence == number
        assert [token for token, mine in zip(sample.texts, own, strict=True) if mine] == readable
        left_out += int((~kept).sum())
    assert left_out
