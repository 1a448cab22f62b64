"""In a chat the template's tokens are context: read before the text, and never measured, predicted or edited."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import (
    Site,
    activations,
    batches,
    begin,
    continue_prompts,
    continue_tokens,
    edit,
    find_sinks,
    prompt_ids,
    replayed_losses,
    sentence_losses,
    tokenize,
)
from glossae.lm.sites import attached
from glossae.text import Corpus, Sentence

RESID = Site("resid", 1)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[bot] {% endif %}"
)


def with_template(lm, template=TEMPLATE):
    """The model with a chat template, which the one of other tests does not get."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = template
    return dataclasses.replace(lm, tokenizer=tokenizer)


@pytest.fixture
def lm(tiny_lm, tiny_corpus):
    """The model as it reads replies."""
    own = with_template(tiny_lm)
    begun = begin(own, tiny_corpus, "auto", chat=True)
    return dataclasses.replace(own, bos=begun.bos, chat=begun.chat)


@pytest.fixture
def tokens(lm, tiny_corpus):
    return tokenize(lm, tiny_corpus, prefix=lm.prefix)


def states(lm, ids):
    """Outputs of block 1 for one unpadded text, by a hook of our own."""
    seen = []
    handle = lm.blocks[1].register_forward_hook(
        lambda _m, _a, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        lm.model(torch.tensor([list(ids)]))
    handle.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


def losses_by_hand(lm, ids, first):
    """Summed cross-entropy of the tokens from `first` on, in a pass of its own."""
    ids = torch.tensor(ids)
    with torch.no_grad():
        logits = lm.model(ids[None]).logits[0, first - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, ids[first:], reduction="sum"))


def test_the_template_stands_before_a_text_and_writes_the_only_bos(lm, tokens):
    expected = lm.tokenizer("<|endoftext|>[user] \n[bot] ", add_special_tokens=False)["input_ids"]
    assert list(lm.prefix) == expected
    assert lm.prefix.count(lm.tokenizer.bos_token_id) == 1
    for ids, sentence in zip(tokens.ids, tokens.corpus.sentences, strict=True):
        own = lm.tokenizer(sentence.text, add_special_tokens=False)["input_ids"]
        assert ids.tolist() == expected + own[: len(ids) - len(expected)]
    assert tokens.lengths.tolist() == tokens.predicted.tolist()
    assert max(map(len, tokens.ids)) <= lm.max_positions


def test_activations_are_those_of_the_reply(lm, tokens):
    before, seen = len(lm.prefix), 0
    for part in activations(lm, batches(tokens, 256), [RESID]):
        assert int(part.position.min()) == before
        for number in part.sentence.unique().tolist():
            own = part.sites[RESID][part.sentence == number]
            expected = states(lm, tokens.ids[number])[before:]
            torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)
            seen += len(own)
    assert seen == tokens.lengths.sum()


def test_losses_are_of_the_reply_its_first_token_among_them(lm, tokens):
    expected = [losses_by_hand(lm, ids.tolist(), len(lm.prefix)) for ids in tokens.ids]
    np.testing.assert_allclose(sentence_losses(lm, tokens), expected, rtol=1e-4)
    # all that can be drawn is the whole of it, and fewer are of the reply too
    np.testing.assert_allclose(sentence_losses(lm, tokens.scoring(1000)), expected, rtol=1e-4)
    for batch in batches(tokens.scoring(3), 256):
        assert batch.scored.sum(1).tolist() == [min(3, size) for size in tokens.lengths[batch.index].tolist()]
        assert bool((batch.scored <= batch.content).all())


def test_edits_leave_the_template_alone(lm, tokens):
    before = len(lm.prefix)

    def halve_by_hand(_module, _args, output):
        whole = output[0] if isinstance(output, tuple) else output
        whole = torch.cat([whole[:, :before], whole[:, before:] * 0.5], dim=1)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    handle = lm.blocks[1].register_forward_hook(halve_by_hand)
    expected = [losses_by_hand(lm, ids.tolist(), before) for ids in tokens.ids]
    handle.remove()
    with edit(lm, RESID, lambda x: x * 0.5):
        np.testing.assert_allclose(sentence_losses(lm, tokens), expected, rtol=1e-4)
    found = replayed_losses(lm, RESID, tokens, [lambda x: x * 0.5])
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_a_prompt_is_the_users_turn_and_only_what_is_written_is_edited(lm):
    ids = prompt_ids(lm, "The girl")
    text = "<|endoftext|>[user] The girl\n[bot] "
    assert ids == lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    other = prompt_ids(lm, "Our old neighbour saw the apple")
    seen = []

    def look(x):
        seen.append(len(x))
        return x * 0.2

    with edit(lm, RESID, look):
        together = continue_tokens(lm, [np.array(ids), np.array(other)], new_tokens=5, ending=False)
        # of two prompts and five new tokens each, the last ones are never read
        assert sum(seen) == 2 * 4
        alone = continue_tokens(lm, [np.array(ids)], new_tokens=5, ending=False)
    assert together[0].tolist() == alone[0].tolist()
    (written,) = continue_prompts(lm, ["The girl"], max_tokens=6)
    longest = 6 + len(lm.prefix) - len(ids)
    (expected,) = continue_tokens(lm, [np.array(ids)], new_tokens=longest)
    assert written == lm.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_the_loss_in_a_chat_is_of_the_same_tokens(lm, tiny_corpus):
    begun = begin(lm, tiny_corpus, "auto", chat=True, max_tokens=12)
    total = count = 0
    for sentence in tiny_corpus.sentences:
        own = lm.tokenizer(sentence.text, add_special_tokens=False)["input_ids"][:11]
        total += losses_by_hand(lm, [*begun.chat, *own], len(begun.chat) + 1)
        count += len(own) - 1
    assert begun.loss_in_chat == pytest.approx(total / count, rel=1e-4)
    assert begun.loss_without == begin(lm, tiny_corpus, False, max_tokens=12).loss_without
    assert not begun.bos
    assert begun.warning is None


def test_sinks_in_the_template_are_no_share_of_the_text(lm, tokens):
    def enlarge(x):
        return torch.cat([x[:, :1] * 40, x[:, 1:]], dim=1)

    with attached([(lm.tap(RESID), enlarge)]):
        (found,) = find_sinks(lm, tokens, [RESID])
    assert (found.count, found.text_share) == (len(tokens), 0.0)


def test_what_cannot_be_a_chat_is_refused(tiny_lm, tiny_corpus):
    with pytest.raises(
        GlossaeError, match=r"^chat: the tokenizer of .* has no chat template; leave chat off"
    ):
        begin(tiny_lm, tiny_corpus, "auto", chat=True)
    failing = with_template(tiny_lm, "{{ raise_exception('no empty\nmessages') }}")
    with pytest.raises(
        GlossaeError, match=r"^chat: the chat template of .* fails \(no empty\); leave chat off"
    ):
        begin(failing, tiny_corpus, "auto", chat=True)
    with pytest.raises(GlossaeError, match="^chat: the chat template of .* writes nothing"):
        begin(with_template(tiny_lm, "{# #}"), tiny_corpus, "auto", chat=True)
    with pytest.raises(GlossaeError, match="^max_tokens: 9 tokens stand before each text"):
        tokenize(tiny_lm, Corpus.of([Sentence("Hej med dig", "da", "1", "s")]), max_tokens=10, prefix=[5] * 9)
