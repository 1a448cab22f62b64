"""What a unit may be called: claims that set some languages of a panel against others."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sprog.errors import SprogError

EVERYBODY = "en"
"""The language that "not English" is about: what nearly every model has seen most of."""


@dataclass(frozen=True)
class Claim:
    """That a unit stands for the languages inside, and for none of those outside.

    It holds where every language inside is told from every one outside: an intersection of alternatives, so its
    p-value is the largest of theirs (Berger 1982).

    Attributes:
        name: such as `Danish`, `Scandinavian` or `non-English`.
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

    A group's claim needs two of its languages in the panel and one outside of it.

    Raises:
        SprogError: the panel lacks the target, or has no other language.
    """
    panel = tuple(sorted(set(languages)))
    if target not in panel:
        raise SprogError(
            f"{target}: the table has no sentence of this language, only {', '.join(panel) or 'none'}"
        )
    if len(panel) == 1:
        raise SprogError(f"{target}: the table has no other language to tell it from")
    sets = [(name_of(target), {target})]
    sets += [(group, {code for code in panel if group in _groups(code)}) for group in _groups(target)]
    if target != EVERYBODY and EVERYBODY in panel:
        sets.append((f"non-{name_of(EVERYBODY)}", set(panel) - {EVERYBODY}))
    found: list[Claim] = []
    for name, inside in sets:
        outside = set(panel) - inside
        known = next((i for i, claim in enumerate(found) if set(claim.inside) == inside), None)
        if known is not None:
            claim = found[known]
            found[known] = Claim(claim.name, claim.inside, claim.outside, (*claim.same, name))
        elif outside:
            found.append(Claim(name, tuple(sorted(inside)), tuple(sorted(outside))))
    return tuple(found)


def name_of(code: str) -> str:
    """The English name of a language; its code, if `languages.tsv` lacks it."""
    return _table()[code][0] if code in _table() else code


def _groups(code: str) -> tuple[str, ...]:
    """The groups of a language, from narrow to wide."""
    return _table()[code][1] if code in _table() else ()


@cache
def _table() -> dict[str, tuple[str, tuple[str, ...]]]:
    text = files("sprog.features.testing").joinpath("languages.tsv").read_text(encoding="utf-8")
    return {
        row["code"]: (row["name"], tuple(group.strip() for group in row["groups"].split(",")))
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    }
