"""Make token ids and right-padded batches of sentences, and draw growing samples of sentences."""

import math
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel

BATCH_TOKENS = 1024
"""Tokens in a batch of the model, pads included. Larger batches measured slower on two CPU cores."""
MAX_TOKENS = 256
"""The default limit on the tokens of a text."""
# sentences sorted by length together: large enough to save most padding, small enough that a batch is still a
# random draw from the text
WINDOW = 1024
# a token of byte fallback; and the blank that some tokenizers put before a text, in the two alphabets in use
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BLANKS = ("\u0120", "\u2581")


class TokenRows(Sequence[np.ndarray]):
    """The token ids of many sentences in one array, of which each row is read as an array of int64.

    A million sentences of 30 tokens take 140 MB; as arrays of their own they would take three times as much.
    """

    def __init__(self, flat: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._flat, self._starts, self._ends = flat, starts, ends

    @staticmethod
    def of(rows: Iterable[Iterable[int]]) -> "TokenRows":
        """Gather rows of ids, which may come one by one."""
        flat, ends = array("i"), array("q", [0])
        for row in rows:
            flat.extend(row)
            ends.append(len(flat))
        # numpy takes an array of "q" for another type than int64 (longlong)
        bounds = np.frombuffer(ends, dtype=np.int64)
        return TokenRows(np.asarray(flat, dtype=np.int32), bounds[:-1], bounds[1:])

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: SupportsIndex) -> np.ndarray: ...

    @overload
    def __getitem__(self, place: slice) -> "TokenRows": ...

    def __getitem__(self, place: SupportsIndex | slice) -> "np.ndarray | TokenRows":
        if isinstance(place, slice):
            return TokenRows(self._flat, self._starts[place], self._ends[place])
        row: np.ndarray = self._flat[self._starts[place] : self._ends[place]].astype(np.int64)
        return row

    @property
    def lengths(self) -> np.ndarray:
        """The number of ids of each row, `(rows,)` int64."""
        lengths: np.ndarray = self._ends - self._starts
        return lengths

    def take(self, index: np.ndarray) -> "TokenRows":
        """The rows with these numbers, in this order; the ids are not copied."""
        return TokenRows(self._flat, self._starts[index], self._ends[index])


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus as token ids.

    Attributes:
        corpus: the sentences that were kept, in order.
        ids: the token ids of each sentence, int64, after those of the prefix; kept as `TokenRows`.
        predicted_bytes: UTF-8 bytes of each sentence's predicted tokens. Without a prefix, the first token is
            not predicted and its bytes are not counted.
        dropped: by (source, language), how many sentences were too short.
        cut: by (source, language), how many sentences were cut at the limit.
        prefix: the number of tokens before each sentence that belong to no language: a BOS, or a chat
            template's.
        scored: how many predicted tokens of each sentence, drawn at random, have their loss computed; None for
            all. The sum over a sentence is then an estimate: the mean of the drawn tokens times `predicted`.
    """

    corpus: Corpus
    ids: Sequence[np.ndarray]
    predicted_bytes: np.ndarray
    dropped: dict[tuple[str, str], int]
    cut: dict[tuple[str, str], int]
    prefix: int
    scored: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", self._rows)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def _rows(self) -> TokenRows:
        if isinstance(self.ids, TokenRows):
            return self.ids
        return TokenRows.of(ids.tolist() for ids in self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence, without the prefix, `(sentences,)` int64."""
        return self._rows.lengths - self.prefix

    @property
    def predicted(self) -> np.ndarray:
        """Predicted tokens of each sentence: all but the first, or with a prefix all, `(sentences,)` int64."""
        return self.lengths - (not self.prefix)

    def take(self, index: Sequence[int] | np.ndarray) -> "TokenizedCorpus":
        """The sentences with these numbers, in this order; counts of dropped and cut sentences are not copied."""
        rows = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            corpus=Corpus.of(self.corpus.sentences[i] for i in rows.tolist()),
            ids=self._rows.take(rows),
            predicted_bytes=self.predicted_bytes[rows],
            dropped={},
            cut={},
        )

    def scoring(self, most: int | None) -> "TokenizedCorpus":
        """The same text, with losses computed at no more than `most` tokens of each sentence; None for all.

        Which tokens of a sentence are drawn depends on the sentence alone.
        """
        return replace(self, scored=most)


