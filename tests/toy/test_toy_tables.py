"""The tables are complete and the same size in every language."""

import pytest

from sprog.toy import CONSTRUCTIONS, LANGUAGES, lexemes
from sprog.toy.tables import load_table, parse_table


def test_enough_to_say():
    assert sum(map(len, lexemes().values())) >= 150
    assert len(CONSTRUCTIONS) >= 16
    assert len(set(CONSTRUCTIONS)) == len(CONSTRUCTIONS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_lexeme_in_every_language(language):
    table = load_table(language)
    for part, ids in lexemes().items():
        assert tuple(table[part]) == ids, part
    places = [noun for noun, row in load_table("lexicon")["noun"].items() if row["class"] == "place"]
    assert list(table["place"]) == places


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_mass_nouns_lack_a_plural(language):
    counts = load_table("lexicon")["noun"]
    for noun, row in load_table(language)["noun"].items():
        plurals = {form for column, form in row.items() if column.startswith("pl")}
        assert ("-" in plurals) == (counts[noun]["count"] == "mass"), noun
    for part in ("adjective", "modal", "pronoun", "possessive", "time", "adverb", "preposition"):
        assert all("-" not in row.values() for row in load_table(language)[part].values())


def test_semantics_name_only_what_exists():
    lexicon = load_table("lexicon")
    classes = {name for row in lexicon["noun"].values() for name in row["class"].split(",")}
    wanted = {name for row in lexicon["adjective"].values() for name in row["of"].split(",")}
    for row in lexicon["verb"].values():
        wanted |= {name for column in ("subject", "object") for name in row[column].split(",") if name != "-"}
    assert wanted <= classes


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
