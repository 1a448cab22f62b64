"""Roles are disjoint, accounted for to the last sentence, and decided by the seed and the text alone."""

import json
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.corpora import (
    ROLES,
    Corpus,
    Sentence,
    build_roles,
    cluster,
    cluster_names,
    cut,
    first_of_each,
    untested_languages,
)
from glossae.errors import GlossaeError

ALWAYS = ROLES[:4]
"""The roles that every run has; the others are there where they are given."""


def build(specs, *, seed=0, others=(), **options):
    specs = {role: str(spec) for role, spec in specs.items()}
    return build_roles(specs, target="da", reference="en", others=others, seed=seed, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("roles")


def write(path, lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def columns(numbers):
    """Aligned columns, one pair a number."""
    return ["da\ten", *(f"sætning {i}\tsentence {i}" for i in numbers)]


def labelled(numbers):
    return [f"{word} {i}\t{label}" for i in numbers for label, word in enumerate(["sætning", "sentence"])]


def keys(corpus):
    return {(sentence.language, sentence.text) for sentence in corpus.sentences}


def sizes(roles):
    return [len(roles.corpora[role]) for role in ALWAYS]


def check(roles):
    """What holds of any division."""
    assert tuple(roles.corpora) == tuple(roles.cuts)
    assert set(ALWAYS) <= set(roles.corpora) <= set(ROLES)
    texts = Counter(key for corpus in roles.corpora.values() for key in keys(corpus))
    assert max(texts.values()) == 1
    pairs = Counter(pair for corpus in roles.corpora.values() for pair in {s.pair for s in corpus.sentences})
    assert max(pairs.values()) == 1
    for row in roles.counts:
        assert row.read == row.sentences + sum(row.dropped.values()) + sum(row.moved.values())
        part = roles.corpora[row.role].of_source(row.name).only(row.language)
        assert (len(part), part.sha256) == (row.sentences, row.sha256)
    for role, corpus in roles.corpora.items():
        assert sum(row.sentences for row in roles.counts if row.role == role) == len(corpus)


def row_of(roles, role, language="da"):
    (row,) = [row for row in roles.counts if (row.role, row.language) == (role, language)]
    return row


def test_everything_cut_out_of_train(folder):
    roles = build({"train": write(folder / "x.tsv", columns(range(1000)))})
    check(roles)
    # 30 % of 1,000 pairs are select; half of it test; 20 % of the other half tune
    assert sizes(roles) == [1400, 240, 60, 300]
    assert row_of(roles, "train").moved == {"select": 300}
    assert row_of(roles, "select").moved == {"test": 150, "tune": 30}
    assert all(row.dropped == {} for row in roles.counts)
    assert not roles.translations_may_straddle
    for corpus in roles.corpora.values():
        assert set(Counter(s.pair for s in corpus.sentences).values()) == {2}
    assert roles.cuts == {
        "train": "read from x.tsv",
        "select": "30 % of train, cut by pair, seed 0",
        "tune": "20 % of what test leaves of select, cut by pair, seed 0",
        "test": "half of select, cut by pair, seed 0",
    }


def test_given_roles_are_read_from_their_own_files(folder):
    specs = {
        role: write(folder / f"{role}.tsv", columns(range(100 * i, 100 * i + 100)))
        for i, role in enumerate(ROLES)
    }
    roles = build(specs)
    check(roles)
    assert sizes(roles) == [200, 200, 200, 200]
    assert roles.corpora["tune"].sources == ("tune.tsv",)
    assert roles.cuts["tune"] == "read from tune.tsv"
    del specs["tune"]
    roles = build(specs)
    assert sizes(roles) == [200, 160, 40, 200]
    assert roles.cuts["tune"] == "20 % of select, cut by pair, seed 0"


@pytest.mark.parametrize("role", ["select", "tune", "test"])
def test_a_sentence_in_an_earlier_role_is_dropped(folder, role):
    train = write(folder / "x.tsv", columns(range(100)))
    later = write(folder / "y.tsv", columns(range(90, 150)))
    roles = build({"train": train, role: later})
    check(roles)
    dropped = row_of(roles, role, "en").dropped["in_earlier_role"]
    present = keys(
        Corpus.of(s for earlier in ROLES[: ROLES.index(role)] for s in roles.corpora[earlier].sentences)
    )
    assert dropped == sum(("en", f"sentence {i}") in present for i in range(90, 150))


def test_a_sentence_that_differs_only_in_what_cannot_be_seen_is_in_one_role(folder):
    train = write(folder / "seen.tsv", labelled(range(40)))
    unseen = [line.replace("t", "t\u200b\u00ad\u200d", 1) for line in labelled(range(30, 40))]
    test = write(folder / "unseen.tsv", [*unseen, *labelled(range(50, 60))])
    roles = build({"train": train, "test": test})
    assert row_of(roles, "test").dropped["in_earlier_role"] == 10
    assert {s.text for s in roles.corpora["test"].only("da").sentences} == {
        f"sætning {i}" for i in range(50, 60)
    }


def test_test_cut_out_of_select_gives_way_to_a_given_tune(folder):
    specs = {
        "train": write(folder / "x.tsv", columns(range(100))),
        "select": write(folder / "y.tsv", columns(range(100, 200))),
        "tune": write(folder / "z.tsv", columns(range(150, 300))),
    }
    roles = build(specs)
    check(roles)
    # 50 pairs are in both files; each is dropped from the later of the two roles it would have had
    dropped = [row_of(roles, role).dropped["in_earlier_role"] for role in ("tune", "test")]
    assert sum(dropped) == 50
    assert min(dropped) > 0


def test_text_without_pair_ids_may_straddle(folder):
    assert build({"train": write(folder / "x.tsv", labelled(range(100)))}).translations_may_straddle
    # read from files of their own, nothing is cut, whether aligned or not
    specs = {
        role: write(folder / f"{role}.tsv", labelled(range(n * 9, n * 9 + 9))) for n, role in enumerate(ROLES)
    }
    assert not build(specs).translations_may_straddle


def test_a_cut_is_even_over_languages_and_sources(folder):
    first = write(folder / "x.tsv", labelled(range(500)))
    second = write(folder / "y.tsv", labelled(range(450, 600)))
    roles = build({"train": f"{first} {second}"})
    check(roles)
    counts = {(row.role, row.name, row.language): row for row in roles.counts}
    assert counts["train", "y.tsv", "da"].dropped == {"duplicate": 50}
    for language in ("da", "en"):
        assert counts["test", "x.tsv", language].sentences == 75
        assert counts["test", "y.tsv", language].sentences == 15


def test_sources_of_one_name_get_names_of_their_own(folder):
    first = write(folder / "x.tsv", labelled(range(50)))
    second = write(folder / "d" / "x.tsv", labelled(range(50, 99)))
    third = write(folder / "with blanks" / "x.tsv", labelled(range(100, 150)))
    roles = build({"train": f"{first} {second}", "test": f"'{third}'"})
    assert roles.corpora["train"].only("da").of_source("x.tsv#2").sentences
    assert roles.corpora["test"].sources == ("x.tsv#3",)


def test_limit(folder):
    path = write(folder / "x.tsv", columns(range(1000)))
    roles = build({"train": path}, limit=100)
    check(roles)
    assert sizes(roles) == [140, 24, 6, 30]
    assert row_of(roles, "train").dropped == {"over_limit": 900}
    larger = build({"train": path}, limit=200)
    some, more = (set.union(*map(keys, made.corpora.values())) for made in (roles, larger))
    assert some < more


def test_languages_that_are_absent_or_not_wanted_are_on_the_record(folder):
    path = write(folder / "x.tsv", [*labelled(range(100)), "Hallå\tsv"])
    roles = build({"train": path}, others=["nb"])
    assert (row_of(roles, "train", "nb").read, row_of(roles, "train", "nb").sentences) == (0, 0)
    assert row_of(roles, "train", "sv").dropped == {"other_language": 1}


def test_a_generator_gets_the_languages_and_the_seed():
    calls = []

    def made(first):
        def generator(languages, seed):
            calls.append((languages, seed))
            numbers = range(first, first + 60)
            return Corpus.of(Sentence(f"{c} {first} {i}", c, f"{i}", "") for i in numbers for c in languages)

        return generator

    roles = build(
        {"train": "a", "select": "b"}, seed=3, others=["sv"], generators={"a": made(0), "b": made(50)}
    )
    check(roles)
    assert calls == [(("da", "en", "sv"), 3)] * 2
    # a pair of an earlier role is dropped whole
    assert row_of(roles, "select").dropped == {"in_earlier_role": 10}
    assert not roles.translations_may_straddle


def test_another_seed_cuts_elsewhere_and_as_much(folder):
    path = write(folder / "x.tsv", labelled(range(300)))
    roles, other = (build({"train": path}, limit=200, seed=seed) for seed in (0, 1))
    assert sizes(other) == sizes(roles)
    assert all(keys(other.corpora[role]) != keys(roles.corpora[role]) for role in ALWAYS)


# no language code of the run, which in the first line would be a header
cells = st.text("bcdfgé \t", max_size=3)
rows = st.lists(st.tuples(cells, st.sampled_from(["0", "1", "sv", "fr"])), max_size=60)


@given(rows, rows, st.randoms(), st.integers(0, 3), st.none() | st.integers(20, 30))
def test_any_division(folder, train, test, random, seed, limit):
    # twenty sentences per language make sure that there is something to cut
    lines = {
        "train": [*labelled(range(20)), *("\t".join(row) for row in train)],
        "test": [*labelled(range(15, 30)), *("\t".join(row) for row in test)],
    }

    def divide():
        specs = {role: write(folder / f"{role}.tsv", content) for role, content in lines.items()}
        return build(specs, seed=seed, others=["sv"], limit=limit)

    roles = divide()
    check(roles)
    read = sum(row.read for row in roles.counts if row.name == "train.tsv" and row.role == "train")
    assert read == len(lines["train"])
    for content in lines.values():
        random.shuffle(content)
    assert divide() == roles


def test_import_is_cheap():
    program = (
        "import sys, glossae.corpora; print(*{'pandas', 'transformers', 'defusedxml'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""


PROGRAM = """
import resource, sys
from glossae.corpora import build_roles
roles = build_roles({"train": sys.argv[1]}, target="da", reference="en", seed=0)
# kibibytes on Linux, bytes on macOS
unit = 1 if sys.platform == "darwin" else 1024
print(sum(map(len, roles.corpora.values())), unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_half_a_million_sentences_are_divided_within_a_gigabyte(tmp_path):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvæøå", k=rng.randint(2, 11))) for _ in range(20_000)]
    path = tmp_path / "large.tsv"
    with path.open("w", encoding="utf-8") as file:
        for i in range(500_000):
            file.write(f"{' '.join(rng.choices(words, k=rng.randint(8, 24)))}\t{i % 2}\n")
    assert path.stat().st_size > 60e6
    output = subprocess.check_output([sys.executable, "-c", PROGRAM, str(path)], text=True)
    sentences, peak = map(int, output.split())
    assert sentences == 500_000
    assert peak < 1e9


def test_one_text_as_two_languages(folder):
    one, other = (
        write(folder / name, [f"sætning {spelled(i)}" for i in range(60)]) for name in ("a.txt", "b.txt")
    )
    with pytest.raises(
        GlossaeError, match="60 of 60 en sentences are da sentences as well: is one text given"
    ):
        build({"text": f"da={one} en={other}"})
    # another spelling is no other text
    write(other, [f"SÆTNING {spelled(i)} ." for i in range(60)])
    with pytest.raises(GlossaeError, match="60 of 60 en sentences are da sentences as well"):
        build({"text": f"da={one} en={other}"})
    # names are the same in several languages
    write(other, [f"{'sætning' if i < 25 else 'sentence'} {spelled(i)}" for i in range(60)])
    check(build({"text": f"da={one} en={other}"}))


def test_sentences_with_the_words_of_an_earlier_role_are_counted(folder):
    train = [
        f"{word} {spelled(i)}\t{label}"
        for i in range(60)
        for label, word in enumerate(("sætning", "sentence"))
    ]
    test = [
        f"3. {word.title()} {spelled(i)}!\t{label}"
        for i in range(50, 70)
        for label, word in enumerate(("sætning", "sentence"))
    ]
    specs = {"train": write(folder / "t.tsv", train), "test": write(folder / "u.tsv", test)}
    # 10 of the 20 numbers, in both languages, are among those of train
    assert build(specs).alike == {"test": 20}
    assert build({"train": specs["train"]}).alike == {}


def test_a_panel_is_read_where_it_is_given_and_shares_nothing(folder):
    panel = [
        "da\ten\tsv\tnb",
        *(f"sætning {i}\tsentence {i}\tmening {i}\tsetning {i}" for i in range(50, 90)),
    ]
    specs = {"train": write(folder / "t.tsv", columns(range(60))), "panel": write(folder / "p.tsv", panel)}
    roles = build(specs, others=("sv", "nb"))
    check(roles)
    assert list(roles.corpora) == [*ALWAYS, "panel"]
    assert roles.corpora["panel"].languages == ("da", "en", "nb", "sv")
    # what train has too is gone; pairs of other files are other pairs, so their other languages stay
    assert {s.text for s in roles.corpora["panel"].only("da").sentences} == {
        f"sætning {i}" for i in range(60, 90)
    }
    assert len(roles.corpora["panel"].only("sv")) == 40
    assert row_of(roles, "panel", "en").dropped["in_earlier_role"] == 10
    specs = {
        "train": specs["train"],
        "replicate": f"en={write(folder / 'e.txt', ['a sentence', 'and more'])}",
    }
    with pytest.raises(GlossaeError, match="corpora.replicate: no da sentence"):
        build(specs)


def spelled(number):
    """A number in letters: numerals alone make no two sentences different."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def files_of(folder, numbers):
    """A file per language, one sentence a line, no two languages with a sentence in common."""
    return " ".join(
        f"{code}={write(folder / f'{code}.txt', [f'{code} ord {spelled(i)}' for i in range(number)])}"
        for code, number in numbers.items()
    )


def aligned_file(path, number):
    """Aligned columns in three languages."""
    rows = [f"sætning {spelled(i)}\tsentence {spelled(i)}\tmening {spelled(i)}" for i in range(number)]
    return write(path, ["da\ten\tsv", *rows])


def by_language(roles):
    return {role: {code: len(c.only(code)) for code in c.languages} for role, c in roles.corpora.items()}


def test_a_file_per_language_is_cut_into_every_role(folder):
    text = files_of(folder, {"da": 1000, "en": 1000, "sv": 1000})
    roles = build({"text": text}, others=["sv"], trained=("da", "en"))
    check(roles)
    assert roles.translations_may_straddle
    found = {role: (own["da"], own["sv"]) for role, own in by_language(roles).items()}
    # of Swedish nothing is trained on, so that the others have twice as much; one is always left
    assert found == {
        "train": (500, 1), "select": (60, 120), "tune": (40, 79), "test": (100, 200), "panel": (300, 600)
    }  # fmt: skip
    assert "no source has every language, so the panel is from da.txt, en.txt, sv.txt" in roles.cuts["panel"]


def test_what_a_role_needs_not_goes_to_train(folder):
    text = files_of(folder, {"da": 2000, "en": 1000, "sv": 400})
    limits = {"panel_limit": 100, "test_limit": 30}
    found = by_language(build({"text": text}, others=["sv"], trained=("da", "en"), **limits))
    assert found["panel"] == {"da": 100, "en": 100, "sv": 100}
    assert {tuple(found[role].values()) for role in ("test", "select", "tune")} == {(30, 30, 30)}
    assert found["train"] == {"da": 1810, "en": 810, "sv": 210}
    limited = build({"text": text}, others=["sv"], trained=("da", "en"), limit=500, **limits)
    check(limited)
    assert by_language(limited)["train"] == {"da": 500, "en": 500, "sv": 210}


def test_aligned_text_stays_together_in_every_role(folder):
    roles = build({"text": aligned_file(folder / "x.tsv", 400)}, others=["sv"], panel_limit=50)
    check(roles)
    assert not roles.translations_may_straddle
    assert by_language(roles)["panel"] == {"da": 50, "en": 50, "sv": 50}
    assert by_language(roles)["test"] == {"da": 40, "en": 40, "sv": 40}
    for corpus in roles.corpora.values():
        assert set(Counter(s.pair for s in corpus.sentences).values()) == {3}


def test_sources_with_pairs_in_common_are_one_text():
    def made(code):
        return lambda *_: Corpus.of(Sentence(f"{code} {spelled(i)}", code, f"{i}", "") for i in range(80))

    generators = {code: made(code) for code in ("da", "en", "sv")}
    roles = build({"text": "da en sv"}, others=["sv"], trained=("da", "en"), generators=generators)
    check(roles)
    assert by_language(roles)["panel"] == {"da": 24, "en": 24, "sv": 24}
    assert "every language from da with en with sv" in roles.cuts["panel"]


def test_the_panel_is_from_sources_with_every_language(folder):
    text = f"{aligned_file(folder / 'speech.tsv', 100)} {files_of(folder, {'da': 300, 'en': 300})}"
    roles = build({"text": text}, others=["sv"])
    check(roles)
    assert roles.corpora["panel"].sources == ("speech.tsv",)
    assert set(roles.corpora["test"].sources) == {"speech.tsv", "da.txt", "en.txt"}
    assert "every language from speech.tsv" in roles.cuts["panel"]


def test_sentences_with_the_same_words_are_kept_once(folder):
    lines = [f"Punkt {i}: afstemning {'!' * (i % 3)}" for i in range(60)]
    danish = write(folder / "da.txt", [*lines, *(f"ord {spelled(i)}" for i in range(50))])
    english = write(folder / "en.txt", [f"word {spelled(i)}" for i in range(60)])
    roles = build({"text": f"da={danish} en={english}"})
    check(roles)
    dropped = [row.dropped for row in roles.counts if (row.role, row.name) == ("train", "da.txt")]
    assert {"near_duplicate": 59} in dropped
    assert sum("afstemning" in text for corpus in roles.corpora.values() for _, text in keys(corpus)) == 1


def test_replicate_alone_is_given_beside_text(folder):
    text = files_of(folder, {"da": 50, "en": 50})
    again = write(folder / "again.tsv", labelled(range(20)))
    assert len(build({"text": text, "replicate": again}).corpora["replicate"]) == 40
    with pytest.raises(
        GlossaeError, match=r"corpora\.text: no en sentence .*give corpora\.text other or more"
    ):
        build({"text": files_of(folder, {"da": 50})})


@given(
    sizes=st.fixed_dictionaries({code: st.integers(8, 60) for code in ("da", "en", "sv", "de")}),
    aligned=st.integers(0, 40),
    extra=rows,
    seed=st.integers(0, 3),
    limits=st.tuples(
        st.none() | st.integers(2, 20), st.none() | st.integers(2, 20), st.none() | st.integers(3, 20)
    ),
    random=st.randoms(),
)
def test_any_text_is_divided(folder, sizes, aligned, extra, seed, limits, random):
    lines = {f"{code}.txt": [f"{code} ord {spelled(i)}" for i in range(n)] for code, n in sizes.items()}
    lines["pairs.jsonl"] = [
        f'{{"da": "par {spelled(i)}", "en": "pair {spelled(i)}", "sv": "svenskt par {spelled(i)}"}}'
        for i in range(aligned + 1)
    ]
    lines["more.tsv"] = [*labelled(range(1)), *("\t".join(row) for row in extra)]
    panel_limit, test_limit, limit = limits

    def divide():
        paths = {name: write(folder / name, content) for name, content in lines.items()}
        words = [f"{name[:2]}={path}" if name.endswith(".txt") else str(path) for name, path in paths.items()]
        return build(
            {"text": " ".join(words)},
            seed=seed,
            others=["sv", "de"],
            trained=("da", "en"),
            panel_limit=panel_limit,
            test_limit=test_limit,
            limit=limit,
        )

    roles = divide()
    check(roles)
    found = by_language(roles)
    for role in ("panel", "test"):
        assert set(found[role]) == {"da", "en", "sv", "de"}
    for role, most in (("panel", panel_limit), ("test", test_limit), ("tune", test_limit), ("train", limit)):
        assert most is None or max(found[role].values()) <= most
    # no words come twice in a language, in whatever roles
    words = Counter(
        (code, " ".join(word for word in re.findall(r"[^\W\d_]+", text.lower())) or text)
        for corpus in roles.corpora.values()
        for code, text in keys(corpus)
    )
    assert max(words.values()) == 1
    for content in lines.values():
        random.shuffle(content)
    assert divide() == roles


def test_what_is_not_tested_is_said(folder):
    more = write(folder / "more.tsv", [*labelled(range(9)), "Guten Tag\tde"])
    text = f"{files_of(folder, {'da': 60, 'en': 60, 'sv': 60})} {more}"
    roles = build({"text": text}, others=["sv", "nb"], trained=("da", "en"))
    assert untested_languages(roles.sentences, ["sv", "nb"], roles.left_out) == [
        "languages.others: nb is neither tested nor measured: there is no text in it",
        "corpora.text: de is neither tested nor measured: name it in languages.others",
    ]
    some = {"train": {"sv": 3}, "select": {"sv": 2, "nb": 1}, "test": {"nb": 2}, "panel": {"sv": 9}}
    assert untested_languages(some, ["sv", "nb"]) == [
        "languages.others: no effect on sv is measured: test has no text in it",
        "languages.others: no unit is tested against nb: panel has no text in it",
    ]


def test_the_hash_of_text_without_documents_is_what_it_was():
    plain = [Sentence("Hej", "da", "1", "x"), Sentence("Hi", "en", "1", "x")]
    # as it was before sentences had documents: stages of old runs stand
    assert Corpus.of(plain).sha256 == "db366f021a1c975191aa08de0f2c4adecbf78eb4bc372b19d085fd1fe67a0ebc"
    told = [plain[0]._replace(doc="x 1"), plain[1]]
    assert Corpus.of(told).sha256 != Corpus.of(plain).sha256
    assert Corpus.of([plain[0], plain[1]._replace(doc="x 1")]).sha256 != Corpus.of(told).sha256


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=30))
def test_clusters_are_what_pairs_and_documents_join(rows):
    pairs, docs = [str(pair) for pair, _ in rows], [str(doc) if doc else "" for _, doc in rows]
    found = np.array(cluster(pairs, docs), dtype=int)
    # the closure by brute force
    p, d = np.array(pairs, dtype=str), np.array(docs, dtype=str)
    linked = (p[:, None] == p) | ((d[:, None] == d) & (d != ""))
    for _ in rows:
        linked = (linked.astype(int) @ linked.astype(int)) > 0
    assert np.array_equal(found[:, None] == found[None], linked)
    # numbered as they come
    firsts = [int(number) for place, number in enumerate(found) if number not in found[:place]]
    assert firsts == list(range(len(firsts)))
    sentences = [Sentence("", "da", pair, "x", doc) for pair, doc in zip(pairs, docs, strict=True)]
    assert Corpus.of(sentences).clusters == tuple(found)
    names = np.array(cluster_names(pairs, docs), dtype=str)
    assert np.array_equal(names[:, None] == names[None], linked)
    if not any(docs):
        assert names.tolist() == pairs


def sentences_of(sizes, lone):
    """Documents of aligned pairs, so many each, and pairs without one."""
    rows = [(f"d{doc}", f"d{doc}p{place}") for doc, size in enumerate(sizes) for place in range(size)]
    rows += [("", f"l{place}") for place in range(lone)]
    return [Sentence(f"{pair} {code}", code, pair, "x", doc) for doc, pair in rows for code in ("da", "en")]


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
    # pairs without documents are cut as if there were none elsewhere
    alone = cut(sentences_of([], lone), share, seed=seed, purpose="test")[1]
    assert [s for s in taken if not s.doc] == alone
    random.shuffle(sentences)
    assert set(cut(sentences, share, seed=seed, purpose="test")[1]) == set(taken)


@settings(max_examples=10)
@given(st.lists(st.integers(2, 4), min_size=24, max_size=40), st.integers(0, 99))
def test_no_document_is_in_two_roles(folder, sizes, seed):
    rows = [
        {"da": f"sætning {doc} {place}", "en": f"sentence {doc} {place}", "doc": doc}
        for doc, size in enumerate(sizes)
        for place in range(size)
    ]
    roles = build({"train": write(folder / "roles.jsonl", map(json.dumps, rows))}, seed=seed)
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
    lines = [json.dumps({"da": f"a {i}", "en": f"b {i}", "doc": i // 10}) for i in range(200)]
    path = write(folder / "limited.jsonl", lines)
    other = write(folder / "other.tsv", ["da\ten", "Hej\tHi", "God\tGood"])
    with pytest.raises(GlossaeError, match="all 4.. sentences of limited.jsonl are in corpora"):
        build({"train": path, "test": f"{path} {other}"}, limit=100)


@given(st.lists(st.sampled_from(["da", "en", "sv"])), st.integers(0, 5))
def test_the_first_of_each_language(languages, wanted):
    places = first_of_each(languages, wanted)
    for language in set(languages):
        there = [place for place, own in enumerate(languages) if own == language]
        assert [place for place in places if languages[place] == language] == there[:wanted]
    assert places == sorted(places)


def test_sizes_count_until_there_is_enough():
    languages, sizes = ["da", "en", "da", "da", "en"], [3, 9, 2, 4, 1]
    assert first_of_each(languages, 5, sizes) == [0, 1, 2]
    assert first_of_each(languages, 6, sizes) == [0, 1, 2, 3]
    assert first_of_each(languages, 100, sizes) == [0, 1, 2, 3, 4]