@dataclass(frozen=True)
class Batch:
    """Right-padded sentences.

    Attributes:
        ids: token ids; pads are 0, and the mask hides them.
        mask: True at tokens, False at pads.
        content: True at tokens of the text, False at pads and at a prefix.
        index: the number of each row's sentence in its `TokenizedCorpus`.
        scored: True at the tokens whose loss is computed; None for all predicted tokens of the text.
    """

    ids: Int[Tensor, "batch seq"]
    mask: Bool[Tensor, "batch seq"]
    content: Bool[Tensor, "batch seq"]
    index: Int[Tensor, " batch"]
    scored: Bool[Tensor, "batch seq"] | None = None

    def take(self, rows: Int[Tensor, " rows"]) -> "Batch":
        """The batch of these rows."""
        scored = None if self.scored is None else self.scored[rows]
        return Batch(self.ids[rows], self.mask[rows], self.content[rows], self.index[rows], scored)


def tokenize(
    lm: LanguageModel,
    corpus: Corpus,
    *,
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
    least: int = 2,
) -> TokenizedCorpus:
    """Turn sentences into token ids, without special tokens, after the ids of `prefix` (such as `lm.prefix`).

    A sentence that spells a special token, such as `<s>`, becomes the tokens of that spelling. Sentences of
    fewer than `least` tokens are dropped (below 2 there is nothing to predict). Sentences longer, with the
    prefix, than `max_tokens` or the model's positions are cut. Both are counted.

    Raises:
        GlossaeError: the prefix leaves less than two tokens.
    """
    whole = min(max_tokens, lm.max_positions)
    longest = whole - len(prefix)
    if longest < least:
        raise GlossaeError(
            f"max_tokens: {len(prefix)} tokens stand before each text of {lm.name}, and a text has "
            f"{whole} at most; raise max_tokens, or leave chat off"
        )
    kept, predicted_bytes = list[Sentence](), list[int]()
    dropped: dict[tuple[str, str], int] = {}
    cut: dict[tuple[str, str], int] = {}

    def rows() -> Iterator[list[int]]:
        for sentence, tokens, spans in _encoded(lm, corpus):
            where = (sentence.source, sentence.language)
            if len(tokens) < least:
                dropped[where] = dropped.get(where, 0) + 1
                continue
            if len(tokens) > longest:
                cut[where] = cut.get(where, 0) + 1
            last = min(len(tokens), longest) - 1
            before = 0 if prefix else _bytes_read(lm.tokenizer, sentence.text, tokens, spans, 0)
            kept.append(sentence)
            predicted_bytes.append(_bytes_read(lm.tokenizer, sentence.text, tokens, spans, last) - before)
            yield [*prefix, *tokens[: last + 1]]

    ids = TokenRows.of(rows())
    by_sentence = np.array(predicted_bytes, dtype=np.int64)
    return TokenizedCorpus(Corpus.of(kept), ids, by_sentence, dropped, cut, len(prefix))


def _encoded(
    lm: LanguageModel, corpus: Corpus
) -> Iterator[tuple[Sentence, list[int], list[tuple[int, int]]]]:
    """Each sentence with its token ids and the characters that each token has a byte of."""
    for start in range(0, len(corpus), WINDOW):
        sentences = corpus.sentences[start : start + WINDOW]
        encoded = token_spans(lm, [sentence.text for sentence in sentences])
        yield from ((sentence, *own) for sentence, own in zip(sentences, encoded, strict=True))


def token_spans(lm: LanguageModel, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """The token ids of each text, and the characters that each token has a byte of; a special token's name is text."""
    if not texts:
        return
    encoded = lm.tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    yield from zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)


