"""The stage `features`: select the units by the rate rule or the tests, and look at them closely."""

from collections.abc import Iterable, Iterator

import pandas as pd

from glossae.files import fingerprint, write_json
from glossae.lm import tokenize
from glossae.plan import BLOCK_OPERATIONS, Quantities, Work, count_text, tokens_of
from glossae.results import SELECTED_BY, FeaturesResult, SelectedOn, StageResults, Thresholds
from glossae.run.context import Context, Inputs, Progress, longest_text, part
from glossae.run.folder import write_table
from glossae.stages.sae import load_sae
from glossae.stages.shared.units import by_the_rule, coded_statistics, found_latents
from glossae.stages.stage import Stage, settings_of
from glossae.units import (
    UnitDetail,
    UnitStatistics,
    latent_statistics,
    sentences_to_show,
    token_texts,
    unit_details,
    unit_row,
)


def run(context: Context, progress: Progress) -> StageResults:
    """Select units on `select`; then look at them closely, and at texts of `test`."""
    recipe, folder = context.recipe, context.folder.path / "features"
    lm, site, sae, tokens = context.lm, context.site, load_sae(context), context.tokens("select")
    statistics = latent_statistics(
        lm, site, sae, tokens, budget=recipe.batch_tokens, progress=part(progress, 0.0, 0.45)
    )
    asked, seen = recipe.features, statistics
    if recipe.protocol == "as_coded":
        seen = coded_statistics(context, sae, part(progress, 0.45, 0.5))
    evidence = found_latents(context)
    selection = by_the_rule(context, seen, context.target, evidence.units, given=asked.units)
    # frozen, with a hash of what was chosen and on which text, before any text of `test` is opened
    chosen = {
        "rule": selection.rule,
        "units": list(selection.units),
        "text": context.roles.corpora["select"].sha256,
    }
    write_json(folder / "selected.json", {**chosen, "hash": fingerprint(chosen)})
    looked_at = list(dict.fromkeys((*selection.units, *selection.nearest)))
    details = {
        detail.unit: detail
        for detail in unit_details(
            lm,
            site,
            sae,
            tokens,
            looked_at,
            context.target,
            context.reference,
            budget=recipe.batch_tokens,
            progress=part(progress, 0.5, 0.95),
        )
    }
    rows = {
        unit: unit_row(
            statistics,
            details[unit],
            **{name: None if values is None else values[unit] for name, values in evidence.columns.items()},
        )
        for unit in looked_at
    }
    write_table(folder / "statistics.parquet", _statistics_table(statistics))
    write_table(folder / "histograms.parquet", _histograms_table(details.values()))
    shown = sentences_to_show(
        context.roles.corpora["test"], context.target, context.reference, recipe.report.texts
    )
    texts = tokenize(lm, shown, max_tokens=longest_text(recipe, lm), prefix=lm.prefix)
    write_json(folder / "texts.json", token_texts(lm, site, sae, texts, looked_at))
    ranges = {
        str(unit): _range_row(statistics, details[unit], context.target)
        for unit in selection.units
        if details[unit].quantiles is not None
    }
    means, target_means = (
        {str(unit): float(statistics.mean_value(language)[unit]) for unit in selection.units}
        for language in (context.reference, context.target)
    )
    write_json(
        folder / "ranges.json", {"ranges": ranges, "reference_means": means, "target_means": target_means}
    )
    return StageResults(
        features=FeaturesResult(
            rule=selection.rule,
            units=[rows[unit] for unit in selection.units],
            nearest=[rows[unit] for unit in selection.nearest],
            thresholds=Thresholds(
                min_target=asked.min_target,
                max_reference=asked.max_reference,
                max_reference_fallback=asked.max_reference_fallback,
            ),
            selected_on=None if seen is statistics else _selected_on(seen, selection.units),
            tokens=dict(zip(statistics.languages, map(int, statistics.tokens), strict=True)),
            sentences={language: len(tokens.corpus.only(language)) for language in statistics.languages},
        )
    )


def _selected_on(seen: UnitStatistics, units: tuple[int, ...]) -> dict[str, SelectedOn]:
    """How much text units were selected on, where that was not all of `select`, and how often the units fired there."""
    return {
        language: SelectedOn(
            tokens=int(seen.tokens[seen.row(language)]),
            rate={str(unit): float(seen.rate(language)[unit]) for unit in units},
        )
        for language in seen.languages
    }


def _range_row(statistics: UnitStatistics, detail: UnitDetail, target: str) -> dict[str, float]:
    row = statistics.row(target)
    assert detail.quantiles is not None
    return {
        "smallest": float(statistics.active_min[row, detail.unit]),
        "median": detail.quantiles[0],
        "p99": detail.quantiles[1],
        "largest": float(statistics.active_max[row, detail.unit]),
    }


def _statistics_table(statistics: UnitStatistics) -> pd.DataFrame:
    """A row for each language and latent."""
    parts = []
    for language in statistics.languages:
        row = statistics.row(language)
        columns = {
            "fired": statistics.fired[row],
            "rate": statistics.rate(language),
            "mean": statistics.mean_pre[row],
            "mean_active": statistics.mean_active(language),
            "max_active": statistics.active_max[row].double(),
        }
        own = {"unit": range(statistics.units), "language": language, "tokens": int(statistics.tokens[row])}
        parts.append(pd.DataFrame(own | {name: values.cpu().numpy() for name, values in columns.items()}))
    return pd.concat(parts, ignore_index=True)


def _histograms_table(details: Iterable[UnitDetail]) -> pd.DataFrame:
    """A row for each latent, language and bin of its pre-activations."""
    parts = [
        pd.DataFrame(
            {
                "unit": detail.unit,
                "language": language,
                "left": detail.edges[:-1],
                "right": detail.edges[1:],
                "count": counts,
            }
        )
        for detail in details
        for language, counts in detail.counts.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """The selected latents and how often each fires."""
    if features := results.features:
        units = ", ".join(
            f"{row.unit} ({row.rate[target]:.0%} {target}, {row.rate[reference]:.1%} {reference})"
            for row in features.units
        )
        by = SELECTED_BY.get(features.rule)
        yield f"features  selected by {by}: latents {units}" if by else "features  no latent passes"


def cost(counts: Quantities) -> Work:
    """Two passes over `select`, and one of each text that is shown."""
    select = tokens_of(counts.roles["select"])
    codes, passes = counts.encode(2 * select), counts.forward(2 * select, counts.depth)
    shown = 2 * counts.recipe.report.texts * counts.depth * BLOCK_OPERATIONS
    counters = 40 * counts.latents * max(1, len(counts.roles["select"]))
    return passes.beside(codes).beside(Work(held=counters, operations=shown, seconds=1))


STAGE = Stage(
    name="features",
    does="finding the units",
    run=run,
    inputs=lambda context: Inputs(
        ("select", "test"),
        {**settings_of(context.recipe, "features"), "texts": context.recipe.report.texts},
        ("evidence", "sae"),
    ),
    cost=cost,
    words=lambda counts: f"2 passes over select, {count_text(tokens_of(counts.roles['select']))} tokens",
    lower="batch_tokens or sae.latents (or sae.expansion)",
    lines=lines,
)
