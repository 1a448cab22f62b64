"""Texts shown with their tokens are the texts, and each number stands at its own token."""

import dataclasses

import pytest
import torch
from features_sae import SITE, codes_by_hand, random_sae, site_by_hand
from hypothesis import given
from hypothesis import strategies as st

from glossae.find import identify
from glossae.lm import NormRange, tokenize
from glossae.text import Corpus, Sentence
from glossae.units import readable_tokens, sentences_to_show, token_texts
from glossae.units.texts import LONGEST_SHOWN

UNITS = (17, 3, 25)


def sentence(text, language, pair, source="a.tsv"):
    return Sentence(text, language, pair, source)


def ids_of(lm, text):
    return lm.tokenizer(text, add_special_tokens=False)["input_ids"]


# ---- tokens as strings


@pytest.mark.parametrize(
    "text",
    [
        "Rødgrød med fløde på Ærø",
        "ÆØÅ æøå",
        "Se 😀👨‍👩‍👧!",
        "plain words",
        " to  blanke ",
        "x\ufffdy æ",
        "日本語",
    ],
)
def test_tokens_together_are_the_text(tiny_lm, text):
    ids = ids_of(tiny_lm, text)
    strings = readable_tokens(tiny_lm, ids)
    assert len(strings) == len(ids)
    assert "".join(strings) == text


@given(st.text(min_size=1, max_size=40).map(lambda text: text.encode("utf-8", "ignore").decode()))
def test_tokens_of_any_text_are_the_text(tiny_lm, text):
    ids = ids_of(tiny_lm, text)
    strings = readable_tokens(tiny_lm, ids)
    assert len(strings) == len(ids)
    assert "".join(strings) == text


def test_a_letter_of_several_tokens_stands_at_its_first(tiny_lm):
    ids = ids_of(tiny_lm, "Æ Ø!")
    assert len(ids) > 4, "the tokenizer has learnt these letters whole, so this shows nothing"
    strings = readable_tokens(tiny_lm, ids)
    assert strings[:2] == ["Æ", ""]
    assert strings[-3:] == [" Ø", "", "!"] or strings[-4:] == [" ", "Ø", "", "!"]


def test_an_emoji_of_four_tokens_stands_at_its_first(tiny_lm):
    ids = ids_of(tiny_lm, "🚀ok")
    strings = readable_tokens(tiny_lm, ids)
    assert strings[0] == "🚀"
    assert "".join(strings[1:]) == "ok"
    assert strings.count("") >= 2


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


def test_without_translations_each_language_has_its_first():
    shown = sentences_to_show(unpaired(9, 9), "da", "en", 6)
    assert [s.text for s in shown.sentences] == ["da 0", "da 1", "da 2", "en 0", "en 1", "en 2"]


def test_without_translations_a_short_language_gives_what_it_has():
    assert [s.text for s in sentences_to_show(unpaired(1, 9), "da", "en", 6).sentences] == [
        "da 0",
        "en 0",
        "en 1",
        "en 2",
    ]
    assert [s.text for s in sentences_to_show(unpaired(9, 1), "da", "en", 4).sentences] == [
        "da 0",
        "da 1",
        "en 0",
    ]


@pytest.mark.parametrize("corpus", [unpaired(3, 3), Corpus(())])
def test_none_can_be_asked_for(corpus):
    assert len(sentences_to_show(corpus, "da", "en", 0)) == 0


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