def _bytes_read(
    tokenizer: Any, text: str, tokens: Sequence[int], spans: Sequence[tuple[int, int]], place: int
) -> int:
    """The UTF-8 bytes of `text` up to the end of the token at `place`, which may end inside a character.

    Args:
        tokens: the token ids of the whole text.
        spans: the characters that each token has a byte of, as (start, end).
    """
    end = spans[place][1]
    most = len(text[:end].encode())
    if place + 1 == len(spans) or spans[place + 1][0] >= end:
        return most
    # the spans of tokens that share a character both hold it whole, so the tokens' own bytes are counted
    first = place
    while first and spans[first][0] < spans[first - 1][1]:
        first -= 1
    pieces = tokenizer.convert_ids_to_tokens(list(tokens[first : place + 1]))
    if not first and not text.startswith(" "):
        pieces[0] = pieces[0].removeprefix(_BLANKS[0]).removeprefix(_BLANKS[1])
    # in a byte-level vocabulary each character stands for a byte
    own = sum(1 if _BYTE.fullmatch(piece) else len(piece) for piece in pieces)
    return min(most, len(text[: spans[first][0]].encode()) + own)


def batches(
    tokens: TokenizedCorpus, budget: int, *, most: int | None = None, seed: int | None = None
) -> Iterator[Batch]:
    """Right-padded batches of at most `budget` tokens, pads included; a longer sentence is a batch of its own.

    With `most`, a batch has at most that many sentences.

    With a seed, sentences are shuffled, sorted by length within windows of `WINDOW`, and the batches of a
    window shuffled again; without a seed, windows keep the order of the corpus.
    """
    for group in _groups(tokens, budget, most, seed):
        yield pad(tokens, group)


def _groups(
    tokens: TokenizedCorpus, budget: int, most: int | None = None, seed: int | None = None
) -> Iterator[Int[np.ndarray, " batch"]]:
    """The numbers of the sentences of each of the `batches`."""
    generator = np.random.default_rng(seed)
    lengths = tokens.lengths + tokens.prefix
    order = np.arange(len(tokens)) if seed is None else generator.permutation(len(tokens))
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        groups, first = [], 0
        for end in range(1, len(window) + 1):
            # sorted by length, so the next row would be the longest of its group
            full = end == len(window) or (end - first + 1) * lengths[window[end]] > budget
            if full or end - first == most:
                groups.append(window[first:end])
                first = end
        if seed is not None:
            groups = [groups[i] for i in generator.permutation(len(groups))]
        yield from groups


class Homes:
    """The batches in which the sentences of some texts are run, whatever batches ask for them.

    The last digits of a sentence's activations depend on its batch. A sentence that is always run in the same one has
    the same activations in every stage, and they can be stored once for all.

    Args:
        texts: the texts; of equal sentences the first counts.
        budget: tokens in a batch, pads included.
        most: the most tokens; a text that would exceed them is left out.
    """

    def __init__(self, texts: Iterable[TokenizedCorpus], budget: int, most: int) -> None:
        self._batches: list[tuple[TokenizedCorpus, np.ndarray]] = []
        self._places: dict[tuple[int, bytes], tuple[int, int]] = {}
        left = most
        for text in texts:
            if int(text.lengths.sum()) > most:
                continue
            keys = [(text.prefix, ids.tobytes()) for ids in text.ids]
            new = list({key: number for number, key in enumerate(keys) if key not in self._places}.values())
            tokens = int(text.lengths[new].sum())
            if tokens > left:
                continue
            left -= tokens
            own = text.take(new).scoring(None)
            for group in _groups(own, budget):
                for row, number in enumerate(group.tolist()):
                    self._places[keys[new[number]]] = (len(self._batches), row)
                self._batches.append((own, group))

    def places(self, batch: Batch) -> list[tuple[int, int] | None]:
        """For each row of a batch the number of its home and its row there; None for other texts."""
        lengths, text = batch.mask.sum(1).tolist(), batch.content.sum(1).tolist()
        rows = zip(batch.ids.numpy(), lengths, text, strict=True)
        return [self._places.get((length - own, ids[:length].tobytes())) for ids, length, own in rows]

    def batch(self, number: int) -> Batch:
        """A home."""
        return pad(*self._batches[number])


