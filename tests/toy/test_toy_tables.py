"""The tables are complete and the same size in every language."""

import pytest

from toy_grammar import CONSTRUCTIONS
from toy_grammar.tables import LANGUAGES, lexemes, load_table, parse_table


def test_enough_to_say():
    assert sum(map(len, lexemes().values())) >= 300
    assert len(CONSTRUCTIONS) >= 25
    assert len(set(CONSTRUCTIONS)) == len(CONSTRUCTIONS)


def classes(cell):
    return cell.split(",")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_lexeme_in_every_language(language):
    table = load_table(language)
    for part, ids in lexemes().items():
        assert tuple(table[part]) == ids, part
    places = [noun for noun, row in load_table("lexicon")["noun"].items() if "place" in classes(row["class"])]
    assert list(table["place"]) == places


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_mass_nouns_lack_a_plural(language):
    counts = load_table("lexicon")["noun"]
    for noun, row in load_table(language)["noun"].items():
        plurals = {form for column, form in row.items() if column.startswith("pl")}
        assert ("-" in plurals) == (counts[noun]["count"] == "mass"), noun
    for part in ("adjective", "modal", "pronoun", "it", "possessive", "time", "adverb", "preposition"):
        if part == "it" and language == "en":
            continue
        assert all("-" not in row.values() for row in load_table(language)[part].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_forms_are_there_for_what_is_said(language):
    verbs, table = load_table("lexicon")["verb"], load_table(language)["verb"]
    for verb, row in verbs.items():
        uses = classes(row["also"])
        if not {"imperative", "warn"}.isdisjoint(uses):
            assert table[verb].get("imperative", "base") != "-", verb
        lasts = "event" in classes(row["aspect"]) and "instant" not in classes(row["aspect"])
        if language == "en" and lasts:
            assert table[verb]["ing"] != "-", verb
        if language == "de" and not {"transitive", "ditransitive"}.isdisjoint(classes(row["frame"])):
            assert table[verb]["object"] in ("acc", "dat"), verb
    for time in load_table(language)["time"].values():
        assert len(time["form"].split()) == len(time["tags"].split())


def test_semantics_name_only_what_exists():
    lexicon = load_table("lexicon")
    nouns = {name for row in lexicon["noun"].values() for name in classes(row["class"])}
    wanted = {name for row in lexicon["adjective"].values() for name in classes(row["of"])}
    wanted |= {name for row in lexicon["preposition"].values() for name in classes(row["of"])}
    for row in lexicon["verb"].values():
        wanted |= {
            name for column in ("subject", "object", "animal", "place") for name in classes(row[column])
        }
    assert wanted - {"-"} <= nouns
    reasons = {
        name for row in lexicon["verb"].values() for c in ("state", "quality") for name in classes(row[c])
    }
    assert reasons - {"-"} <= set(lexicon["adjective"])


def test_every_noun_can_be_described_or_is_a_place():
    lexicon = load_table("lexicon")
    suited = {name for row in lexicon["adjective"].values() for name in classes(row["of"])}
    for noun, row in lexicon["noun"].items():
        assert "place" in classes(row["class"]) or not suited.isdisjoint(classes(row["class"])), noun


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("noun\tsg\tpl\ndog\thund\n", "xx.tsv, line 2: expected 2 forms"),
        ("noun\tsg\tpl\ndog\thund\t \n", "xx.tsv, line 2: expected 2 forms"),
        ("noun\tsg\ndog\thund\ndog\tkat\n", "xx.tsv, line 3: dog occurs twice"),
    ],
)
def test_a_broken_table_is_refused_by_line(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_table("xx", text)
