"""Token ids of a stream on disk: every text once, in any seed's order, as if no process had been killed."""

import random
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glossae.corpora import Sentence, TextStream, parse_stream, sentence_keys
from glossae.errors import GlossaeError
from glossae.lm import cache_bytes, stream_tokens, token_cache

LONG = 200
"""Tokens of a text that is longer than any document."""
WORDS = ["the", "girl", "saw", "an", "apple", "bought", "a", "blue", "bicycle", "he", "old", "always", "it"]


def sentence(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(4, 9))]
    return f"{' '.join(words).capitalize()}."


DOCS = [" ".join(sentence(rng) for _ in range(rng.randint(1, 4))) for rng in map(random.Random, range(400))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, of small shards."""
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "SHARD_TOKENS", 1000)
    monkeypatch.setattr(token_cache, "_AT_ONCE", 700)
    return tmp_path / "cache"


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "docs.txt"
    path.write_text("".join(f"{doc}\n" for doc in DOCS))
    return parse_stream(str(path))


def rows(found, size=200, seed=0):
    """The texts in the order of a seed."""
    return [row.tolist() for chunk in found.chunks(size, seed) for row in found.take(chunk).ids]


def encoded(lm, text):
    return lm.tokenizer(text, add_special_tokens=False)["input_ids"]


def shards(cache):
    return {path.name: path.read_bytes() for path in (cache / "tokens").glob("*/*.safetensors")}


@pytest.mark.parametrize("longest", [8, 20, LONG])
@pytest.mark.parametrize("bos", [False, True])
def test_every_document_is_cut_into_texts_and_comes_once(tiny_lm, stream, longest, bos):
    lm = replace(tiny_lm, bos=bos)
    found = stream_tokens(lm, stream, tokens=9000, longest=longest)
    prefix, most = list(lm.prefix), longest - bos
    cut = [
        prefix + ids[first : first + most]
        for ids in (encoded(lm, doc) for doc in DOCS)
        for first in range(0, len(ids), most)
        if len(ids) - first >= 2
    ]
    given, count = sorted(rows(found)), 0
    texts = cut[: len(given)]
    assert given == sorted(texts)
    assert len(found) == len(texts)
    assert found.tokens == sum(len(text) - bos for text in texts)
    assert 9000 <= found.tokens < 9000 + most
    count = sum(len(found.take(chunk)) for chunk in found.chunks(10**9, 3))
    assert count == len(texts)


def test_orders_of_two_seeds_are_of_the_same_texts(tiny_lm, stream):
    found = stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)
    first, other = rows(found), rows(found, seed=1)
    assert first != other
    assert sorted(first) == sorted(other)
    # a text lies beside others of its shard, and shards are in random order
    assert first != sorted(first)


def test_what_is_kept_is_not_read_again(tiny_lm, stream, monkeypatch, cache):
    whole = rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG))
    kept = shards(cache)
    assert len(kept) > 4
    again = parse_stream(stream.said)
    with monkeypatch.context() as patch:
        patch.setattr(TextStream, "documents", None)
        assert rows(stream_tokens(tiny_lm, again, tokens=9000, longest=LONG)) == whole
        # other lengths of text, other sentences left out, fewer tokens: the same shards
        stream_tokens(replace(tiny_lm, bos=True), again, tokens=8500, longest=9, tested=frozenset({1}))
    assert shards(cache) == kept
    tokens = stream_tokens(tiny_lm, again, tokens=11000, longest=LONG).tokens
    assert 11000 <= tokens < 11000 + LONG
    assert kept.items() < shards(cache).items()


def test_more_tokens_than_before_are_those_of_a_cache_that_was_empty(tiny_lm, stream, monkeypatch, tmp_path):
    for tokens in (100, 3500, 9000):
        grown = rows(stream_tokens(tiny_lm, stream, tokens=tokens, longest=LONG))
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "other"))
    assert rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)) == grown


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 400), max_size=4))
def test_a_reading_that_is_killed_goes_on_to_the_same_shards(tiny_lm, stream, tmp_path_factory, kills):
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    documents = TextStream.documents

    def dies(self, places=()):
        for number, document in enumerate(documents(self, places)):
            if number == left[0]:
                raise KeyboardInterrupt
            yield document

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOSSAE_CACHE", str(whole))
        expected = rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG))
        patch.setenv("GLOSSAE_CACHE", str(killed))
        for after in kills:
            left = [after]
            with pytest.MonkeyPatch.context() as cut_off:
                cut_off.setattr(TextStream, "documents", dies)
                try:
                    stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)
                except KeyboardInterrupt:
                    continue
        assert rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)) == expected
    assert shards(killed) == shards(whole)


@pytest.mark.parametrize("broken", [0, 3, -1])
def test_a_broken_shard_is_made_again(tiny_lm, stream, cache, broken):
    whole = rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG))
    kept = shards(cache)
    path = sorted((cache / "tokens").glob("*/*.safetensors"))[broken]
    path.write_bytes(kept[path.name][:-5])
    assert rows(stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)) == whole
    assert shards(cache) == kept


def test_sentences_of_a_role_are_cut_out_and_counted(tiny_lm, stream):
    gone = [DOCS[3].split(". ")[0].rstrip(".") + ".", DOCS[50]]
    tested = sentence_keys(Sentence(text, "en", "", "") for text in gone)
    found = stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG, tested=tested)
    texts = [tiny_lm.tokenizer.decode(row) for row in rows(found)]
    assert not any(gone[0] in text for text in texts)
    assert DOCS[50] not in texts
    rest = DOCS[3].removeprefix(gone[0]).strip()
    assert not rest or any(text.strip() == rest for text in texts)
    assert found.left_out == 1 + DOCS[50].count(".")
    assert str(found) == f"docs.txt, without {found.left_out} sentences that a tested role has"


@pytest.mark.parametrize("tokens", [1500, 6000])
def test_tokens_are_counted_by_file(tiny_lm, tmp_path, tokens):
    (tmp_path / "web").mkdir()
    own = {"a.txt": DOCS[:90], "b.txt": DOCS[90:250], "c.txt": DOCS[250:]}
    for name, docs in own.items():
        (tmp_path / "web" / name).write_text("".join(f"{doc}\n" for doc in docs))
    tested = sentence_keys([Sentence(DOCS[3], "en", "", "")])
    stream = parse_stream(str(tmp_path / "web"))
    found = stream_tokens(tiny_lm, stream, tokens=tokens, longest=LONG, tested=tested)
    texts = {tuple(row) for row in rows(found)}
    expected = {
        f"web/{name}": sum(len(ids) for doc in docs if tuple(ids := encoded(tiny_lm, doc)) in texts)
        for name, docs in own.items()
    }
    assert found.by_file == expected
    assert sum(expected.values()) == found.tokens
    assert [bool(count) for count in expected.values()] == [True, tokens == 6000, False]


def test_a_stream_that_ends_early_says_how_many_tokens_it_has(tiny_lm, stream):
    every = sum(len(encoded(tiny_lm, doc)) for doc in DOCS)
    assert stream_tokens(tiny_lm, stream, tokens=every, longest=LONG).tokens == every
    for _ in range(2):
        with pytest.raises(GlossaeError) as caught:
            stream_tokens(tiny_lm, stream, tokens=every + 1, longest=LONG)
        assert str(caught.value) == (
            f"sae.tokens: {every + 1:,} tokens are wanted, and sae.stream has {every:,}: lower sae.tokens, raise "
            "sae.epochs, or give more text"
        )


def test_a_stream_that_changes_while_it_is_read_is_refused_and_not_kept(
    tiny_lm, stream, tmp_path, cache, monkeypatch
):
    documents = TextStream.documents

    def changes(self, places=()):
        yield from documents(self, places)
        (tmp_path / "docs.txt").write_text("Other text\n")

    monkeypatch.setattr(TextStream, "documents", changes)
    with pytest.raises(GlossaeError, match="changed while it was read"):
        stream_tokens(tiny_lm, stream, tokens=sum(len(encoded(tiny_lm, doc)) for doc in DOCS), longest=LONG)
    assert not shards(cache)


def test_a_cache_that_cannot_be_written_is_one_line(tiny_lm, stream, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "file"))
    with pytest.raises(GlossaeError, match="cannot be written"):
        stream_tokens(tiny_lm, stream, tokens=100, longest=LONG)


def test_progress_rises_to_the_end(tiny_lm, stream):
    told = []
    stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(set(told)) > 5


@pytest.fixture
def peak(tiny_lm, tmp_path, monkeypatch):
    """A function that reads a stream of so many sentences and then all of its texts; gives the most bytes held."""

    def peak(sentences, window):
        monkeypatch.setattr(token_cache, "SHARD_TOKENS", window)
        monkeypatch.setattr(token_cache, "_AT_ONCE", window)
        path = tmp_path / f"{sentences}.txt"
        with path.open("w") as file:
            file.writelines(f"{DOCS[number % 400].split('.')[0]} {number}.\n" for number in range(sentences))
        stream = parse_stream(str(path))
        tracemalloc.start()
        try:
            found = stream_tokens(tiny_lm, stream, tokens=10 * sentences, longest=LONG)
            assert sum(len(found.take(chunk)) for chunk in found.chunks(window // 8, 0)) == len(found)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return peak


def test_a_long_stream_takes_the_memory_of_a_short_one(peak):
    peak(200, 2**12)
    assert peak(20_000, 2**12) < 1.2 * peak(2_000, 2**12)


@pytest.mark.slow
def test_two_hundred_thousand_sentences_take_the_memory_of_a_window(peak):
    peak(200, 2**15)
    short, long = peak(20_000, 2**15), peak(200_000, 2**15)
    assert long < 1.2 * short


def test_the_size_on_disk_is_foretold(tiny_lm, stream, cache):
    stream_tokens(tiny_lm, stream, tokens=9000, longest=LONG)
    size = sum(map(len, shards(cache).values()))
    assert size == pytest.approx(cache_bytes(9000, len(tiny_lm.tokenizer)), rel=0.25)
