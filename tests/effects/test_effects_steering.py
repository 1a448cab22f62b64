"""Families of units are steered by one scale of doses, and compared by what the model writes at the same KL."""

from functools import partial

import numpy as np
import pytest
import torch
from effects_sae import SITE, random_sae

from glossae.effects import FAMILIES, Family, best_neurons, families
from glossae.errors import GlossaeError
from glossae.find import NgramModel
from glossae.lm import Site, continue_tokens, edit, tokenize
from glossae.steering import MATCHED_KL, steer
from glossae.text import Corpus
from glossae.units import Directions, Latents, Moments, Neurons, activation_moments, activation_samples

LATENTS = (30, 2)


@pytest.fixture(scope="module")
def sae():
    return random_sae()


@pytest.fixture(scope="module")
def moments(tiny_lm, tiny_tokens):
    return activation_moments(tiny_lm, SITE, tiny_tokens)


@pytest.fixture(scope="module")
def samples(tiny_lm, tiny_tokens):
    x, languages = activation_samples(tiny_lm, SITE, tiny_tokens)
    return {code: x[torch.from_numpy(languages == code)] for code in ("da", "en")}


@pytest.fixture(scope="module")
def means(sae, samples):
    return tuple(Latents(sae).read(samples[code], LATENTS).mean(0).tolist() for code in ("en", "da"))


@pytest.fixture(scope="module")
def made(sae, moments, means):
    return {
        family.name: family
        for family in families(
            FAMILIES,
            site=SITE,
            sae=sae,
            latents=LATENTS,
            latent_means=means,
            moments=moments,
            target="da",
            reference="en",
        )
    }


@pytest.fixture(scope="module")
def ngrams(tiny_corpus):
    return NgramModel.fit(
        [sentence.text for sentence in tiny_corpus.sentences],
        [sentence.language for sentence in tiny_corpus.sentences],
    )


# ---- families


def test_every_family_is_made_in_the_order_asked(sae, moments, means, made):
    assert tuple(made) == FAMILIES
    asked = ("means_add", "latents_set")
    some = families(
        asked,
        site=SITE,
        sae=sae,
        latents=LATENTS,
        latent_means=means,
        moments=moments,
        target="da",
        reference="en",
    )
    assert tuple(family.name for family in some) == asked


@pytest.mark.parametrize("name", FAMILIES)
def test_dose_1_goes_from_one_mean_to_the_other(made, samples, name):
    family, x = made[name], samples["en"].double()
    edited = family.compiled([1.0])[0](x.float()).double()
    if family.operation == "set":
        # every other unit's share is kept, and these read the target's mean (neurons exactly; latents in the code)
        before = family.of.read(x.float(), family.ids)
        moved = edited - x
        expected = (torch.tensor(family.high) - before) @ family.of.direction(family.ids)
        torch.testing.assert_close(moved.float(), expected, rtol=1e-4, atol=1e-4)
    elif family.operation == "add":
        by = torch.tensor(family.high).double() - torch.tensor(family.low).double()
        expected = by @ family.of.direction(family.ids).double()
        torch.testing.assert_close((edited - x).mean(0), expected, rtol=1e-4, atol=1e-5)
    else:
        along = family.of.direction(family.ids).double()
        component = samples["da"].double().mean(0) @ along.T
        torch.testing.assert_close(edited @ along.T, component.expand(len(x), -1), rtol=1e-4, atol=1e-4)


def test_the_direction_added_once_is_the_difference_of_means(made, samples):
    x = samples["en"]
    moved = made["means_add"].compiled([1.0])[0](x).mean(0)
    torch.testing.assert_close(moved, samples["da"].mean(0), rtol=1e-4, atol=1e-4)


def test_neurons_are_those_with_the_largest_effect(moments, samples):
    da, en = samples["da"].double(), samples["en"].double()
    pooled = ((da - da.mean(0)).square().sum(0) + (en - en.mean(0)).square().sum(0)) / (len(da) + len(en))
    effect = (da.mean(0) - en.mean(0)).abs() / pooled.sqrt()
    assert best_neurons(moments, "da", "en", 3) == tuple(effect.argsort(descending=True)[:3].tolist())
    # those that passed tests come first; D + i is coordinate i the other way round
    first, second, *_ = best_neurons(moments, "da", "en", 5)
    width = len(effect)
    assert best_neurons(moments, "da", "en", 3, (width + second, 7, second)) == (second, 7, first)
    # one that never moves has no effect
    still = Moments.of(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), np.array(["da", "en"]), site=SITE)
    assert set(best_neurons(still, "da", "en", 2)) == {0, 1}


