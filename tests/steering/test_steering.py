"""Prompts are continued greedily under edits; families are compared by what the model writes at the same KL."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import NEVER, SITE, D, by_hand, logits_by_hand, random_sae
from glossae.corpora import Corpus
from glossae.effects import Edit, UnitSet, families
from glossae.errors import GlossaeError
from glossae.evidence import UNANSWERED, NgramModel
from glossae.lm import Site, continue_tokens, edit, tokenize
from glossae.results import Continuation
from glossae.sae import Sae, SaeConfig
from glossae.stats import bootstrap_weights
from glossae.steering import MATCHED_KL, PROMPTS, continuations, lingua_languages, steer
from glossae.steering.measures import (
    LEAST_LETTERS,
    Ratio,
    continuation_losses,
    distinct,
    identify_languages,
    lingua_detector,
    repetition,
)
from glossae.units import Directions, Latents, activation_moments, activation_samples

# the paper's prompts under edits

STEER = Edit("set", (30, 2), (6.0, 9.0), value=3.0)
SPLICED = Edit("set", (30, 2), (0.0, 0.0), splice=True, value=0.0)


@pytest.fixture(scope="module")
def sae():
    return random_sae()


def write(lm, sae, languages, edits, **options):
    return continuations(lm, SITE, sae, languages, edits, name="da", max_tokens=30, **options)


def greedy(lm, prompt, length):
    """Greedy up to `length` tokens in all, the whole text anew at every step."""
    ids = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    start = len(ids)
    while len(ids) < max(length, start + 1):
        ids.append(int(logits_by_hand(lm, ids)[-1].argmax()))
        if ids[-1] == lm.tokenizer.eos_token_id:
            break
    return lm.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def test_every_continuation_is_greedy_under_its_edit(tiny_lm, sae, count_hooks):
    hooks, done = count_hooks(tiny_lm.model), []
    rows = write(tiny_lm, sae, ("da", "nb", "en"), [STEER, SPLICED], progress=done.append)
    expected = []
    for change in (None, STEER, SPLICED):
        # the paper has no Norwegian prompts
        for language in ("da", "en"):
            for prompt in PROMPTS[language]:
                with by_hand(tiny_lm, sae, change):
                    text = greedy(tiny_lm, prompt, 30)
                name, value = ("raw", None) if change is None else ("set", change.value)
                expected.append(
                    Continuation(
                        prompt=prompt, language=language, units="da", edit=name, value=value, text=text
                    )
                )
    assert rows == expected
    raw, steered, spliced = ([row.text for row in rows[start : start + 8]] for start in (0, 8, 16))
    assert raw != steered != spliced != raw
    assert done == pytest.approx([1 / 3, 2 / 3, 1])
    assert count_hooks(tiny_lm.model) == hooks
    # an edit of nothing writes what the model writes
    nothing = write(tiny_lm, sae, ("da",), [Edit("set", NEVER, (0.0, 0.0, 0.0), value=0.0)])
    assert [row.text for row in nothing] == raw[:4] * 2
    too_wide = Sae(SaeConfig(d_in=D + 1, latents=40, k=6))
    with pytest.raises(Exception, match="d_in|dimension|size|shape"):
        write(tiny_lm, too_wide, ("da",), [STEER])
    assert count_hooks(tiny_lm.model) == hooks


# families


@pytest.fixture(scope="module")
def made(tiny_lm, tiny_tokens, sae):
    x, languages = activation_samples(tiny_lm, SITE, tiny_tokens)
    read = Latents(sae).read(x, (30, 2))
    means = tuple(read[torch.from_numpy(languages == code)].mean(0).tolist() for code in ("en", "da"))
    found = families(
        ("latents_set", "latents_add", "neurons_add", "means_add", "means_project"),
        site=SITE,
        sae=sae,
        latents=(30, 2),
        latent_means=means,
        moments=activation_moments(tiny_lm, SITE, tiny_tokens),
        target="da",
        reference="en",
    )
    return {family.name: family for family in found}


@pytest.fixture(scope="module")
def ngrams(tiny_corpus):
    sentences = tiny_corpus.sentences
    return NgramModel.fit([s.text for s in sentences], [s.language for s in sentences])


@pytest.fixture(scope="module")
def english(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, Corpus.of(tiny_corpus.only("en").sentences[:12]))


@pytest.fixture(scope="module")
def prompts(english):
    return [ids[:4] for ids in english.ids]


@pytest.fixture(scope="module")
def to_danish(tiny_lm, prompts, english, ngrams):
    """A function that steers by families at the site."""

    def steered(families, site=SITE, **options):
        return steer(tiny_lm, site, families, prompts, english, ngrams, "da", **options)

    return steered


NAMES = ("latents_set", "neurons_add", "means_project")


@pytest.fixture(scope="module")
def steered(made, to_danish):
    chosen = [made[name] for name in NAMES]
    return to_danish(chosen, doses=[4.0, 1.0], at=(0.05,), new_tokens=6, draws=50)


def test_raw_stands_first_and_every_family_has_its_doses_in_order(steered, tiny_lm, prompts):
    raw = steered.arms[0]
    assert (raw.family, raw.value, raw.kl, raw.kl_high, raw.agreement) == ("raw", None, 0, 0, 1)
    written = continue_tokens(tiny_lm, prompts, new_tokens=6, ending=False)
    assert steered.texts[0] == [text.strip() for text in tiny_lm.tokenizer.batch_decode(written)]
    for name in NAMES:
        arms = [arm for arm in steered.arms if arm.family == name]
        assert [arm.value for arm in arms] == sorted(arm.value for arm in arms)
        assert {arm.value for arm in arms} >= {1.0, 4.0}
        assert [arm.kl for arm in arms if arm.at == 0.05] == [pytest.approx(0.05, rel=0.1)]
        assert steered.unreached[name] == []


def test_kl_is_that_of_the_steered_model_on_whole_sentences(steered, tiny_lm, made, english):
    arm = next(arm for arm in steered.arms if arm.family == "neurons_add" and arm.value == 4.0)
    total, same, count = 0.0, 0, 0
    change = made["neurons_add"].edit(4.0)
    for ids in english.ids:
        own = logits_by_hand(tiny_lm, ids)[:-1].double().log_softmax(-1)
        with edit(tiny_lm, SITE, change.compile(made["neurons_add"].units)):
            other = logits_by_hand(tiny_lm, ids)[:-1].double().log_softmax(-1)
        total += float((own.exp() * (own - other)).sum())
        same += int((own.argmax(-1) == other.argmax(-1)).sum())
        count += len(own)
    assert arm.kl == pytest.approx(total / count, rel=1e-4)
    assert arm.agreement == pytest.approx(same / count)
    assert arm.kl_low <= arm.kl <= arm.kl_high


def test_shares_are_of_all_continuations_and_the_front_is_not_beaten(steered):
    for arm in steered.arms:
        for shares in arm.shares.values():
            assert shares is None or sum(shares.values()) == pytest.approx(1)
        best = arm.shares["both"] or arm.shares["ngrams"]
        assert arm.success == pytest.approx(best.get("da", 0.0))
        assert arm.success_low <= arm.success <= arm.success_high
        assert arm.tokens == 6
        better = [o for o in steered.arms if o.success > arm.success and o.kl <= 1.02 * arm.kl]
        better += [o for o in steered.arms if o.success == arm.success and o.kl < 0.98 * arm.kl]
        assert arm.on_front == (not better)
    assert steered.arms[0].on_front


def test_steering_to_what_writes_danish_writes_danish(tiny_lm, to_danish, prompts, ngrams):
    """A direction that points to the output row of a Danish token, right before the head."""
    site = Site("resid", tiny_lm.layers - 1)
    rows = tiny_lm.model.get_output_embeddings().weight.detach()
    pieces = [tiny_lm.tokenizer.decode([token]) for token in range(300)]
    said = ngrams.probabilities([piece * 6 for piece in pieces])[:, ngrams.languages.index("da")]
    token = int(np.argmax(said * [sum(c.isalpha() for c in piece) >= 2 for piece in pieces]))
    units = Directions(["to Danish"], rows[token : token + 1], torch.zeros(1), site=site)
    family = UnitSet("means_add", units, (0,), "add", (0.0,), (1.0,))
    found = to_danish([family], site, doses=[300.0], at=(), new_tokens=8, draws=20)
    raw, pushed = found.arms
    assert set(found.texts[1]) == {(pieces[token] * 8).strip()}
    assert raw.shares["ngrams"].get("da", 0.0) < 1 == pushed.shares["ngrams"]["da"]
    assert pushed.repetition == 0.8
    assert pushed.distinct_1 == 1 / (8 * len(prompts)) < raw.distinct_1
    assert pushed.kl > 1
    assert pushed.loss > raw.loss


def test_a_dose_that_changes_nothing_changes_no_continuation(made, to_danish):
    still = UnitSet("latents_add", made["latents_add"].units, (30, 2), "add", (1.0, 2.0), (1.0, 2.0))
    found = to_danish([still], doses=[8.0], at=(0.1,), new_tokens=8, draws=5)
    assert found.texts[0] == found.texts[1]
    assert found.arms[1].kl == pytest.approx(0, abs=1e-6)
    assert found.unreached == {"latents_add": [0.1]}


def test_a_draw_is_the_same_again_and_what_was_kept_is_not_written_again(made, to_danish):
    added = partial(to_danish, [made["means_add"]])

    def texts(sample):
        return added(doses=[1.0], at=(), new_tokens=5, sample=sample, draws=5).texts

    assert texts(3) == texts(3) != texts(4)
    kept = {}
    options = {"doses": (1.0, 4.0), "new_tokens": 4, "draws": 20}
    first = added(**options, keep=lambda name, work: kept.setdefault(name, work()))
    assert {"raw", "means_add-1.0", "means_add-4.0", "means_add-kl-0"} <= set(kept)
    again = added(**options, keep=lambda name, _: kept[name])
    assert (again.arms, again.texts, again.unreached) == (first.arms, first.texts, first.unreached)


def test_what_cannot_be_steered_is_refused(tiny_lm, made, prompts, english, ngrams):
    for asked, text, doses, words in (
        ([], english, [1.0], "there is no prompt"),
        (prompts, english.take([]), [1.0], "no reference text"),
        (prompts, english, [0.0], "doses have to be above zero"),
        (prompts, english, [], "there has to be one"),
    ):
        with pytest.raises(GlossaeError, match=f"steering: .*{words}"):
            steer(tiny_lm, SITE, [made["means_add"]], asked, text, ngrams, "da", doses=doses)
    assert MATCHED_KL == (0.1, 0.3, 1.0)


# what was written


def rows(*texts):
    return [np.array([ord(c) for c in text], dtype=np.int64) for text in texts]


def test_repetition_is_what_stood_before_and_distinct_counts_over_all_texts():
    # abcd abcd: of abcd bcda cdab dabc abcd the last one; the short text has no 4-gram
    found = repetition(rows("abcdabcd", "abcdefgh", "ab", ""))
    assert found.numerators.tolist() == [1, 0, 0, 0]
    assert found.denominators.tolist() == [5, 5, 0, 0]
    assert found.value == 0.1
    assert repetition(rows("ab", "")).value is None
    assert repetition(rows("aaaaaaaaa")).value == pytest.approx(5 / 6)
    assert distinct(rows("abab", "abc"), 1) == 3 / 7
    assert distinct(rows("abab", "abc"), 2) == 3 / 5
    assert distinct(rows("a", ""), 2) is None


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=5))
def test_both_are_shares(texts):
    written = [np.array(text, dtype=np.int64) for text in texts]
    for value in (repetition(written).value, distinct(written, 1), distinct(written, 2)):
        assert value is None or 0 <= value <= 1
    # of one text, repetition and distinct n-grams add up to all
    if len(written[0]) >= 4:
        assert repetition(written[:1]).value + distinct(written[:1], 4) == pytest.approx(1)


def test_losses_are_those_of_the_continuation_alone(tiny_lm, random_tokens):
    prompts = list(random_tokens([5, 3, 8]).ids)
    written = [np.array([7, 8, 9]), np.zeros(0, dtype=np.int64), np.array([11])]
    found = continuation_losses(tiny_lm, prompts, written, budget=16)
    for number, (prompt, new) in enumerate(zip(prompts, written, strict=True)):
        logits = logits_by_hand(tiny_lm, [*prompt, *new]).log_softmax(-1)
        expected = -sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(new))
        assert found.numerators[number] == pytest.approx(expected, abs=1e-4)
    assert found.denominators.tolist() == [3, 0, 1]


def test_an_interval_is_over_prompts():
    weights = bootstrap_weights(np.random.default_rng(3), 40, 500)
    low, high = Ratio(np.array([1.0] * 30 + [0.0] * 10), np.ones(40)).interval(weights)
    assert 0.5 < low < 0.75 < high < 0.95
    assert Ratio(np.zeros(40), np.zeros(40)).interval(weights) == (None, None)


TEXTS = {
    "da": ["jeg ved ikke, hvad det er, men det er meget godt", "hun spiser æbler på øen hver torsdag"],
    "en": ["i do not know what it is but it is very good", "she eats apples on the island every thursday"],
}
SAID = ["hun ved ikke, hvad det er på øen", "she does not know what it is", "det er", "", "?!" * 20]


@pytest.fixture(scope="module")
def known():
    pairs = [(text, code) for code, texts in TEXTS.items() for text in texts]
    return NgramModel.fit([text for text, _ in pairs], [code for _, code in pairs])


def test_both_identifiers_have_to_agree(known):
    pytest.importorskip("lingua")
    found = identify_languages(SAID, known)
    assert found.ngrams == found.lingua == found.both == found.best == ["da", "en", *[UNANSWERED] * 3]
    # the n-grams know no German and take it for something else
    german = "wir wissen nicht, warum das so ist, aber es ist schön"
    assert identify_languages([german], known).both == [UNANSWERED]


def test_of_a_language_that_lingua_does_not_know_the_n_grams_decide(known):
    pytest.importorskip("lingua")
    texts = ["eg veit ikkje kvifor det er slik no", "eg haldi at hetta er sera gott og vakurt í dag"]
    faroese = NgramModel.fit([*texts, "this is a text in english"] * 20, ["no", "fo", "en"] * 20)
    found = identify_languages([*texts, "nothing of this is in any other language"], faroese)
    # lingua says Nynorsk, which is text in Norwegian
    assert found.lingua[0] == "no"
    assert found.lingua[1] != "fo"
    assert found.both == ["no", "fo", "en"]
    assert {"nb", "nn"} < {*lingua_languages(("no",))}


def test_without_lingua_the_n_grams_decide_and_short_texts_are_left_unanswered(known, monkeypatch):
    lingua_detector.cache_clear()
    monkeypatch.setitem(sys.modules, "lingua", None)
    found = identify_languages(SAID, known)
    assert found.lingua is found.both is None
    assert found.best == found.ngrams == ["da", "en", *[UNANSWERED] * 3]
    assert lingua_languages(("da",)) == ()
    text = "jegvedikkehvad"
    answers = identify_languages([text[:LEAST_LETTERS], text[: LEAST_LETTERS - 1]], known).ngrams
    assert answers == ["da", UNANSWERED]
    lingua_detector.cache_clear()
