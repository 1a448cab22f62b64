"""Roles are disjoint, accounted for to the last sentence, and decided by the seed and the text alone."""

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprog.corpora import ROLES, Corpus, Sentence, build_roles
from sprog.errors import SprogError

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
    assert roles.cuts == {
        "train": "read from x.tsv",
        "select": "30 % of train, cut by pair, seed 0",
        "tune": "20 % of what test leaves of select, cut by pair, seed 0",
        "test": "half of select, cut by pair, seed 0",
    }


def test_pairs_stay_whole(folder):
    roles = build({"train": write(folder / "x.tsv", columns(range(50)))})
    for corpus in roles.corpora.values():
        assert Counter(Counter(s.pair for s in corpus.sentences).values()) == {2: len(corpus) // 2}


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


def test_only_tune_missing(folder):
    specs = {
        role: write(folder / f"{role}.tsv", columns(range(n, n + 100)))
        for n, role in zip((0, 100, 200), ("train", "select", "test"), strict=True)
    }
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
    # read from four files, nothing is cut, whether aligned or not
    specs = {
        role: write(folder / f"{role}.tsv", labelled(range(n * 9, n * 9 + 9))) for n, role in enumerate(ROLES)
    }
    assert not build(specs).translations_may_straddle


def test_cut_is_even_over_languages_and_sources(folder):
    first, second = (
        write(folder / "x.tsv", labelled(range(500))),
        write(folder / "y.tsv", labelled(range(500, 600))),
    )
    roles = build({"train": f"{first} {second}"})
    check(roles)
    assert {(r.name, r.language): r.sentences for r in roles.counts if r.role == "test"} == {
        ("x.tsv", "da"): 75,
        ("x.tsv", "en"): 75,
        ("y.tsv", "da"): 15,
        ("y.tsv", "en"): 15,
    }


def test_repetition_over_sources_of_a_role(folder):
    first, second = (
        write(folder / "x.tsv", labelled(range(100))),
        write(folder / "y.tsv", labelled(range(50, 150))),
    )
    roles = build({"train": f"{first} {second}"})
    check(roles)
    assert {r.name: r.dropped for r in roles.counts if (r.role, r.language) == ("train", "da")} == {
        "x.tsv": {},
        "y.tsv": {"duplicate": 50},
    }


def test_sources_of_one_name_get_names_of_their_own(folder):
    first, second = (
        write(folder / "x.tsv", labelled(range(50))),
        write(folder / "d" / "x.tsv", labelled(range(50, 99))),
    )
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
    everything = [
        keys(Corpus.of(s for c in r.corpora.values() for s in c.sentences)) for r in (roles, larger)
    ]
    assert everything[0] < everything[1]


def test_absent_other_language_is_counted_as_none(folder):
    roles = build({"train": write(folder / "x.tsv", labelled(range(100)))}, others=["sv"])
    assert (row_of(roles, "train", "sv").read, row_of(roles, "train", "sv").sentences) == (0, 0)


def test_language_that_is_not_wanted_is_counted(folder):
    roles = build({"train": write(folder / "x.tsv", [*labelled(range(100)), "Hallå\tsv"])})
    assert row_of(roles, "train", "sv").dropped == {"other_language": 1}


def test_generator_gets_the_languages_and_the_seed():
    calls = []

    def toy(languages, seed):
        calls.append((languages, seed))
        return Corpus.of(
            Sentence(f"{code} {i}", code, f"{i}", "toy") for i in range(100) for code in languages
        )

    roles = build({"train": "toy"}, seed=3, others=["sv"], generators={"toy": toy})
    check(roles)
    assert calls == [(("da", "en", "sv"), 3)]
    assert sizes(roles) == [210, 36, 9, 45]
    assert not roles.translations_may_straddle


def test_pair_of_an_earlier_role_is_dropped_whole():
    def made(first):
        def generator(languages, seed):
            return Corpus.of(
                Sentence(f"{code} {first} {i}", code, f"{i}", "")
                for i in range(first, first + 60)
                for code in languages
            )

        return generator

    roles = build({"train": "a", "select": "b"}, generators={"a": made(0), "b": made(50)})
    check(roles)
    assert row_of(roles, "select").dropped == {"in_earlier_role": 10}


def test_same_seed_same_bytes_whatever_the_order_of_lines(folder):
    lines = labelled(range(300))
    roles = build({"train": write(folder / "x.tsv", lines)}, limit=200)
    random.Random(1).shuffle(lines)
    again = build({"train": write(folder / "x.tsv", lines)}, limit=200)
    assert again == roles
    other = build({"train": write(folder / "x.tsv", lines)}, limit=200, seed=1)
    assert sizes(other) == sizes(roles)
    assert all(keys(other.corpora[role]) != keys(roles.corpora[role]) for role in ALWAYS)


cells = st.text("abcdeé \t", max_size=3)
rows = st.lists(st.tuples(cells, st.sampled_from(["0", "1", "sv", "fr"])), max_size=60)


@settings(max_examples=50, deadline=None)
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
        "import sys, sprog.corpora; print(*{'pandas', 'transformers', 'defusedxml'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""


def test_a_panel_is_read_where_it_is_given_and_shares_nothing(folder):
    others = ("sv", "nb")
    text = columns(range(60))
    panel = [
        "da\ten\tsv\tnb",
        *(f"sætning {i}\tsentence {i}\tmening {i}\tsetning {i}" for i in range(50, 90)),
    ]
    specs = {"train": write(folder / "t.tsv", text), "panel": write(folder / "p.tsv", panel)}
    roles = build(specs, others=others)
    check(roles)
    assert list(roles.corpora) == [*ALWAYS, "panel"]
    assert roles.corpora["panel"].languages == ("da", "en", "nb", "sv")
    # what train has too is gone; pairs of other files are other pairs, so their other languages stay
    assert {s.text for s in roles.corpora["panel"].only("da").sentences} == {
        f"sætning {i}" for i in range(60, 90)
    }
    assert len(roles.corpora["panel"].only("sv")) == 40
    assert row_of(roles, "panel", "en").dropped["in_earlier_role"] == 10


def test_a_panel_needs_the_target_too(folder):
    specs = {
        "train": write(folder / "t.tsv", columns(range(60))),
        "replicate": f"en={write(folder / 'e.txt', ['a sentence', 'and more'])}",
    }
    with pytest.raises(SprogError, match="corpora.replicate: no da sentence"):
        build(specs)
