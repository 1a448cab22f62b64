"""What is read: languages and where their text comes from."""

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, ClassVar

from glossae.recipe.fitting import Distinct
from glossae.recipe.group import Settings
from glossae.recipe.kinds import Count, Language, Text


@dataclass(frozen=True, kw_only=True)
class Languages(Settings):
    """Which languages are told apart."""

    group: ClassVar[str] = "languages"

    target: Language = "da"
    """The language whose units are looked for."""
    reference: Language = "en"
    """The language that they must leave alone."""
    others: Annotated[tuple[Language, ...], Distinct()] = ()
    """More languages to measure the units on, where the text has them."""

    def check(self) -> None:
        """The target, the reference and the others are different languages."""
        if self.target == self.reference:
            self.refuse("reference", f"must be another language than languages.target, {self.target!r}")
        for language in self.others:
            if language in (self.target, self.reference):
                self.refuse("others", f"{language!r} is already the target or the reference")


@dataclass(frozen=True, kw_only=True)
class Corpora(Settings):
    """Where the text comes from. A role takes one or several sources, separated by blanks."""

    group: ClassVar[str] = "corpora"

    text: Text | None = None
    """Text in every language out of which all roles but replicate are cut, such as "sv=A.txt en=B.txt da=C.txt"; takes
    the place of corpora.train, select, tune, test and panel."""
    train: Text | None = None
    """Text for the autoencoder and the probes; none: cut out of corpora.text."""
    select: Text | None = None
    """Text on which units are selected; none: 30 % of train."""
    tune: Text | None = None
    """Text on which doses are set; none: 20 % of what is left of select."""
    test: Text | None = None
    """Text for every claim; none: half of select."""
    panel: Text | None = None
    """Text of one kind in all languages, on which units are tested against each language; none: select."""
    replicate: Text | None = None
    """Text of another kind in all languages, on which the units found are tested again; none: they are not."""
    limit: Count | None = None
    """At most this many sentences of each language in train, before other roles are cut out of it."""
    panel_limit: Count | None = None
    """At most this many sentences of each language in panel (half of them are held out) and replicate; none: all."""
    test_limit: Count | None = None
    """At most this many sentences of each language in each of select, tune and test; none: all."""

    def check(self) -> None:
        """There is text, and no role is both given and cut out of corpora.text."""
        if self.text is None and self.train is None:
            self.refuse("text", "give this or corpora.train")
        for role in ("train", "select", "tune", "test", "panel"):
            if self.text is not None and getattr(self, role) is not None:
                self.refuse(
                    role, f"is cut out of corpora.text: give corpora.text or corpora.{role}, not both"
                )

    @property
    def sources(self) -> dict[str, str | None]:
        """What is given per role, and as `text`."""
        roles = ("text", "train", "select", "tune", "test", "panel", "replicate")
        return {role: getattr(self, role) for role in roles}


def declared_languages(text: str) -> tuple[tuple[str, ...], bool]:
    """The languages that source strings name, in order, and whether they name all that the sources have.

    `da=PATH`, `da=PATH,en=PATH` and `cols:en,da:PATH` name them; of other sources only reading tells.

    Args:
        text: source strings separated by blanks.
    """
    found: dict[str, None] = {}
    is_all = True
    try:
        words = shlex.split(text)
    except ValueError:
        # reading the text says that a quote is not closed
        return (), False
    for word in words:
        if word.startswith("cols:"):
            codes = [code for code in word.split(":")[1].split(",") if code.strip() != "-"]
        elif re.match(r"[\w-]+=", word):
            codes = [part.partition("=")[0] for part in re.split(r",(?=[\w-]+=)", word)]
        else:
            codes = []
        found |= dict.fromkeys(re.split("[-_]", code.strip().lower())[0] for code in codes)
        is_all = is_all and bool(codes)
    return tuple(found), is_all
