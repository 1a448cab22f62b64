"""The stage `corpora`: count the sentences and tokens of each role."""

from collections.abc import Iterator

from glossae.plan import Quantities, Work, tokens_of
from glossae.results import CorpusRow, StageResults
from glossae.run.context import Context, Inputs, Progress, part
from glossae.stages.stage import Stage

# tokens a second of a fast tokenizer on one core; of a stream that two cores read, clean and tokenize
# (benchmarks/stream.py)
TOKENIZED, STREAMED = 4e5, 5e5


def run(context: Context, progress: Progress) -> StageResults:
    """Count every role's sentences and tokens; and read the stream, if there is one, into the token cache.

    With `--until corpora` all text is then fetched.
    """
    rows = []
    if context.stream is not None:
        context.streamed_tokens(context.lm, part(progress, 0.0, 0.9))
        progress = part(progress, 0.9, 1.0)
    roles = list(context.roles.corpora)
    for number, role in enumerate(roles):
        tokens = context.tokens(role)
        lengths = dict.fromkeys(((s.source, s.language) for s in tokens.corpus.sentences), 0)
        for sentence, length in zip(tokens.corpus.sentences, tokens.lengths, strict=True):
            lengths[sentence.source, sentence.language] += int(length)
        for count in (c for c in context.roles.counts if c.role == role):
            where = (count.name, count.language)
            short = tokens.dropped.get(where, 0)
            own = dict(count)
            if short:
                own["sentences"] -= short
                own["dropped"] = {**count.dropped, "under_2_tokens": short}
            rows.append(CorpusRow(**own, tokens=lengths.get(where, 0), cut=tokens.cut.get(where, 0)))
        progress((number + 1) / len(roles))
    return StageResults(corpora=rows)


def cost(counts: Quantities) -> Work:
    """Text into tokens."""
    tokens = sum(tokens_of(amounts) for amounts in counts.roles.values())
    seconds = 1 + tokens / TOKENIZED
    if counts.recipe.sae.stream is not None:
        seconds += counts.sae_tokens / STREAMED
    return Work(seconds=seconds, weights=counts.shape.weights, held=40 * tokens)


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """What each role has of each language, its sources together, where nothing was made of the text."""
    rows = results.corpora or []
    if any((results.probe, results.grid, results.sae)):
        return
    for role in dict.fromkeys(row.role for row in rows):
        counted = []
        for language in dict.fromkeys(row.language for row in rows if row.role == role):
            own = [row for row in rows if (row.role, row.language) == (role, language)]
            sentences, tokens = sum(row.sentences for row in own), sum(row.tokens for row in own)
            counted.append(f"{language} {sentences:,} sentences, {tokens:,} tokens")
        yield f"corpora   {role}: {'; '.join(counted)}"


STAGE = Stage(
    name="corpora",
    does="counting sentences and tokens",
    run=run,
    inputs=lambda context: Inputs(
        tuple(context.roles.corpora), {"counts": [dict(count) for count in context.roles.counts]}
    ),
    cost=cost,
    words=lambda _: "counts the text's sentences and tokens",
    lower="corpora.limit",
    lines=lines,
)