def sentence_batches(tokens: TokenizedCorpus, sentences: int, *, seed: int) -> Iterator[Batch]:
    """Right-padded batches of a fixed number of sentences, shuffled (the paper has 32 per batch)."""
    order = np.random.default_rng(seed).permutation(len(tokens))
    for start in range(0, len(order), sentences):
        yield pad(tokens, order[start : start + sentences])


def pad(tokens: TokenizedCorpus, index: np.ndarray) -> Batch:
    """One right-padded batch of the sentences with these numbers."""
    rows = [tokens.ids[i] for i in index.tolist()]
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask, scored = np.zeros((2, *ids.shape), dtype=bool)
    first = max(1, tokens.prefix)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = True
        if tokens.scored is not None:
            # the sentence seeds its own draw, so that the tokens are the same in every batch and sample
            drawn = np.random.default_rng(zlib.crc32(row.tobytes())).permutation(len(row) - first)
            scored[number, first + drawn[: tokens.scored]] = True
    content = mask.copy()
    content[:, : tokens.prefix] = False
    return Batch(
        ids=torch.from_numpy(ids),
        mask=torch.from_numpy(mask),
        content=torch.from_numpy(content),
        index=torch.from_numpy(np.asarray(index, dtype=np.int64)),
        scored=None if tokens.scored is None else torch.from_numpy(scored),
    )


# standard normal quantile: 95 % of the distribution lie within this many standard deviations
Z_95 = 1.959964
# an interval of half this share of the change is narrow enough
RELATIVE = 0.1
# sentences of a language in the first sample: below about 30 the interval of a ratio is too narrow
# (Cochran 1977, chapter 6)
FIRST = 32


def random_order(languages: Sequence[str], *, seed: int) -> dict[str, Int[np.ndarray, " own"]]:
    """The sentence numbers of each language in a random order, which does not depend on the other languages."""
    column, order = np.array(languages, dtype=object), {}
    for language in sorted(set(languages)):
        generator = np.random.default_rng([seed, zlib.crc32(language.encode())])
        order[language] = generator.permutation(np.flatnonzero(column == language))
    return order


def growing_samples(
    languages: Sequence[str], *, seed: int, first: int = FIRST
) -> Iterator[dict[str, Int[np.ndarray, " sample"]]]:
    """Random samples of sentence numbers by language, each twice as large as the one before.

    Each sample begins with the one before it, so that measurements of that one can be reused. The last sample
    is the whole text. A caller that stops at the first precise enough sample has a fixed-width interval by a
    sequential rule, whose coverage tends to 95 % as the width tends to 0 (Chow and Robbins 1965, Annals of
    Mathematical Statistics 36, 457-462).

    Args:
        first: the number of sentences of each language in the first sample.
    """
    order = random_order(languages, seed=seed)
    longest, size = max(map(len, order.values()), default=0), first
    while longest:
        yield {language: own[:size] for language, own in order.items()}
        if size >= longest:
            return
        size *= 2


def half_width(sums: Float[np.ndarray, " sentences"], counts: Int[np.ndarray, " sentences"]) -> float:
    """Half the width of the 95 % interval of `sums.sum() / counts.sum()`, a mean per token.

    Sentences are drawn, not tokens, so the mean is a ratio of two sums: with R the ratio, n sentences and d =
    y - R x, its variance is about n / (n - 1) sum(d^2) / (sum x)^2 (Cochran 1977, Sampling Techniques, theorem
    2.5 and chapter 6, without the finite-population correction). Infinite for fewer than 2 sentences or
    without a token.

    Args:
        sums: the sum of a quantity over the tokens of each sentence.
        counts: the number of tokens of each sentence.
    """
    n, total = len(sums), float(counts.sum())
    if n < 2 or total <= 0:
        return math.inf
    deviations = sums - sums.sum() / total * counts
    return Z_95 * math.sqrt(n / (n - 1) * float(np.square(deviations).sum())) / total


def narrow_enough(half: float, change: float, precision: float) -> bool:
    """Whether half the interval's width is at most `precision`, or at most `RELATIVE` of the change."""
    return half <= max(precision, RELATIVE * abs(change))
