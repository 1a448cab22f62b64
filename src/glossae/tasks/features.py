"""Texts as vectors: the final hidden state with an edit in place, pooled over a text's tokens."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from glossae.errors import GlossaeError
from glossae.lm import (
    MAX_TOKENS,
    Batch,
    LanguageModel,
    Pool,
    Positions,
    Reader,
    Site,
    TokenEdit,
    TokenizedCorpus,
    batches,
    final_states,
    mean_over_all,
    mean_over_text,
    replay,
    text_states,
    tokenize,
)
from glossae.text import Corpus, Example, Sentence

States = Float[np.ndarray, "edits rows d"]
# rows at a time, of the paper's code
CODED_ROWS = 16


def encode_texts(
    lm: LanguageModel,
    rows: Sequence[Example],
    *,
    name: str = "",
    language: str = "und",
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
) -> TokenizedCorpus:
    """Token ids of every row, in order, cut to `max_tokens`; none is dropped, as `glossae.lm.tokenize` would.

    Raises:
        GlossaeError: a text has no tokens, or one that the model has no embedding for; or the prefix leaves no
            room.
    """
    sentences = [Sentence(row.text, language, row.pair, name) for row in rows]
    tokens = tokenize(lm, Corpus.of(sentences), max_tokens=max_tokens, prefix=prefix, least=1)
    if len(tokens) < len(sentences):
        kept = iter(tokens.corpus.sentences)
        lost = next(sentence for sentence in sentences if next(kept, None) is not sentence)
        raise GlossaeError(f"{name}: {lost.text[:60]!r} has no tokens in {lm.name}")
    return tokens


def pooled_states(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit | None],
    *,
    positions: Sequence[Positions] = (),
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> States:
    """The final hidden state of each text under each edit, the mean over its tokens; no pad counts.

    What lies below the site is computed once for all edits.

    Args:
        lm: the model.
        site: where it is edited.
        tokens: the texts.
        fns: what is done there; None is the model as it is.
        positions: which tokens each edit sees; none: all.
        budget: tokens in a batch.
        progress: called with the share that is done.

    Raises:
        GlossaeError: the model has no such site, or an edit does not fit it.
    """
    count = len(batches_of := list(batches(tokens, budget)))
    done = ((batch, number / count) for number, batch in enumerate(batches_of, 1))
    return _states(
        lm,
        site,
        fns,
        positions or ["all"] * len(fns),
        final_states,
        mean_over_text,
        len(tokens),
        done,
        progress,
    )


def padded_states(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit | None],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> States:
    """As the paper's code has it: texts are padded with EOS to the longest of all, and the mean is over pads too.

    Attention does not look at pads, but they have states of their own, and are edited as every token is.

    Raises:
        GlossaeError: the tokenizer has no EOS, the model has no such site, or an edit does not fit it.
    """
    eos = lm.tokenizer.eos_token_id
    if eos is None:
        raise GlossaeError(f"tasks.protocol: as_coded pads with EOS, and the tokenizer of {lm.name} has none")
    longest = max(len(ids) for ids in tokens.ids)

    def made() -> Iterable[tuple[Batch, float]]:
        for start in range(0, len(tokens), CODED_ROWS):
            rows = tokens.ids[start : start + CODED_ROWS]
            ids = torch.full((len(rows), longest), eos, dtype=torch.long)
            real = torch.zeros(ids.shape, dtype=torch.bool)
            for number, row in enumerate(rows):
                ids[number, : len(row)] = torch.from_numpy(row)
                real[number, : len(row)] = True
            index = torch.arange(start, start + len(rows))
            yield Batch(ids, torch.ones_like(real), real, index), (start + len(rows)) / len(tokens)

    return _states(
        lm, site, fns, ["all"] * len(fns), text_states, mean_over_all, len(tokens), made(), progress
    )


@torch.no_grad()
def _states(
    lm: LanguageModel,
    site: Site,
    fns: Sequence[TokenEdit | None],
    positions: Sequence[Positions],
    read: Reader,
    pool: Pool,
    rows: int,
    made: Iterable[tuple[Batch, float]],
    progress: Callable[[float], None],
) -> States:
    found: np.ndarray | None = None
    with replay(lm, site, read) as run:
        for batch, share in made:
            own = run.begin(batch)
            for number, (fn, place) in enumerate(zip(fns, positions, strict=True)):
                states = own if fn is None else run.under(fn, place)
                assert states is not None
                pooled = pool(batch, states).cpu().numpy()
                if found is None:
                    found = np.empty((len(fns), rows, pooled.shape[1]), dtype=np.float32)
                found[number, batch.index.numpy()] = pooled
            progress(share)
    assert found is not None
    return found
