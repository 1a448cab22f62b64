"""What a unit may be called: claims that set some languages of a panel against others."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from glossae.errors import GlossaeError

EVERYBODY = "en"
"""The language that "not English" is about: what nearly every model has seen most of."""


@dataclass(frozen=True)
class Claim:
    """That a unit stands for the languages inside, and for none of those outside.

    It holds where every language inside is told from every one outside: an intersection of alternatives, so its
    p-value is the largest of theirs (Berger 1982).

    Attributes:
        name: such as `Danish`, `Danish, Norwegian Bokmål aside`, `Scandinavian` or `non-English`.
        inside: codes, sorted.
        outside: codes, sorted.
        same: wider names that this panel cannot tell from it, since they have the same languages inside and
            outside: with Danish and English only, `Danish` may as well be `non-English`.
    """

    name: str
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    same: tuple[str, ...] = ()

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """Every language inside with every one outside."""
        return tuple((a, b) for a in self.inside for b in self.outside)


def claims(target: str, languages: Sequence[str]) -> tuple[Claim, ...]:
    """The claims that a panel allows, the most specific first: the target, its groups from narrow to wide, non-English.

    A group's claim needs two of its languages in the panel and one outside of it. Where the panel has a language so
    close to the target that readers of one read the other (Bokmål, of Danish), there is a claim that leaves it aside.

    Raises:
        GlossaeError: the panel lacks the target, or has no other language.
    """
    panel = tuple(sorted(set(languages)))
    if target not in panel:
        raise GlossaeError(
            f"{target}: the table has no sentence of this language, only {', '.join(panel) or 'none'}"
        )
    if len(panel) == 1:
        raise GlossaeError(f"{target}: the table has no other language to tell it from")
    everybody = set(panel)
    sets = [(name_of(target), {target}, everybody - {target})]
    if aside := everybody.intersection(_column(target, "closest")):
        names = " and ".join(sorted(map(name_of, aside)))
        sets.append((f"{name_of(target)}, {names} aside", {target}, everybody - {target} - aside))
    for group in _column(target, "groups"):
        inside = {code for code in panel if group in _column(code, "groups")}
        sets.append((group, inside, everybody - inside))
    if target != EVERYBODY and EVERYBODY in panel:
        sets.append((f"non-{name_of(EVERYBODY)}", everybody - {EVERYBODY}, {EVERYBODY}))
    found: list[Claim] = []
    for name, inside, outside in sets:
        alike = [
            i for i, claim in enumerate(found) if (set(claim.inside), set(claim.outside)) == (inside, outside)
        ]
        if alike:
            claim = found[alike[0]]
            found[alike[0]] = Claim(claim.name, claim.inside, claim.outside, (*claim.same, name))
        elif outside:
            found.append(Claim(name, tuple(sorted(inside)), tuple(sorted(outside))))
    return tuple(found)


def name_of(code: str) -> str:
    """The English name of a language; its code, if `languages.tsv` lacks it."""
    return _table()[code]["name"] if code in _table() else code


def _column(code: str, name: str) -> tuple[str, ...]:
    """A language's groups, from narrow to wide, or the languages closest to it."""
    column = _table()[code][name] if code in _table() else ""
    return tuple(part.strip() for part in column.split(",") if part)


@cache
def _table() -> dict[str, dict[str, str]]:
    text = files("glossae.find.testing").joinpath("languages.tsv").read_text(encoding="utf-8")
    return {row["code"]: row for row in csv.DictReader(text.splitlines(), delimiter="\t")}
