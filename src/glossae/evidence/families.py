"""Families of units at a site, tested and frozen: latents, the site's coordinates, and directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from glossae.evidence.comparable import passages
from glossae.evidence.panels import Panel, first_tokens
from glossae.evidence.settings import EvidenceSettings
from glossae.evidence.testing import Evidence, FrozenSet, freeze, units_evidence
from glossae.files import delete
from glossae.lm import LanguageModel, Site, TokenizedCorpus
from glossae.units import (
    CountedUnits,
    Directions,
    Moments,
    Neurons,
    SentenceTable,
    UnitStatistics,
    activation_samples,
    collect_all,
    difference_of_means,
    discriminants,
    probe_normal,
    random_directions,
)

# tokens of each language behind a direction: enough for a mean and a probe of so many dimensions, and quickly read
DIRECTION_TOKENS, PER_DIMENSION = 20_000, 8
RANDOM_DIRECTIONS = 8

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Family:
    """Units of a kind with what was found of them on the half of a panel that is searched.

    Attributes:
        units: all of them.
        table: what each does on every sentence.
        statistics: how often each fires.
        evidence: every claim, tested on every unit.
        frozen: those that pass.
    """

    units: CountedUnits
    table: SentenceTable
    statistics: UnitStatistics
    evidence: Evidence
    frozen: FrozenSet


def find_families(
    lm: LanguageModel,
    site: Site,
    units: Sequence[CountedUnits],
    panel: Panel,
    settings: EvidenceSettings,
    folder: Path,
    progress: Progress = lambda _: None,
) -> list[Family]:
    """Test units of several kinds on the half of a panel that is searched, and freeze what passes.

    Args:
        lm: the model.
        site: where all units read.
        units: of each kind.
        panel: the text.
        settings: of the tests.
        folder: gets a frozen set of each kind: `latents.json`.
        progress: is told the share that is done.

    Raises:
        GlossaeError: the half has too little text of a language to test it.
    """
    text = panel.found_on
    collected = tables_of(
        lm, site, units, text, budget=settings.budget, progress=lambda x: progress((1 + 4 * x) / 10)
    )
    found = []
    for number, (each, (statistics, table)) in enumerate(zip(units, collected, strict=True)):

        def told(share: float, number: int = number) -> None:
            progress(0.5 + 0.5 * (number + share) / len(units))

        evidence, frozen = find_and_freeze(
            table,
            settings,
            folder / f"{each.kind}s.json",
            text=text.corpus.sha256,
            permutations=settings.permutations,
            progress=told,
        )
        found.append(Family(each, table, statistics, evidence, frozen))
    return found


def tables_of(
    lm: LanguageModel,
    site: Site,
    families: Sequence[CountedUnits],
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Progress = lambda _: None,
) -> list[tuple[UnitStatistics, SentenceTable]]:
    """Of each family of units its statistics and its table of sentences, in one pass over a text."""
    collected = collect_all(lm, site, families, tokens, budget=budget, progress=progress)
    return [(statistics, table) for statistics, table in collected if table is not None]


def evidence_on(
    table: SentenceTable,
    settings: EvidenceSettings,
    language: str | None = None,
    permutations: int = 0,
    progress: Progress = lambda _: None,
) -> Evidence:
    """Test every claim on a table, for the target or another language.

    Raises:
        GlossaeError: as `testing.units_evidence`.
    """
    return units_evidence(
        passages(table, settings.tokens),
        language or settings.target,
        minimum=settings.minimum,
        q=settings.q,
        method=settings.method,
        permutations=permutations,
        seed=settings.seed,
        reference=settings.reference,
        within="all",
        progress=progress,
    )


def find_and_freeze(
    table: SentenceTable,
    settings: EvidenceSettings,
    path: Path,
    *,
    text: str,
    language: str | None = None,
    permutations: int = 0,
    progress: Progress = lambda _: None,
) -> tuple[Evidence, FrozenSet]:
    """Test every claim on a table, and write down what passes as one language's.

    Where nothing is told from every other language, what is told from all but the closest is written down.

    Args:
        table: the units on the text that is searched, sentence by sentence.
        settings: of the tests.
        path: of the frozen set; overwrites an earlier one.
        text: that text's hash.
        language: whose units are looked for; None: the target's.
        permutations: draws, as in `testing.units_evidence`.
        progress: is told the share that is done.
    """
    evidence = evidence_on(table, settings, language, permutations, progress)
    delete(path)
    # frozen, with a hash of what was found and on which text, before any other text is opened
    return evidence, freeze(evidence, own_claim([evidence]), path, text=text)


def own_claim(found: Sequence[Evidence]) -> str:
    """The first claim of a language alone that some unit passes: told from all others, or from all but the closest."""
    own = [each.claim for each in found[0].claims if len(each.claim.inside) == 1]
    passed = (claim.name for claim in own if any(evidence.passing(claim.name) for evidence in found))
    return next(passed, own[0].name)


def site_neurons(lm: LanguageModel, site: Site) -> Neurons:
    """The site's coordinates: with both signs, except at mlp.hidden."""
    return Neurons(site, lm.width(site), signed=site.name != "mlp.hidden", model=lm.name)


def language_directions(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    target: str,
    reference: str,
    *,
    seed: int = 0,
    budget: int = 1024,
) -> tuple[Directions, Moments]:
    """The difference of means, the discriminant and the probe's normal, target against reference; and random ones.

    Args:
        lm: the model.
        site: the site.
        tokens: sentences of both languages, of which the first 20,000 tokens of each, or 8 a dimension, are read.
        target: the language.
        reference: the other one.
        seed: of the random directions.
        budget: tokens in a batch.

    Returns:
        The directions, and the moments of the text that they are made from.
    """
    width = lm.width(site)
    some = first_tokens(tokens, min(DIRECTION_TOKENS, PER_DIMENSION * width))
    x, languages = activation_samples(lm, site, some, budget=budget)
    moments = Moments.of(x, languages, site=site)
    found = [
        ("difference of means", difference_of_means(moments, target, (reference,))),
        ("discriminant", discriminants(moments, target, (reference,))),
        ("probe", probe_normal(x, languages, target, (reference,), site=site)),
        (
            "random",
            random_directions(RANDOM_DIRECTIONS, width, seed=seed, centre=moments.mean(reference), site=site),
        ),
    ]
    names = [
        name if len(directions) == 1 else f"{name} {number}"
        for name, directions in found
        for number in range(len(directions))
    ]
    vectors, offsets = (
        torch.cat([getattr(directions, what).cpu() for _, directions in found])
        for what in ("vectors", "offsets")
    )
    return Directions(names, vectors, offsets, site=site), moments
