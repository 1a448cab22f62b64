"""How texts begin, by a BOS or as the reply in a chat, and attention sinks: all are context, and none is measured."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import (
    NormRange,
    Site,
    activations,
    adds_bos,
    batches,
    beginning_loss,
    continue_prompts,
    continue_tokens,
    decide_beginning,
    edit,
    find_sinks,
    prompt_ids,
    replayed,
    replayed_losses,
    sentence_losses,
    tokenize,
    with_sinks,
)
from glossae.lm.sites import attach_all

RESID = Site("resid", 1)


@torch.no_grad()
def loss_by_hand(lm, ids, first):
    """The summed cross-entropy of the tokens from `first` on, in a pass of its own."""
    ids = torch.tensor(ids)
    return float(cross_entropy(lm.model(ids[None]).logits[0, first - 1 : -1], ids[first:], reduction="sum"))


def mean_by_hand(lm, corpus, before, longest):
    """The mean loss of all but the first token of each sentence, with some tokens before it."""
    total = count = 0
    for sentence in corpus.sentences:
        own = lm.tokenizer(sentence.text, add_special_tokens=False)["input_ids"][:longest]
        total += loss_by_hand(lm, [*before, *own], len(before) + 1)
        count += len(own) - 1
    return pytest.approx(total / count, rel=1e-4)


# ---- a BOS


def test_auto_is_what_the_tokenizer_does_by_itself(tiny_lm, tiny_corpus):
    begun = decide_beginning(tiny_lm, tiny_corpus, "auto", max_tokens=12)
    assert begun.bos == begun.tokenizer_adds == adds_bos(tiny_lm.tokenizer)
    assert begun.sentences == len(tiny_corpus)
    # of the same tokens
    assert begun.loss_without == mean_by_hand(tiny_lm, tiny_corpus, [], 11)
    assert begun.loss_with == mean_by_hand(tiny_lm, tiny_corpus, [0], 11)
    assert begun.loss == beginning_loss(tiny_lm, tiny_corpus, begun, max_tokens=12)


def test_a_costly_choice_is_told(tiny_lm, tiny_corpus):
    begun = decide_beginning(tiny_lm, tiny_corpus, False)
    dear = dataclasses.replace(begun, loss_with=begun.loss_without - 1)
    assert "1.00 nats a token higher without a BOS" in dear.warning
    assert "--bos true" in dear.warning
    assert "by itself" not in dear.warning
    auto = dataclasses.replace(dear, asked="auto", tokenizer_adds=False).warning
    assert "(auto: its tokenizer adds none by itself)" in auto
    assert dataclasses.replace(begun, loss_with=begun.loss_without - 0.05).warning is None
    assert dataclasses.replace(dear, bos=True).warning is None


def test_a_text_and_a_bos_that_are_not_there_are_refused(tiny_lm, tiny_corpus):
    one = Corpus.of([Sentence("a", "da", "1", "s")])
    with pytest.raises(GlossaeError, match="bos: there is no sentence of two tokens"):
        decide_beginning(tiny_lm, one, "auto")
    tokenizer = copy.deepcopy(tiny_lm.tokenizer)
    tokenizer.bos_token = None
    without = dataclasses.replace(tiny_lm, tokenizer=tokenizer)
    for refused in (
        lambda: decide_beginning(without, tiny_corpus, True),
        lambda: dataclasses.replace(without, bos=True).prefix,
    ):
        with pytest.raises(GlossaeError, match="^bos: the tokenizer of .* has no BOS token; leave bos off$"):
            refused()
    assert decide_beginning(without, tiny_corpus, "auto").loss_with is None


def test_generation_with_and_without_cache_leaves_the_bos_alone(tiny_lm):
    lm = dataclasses.replace(tiny_lm, bos=True)
    ids, written, seen = torch.tensor([[0, 5, 6, 7]]), [], []
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    for use_cache in (True, False):
        with edit(lm, RESID, lambda x: seen.append(len(x)) or x * 0.5):
            mask = torch.ones_like(ids)
            written.append(lm.model.generate(ids, attention_mask=mask, use_cache=use_cache, **options))
    assert torch.equal(*written)
    assert seen[0] == 3


# ---- attention sinks


@pytest.fixture
def tokens(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, tiny_corpus)


def with_large_tokens(lm, chosen, factor=40.0):
    """A context in which the tokens at `chosen(position)` are so many times as long."""

    def enlarge(x):
        scale = torch.tensor([factor if chosen(place) else 1.0 for place in range(x.shape[1])])
        return x * scale[None, :, None]

    return attach_all([(lm.tap(RESID), enlarge)])


def is_first(place):
    return place == 0


def test_a_model_without_sinks_has_none(tiny_lm, tokens):
    sites = [Site(name, layer) for name in ("resid", "mlp.hidden") for layer in range(tiny_lm.layers)]
    found = find_sinks(tiny_lm, tokens, sites)
    assert [each.count for each in found] == [0] * len(sites)
    assert with_sinks(tiny_lm, found).sinks == {}


@pytest.mark.parametrize("factor", [40.0, 0.02])
def test_planted_sinks_are_found_wherever_they_stand(tiny_lm, tokens, factor):
    with with_large_tokens(tiny_lm, is_first, factor):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert (found.count, found.first, found.tokens) == (len(tokens), len(tokens), tokens.lengths.sum())
    assert found.text_share == pytest.approx(len(tokens) / tokens.lengths.sum())
    assert type(found).from_json(found.to_json()) == found
    longest = int(tokens.lengths.max())
    with with_large_tokens(tiny_lm, lambda place: place == longest - 1, factor):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert found.count == int((tokens.lengths == longest).sum())
    assert found.first == 0
    assert found.examples


def test_a_heavy_tail_is_no_sink(tiny_lm, tokens):
    def stretch(x):
        # lengths that rise evenly by 10 % from token to token, up to far more than the median
        return x * 1.1 ** torch.arange(x[..., 0].numel()).view(x.shape[:2])[..., None].remainder(40)

    with attach_all([(tiny_lm.tap(RESID), stretch)]):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert found.count == 0


def test_sinks_are_left_out_of_activations(tiny_lm, tokens):
    with with_large_tokens(tiny_lm, is_first):
        lm = with_sinks(tiny_lm, find_sinks(tiny_lm, tokens, [RESID]))
        parts = list(activations(lm, batches(tokens, 64), [RESID]))
        both = list(activations(lm, batches(tokens, 64), [Site("resid", 0), RESID]))
        plain = list(activations(tiny_lm, batches(tokens, 64), [RESID]))
    for part, pair, all_ in zip(parts, both, plain, strict=True):
        kept = all_.position > 0
        assert torch.equal(part.sites[RESID], all_.sites[RESID][kept])
        assert torch.equal(part.sentence, all_.sentence[kept])
        assert torch.equal(pair.position, all_.position[kept])
        assert len(pair.sites[Site("resid", 0)]) == len(part.position)


def test_edits_leave_sinks_and_a_bos_alone(tiny_lm, tokens):
    seen = []

    def look(x):
        seen.append(x.detach().clone())
        return torch.zeros_like(x)

    with edit(dataclasses.replace(tiny_lm, bos=True), RESID, look):
        sentence_losses(tiny_lm, tokens)
    assert sum(map(len, seen)) == int(tokens.lengths.sum()) - len(tokens)
    with with_large_tokens(tiny_lm, is_first):
        lm = with_sinks(tiny_lm, find_sinks(tiny_lm, tokens, [RESID]))
        seen.clear()
        with edit(lm, RESID, look):
            edited = sentence_losses(lm, tokens)
        assert max(float(x.norm(dim=1).max()) for x in seen) < lm.sinks[RESID].largest
        again = replayed(lm, RESID, tokens, [torch.zeros_like], side_effects=True)
        np.testing.assert_allclose(edited, again.losses[0], rtol=1e-5)
        np.testing.assert_allclose(again.side_effects.moved[0], again.side_effects.size, rtol=1e-5)


def test_a_text_of_sinks_only_is_left_as_it_is(tiny_lm, tokens):
    lm = dataclasses.replace(tiny_lm, sinks={RESID: NormRange(1e9, 2e9)})
    losses = replayed_losses(lm, RESID, tokens, [None, torch.zeros_like])
    np.testing.assert_allclose(losses[0], losses[1])
    assert all(len(part.position) == 0 for part in activations(lm, batches(tokens, 64), [RESID]))


# ---- a chat

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[bot] {% endif %}"
)


def with_template(lm, template=TEMPLATE):
    """The model with a chat template, which the one of other tests does not get."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = template
    return dataclasses.replace(lm, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def chatting(tiny_lm, tiny_corpus):
    """The model as it reads replies."""
    own = with_template(tiny_lm)
    begun = decide_beginning(own, tiny_corpus, "auto", chat=True, max_tokens=12)
    assert begun.loss == begun.loss_in_chat == mean_by_hand(own, tiny_corpus, begun.chat, 11)
    assert begun.loss_without == decide_beginning(own, tiny_corpus, False, max_tokens=12).loss_without
    assert (begun.bos, begun.warning) == (False, None)
    return dataclasses.replace(own, bos=begun.bos, chat=begun.chat)


@pytest.fixture(scope="module")
def replies(chatting, tiny_corpus):
    return tokenize(chatting, tiny_corpus, prefix=chatting.prefix)


def test_the_template_stands_before_a_text_and_writes_the_only_bos(chatting, replies):
    expected = chatting.tokenizer("<|endoftext|>[user] \n[bot] ", add_special_tokens=False)["input_ids"]
    assert list(chatting.prefix) == expected
    assert expected.count(0) == 1
    for ids, sentence in zip(replies.ids, replies.corpus.sentences, strict=True):
        own = chatting.tokenizer(sentence.text, add_special_tokens=False)["input_ids"]
        assert ids.tolist() == expected + own[: len(ids) - len(expected)]
    assert replies.lengths.tolist() == replies.predicted.tolist()
    assert max(map(len, replies.ids)) <= chatting.max_positions


@torch.no_grad()
def test_a_message_that_spells_a_special_token_is_text(tiny_lm, chatting):
    end = tiny_lm.tokenizer.eos_token_id
    assert prompt_ids(chatting, "Hej").count(end) == prompt_ids(chatting, "<|endoftext|>").count(end) == 1
    shown = chatting.tokenizer.decode(prompt_ids(chatting, "<|endoftext|>"))
    assert shown == "<|endoftext|>[user] <|endoftext|>\n[bot] "
    assert prompt_ids(tiny_lm, "<|endoftext|>Hej").count(end) == 0


def test_activations_are_those_of_the_reply(chatting, replies):
    before, seen, states = len(chatting.prefix), 0, []
    handle = chatting.blocks[2].register_forward_pre_hook(lambda _m, args: states.append(args[0]))
    for part in activations(chatting, batches(replies, 256), [RESID]):
        assert int(part.position.min()) == before
        for number in part.sentence.unique().tolist():
            own = part.sites[RESID][part.sentence == number]
            chatting.model(torch.from_numpy(replies.ids[number])[None])
            torch.testing.assert_close(own, states[-1][0, before:], rtol=1e-3, atol=1e-4)
            seen += len(own)
    handle.remove()
    assert seen == replies.lengths.sum()


def test_losses_are_of_the_reply_its_first_token_among_them(chatting, replies):
    expected = [loss_by_hand(chatting, ids.tolist(), len(chatting.prefix)) for ids in replies.ids]
    np.testing.assert_allclose(sentence_losses(chatting, replies), expected, rtol=1e-4)
    # all that can be drawn is the whole of it, and fewer are of the reply too
    np.testing.assert_allclose(sentence_losses(chatting, replies.scoring(1000)), expected, rtol=1e-4)
    for batch in batches(replies.scoring(3), 256):
        assert batch.scored.sum(1).tolist() == replies.lengths[batch.index].clip(max=3).tolist()
        assert bool((batch.scored <= batch.content).all())


def test_edits_leave_the_template_alone(chatting, replies):
    before = len(chatting.prefix)

    def halve_by_hand(_module, args):
        return (torch.cat([args[0][:, :before], args[0][:, before:] * 0.5], dim=1), *args[1:])

    handle = chatting.blocks[2].register_forward_pre_hook(halve_by_hand)
    expected = [loss_by_hand(chatting, ids.tolist(), before) for ids in replies.ids]
    handle.remove()
    with edit(chatting, RESID, lambda x: x * 0.5):
        np.testing.assert_allclose(sentence_losses(chatting, replies), expected, rtol=1e-4)
    found = replayed_losses(chatting, RESID, replies, [lambda x: x * 0.5])
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_a_prompt_is_the_users_turn_and_only_what_is_written_is_edited(chatting):
    ids = prompt_ids(chatting, "The girl")
    text = "<|endoftext|>[user] The girl\n[bot] "
    assert ids == chatting.tokenizer(text, add_special_tokens=False)["input_ids"]
    other, seen = prompt_ids(chatting, "Our old neighbour saw the apple"), []

    def written(*prompts, **options):
        return [row.tolist() for row in continue_tokens(chatting, list(map(np.array, prompts)), **options)]

    with edit(chatting, RESID, lambda x: seen.append(len(x)) or x * 0.2):
        together = written(ids, other, new_tokens=5, ending=False)
        # of two prompts and five new tokens each, the last ones are never read
        assert sum(seen) == 2 * 4
        assert written(ids, new_tokens=5, ending=False) == together[:1]
    (continued,) = continue_prompts(chatting, ["The girl"], max_tokens=6)
    (expected,) = written(ids, new_tokens=6 + len(chatting.prefix) - len(ids))
    assert continued == chatting.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_sinks_in_the_template_are_no_share_of_the_text(chatting, replies):
    with with_large_tokens(chatting, is_first):
        (found,) = find_sinks(chatting, replies, [RESID])
    assert (found.count, found.text_share) == (len(replies), 0.0)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (
            None,
            "chat: the tokenizer of .* has no chat template; leave chat off, or take a model tuned to chat",
        ),
        (
            "{{ raise_exception('no empty\nmessages') }}",
            r"chat: the chat template of .* fails \(no empty\); leave chat off",
        ),
        ("{# #}", "chat: the chat template of .* writes nothing; leave chat off"),
    ],
)
def test_what_cannot_be_a_chat_is_refused(tiny_lm, tiny_corpus, template, line):
    with pytest.raises(GlossaeError, match=f"^{line}$"):
        decide_beginning(with_template(tiny_lm, template), tiny_corpus, "auto", chat=True)