def test_latents_that_read_alike_are_left_out(sae, moments):
    left = families(
        ("latents_set", "latents_add", "means_add"),
        site=SITE,
        sae=sae,
        latents=LATENTS,
        latent_means=((0.0, 1.0), (0.0, 2.0)),
        moments=moments,
        target="da",
        reference="en",
    )
    assert [family.ids for family in left] == [(2,), (2,), (0,)]
    none = families(
        ("latents_set", "neurons_set"),
        site=SITE,
        sae=sae,
        latents=(),
        latent_means=((), ()),
        moments=moments,
        target="da",
        reference="en",
    )
    assert [(family.name, len(family.ids)) for family in none] == [("neurons_set", 1)]


def test_a_family_has_a_mean_for_each_unit():
    with pytest.raises(GlossaeError, match="steering: x: 2 units, 1 and 2 means"):
        Family("x", Neurons(SITE, 4), (0, 1), "add", (0.0,), (1.0, 2.0))


# ---- steering


@pytest.fixture(scope="module")
def english(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, Corpus.of(tiny_corpus.only("en").sentences[:12]))


@pytest.fixture(scope="module")
def prompts(english):
    return [ids[:4] for ids in english.ids]


@pytest.fixture(scope="module")
def steered(tiny_lm, made, prompts, english, ngrams):
    return steer(
        tiny_lm,
        SITE,
        [made[name] for name in ("latents_set", "neurons_add", "means_project")],
        prompts,
        english,
        ngrams,
        "da",
        doses=[4.0, 1.0],
        at=(0.05,),
        new_tokens=6,
        draws=50,
    )


def test_raw_stands_first_and_does_no_damage(steered, tiny_lm, prompts):
    raw = steered.arms[0]
    assert (raw.family, raw.value, raw.kl, raw.kl_high, raw.agreement) == ("raw", None, 0, 0, 1)
    written = continue_tokens(tiny_lm, prompts, new_tokens=6, ending=False)
    assert steered.texts[0] == [text.strip() for text in tiny_lm.tokenizer.batch_decode(written)]


def test_every_family_has_its_doses_in_order(steered):
    for name in ("latents_set", "neurons_add", "means_project"):
        arms = [arm for arm in steered.arms if arm.family == name]
        assert [arm.value for arm in arms] == sorted(arm.value for arm in arms)
        assert {arm.value for arm in arms} >= {1.0, 4.0}
        found = [arm for arm in arms if arm.at == 0.05]
        assert len(found) == 1
        assert found[0].kl == pytest.approx(0.05, rel=0.1)
        assert steered.unreached[name] == []


def test_kl_is_that_of_the_steered_model_on_whole_sentences(steered, tiny_lm, made, english):
    arm = next(arm for arm in steered.arms if arm.family == "neurons_add" and arm.value == 4.0)
    total, same, count = 0.0, 0, 0
    change = made["neurons_add"].edit(4.0)
    for ids in english.ids:
        row = torch.tensor(ids)[None]
        with torch.no_grad():
            own = tiny_lm.model(row).logits[0, :-1].double().log_softmax(-1)
            with edit(tiny_lm, SITE, change.compile(made["neurons_add"].units)):
                other = tiny_lm.model(row).logits[0, :-1].double().log_softmax(-1)
        total += float((own.exp() * (own - other)).sum())
        same += int((own.argmax(-1) == other.argmax(-1)).sum())
        count += len(own)
    assert arm.kl == pytest.approx(total / count, rel=1e-4)
    assert arm.agreement == pytest.approx(same / count)
    assert arm.kl_low <= arm.kl <= arm.kl_high


def test_shares_are_of_all_continuations(steered):
    for arm in steered.arms:
        for shares in arm.shares.values():
            assert shares is None or sum(shares.values()) == pytest.approx(1)
        best = arm.shares["both"] or arm.shares["ngrams"]
        assert arm.success == pytest.approx(best.get("da", 0.0))
        assert arm.success_low <= arm.success <= arm.success_high
        assert arm.tokens == 6


