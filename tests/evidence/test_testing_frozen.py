"""A selected set is written once, read as it was written, tested again on other text only, and is one score."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import beta

from glossae.errors import GlossaeError
from glossae.evidence.testing import (
    FrozenSet,
    SetScore,
    freeze,
    load_frozen,
    passing_subsets,
    replicate,
    restrict,
    units_evidence,
)
from sentence_tables import make_table

N, UNITS = 60, 12
DANISH = (0, 3, 7, 9)
FRESH = {"text": "other"}


def panel(
    seed=0, codes=("da", "en", "sv"), strong=DANISH, n=N, identity="latent layer3.resid abc", **changes
):
    """A table whose units `strong` are high on Danish."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(codes) * n, UNITS))
    languages = np.repeat(codes, n)
    values[np.ix_(languages == "da", list(strong))] += 6
    return make_table(values, languages, identity=identity, **changes)


@pytest.fixture(scope="module")
def evidence():
    return units_evidence(panel(), "da")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frozen" / "latents.json"


@pytest.fixture
def frozen(evidence, path):
    return freeze(evidence, "Danish", path, text="this")


# ---- written down


def test_what_is_read_is_what_was_written(evidence, frozen, path):
    assert load_frozen(path) == frozen
    assert load_frozen(path).hash == frozen.hash
    assert frozen.units == evidence.passing("Danish")
    assert sorted(frozen.units) == list(DANISH)
    assert (frozen.claim, frozen.target, frozen.inside, frozen.outside) == (
        "Danish",
        "da",
        ("da",),
        ("en", "sv"),
    )
    assert (frozen.minimum, frozen.q, frozen.method) == (0.8, 0.05, "exact")
    assert (frozen.identity, frozen.text) == ("latent layer3.resid abc", "this")


def test_the_same_set_may_be_frozen_again_and_no_other(evidence, frozen, path):
    before = path.read_bytes()
    assert freeze(evidence, "Danish", path, text="this") == frozen
    with pytest.raises(
        GlossaeError, match=r"^Uralic: the table's languages allow no such claim, only Danish"
    ):
        freeze(evidence, "Uralic", path, text="this")
    for other, claim, text in (
        (evidence, "Danish", "that"),
        (evidence, "Scandinavian", "this"),
        (units_evidence(panel(), "da", q=0.01), "Danish", "this"),
    ):
        with pytest.raises(
            GlossaeError, match="json: another set is frozen there: remove the file, or name another$"
        ):
            freeze(other, claim, path, text=text)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("units", [0, 3]),
        ("units", None),
        ("claim", "Swedish"),
        ("outside", "en"),
        ("minimum", 0.7),
        ("minimum", float("nan")),
        ("method", "studentised"),
        ("text", "that"),
        ("hash", "0" * 16),
        ("hash", 5),
    ],
)
def test_a_file_that_was_changed_is_refused(frozen, path, key, value):
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(GlossaeError, match=rf"^{path}: was changed since it was frozen: bring the"):
        load_frozen(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON: "),
        (b"\xff\xfe", "is not JSON: "),
        (b"[1, 2]", "is not a frozen set$"),
        (b'{"units": []}', "is not a frozen set$"),
        (None, r"cannot be read \(No such file or directory\)$"),
    ],
)
def test_what_is_no_frozen_set_is_refused(path, content, said):
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GlossaeError, match=rf"^\S*latents.json: {said}"):
        load_frozen(path)


def test_a_set_cannot_be_made_by_hand(frozen):
    fields = {name: getattr(frozen, name) for name in frozen.__dataclass_fields__}
    assert FrozenSet(**fields) == frozen
    with pytest.raises(GlossaeError, match="^the frozen set of Danish was changed: its hash is not"):
        FrozenSet(**(fields | {"units": (1, 2)}))


# ---- tested again


def test_what_holds_on_other_text_passes_again(frozen):
    # one of the set is not Danish there, and another that is was not selected
    lost = frozen.units[1]
    again = replicate(frozen, panel(1, strong=[*(unit for unit in DANISH if unit != lost), 5]), text="other")
    assert (again.frozen, again.text) == (frozen, "other")
    assert again.passed.tolist() == [unit != lost for unit in frozen.units]
    assert again.share == 0.75
    # Clopper and Pearson's ends are quantiles of beta distributions
    assert again.low == pytest.approx(beta.ppf(0.025, 3, 2))
    assert again.high == pytest.approx(beta.ppf(0.975, 4, 1))
    assert again.claim.comparisons == (("da", "en"), ("da", "sv"))
    assert again.auroc.of("da", "en")[1] < 0.7


