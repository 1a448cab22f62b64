"""Documents: which source tells them, what depends on what, and that no document is cut."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import Corpus, Sentence, build_roles, cluster, cluster_names, cut, read_source

LANGUAGES = ("da", "en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("documents")


def documents(source):
    """(text, document without the source's name) of every sentence."""
    corpus = read_source(str(source), languages=LANGUAGES).corpus
    return [(s.text, s.doc.removeprefix(f"{s.source} ")) for s in corpus.sentences]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


HEADED = {
    "label.tsv": "doc\tsentence\tlabel\nt1\tHej.\t0\nt1\tHello.\t1\n\tFarvel.\tda\n",
    "codes.tsv": "da\ten\tdoc\nHej.\tHello.\tt1\nFarvel.\tGoodbye.\t1\n",
    "one.tsv": "da\tdoc\nHej.\tt1\nFarvel.\t0\n",
    "x.csv": "text,label,doc\nHej.,0,t1\nHello.,1,t1\nFarvel.,0,\n",
    "x.jsonl": "".join(
        json.dumps(row) + "\n"
        for row in (
            {"da": "Hej.", "en": "Hello.", "Doc": 7},
            {"da": "Farvel.", "en": "Goodbye.", "Doc": None},
        )
    ),
}
TOLD = {
    "label.tsv": [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "")],
    "codes.tsv": [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "1"), ("Goodbye.", "1")],
    "one.tsv": [("Hej.", "t1"), ("Farvel.", "0")],
    "x.csv": [("Hej.", "t1"), ("Hello.", "t1"), ("Farvel.", "")],
    "x.jsonl": [("Hej.", "7"), ("Hello.", "7"), ("Farvel.", ""), ("Goodbye.", "")],
}


@pytest.mark.parametrize("name", HEADED)
def test_a_column_doc_names_the_document(folder, name):
    assert documents(write(folder / name, HEADED[name])) == TOLD[name]


def test_a_labelled_sentence_that_ends_in_doc_is_no_header(folder):
    # Northern Dong has the code doc
    path = write(folder / "dong.tsv", "da\tdoc og pdf\tda\nHej.\tda\n")
    assert documents(path) == [("da doc og pdf", ""), ("Hej.", "")]


def test_a_line_without_its_document_is_refused(folder):
    path = write(folder / "short.tsv", "da\ten\tdoc\nHej.\tHello.\n")
    with pytest.raises(GlossaeError, match=r"short\.tsv, line 2: 2 columns where the header has 3"):
        documents(path)


def test_treebanks_tell_documents_by_newdoc_and_not_by_sent_id(folder):
    word = "\t".join(["1", "{}", *"________"])
    lines = [
        *("# sent_id = doc0-1", word.format("Nej"), ""),
        *("# newdoc id = news/1", "# sent_id = doc1-1", word.format("Hej"), ""),
        *("# sent_id = doc9-1", word.format("Goddag"), ""),
        *("# newdoc", word.format("Farvel"), ""),
    ]
    path = write(folder / "x.conllu", "\n".join(lines) + "\n")
    assert documents(f"da={path}") == [
        ("Nej", ""),
        ("Hej", "news/1"),
        ("Goddag", "news/1"),
        ("Farvel", "newdoc 2"),
    ]


def test_translation_memories_tell_documents_by_the_properties_in_use(folder):
    units = [
        '<tu tuid="a-1"><prop type="Txt::Doc. No.">32008R1333</prop><tuv xml:lang="da"><seg>Hej</seg></tuv></tu>',
        '<tu><tuv xml:lang="da"><prop type="source-document">x.eu/da</prop><prop type="source-document">y</prop>'
        "<seg>Goddag</seg></tuv>"
        '<tuv xml:lang="en"><prop type="source-document">x.eu/en</prop><seg>Good day</seg></tuv></tu>',
        '<tu tuid="b-1"><prop type="score">0.9</prop><tuv xml:lang="da"><seg>Farvel</seg></tuv></tu>',
    ]
    header = '<header><prop type="source-document">all</prop></header>'
    path = write(folder / "x.tmx", f'<tmx version="1.4">{header}<body>{"".join(units)}</body></tmx>')
    assert documents(path) == [
        ("Hej", "32008R1333"),
        ("Goddag", "x.eu/da"),
        ("Good day", "x.eu/en"),
        ("Farvel", ""),
    ]


def test_a_file_of_sentences_is_no_document_and_a_file_in_a_folder_is(folder):
    for code, texts in {"da": ["Hej.", "Farvel."], "en": ["Hello.", "Goodbye."]}.items():
        (folder / code).mkdir()
        write(folder / code / "talk2.txt", f"{texts[1]}\n")
        write(folder / code / "talk1.txt", f"{texts[0]}\n")
        write(folder / code / "README.md", "about\n")
    assert documents(f"da={folder / 'da' / 'talk1.txt'}") == [("Hej.", "")]
    assert documents(f"da={folder / 'da'}") == [("Hej.", "talk1"), ("Farvel.", "talk2")]
    both = read_source(f"da={folder / 'da'},en={folder / 'en'}", languages=LANGUAGES).corpus
    assert [(s.text, s.doc) for s in both.sentences] == [
        *(("Hej.", "da+en talk1"), ("Hello.", "da+en talk1")),
        *(("Farvel.", "da+en talk2"), ("Goodbye.", "da+en talk2")),
    ]
    assert len({s.pair for s in both.sentences}) == 2
    write(folder / "en" / "talk3.txt", "More.\n")
    with pytest.raises(
        GlossaeError, match=r"da: has no 'talk3\.txt': folders that are aligned hold the same names"
    ):
        read_source(f"da={folder / 'da'},en={folder / 'en'}", languages=LANGUAGES)


