"""Which units are the language: tests and rules."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from glossae.recipe.fitting import Above, AtLeast, Between, Distinct, NotEmpty
from glossae.recipe.group import Settings
from glossae.recipe.kinds import Count, Fraction, Language


@dataclass(frozen=True, kw_only=True)
class Evidence(Settings):
    """Tests of which units are the language, against each other language, with a false discovery rate."""

    group: ClassVar[str] = "evidence"

    minimum: Annotated[float, Between(0.5, 0.99)] = 0.8
    """A unit has to rank sentences of one language above another's more often than this (an AUROC)."""
    q: Annotated[float, Above(0), Between(0, 0.5)] = 0.05
    """The share of false discoveries that is put up with."""
    method: Literal["exact", "studentised"] = "exact"
    """How p-values are found: by a bound that always holds, or by a normal approximation, which finds more."""
    permutations: Annotated[int, AtLeast(0)] = 1000
    """Shuffles of the sentences' languages, for family-wise control and to check calibration; 0: none."""
    scores: bool = True
    """Also rank the units by the field's other scores, and say how far they agree."""
    tokens: Count = 1
    """Join sentences into passages of at least so many tokens, and rank those; 1: each sentence by itself. A unit's
    mean over few tokens varies more, so units look worse on short sentences."""
    seeds: Annotated[int, AtLeast(0)] = 0
    """Train so many more autoencoders with other seeds, and see which of the units come again; 0: none."""
    ambiguous: Literal["keep", "drop"] = "keep"
    """What becomes of sentences whose words belong to two of the languages alike: they are counted, or set aside."""
    identify: bool = True
    """Also tell languages apart, sentences and tokens, by a few units, the whole activation and n-grams."""
    identify_units: Annotated[tuple[Count, ...], NotEmpty(), Distinct()] = (1, 5, 20)
    """By so many units a language."""
    identify_languages: Annotated[tuple[Language, ...], Distinct()] = ()
    """Tell these apart too, together, beside the pair, all of the panel, and the target and each other one."""

    def check(self) -> None:
        """There is nothing to tell one language from."""
        if len(self.identify_languages) == 1:
            self.refuse("identify_languages", "takes two languages or more")


@dataclass(frozen=True, kw_only=True)
class Features(Settings):
    """The rule that says which units are the language."""

    group: ClassVar[str] = "features"

    rule: Literal["paper", "tested"] = "paper"
    """Take the units by the paper's thresholds, or those that pass the tests of evidence.* against every language."""
    at_most: Count = 20
    """With rule tested, take so many at most: those that are furthest from every other language."""
    min_target: Fraction = 0.5
    """A unit fires on more than this share of the target's tokens."""
    max_reference: Fraction = 0.01
    """And on less than this share of the reference's."""
    fallback: Annotated[int, AtLeast(0)] = 4
    """How many units to take, marked as such, when none passes; 0: none."""
    max_reference_fallback: Fraction = 0.02
    """The share of the reference's tokens under which those must stay."""
    units: Annotated[tuple[Annotated[int, AtLeast(0)], ...], Distinct()] = ()
    """Take these units as the language's instead of selecting; none: select."""


@dataclass(frozen=True, kw_only=True)
class Baselines(Settings):
    """What training adds: the autoencoder's units beside those of untrained ones and of what needs no autoencoder."""

    group: ClassVar[str] = "baselines"

    untrained: Annotated[int, AtLeast(0)] = 3
    """So many untrained autoencoders, each of another seed, whose units are found by the same rule; 0: no baselines."""
    trained: Annotated[int, AtLeast(0)] = 0
    """So many more trained autoencoders, in the same pass over the text, each of another seed."""
    frozen: Annotated[int, AtLeast(0)] = 0
    """So many autoencoders, in the same pass, whose decoder stays random and whose encoder is trained."""
    sizes: Annotated[tuple[Count, ...], NotEmpty(), Distinct()] = (1, 4, 10)
    """Sets of so many units are switched off, those furthest from every other language."""
    damage: Annotated[tuple[Annotated[float, Above(0)], ...], Distinct()] = (0.1, 0.3)
    """Sets of the largest size are also turned down until the target's loss has risen by so much, nats a token."""
    precision: Annotated[float, Above(0)] = 0.02
    """Sentences are added until half the 95 % interval of each change of loss is at most this, nats a token, or a tenth
    of the change."""
    lape: bool = True
    """Also switch off the LAPE neurons of all layers."""