def test_it_is_the_same_test_over_the_set_only(path):
    found = units_evidence(panel(), "da", minimum=0.6, q=0.01, method="studentised")
    frozen = freeze(found, "Danish", path, text="this")
    again = replicate(frozen, panel(1), text="other")
    same = units_evidence(panel(1), "da", minimum=0.6, q=0.01, method="studentised").claim("Danish")
    np.testing.assert_allclose(again.p, same.p[list(frozen.units)], rtol=1e-12)
    np.testing.assert_array_equal(again.passed, again.q <= 0.01)
    # of four tests rather than twelve: no unit is worse off
    assert (again.q <= same.q[list(frozen.units)]).all()


def test_languages_that_only_one_text_has_are_no_part_of_the_claim(frozen):
    again = replicate(frozen, panel(1, codes=("da", "de", "en")), text="other")
    assert (again.claim.inside, again.claim.outside) == (("da",), ("en",))
    assert again.auroc.languages == ("da", "de", "en")


def test_a_set_of_nothing_says_nothing(path):
    nothing = units_evidence(panel(strong=()), "da")
    frozen = freeze(nothing, "Danish", path, text="this")
    assert frozen.units == ()
    again = replicate(load_frozen(path), panel(1), text="other")
    assert (again.share, again.low, again.high) == (None, 0.0, 1.0)
    assert len(again.p) == len(again.q) == len(again.passed) == 0


def test_the_same_text_and_other_units_are_refused(frozen):
    with pytest.raises(
        GlossaeError, match="^the frozen set of Danish was selected on this very text: test it on"
    ):
        replicate(frozen, panel(1), text="this")
    said = "^the frozen set of Danish is of the units latent layer3.resid abc, and these are neuron 2$"
    with pytest.raises(GlossaeError, match=said):
        replicate(frozen, panel(1, identity="neuron 2"), **FRESH)
    with pytest.raises(GlossaeError, match=said):
        frozen.check_units("neuron 2")
    frozen.check_units("latent layer3.resid abc")


def test_a_text_that_lacks_a_language_of_the_claim_is_refused(frozen, path):
    for codes, said in (
        (("en", "sv"), r"^Danish: the other text has no da, so it cannot test the claim again$"),
        (("da", "de"), r"^Danish: the other text has no en and no sv, so it cannot test the claim again$"),
    ):
        with pytest.raises(GlossaeError, match=said):
            replicate(frozen, panel(1, codes=codes), **FRESH)
    # of a group every language has to be there
    found = units_evidence(panel(), "da")
    group = freeze(found, "Scandinavian", path.with_name("group.json"), text="this")
    with pytest.raises(GlossaeError, match=r"^Scandinavian: the other text has no sv, so it cannot"):
        replicate(group, panel(1, codes=("da", "en")), **FRESH)


def test_a_text_of_different_sources_or_too_few_sentences_is_refused(frozen):
    apart = panel(1, sources=np.repeat(["a", "b", "a"], N))
    with pytest.raises(GlossaeError, match="^en and da: their sentences come from different sources"):
        replicate(frozen, apart, **FRESH)
    assert replicate(frozen, apart, **FRESH, within="all").share == 1
    # four units are four tests: twelve would ask for more
    with pytest.raises(
        GlossaeError, match="^da and en: 10 and 10 sentences are too few: no unit of 4 could show"
    ):
        replicate(frozen, panel(1, n=10), **FRESH)
    assert replicate(frozen, panel(1, n=20), **FRESH).share == 1


# ---- the set as one score, and on chosen sentences

LANGUAGES = ["da"] * 60 + ["en"] * 60 + ["sv"] * 60


def values(seed, shift=(3.0, 0.0, 1.5)):
    """Units 0 and 1 are higher by `shift` on each language; the second's values are a hundred times as large."""
    found = np.random.default_rng(seed).normal(size=(180, 4))
    found[:, :2] += np.repeat(shift, 60)[:, None]
    found[:, 1] *= 100
    return found


@pytest.fixture
def found():
    return make_table(values(0), LANGUAGES)


@pytest.fixture
def chosen(found, tmp_path):
    evidence = units_evidence(found, "da", minimum=0.6, within="all")
    return freeze(evidence, "Danish", tmp_path / "set.json", text="found on")


