"""Roles are disjoint, accounted for to the last sentence, and decided by the seed and the text alone."""

import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import ROLES, Corpus, Sentence, build_roles, untested

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
        "import sys, glossae.text; print(*{'pandas', 'transformers', 'defusedxml'} & sys.modules.keys())"
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
    with pytest.raises(GlossaeError, match="corpora.replicate: no da sentence"):
        build(specs)


# ---- every role out of one text


def files_of(folder, numbers, *, words="ord"):
    """A file per language, one sentence a line, no two languages with a sentence in common."""
    return " ".join(
        f"{code}={write(folder / f'{code}.txt', [f'{code} {words} {spelled(i)}' for i in range(number)])}"
        for code, number in numbers.items()
    )


def spelled(number):
    """A number in letters: numerals alone make no two sentences different."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def by_language(roles):
    return {role: {code: len(c.only(code)) for code in c.languages} for role, c in roles.corpora.items()}


def test_a_file_per_language_is_cut_into_every_role(folder):
    roles = build(
        {"text": files_of(folder, {"da": 1000, "en": 1000, "sv": 1000})}, others=["sv"], trained=("da", "en")
    )
    check(roles)
    assert roles.translations_may_straddle
    assert {role: own["da"] for role, own in by_language(roles).items()} == {
        "train": 500,
        "select": 60,
        "tune": 40,
        "test": 100,
        "panel": 300,
    }
    # nothing is trained on, so that the others have twice as much; one is always left
    assert {role: own["sv"] for role, own in by_language(roles).items()} == {
        "train": 1,
        "select": 120,
        "tune": 79,
        "test": 200,
        "panel": 600,
    }
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
    rows = [f"sætning {spelled(i)}\tsentence {spelled(i)}\tmening {spelled(i)}" for i in range(400)]
    roles = build({"text": write(folder / "x.tsv", ["da\ten\tsv", *rows])}, others=["sv"], panel_limit=50)
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
    rows = [f"sætning {spelled(i)}\tsentence {spelled(i)}\tmening {spelled(i)}" for i in range(100)]
    speech = write(folder / "speech.tsv", ["da\ten\tsv", *rows])
    text = f"{speech} {files_of(folder, {'da': 300, 'en': 300})}"
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


def test_text_leaves_no_role_to_be_given_but_replicate(folder):
    text = files_of(folder, {"da": 50, "en": 50})
    again = write(folder / "again.tsv", labelled(range(20)))
    assert len(build({"text": text, "replicate": again}).corpora["replicate"]) == 40
    for role in ("train", "panel"):
        with pytest.raises(
            GlossaeError, match=rf"corpora\.{role}: is cut out of corpora.text: give one of the"
        ):
            build({"text": text, role: again})
    with pytest.raises(
        GlossaeError, match=r"corpora\.text: no en sentence .*give corpora\.text other or more"
    ):
        build({"text": files_of(folder, {"da": 50})})
    with pytest.raises(GlossaeError, match=r"corpora\.text: 'nowhere\.xyz': is not a source"):
        build({"text": "nowhere.xyz"})
    with pytest.raises(GlossaeError, match=r"corpora\.panel_limit: 0: write a number"):
        build({"text": text}, panel_limit=0)


@settings(max_examples=40, deadline=None)
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
    assert untested(roles.sentences, ["sv", "nb"], roles.left_out) == [
        "languages.others: nb is neither tested nor measured: there is no text in it",
        "corpora.text: de is neither tested nor measured: name it in languages.others",
    ]
    some = {"train": {"sv": 3}, "select": {"sv": 2, "nb": 1}, "test": {"nb": 2}, "panel": {"sv": 9}}
    assert untested(some, ["sv", "nb"]) == [
        "languages.others: no effect on sv is measured: test has no text in it",
        "languages.others: no unit is tested against nb: panel has no text in it",
    ]