def test_the_hash_of_text_without_documents_is_what_it_was():
    plain = [Sentence("Hej", "da", "1", "x"), Sentence("Hi", "en", "1", "x")]
    # as it was before sentences had documents: stages of old runs stand
    assert Corpus.of(plain).sha256 == "db366f021a1c975191aa08de0f2c4adecbf78eb4bc372b19d085fd1fe67a0ebc"
    told = [plain[0]._replace(doc="x 1"), plain[1]]
    assert Corpus.of(told).sha256 != Corpus.of(plain).sha256
    assert Corpus.of([plain[0], plain[1]._replace(doc="x 1")]).sha256 != Corpus.of(told).sha256


PAIRS_AND_DOCS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=30)


@given(PAIRS_AND_DOCS)
def test_clusters_are_what_pairs_and_documents_join(rows):
    pairs, docs = [str(pair) for pair, _ in rows], [str(doc) if doc else "" for _, doc in rows]
    found = np.array(cluster(pairs, docs), dtype=int)
    # the closure by brute force
    linked = np.array(
        [
            [a == b or (bool(c) and c == d) for b, d in zip(pairs, docs, strict=True)]
            for a, c in zip(pairs, docs, strict=True)
        ]
    ).reshape(len(rows), len(rows))
    for _ in rows:
        linked = (linked.astype(int) @ linked.astype(int)) > 0
    assert np.array_equal(found[:, None] == found[None], linked)
    # numbered as they come
    firsts = [int(number) for place, number in enumerate(found) if number not in found[:place]]
    assert firsts == list(range(len(firsts)))
    assert Corpus.of(
        Sentence("", "da", pair, "x", doc) for pair, doc in zip(pairs, docs, strict=True)
    ).clusters == tuple(found)
    names = np.array(cluster_names(pairs, docs), dtype=str)
    assert np.array_equal(names[:, None] == names[None], linked)
    if not any(docs):
        assert names.tolist() == pairs


def sentences_of(sizes, lone):
    """Documents of aligned pairs, so many each, and pairs without one."""
    rows = [(f"d{doc}", f"d{doc}p{place}") for doc, size in enumerate(sizes) for place in range(size)]
    rows += [("", f"l{place}") for place in range(lone)]
    return [Sentence(f"{pair} {code}", code, pair, "x", doc) for doc, pair in rows for code in LANGUAGES]


@given(
    st.lists(st.integers(1, 9), max_size=12),
    st.integers(0, 20),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
    st.randoms(),
)
def test_a_cut_never_goes_through_a_document(sizes, lone, share, seed, random):
    sentences = sentences_of(sizes, lone)
    rest, taken = cut(sentences, share, seed=seed, purpose="test")
    assert Counter(rest + taken) == Counter(sentences)
    for field in ("doc", "pair"):
        both = {getattr(s, field) for s in rest} & {getattr(s, field) for s in taken}
        assert both <= {""}
    if len(sizes) > 1:
        told = sum(bool(s.doc) for s in taken)
        assert 0 < told < 2 * sum(sizes)
        # no further from the share than the largest document
        assert abs(told - share * 2 * sum(sizes)) <= 2 * max(sizes)
    random.shuffle(sentences)
    assert set(cut(sentences, share, seed=seed, purpose="test")[1]) == set(taken)


@given(st.integers(2, 40), st.floats(0.05, 0.95), st.integers(0, 99))
def test_pairs_without_documents_are_cut_as_if_there_were_none_elsewhere(lone, share, seed):
    alone = sentences_of([], lone)
    _, taken = cut(alone, share, seed=seed, purpose="test")
    _, mixed = cut(alone + sentences_of([3, 4, 5], 0), share, seed=seed, purpose="test")
    assert [s for s in mixed if not s.doc] == taken


@settings(max_examples=10)
@given(st.lists(st.integers(2, 4), min_size=24, max_size=40), st.integers(0, 99))
def test_no_document_is_in_two_roles(folder, sizes, seed):
    rows = [
        {"da": f"sætning {doc} {place}", "en": f"sentence {doc} {place}", "doc": doc}
        for doc, size in enumerate(sizes)
        for place in range(size)
    ]
    path = write(folder / "roles.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    roles = build_roles({"train": str(path)}, target="da", reference="en", seed=seed)
    where = defaultdict(set)
    for role, corpus in roles.corpora.items():
        for place, sentence in zip(roles.places[role], corpus.sentences, strict=True):
            where[sentence.doc].add(role)
            number = 2 * next(i for i, row in enumerate(rows) if sentence.text in row.values())
            assert place - number == (sentence.language == "en")
    assert set(map(len, where.values())) == {1}
    assert "cut by document" in roles.cuts["select"]
    told = {(row.role, row.language): row.documents for row in roles.counts}
    assert sum(told[role, "da"] for role in roles.corpora) == len(sizes)


def test_what_a_limit_leaves_of_a_document_is_not_tested_on(folder):
    lines = [json.dumps({"da": f"a {i}", "en": f"b {i}", "doc": i // 10}) + "\n" for i in range(200)]
    path = write(folder / "limited.jsonl", "".join(lines))
    other = write(folder / "other.tsv", "da\ten\nHej\tHi\nGod\tGood\n")
    specs = {"train": str(path), "test": f"{path} {other}"}
    with pytest.raises(GlossaeError, match="all 4.. sentences of limited.jsonl are in corpora"):
        build_roles(specs, target="da", reference="en", seed=0, limit=100)