def test_the_score_is_the_mean_of_standardised_values(found, chosen):
    assert set(chosen.units) == {0, 1}
    score, values_there = SetScore.of(chosen, found), values(1)
    other = make_table(values_there, LANGUAGES)
    own = score.values(other)
    expected = (values_there / values(0).std(0))[:, list(chosen.units)].mean(1)
    np.testing.assert_allclose(own, expected, rtol=1e-5)
    # a unit that was always the same adds nothing
    flat = dataclasses.replace(score, deviation=np.array([0.0, score.deviation[1]]))
    expected = values_there[:, chosen.units[1]] / score.deviation[1] / 2
    np.testing.assert_allclose(flat.values(other), expected, rtol=1e-5)
    # its AUROC counts every comparison, also of some sentences
    auroc, some = score.auroc(other), score.auroc(other, [*range(20), *range(60, 70)])
    assert (auroc.languages, some.languages) == (("da", "en", "sv"), ("da", "en"))
    assert auroc.of("sv", "en")[0] == (own[120:, None] > own[60:120]).mean()
    assert some.of("da", "en")[0] == (own[:20, None] > own[60:70]).mean()
    # Swedish is halfway between the other two, and told from both
    assert auroc.of("da", "en")[0] > auroc.of("sv", "en")[0] > 0.7


def test_a_set_of_nothing_and_other_units_are_refused(found, chosen, tmp_path):
    evidence = units_evidence(make_table(values(2, shift=(0, 0, 0)), LANGUAGES), "da", within="all")
    nothing = freeze(evidence, "Danish", tmp_path / "none.json", text="found on")
    with pytest.raises(GlossaeError, match="is empty"):
        SetScore.of(nothing, found)
    strange = make_table(values(1), LANGUAGES, identity="latent layer3.resid other")
    with pytest.raises(GlossaeError, match="different units"):
        SetScore.of(chosen, found).auroc(strange)
    with pytest.raises(GlossaeError, match="latent layer3.resid other"):
        restrict(chosen, strange, "en", range(120), text="other text")


def test_on_all_sentences_it_is_what_replication_says(chosen):
    other = make_table(values(1), LANGUAGES)
    again = replicate(chosen, other, text="other text", within="all")
    parts = [restrict(chosen, other, language, range(180), text="other text") for language in ("en", "sv")]
    np.testing.assert_allclose(np.max([part.p for part in parts], axis=0), again.p)
    assert passing_subsets(chosen, parts).tolist() == again.passed.tolist()
    np.testing.assert_array_equal(parts[0].auroc.of("da", "sv"), again.auroc.of("da", "sv"))


def test_a_unit_that_only_reads_what_is_matched_passes_no_longer(found, chosen):
    # what made the difference is a covariate: among the sentences where it is alike there is none
    covariate = np.r_[np.linspace(1, 3, 60), np.linspace(0, 2, 60), np.zeros(60)]
    table = make_table(
        np.stack([covariate] * 4, axis=1) + np.random.default_rng(0).normal(size=(180, 4)) / 20, LANGUAGES
    )
    alike = np.flatnonzero((covariate >= 1) & (covariate <= 2))
    everything = restrict(chosen, table, "en", range(120), text="other text")
    matched = restrict(chosen, table, "en", alike, text="other text")
    assert everything.auroc.of("da", "en").min() > 0.8
    assert matched.reason is None
    assert np.abs(matched.auroc.of("da", "en") - 0.5).max() < 0.1
    assert passing_subsets(chosen, [everything]).all()
    assert not passing_subsets(chosen, [matched]).any()


def test_too_few_sentences_are_said_and_cannot_pass(chosen):
    other = make_table(values(1), LANGUAGES)
    few = restrict(chosen, other, "en", [0, 1, 2, 60, 61, 62], text="other text")
    assert "3 and 3 sentences are too few" in few.reason
    with pytest.raises(GlossaeError, match="too few"):
        passing_subsets(chosen, [few])
    with pytest.raises(GlossaeError, match="no language"):
        passing_subsets(chosen, [])
    with pytest.raises(GlossaeError, match="is in sv"):
        restrict(chosen, other, "sv", range(120), text="other text")
    with pytest.raises(GlossaeError, match="this very text"):
        restrict(chosen, other, "en", range(120), text="found on")