def test_the_front_is_not_beaten(steered):
    for arm in steered.arms:
        better = [o for o in steered.arms if o.success > arm.success and o.kl <= 1.02 * arm.kl]
        better += [o for o in steered.arms if o.success == arm.success and o.kl < 0.98 * arm.kl]
        assert arm.on_front == (not better)
    assert steered.arms[0].on_front


def test_steering_to_what_writes_danish_writes_danish(tiny_lm, prompts, english, ngrams):
    """A direction that points to the output row of a Danish token, right before the head."""
    site = Site("resid", tiny_lm.layers - 1)
    rows = tiny_lm.model.get_output_embeddings().weight.detach()
    pieces = [tiny_lm.tokenizer.decode([token]) for token in range(300)]
    said = ngrams.probabilities([piece * 6 for piece in pieces])[:, ngrams.languages.index("da")]
    token = int(np.argmax(said * [sum(c.isalpha() for c in piece) >= 2 for piece in pieces]))
    units = Directions(["to Danish"], rows[token : token + 1], torch.zeros(1), site=site)
    family = Family("means_add", units, (0,), "add", (0.0,), (1.0,))
    found = steer(
        tiny_lm, site, [family], prompts, english, ngrams, "da", doses=[300.0], at=(), new_tokens=8, draws=20
    )
    raw, pushed = found.arms
    assert set(found.texts[1]) == {(pieces[token] * 8).strip()}
    assert raw.shares["ngrams"].get("da", 0.0) < 1 == pushed.shares["ngrams"]["da"]
    assert pushed.repetition == 0.8
    assert pushed.distinct_1 == 1 / (8 * len(prompts)) < raw.distinct_1
    assert pushed.kl > 1
    assert pushed.loss > raw.loss


def test_a_dose_that_changes_nothing_changes_no_continuation(tiny_lm, made, prompts, english, ngrams):
    """The unchanged values are those at which `scale` by 1 and `add` of 0 leave them."""
    still = Family("latents_add", made["latents_add"].units, LATENTS, "add", (1.0, 2.0), (1.0, 2.0))
    found = steer(
        tiny_lm, SITE, [still], prompts, english, ngrams, "da", doses=[8.0], at=(0.1,), new_tokens=8, draws=5
    )
    assert found.texts[0] == found.texts[1]
    assert found.arms[1].kl == pytest.approx(0, abs=1e-6)
    assert found.unreached == {"latents_add": [0.1]}


@pytest.fixture
def added(tiny_lm, made, prompts, english, ngrams):
    """A function that steers by the difference of means, added."""
    return partial(steer, tiny_lm, SITE, [made["means_add"]], prompts, english, ngrams, "da")


def test_a_draw_is_the_same_again(added):
    def texts(sample):
        return added(doses=[1.0], at=(), new_tokens=5, sample=sample, draws=5).texts

    assert texts(3) == texts(3) != texts(4)


def test_what_was_kept_is_not_written_again(added):
    kept, fresh = {}, []

    def keep(name, work):
        if name not in kept:
            fresh.append(name)
            kept[name] = work()
        return kept[name]

    def steered():
        return added(doses=(1.0, 4.0), new_tokens=4, draws=20, keep=keep)

    first = steered()
    assert {"raw", "means_add-1.0", "means_add-4.0", "means_add-kl-0"} <= set(fresh)
    fresh.clear()
    again = steered()
    assert not fresh
    assert (again.arms, again.texts, again.unreached) == (first.arms, first.texts, first.unreached)


def test_what_cannot_be_steered_is_refused(tiny_lm, made, prompts, english, ngrams):
    family = [made["means_add"]]
    for given, words in (
        (([], english, [1.0]), "there is no prompt"),
        ((prompts, english.take([]), [1.0]), "no reference text"),
        ((prompts, english, [0.0]), "doses have to be above zero"),
        ((prompts, english, []), "there has to be one"),
    ):
        asked, text, doses = given
        with pytest.raises(GlossaeError, match=f"steering: .*{words}"):
            steer(tiny_lm, SITE, family, asked, text, ngrams, "da", doses=doses)
    assert MATCHED_KL == (0.1, 0.3, 1.0)
