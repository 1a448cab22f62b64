"""The units of a run: those that its tests and its rule found, and what is cheaper than latents at its site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from glossae.effects import Dose, UnitRange, doses
from glossae.evidence import Selection, passages, select, testing
from glossae.lm import TokenizedCorpus
from glossae.paper import without_pre_encoder_bias
from glossae.run.context import Context, Progress
from glossae.run.folder import read_column
from glossae.sae import Sae
from glossae.stages.panels import Panel, first_tokens
from glossae.units import (
    CountedUnits,
    Directions,
    Latents,
    Moments,
    Neurons,
    SentenceTable,
    UnitStatistics,
    activation_samples,
    collect_all,
    difference_of_means,
    discriminants,
    latent_statistics,
    probe_normal,
    random_directions,
)

# rows of a family of units that the report shows
MOST_ROWS = 40
RANDOM_DIRECTIONS = 8
# tokens of each language behind a direction: enough for a mean and a probe of so many dimensions, and quickly read
DIRECTION_TOKENS, PER_DIMENSION = 20_000, 8
# the paper's code looks for its latents in so many sentences, as they come
SELECTED_ON = 100


@dataclass(frozen=True)
class Tested:
    """A family of units with what was found of it."""

    units: CountedUnits
    table: SentenceTable
    statistics: UnitStatistics
    evidence: testing.Evidence
    frozen: testing.FrozenSet


@dataclass(frozen=True)
class Again:
    """Every frozen set on other text.

    Attributes:
        on: `held_out` or `replicate`.
        rows: how much of each set passes, for `results.json`.
        replications: by kind of unit, where the text allowed it.
        close: the sets against close languages, and on matched sentences (`close_languages`).
        tables: what every unit did on the text, by kind.
    """

    on: str
    rows: list[dict[str, Any]]
    replications: dict[str, testing.Replication]
    close: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, SentenceTable] = field(default_factory=dict)


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
    text = panel.found_on.corpus.sha256
    return statistics, {
        language: find_and_freeze(context, table, path, text=text, language=language)[1]
        for language, path in paths.items()
    }


def tables_of(
    context: Context, families: Sequence[CountedUnits], tokens: TokenizedCorpus, progress: Progress
) -> list[tuple[UnitStatistics, SentenceTable]]:
    """Of each family of units at the run's site: its statistics and its table of sentences, in one pass over a text."""
    collected = collect_all(
        context.lm, context.site, families, tokens, budget=context.recipe.batch_tokens, progress=progress
    )
    return [(statistics, table) for statistics, table in collected if table is not None]


def evidence_on(
    context: Context,
    table: SentenceTable,
    language: str | None = None,
    permutations: int = 0,
    progress: Progress = lambda _: None,
) -> testing.Evidence:
    """Test every claim on a table by the recipe's settings, for the target or another language."""
    settings = context.recipe.evidence
    return testing.units_evidence(
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


def find_and_freeze(
    context: Context,
    table: SentenceTable,
    path: Path,
    *,
    text: str,
    language: str | None = None,
    permutations: int = 0,
    progress: Progress = lambda _: None,
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
    evidence = evidence_on(context, table, language, permutations, progress)
    path.unlink(missing_ok=True)
    # frozen, with a hash of what was found and on which text, before any other text is opened
    return evidence, testing.freeze(evidence, own_claim([evidence]), path, text=text)


def own_claim(found: Sequence[testing.Evidence]) -> str:
    """The first claim of a language alone that some unit passes: told from all others, or from all but the closest."""
    own = [each.claim for each in found[0].claims if len(each.claim.inside) == 1]
    passed = (claim.name for claim in own if any(evidence.passing(claim.name) for evidence in found))
    return next(passed, own[0].name)


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
    if context.folder.summary("evidence").evidence["reason"] is not None:
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
    summary: dict[str, Any] = context.folder.summary("evidence").evidence
    if summary["reason"] is not None:
        return ()
    return testing.load_frozen(context.folder.path / "evidence" / "neurons.json").units


def site_neurons(context: Context) -> Neurons:
    """The site's coordinates: with both signs, except at mlp.hidden."""
    lm, site = context.lm, context.site
    return Neurons(site, lm.width(site), signed=site.name != "mlp.hidden", model=lm.name)


def language_directions(context: Context) -> tuple[Directions, Moments]:
    """The difference of means, the discriminant and the probe's normal, target against reference; and random ones.

    Beside them the moments of the text of `train` that they are made from.
    """
    recipe, lm, target, reference = context.recipe, context.lm, context.target, context.reference
    site = context.site
    enough = min(DIRECTION_TOKENS, PER_DIMENSION * lm.width(site))
    tokens = first_tokens(context.pair_tokens("train"), enough)
    x, languages = activation_samples(lm, site, tokens, budget=recipe.batch_tokens)
    moments = Moments.of(x, languages, site=site)
    means = difference_of_means(moments, target, (reference,))
    found = [
        ("difference of means", means),
        ("discriminant", discriminants(moments, target, (reference,))),
        ("probe", probe_normal(x, languages, target, (reference,), site=site)),
        (
            "random",
            random_directions(
                RANDOM_DIRECTIONS, lm.width(site), seed=recipe.seed, centre=moments.mean(reference), site=site
            ),
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


def coded_statistics(context: Context, sae: Sae, progress: Progress) -> UnitStatistics:
    """What latents do on the first 100 sentences of `select`, by the code that leaves out the pre-encoder bias.

    Roles come in an order of the run's seed, so these are no more chosen than the paper's, which its split shuffled.
    """
    tokens = context.pair_tokens("select")
    return latent_statistics(
        context.lm,
        context.site,
        without_pre_encoder_bias(sae),
        tokens.take(_first_of_both(tokens)),
        budget=context.recipe.batch_tokens,
        progress=progress,
    )


def _first_of_both(tokens: TokenizedCorpus) -> list[int]:
    """The first 100 sentences, of which at least one is of each language."""
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    firsts = {languages.index(code) for code in set(languages)}
    rest = [place for place in range(len(languages)) if place not in firsts]
    return sorted([*firsts, *rest[: SELECTED_ON - len(firsts)]])
