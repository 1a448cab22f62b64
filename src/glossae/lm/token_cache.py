"""Token ids of a stream of text, in shards on disk: read and tokenized once, for every layer, site, seed and size."""

import itertools
import json
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from glossae.corpora import Corpus, Document, Sentence, Taken, TextStream
from glossae.declared import safetensors_header
from glossae.environment import cache_folder
from glossae.errors import GlossaeError
from glossae.files import clear_temporaries, fingerprint, make_folder, replacing
from glossae.languages import UNDETERMINED
from glossae.lm.batches import TokenizedCorpus, TokenRows, token_spans
from glossae.lm.model import LanguageModel

SHARD_TOKENS = 2**22
"""Tokens in a shard, which is also the window in which texts are shuffled."""
# bytes of a shard for each token besides its id, where sentences have 20 tokens: of each sentence its end and key, and
# of each document its end and its file
_MORE = 1
# ids below this have 2 bytes, others 4
_SHORT = 2**16
# the layout of the shards; another one is another cache
_FORMAT = 2
# characters that are tokenized at a time
_AT_ONCE = 2**18

Chunk = tuple[int, Int[np.ndarray, " texts"]]
"""The number of a shard, and the numbers of some of its texts."""


def _id_bytes(vocabulary: int) -> int:
    return 2 if vocabulary <= _SHORT else 4


def cache_bytes(tokens: float, vocabulary: int) -> float:
    """About the bytes that so many tokens of a stream take on disk, in whole shards."""
    return math.ceil(tokens / SHARD_TOKENS) * SHARD_TOKENS * (_id_bytes(vocabulary) + _MORE)


class _Shard(NamedTuple):
    """What the header of a shard says: how far the stream was read, and whether that was its end."""

    path: Path
    places: list[Taken]
    ended: bool


class _Texts(NamedTuple):
    """The texts of a shard: where each begins and ends among the ids of the tokens that are `kept`.

    `files` has the number of each text's file, and `left_out` how many sentences up to its end were left out.
    """

    kept: Bool[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " texts"]
    ends: Int[np.ndarray, " texts"]
    files: Int[np.ndarray, " texts"]
    left_out: Int[np.ndarray, " texts"]


