"""What is read: languages and where their text comes from."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sprog.recipe.fitting import Distinct
from sprog.recipe.group import Settings
from sprog.recipe.kinds import Count, Language, Text


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

    train: Text
    """Text for the autoencoder and the probes."""
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
