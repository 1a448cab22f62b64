"""The units of a run: those that pass its tests or the rate rule, and what is cheaper than latents at its site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glossae import paper
from glossae.effects import Dose, UnitRange, doses
from glossae.evidence import EvidenceSettings, Panel, Selection, families, select, testing
from glossae.lm import TokenizedCorpus
from glossae.results import EvidenceResult
from glossae.run.context import Context, Progress
from glossae.run.folder import read_column
from glossae.sae import Sae
from glossae.units import CountedUnits, Directions, Latents, Moments, Neurons, SentenceTable, UnitStatistics


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


def selected_latents(context: Context, values: Sequence[float]) -> Selected:
    """The selected latents with doses at some values, which count what `effects.unit` says."""
    stored = context.folder.read("features", "ranges.json")
    units = tuple(int(unit) for unit in stored["ranges"])
    ranges = tuple(UnitRange(**stored["ranges"][str(unit)]) for unit in units)
    means = tuple(stored["reference_means"][str(unit)] for unit in units)
    return Selected(units, ranges, means, tuple(doses(values, ranges, context.recipe.effects.unit)))


def by_the_rule(
    context: Context,
    statistics: UnitStatistics,
    language: str,
    tested: tuple[int, ...],
    *,
    but: tuple[int, ...] = (),
    given: tuple[int, ...] = (),
) -> Selection:
    """Select an autoencoder's latents as the recipe says.

    Args:
        context: the run.
        statistics: the latents' firing rates.
        language: whose latents are looked for.
        tested: the latents that passed the run's tests, best first; only `features.rule tested` reads them.
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


def evidence_settings(context: Context) -> EvidenceSettings:
    """How the run tests units."""
    recipe, own = context.recipe, context.recipe.evidence.model_dump()
    del own["seeds"]
    return EvidenceSettings(
        target=context.target,
        reference=context.reference,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        **own,
    )


def find_in(
    context: Context,
    latents: Latents,
    panel: Panel,
    paths: Mapping[str, Path],
    progress: Progress = lambda _: None,
) -> tuple[UnitStatistics, dict[str, testing.FrozenSet]]:
    """Test latents on the half of the panel that is searched, and freeze what passes as each language's.

    Args:
        context: the run.
        latents: of any autoencoder of the site.
        panel: the run's panel.
        paths: by language, of the frozen set.
        progress: is told the share that is done.

    Raises:
        GlossaeError: that half has too little text of a language to test it.
    """
    ((statistics, table),) = tables_of(context, [latents], panel.found_on, progress)
    text, settings = panel.found_on.corpus.sha256, evidence_settings(context)
    return statistics, {
        language: families.find_and_freeze(table, settings, path, text=text, language=language)[1]
        for language, path in paths.items()
    }


def tables_of(
    context: Context, units: Sequence[CountedUnits], tokens: TokenizedCorpus, progress: Progress
) -> list[tuple[UnitStatistics, SentenceTable]]:
    """Of each family of units at the run's site: its statistics and its table of sentences."""
    budget = context.recipe.batch_tokens
    return families.tables_of(context.lm, context.site, units, tokens, budget=budget, progress=progress)


def evidence_on(context: Context, table: SentenceTable) -> testing.Evidence:
    """Test every claim on a table by the recipe's settings."""
    return families.evidence_on(table, evidence_settings(context))


@dataclass(frozen=True)
class FoundLatents:
    """What the tests left of the autoencoder's latents.

    Attributes:
        units: the frozen set, best first.
        columns: every latent's `q_value` for the target, and `sentence_auroc`: the smallest AUROC of the target's
            sentences over another language's, on the half of the panel that was tested. None where nothing was.
    """

    units: tuple[int, ...]
    columns: dict[str, list[float] | None]


def found_latents(context: Context) -> FoundLatents:
    """Read the frozen latents, and what the tests say of every latent."""
    folder = context.folder.path / "evidence"
    if not isinstance(context.folder.summary("evidence").evidence, EvidenceResult):
        return FoundLatents((), {"q_value": None, "sentence_auroc": None})
    frozen = testing.load_frozen(folder / "latents.json")

    def column(name: str) -> list[float]:
        return read_column(folder / "units.parquet", name, kind="latent")

    over = [column(f"auroc {frozen.target} {other}") for other in frozen.outside]
    return FoundLatents(
        frozen.units,
        {
            "q_value": column(f"q {frozen.claim}"),
            "sentence_auroc": [min(values) for values in zip(*over, strict=True)],
        },
    )


def tested_neurons(context: Context) -> tuple[int, ...]:
    """The neurons that passed the run's tests, best first; none where nothing was tested."""
    if not isinstance(context.folder.summary("evidence").evidence, EvidenceResult):
        return ()
    return testing.load_frozen(context.folder.path / "evidence" / "neurons.json").units


def site_neurons(context: Context) -> Neurons:
    """The site's coordinates."""
    return families.site_neurons(context.lm, context.site)


def language_directions(context: Context) -> tuple[Directions, Moments]:
    """Directions of the target against the reference, and random ones, and the moments of text of `train`."""
    return families.language_directions(
        context.lm,
        context.site,
        context.pair_tokens("train"),
        context.target,
        context.reference,
        seed=context.recipe.seed,
        budget=context.recipe.batch_tokens,
    )


def coded_statistics(context: Context, sae: Sae, progress: Progress) -> UnitStatistics:
    """What latents do on the first 100 sentences of `select`, by the paper's code.

    Roles come in an order of the run's seed, so these are no more chosen than the paper's, which its split shuffled.
    """
    tokens, budget = context.pair_tokens("select"), context.recipe.batch_tokens
    return paper.coded_statistics(context.lm, context.site, sae, tokens, budget=budget, progress=progress)