class StreamedTokens:
    """Texts of a stream as token ids, of which one shard at a time is held; made by `stream_tokens`.

    Attributes:
        tokens: how many there are, without those of the prefix.
        texts: how many texts.
        left_out: sentences that were left out because a tested role has their words.
        names: short names of the stream's sources.
    """

    def __init__(
        self, stream: TextStream, prefix: Sequence[int], longest: int, tested: frozenset[int]
    ) -> None:
        self.names, self._files = stream.names, stream.files
        self._of_file = np.zeros(len(self._files), dtype=np.int64)
        self._prefix, self._longest = list(prefix), longest
        self._tested = np.array(sorted(tested), dtype=np.int64)
        self._shards: list[Path] = []
        # of the last shard, the texts that are still needed
        self._most: int | None = None
        self.tokens = self.texts = self.left_out = 0
        self._ids = lru_cache(maxsize=1)(self._read)

    def __len__(self) -> int:
        return self.texts

    def __str__(self) -> str:
        """The text in words."""
        left_out = f", without {self.left_out:,} sentences that a tested role has" if self.left_out else ""
        return f"{' and '.join(self.names)}{left_out}"

    @property
    def by_file(self) -> dict[str, int]:
        """The tokens of each file of the stream, also of those from which none came."""
        return dict(zip(self._files, self._of_file.tolist(), strict=True))

    def add(self, shard: Path, wanted: int) -> None:
        """Take texts of one more shard, until there are `wanted` tokens."""
        found = self._texts(shard)
        lengths = found.ends - found.starts
        reached = self.tokens + np.cumsum(lengths)
        self._most = min(len(reached), int(np.searchsorted(reached, wanted)) + 1)
        self._shards.append(shard)
        np.add.at(self._of_file, found.files[: self._most], lengths[: self._most])
        self.texts += self._most
        if self._most:
            self.tokens = int(reached[self._most - 1])
            self.left_out += int(found.left_out[self._most - 1])

    def chunks(self, size: int, seed: int) -> Iterator[Chunk]:
        """Every text once, in chunks of about `size` tokens: shards in random order, in each of them its texts.

        Args:
            size: tokens in a chunk.
            seed: the same seed gives the same order.
        """
        last = len(self._shards) - 1
        for number in np.random.default_rng(seed).permutation(len(self._shards)).tolist():
            found = self._texts(self._shards[number])
            lengths = (found.ends - found.starts)[: self._most if number == last else None]
            order = np.random.default_rng([seed, number]).permutation(len(lengths))
            for texts in in_chunks(order, lengths, size):
                yield number, texts

    def take(self, chunk: Chunk) -> TokenizedCorpus:
        """The texts of a chunk, without their words: `tokenizer.decode` gives those back."""
        number, texts = chunk
        ids, found = self._ids(number)
        rows = TokenRows.of(
            self._prefix + ids[found.starts[text] : found.ends[text]].tolist() for text in texts.tolist()
        )
        nameless = Sentence("", UNDETERMINED, "", " and ".join(self.names))
        return TokenizedCorpus(
            Corpus((nameless,) * len(rows)),
            rows,
            np.zeros(len(rows), dtype=np.int64),
            {},
            {},
            len(self._prefix),
        )

    def _read(self, number: int) -> tuple[np.ndarray, _Texts]:
        shard = self._shards[number]
        found = self._texts(shard)
        return _tensors(shard, "ids")[0][found.kept], found

    def _texts(self, shard: Path) -> _Texts:
        """Leave out sentences that a tested role has, and cut what is left of each document."""
        ends, keys, documents, files = _tensors(shard, "ends", "keys", "documents", "files")
        lengths = np.diff(ends, prepend=0)
        tested = np.isin(keys, self._tested)
        reached = np.cumsum(np.where(tested, 0, lengths))
        stops = reached[documents - 1]
        begins = np.concatenate([[0], stops])[:-1]
        # each document as so many texts of the longest length, of which the last has what is left
        counts = -(-(stops - begins) // self._longest)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(begins, counts) + self._longest * place
        stops = np.minimum(starts + self._longest, np.repeat(stops, counts))
        # below two tokens there is nothing to predict, and texts of a role are dropped, too
        long = stops - starts >= 2
        starts, stops, files = starts[long], stops[long], np.repeat(files, counts)[long]
        left_out = np.cumsum(np.append(0, tested))[np.searchsorted(reached, stops, "right")]
        return _Texts(np.repeat(~tested, lengths), starts, stops, files, left_out)


def in_chunks(
    order: Int[np.ndarray, " texts"], lengths: Int[np.ndarray, " all"], size: int
) -> Iterator[Int[np.ndarray, " some"]]:
    """Cut an order of texts into chunks of about `size` tokens, none of them empty."""
    full = np.cumsum(lengths[order]) // size
    yield from (chunk for chunk in np.split(order, np.flatnonzero(np.diff(full)) + 1) if len(chunk))


def stream_tokens(
    lm: LanguageModel,
    stream: TextStream,
    *,
    tokens: int,
    longest: int,
    tested: frozenset[int] = frozenset(),
    progress: Callable[[float], None] = lambda _: None,
) -> StreamedTokens:
    """Read a stream as far as `tokens` tokens take, tokenize it, and keep the ids in glossae's cache.

    What an earlier call with the same stream and tokenizer has kept is not read again, and what is lacking is read on
    from there. Documents are cut into texts; sentences with the words of a tested one are cut out of them.

    Args:
        lm: the model, for its tokenizer, and the prefix of its texts.
        stream: the text.
        tokens: how many are wanted; the last text is whole.
        longest: the most tokens of a text, those of the prefix included.
        tested: `sentence_keys` of the sentences that are left out.
        progress: is told the share that is done.

    Raises:
        GlossaeError: the stream cannot be read, has fewer tokens, or changes while it is read; or the cache cannot be
            written.
    """
    folder = _folder(lm, stream.identity)
    found = StreamedTokens(stream, lm.prefix, longest - len(lm.prefix), tested)
    places, written, documents = [Taken(0, 0)] * len(stream.sources), list[Path](), None
    with _locked(folder):
        for number in itertools.count():
            if found.tokens >= tokens:
                break
            path = folder / f"{number:06d}.safetensors"
            shard = _known(path)
            if shard is not None:
                # what was read up to here, if anything was, is no longer the place to go on from
                documents = None
            else:
                documents = documents or stream.documents(places)
                share = partial(_share, progress, found.tokens, tokens)
                shard = _write(lm, path, documents, places, share)
                written.append(path)
            found.add(path, tokens)
            places = shard.places
            if shard.ended and found.tokens < tokens:
                raise GlossaeError(
                    f"sae.tokens: {tokens:,} tokens are wanted, and sae.stream has {found.tokens:,}: lower sae.tokens, "
                    "raise sae.epochs, or give more text"
                )
        if written and stream.look() != stream.identity:
            for path in written:
                path.unlink()
            raise GlossaeError(
                f"sae.stream: {stream.said}: changed while it was read: run the same command again"
            )
    progress(1.0)
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let no other process write into a folder, which is made if need be; what killed ones left there is deleted."""
    from filelock import FileLock

    lock = FileLock(folder / ".lock")
    try:
        make_folder(folder)
        lock.acquire()
        clear_temporaries(folder, below=False)
    except OSError as error:
        raise GlossaeError(
            f"{folder}: cannot be written ({error.strerror or error}): set GLOSSAE_CACHE to a folder that can"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _share(progress: Callable[[float], None], before: int, wanted: int, done: int) -> None:
    progress(min(1.0, (before + done) / wanted))


def _folder(lm: LanguageModel, identity: Any) -> Path:
    tokenizer = lm.tokenizer.backend_tokenizer.to_str()
    return cache_folder() / "tokens" / fingerprint([identity, tokenizer, _FORMAT, SHARD_TOKENS])


def _known(path: Path) -> _Shard | None:
    """A shard that was kept; None if there is none, or none that can be read."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        safetensors_header(path)
        with safe_open(path, framework="np") as file:
            said = json.loads((file.metadata() or {})["glossae"])
        return _Shard(path, [Taken(*place) for place in said["places"]], said["ended"])
    except (GlossaeError, OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _tensors(path: Path, *names: str) -> list[np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return [file.get_tensor(name) for name in names]


def _write(
    lm: LanguageModel,
    path: Path,
    documents: Iterator[Document],
    places: Sequence[Taken],
    progress: Callable[[int], None],
) -> _Shard:
    """Tokenize documents until a shard is full, or there are no more."""
    from safetensors.numpy import save_file

    ids, keys = array("i"), array("q")
    ends, of_document, files = array("q"), array("q"), array("i")
    places, ended = list(places), False
    while len(ids) < SHARD_TOKENS and not ended:
        some, size = list[Document](), 0
        while size < _AT_ONCE and (document := next(documents, None)) is not None:
            some.append(document)
            size += len(document.text)
        ended = size < _AT_ONCE
        encoded = token_spans(lm, [document.text for document in some])
        for document, (own, spans) in zip(some, encoded, strict=True):
            begins = np.fromiter((begin for begin, _ in spans), dtype=np.int64, count=len(spans))
            # a blank before a word belongs to the word's token
            stops = np.searchsorted(begins, document.ends)
            stops[-1] = len(own)
            ends.extend((len(ids) + stops).tolist())
            keys.extend(document.keys)
            of_document.append(len(ends))
            files.append(document.file)
            ids.extend(own)
            places[document.source] = document.place
        progress(len(ids))
    columns = {
        "ids": np.array(ids, dtype=np.uint16 if _id_bytes(len(lm.tokenizer)) == 2 else np.int32),
        "ends": np.array(ends, dtype=np.int64),
        "keys": np.array(keys, dtype=np.int64),
        "documents": np.array(of_document, dtype=np.int64),
        "files": np.array(files, dtype=np.int32),
    }
    with replacing(path) as temporary:
        save_file(columns, temporary, {"glossae": json.dumps({"places": places, "ended": ended})})
    return _Shard(path, places, ended)
