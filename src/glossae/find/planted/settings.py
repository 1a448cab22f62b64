"""What kinds of features are planted, how many of each, and how strong."""

from dataclasses import dataclass

from glossae.errors import GlossaeError

CODES = ("da", "nb", "sv", "de", "en", "nl", "fr", "fi")
"""Names of the planted languages, in order; they mean nothing."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Kinds:
    """How many features of each kind, and their rates. What is left over is for no language: equal everywhere.

    A feature's strength is the population AUROC, over sentences, of its languages against each other one.

    Attributes:
        single: features for one language, of each language.
        groups: features for several languages, of each group: the first 3, the first 4, the last 2.
        around: near misses of each language whose AUROC is in `under` against every other language.
        sibling: near misses of each language whose AUROC is the bound against one other language, and as for one
            language against the rest: the least favourable nulls of an intersection test.
        together: features that fire together with another one, their leader, of whatever kind that is.
        strength: AUROC against the nearest language; against the others it is anything from there on upwards.
        under: AUROC of near misses that are near everywhere; drawn evenly.
        bound: AUROC of near misses that are as near as can be.
        on_rate: share of tokens on which a feature fires in its own languages; log-uniform.
        off_rate: share of tokens on which a feature for no language fires; log-uniform.
    """

    single: int = 24
    groups: int = 12
    around: int = 12
    sibling: int = 12
    together: int = 64
    strength: Range = (0.88, 0.995)
    under: Range = (0.75, 0.8)
    bound: float = 0.8
    on_rate: Range = (0.15, 0.5)
    off_rate: Range = (0.0005, 0.02)

    def special(self, languages: int) -> int:
        """How many features are not left over."""
        one = self.single + self.around + self.sibling
        return languages * one + len(groups_of(languages)) * self.groups + self.together

    def check(self, features: int, languages: int) -> None:
        """Refuse what cannot be planted.

        Raises:
            GlossaeError: more features than there are, or a range that is none.
        """
        if languages < 2:
            raise GlossaeError(f"planted.languages: at least 2 are needed, got {languages}")
        if (taken := self.special(languages)) >= features:
            raise GlossaeError(f"planted.features: {features} are too few for {taken} of the kinds asked for")
        for name in ("strength", "under", "on_rate", "off_rate"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                raise GlossaeError(
                    f"planted.{name}: has to rise and lie between 0 and 1, got ({low}, {high})"
                )


def groups_of(languages: int) -> tuple[tuple[int, ...], ...]:
    """The groups that have features of their own: the first 3, the first 4, the last 2, as far as there are others."""
    found = (tuple(range(3)), tuple(range(4)), (languages - 2, languages - 1))
    return tuple(group for group in found if max(group) < languages and len(group) < languages)


def names_of(languages: int) -> tuple[str, ...]:
    """The codes of the planted languages."""
    return tuple(CODES[i] if i < len(CODES) else f"x{i}" for i in range(languages))
