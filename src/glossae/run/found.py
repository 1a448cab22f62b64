"""The latents that a run selected, and its rule: the same for every autoencoder and every language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glossae.effects import Dose, UnitRange, doses
from glossae.find import Selection, paper_rule, passages, select, testing
from glossae.run.context import Context
from glossae.run.panels import Panel
from glossae.units import Latents, SentenceTable, UnitStatistics, collect


@dataclass(frozen=True)
class Selected:
    """The selected latents with all that their doses need.

    Attributes:
        units: those that fire on the target's text; another has no doses of its own.
        ranges: what each emits there.
        means: what each reads on the reference's text on average.
        doses: the values of the sweep.
    """

    units: tuple[int, ...]
    ranges: tuple[UnitRange, ...]
    means: tuple[float, ...]
    doses: tuple[Dose, ...]


def selected_latents(context: Context) -> Selected:
    """What the stage before left of the selected latents."""
    settings, stored = context.recipe.effects, context.folder.read("features", "ranges.json")
    units = tuple(int(unit) for unit in stored["ranges"])
    ranges = tuple(UnitRange(**stored["ranges"][str(unit)]) for unit in units)
    means = tuple(stored["reference_means"][str(unit)] for unit in units)
    return Selected(units, ranges, means, tuple(doses(settings.values, ranges, settings.unit)))


def by_the_rule(
    context: Context,
    statistics: UnitStatistics,
    language: str,
    tested: tuple[int, ...],
    *,
    but: tuple[int, ...] = (),
    given: tuple[int, ...] = (),
) -> Selection:
    """Apply the recipe's rule to an autoencoder's latents.

    Args:
        context: the run.
        statistics: the latents' firing rates.
        language: whose latents are looked for.
        tested: the latents that passed the run's tests, best first; only the rule `tested` reads them.
        but: latents that are left out.
        given: latents that are taken as they are.
    """
    rule = context.recipe.features
    by_tests = rule.rule == "tested"
    return select(
        statistics,
        language,
        context.reference,
        min_target=rule.min_target,
        max_reference=rule.max_reference,
        fallback=rule.fallback,
        max_reference_fallback=rule.max_reference_fallback,
        given=given,
        tested=tuple(unit for unit in tested if unit not in but)[: rule.at_most] if by_tests else None,
        but=but,
    )


def count_passing(
    context: Context, statistics: UnitStatistics, language: str, tested: tuple[int, ...]
) -> int:
    """How many latents pass the recipe's rule; what the fallback takes does not pass."""
    rule = context.recipe.features
    if rule.rule == "tested":
        return len(tested)
    return int(
        paper_rule(
            statistics.rate(language),
            statistics.rate(context.reference),
            min_target=rule.min_target,
            max_reference=rule.max_reference,
        ).sum()
    )


def find_in(
    context: Context,
    layer: int,
    latents: Latents,
    panel: Panel,
    paths: Mapping[str, Path],
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[UnitStatistics, dict[str, testing.FrozenSet]]:
    """Test latents on the half of the panel that is searched, and freeze what passes as each language's.

    Args:
        context: the run.
        layer: of the site.
        latents: of any autoencoder of the site.
        panel: the run's panel.
        paths: by language, of the frozen set.
        progress: is told the share that is done.

    Raises:
        GlossaeError: that half has too little text of a language to test it.
    """
    statistics, table = collect(
        context.lm,
        context.site(layer),
        latents,
        panel.found_on,
        budget=context.recipe.batch_tokens,
        progress=progress,
    )
    assert table is not None
    text = panel.found_on.corpus.sha256
    return statistics, {
        language: find_and_freeze(context, table, path, text=text, language=language)[1]
        for language, path in paths.items()
    }


def find_and_freeze(
    context: Context,
    table: SentenceTable,
    path: Path,
    *,
    text: str,
    language: str | None = None,
    permutations: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[testing.Evidence, testing.FrozenSet]:
    """Test every claim on a table by the recipe's settings, and write down what passes as one language's.

    Where nothing is told from every other language, what is told from all but the closest is written down.

    Args:
        context: the run.
        table: the units on the text that is searched, sentence by sentence.
        path: of the frozen set; overwrites an earlier one.
        text: that text's hash.
        language: whose units are looked for; None: the target's.
        permutations: draws, as in `testing.units_evidence`.
        progress: is told the share that is done.
    """
    settings = context.recipe.evidence
    evidence = testing.units_evidence(
        passages(table, settings.tokens),
        language or context.target,
        minimum=settings.minimum,
        q=settings.q,
        method=settings.method,
        permutations=permutations,
        seed=context.recipe.seed,
        reference=context.reference,
        within="all",
        progress=progress,
    )
    path.unlink(missing_ok=True)
    # frozen, with a hash of what was found and on which text, before any other text is opened
    return evidence, testing.freeze(evidence, own_claim([evidence]), path, text=text)


def own_claim(found: Sequence[testing.Evidence]) -> str:
    """The first claim of a language alone that some unit passes: told from all others, or from all but the closest."""
    own = [each.claim for each in found[0].claims if len(each.claim.inside) == 1]
    passed = (claim.name for claim in own if any(evidence.passing(claim.name) for evidence in found))
    return next(passed, own[0].name)
