"""The stage that tests which units are the language, and whether they are again on other text."""

from dataclasses import dataclass
from typing import Any

from glossae.errors import GlossaeError
from glossae.find import passages, testing
from glossae.run.close_languages import Looked, close_languages
from glossae.run.context import Context
from glossae.run.directions import language_directions, site_neurons
from glossae.run.evidence_rows import (
    Again,
    Tested,
    calibration_rows,
    claim_rows,
    panel_row,
    replication_row,
    unit_rows,
    untested_row,
)
from glossae.run.found import find_and_freeze
from glossae.run.identification import identification
from glossae.run.model_scores import latent_scores
from glossae.run.panels import Panel, replication_panel, test_panel
from glossae.run.sae_stage import load_sae
from glossae.run.show import Report, part
from glossae.run.tables import read_column, write_table
from glossae.run.within_source import within_source
from glossae.units import CountedUnits, Latents, collect_all

# tokens of a passage in which short sentences are tested again, so that a reader sees what their length does
PASSAGE = 32


def evidence_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Test units of every kind on half of the panel, freeze what passes, and test it on the rest and elsewhere."""
    try:
        panel = test_panel(context)
        tested = _tested(context, layer, panel, part(report, 0.0, 0.6))
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        # text that was not given for this may be too little for it, and the run goes on without
        report(1.0)
        return {"evidence": {"reason": str(error)}}
    _write_units(context, tested)
    again = [_again(context, layer, tested, panel, "held_out", part(report, 0.6, 0.7))]
    elsewhere = replication_panel(context)
    if elsewhere is not None:
        again.append(_again(context, layer, tested, elsewhere, "replicate", part(report, 0.7, 0.8)))
    wanted = context.recipe.evidence.scores
    ranked = latent_scores(context, layer, tested[0], panel, part(report, 0.8, 0.9)) if wanted else None
    identified = identification(context, layer, tested, again, panel, elsewhere, part(report, 0.9, 1.0))
    return {
        "evidence": {
            "reason": None,
            "minimum": context.recipe.evidence.minimum,
            "q": context.recipe.evidence.q,
            "method": context.recipe.evidence.method,
            "tokens": context.recipe.evidence.tokens,
            "panels": [panel_row(each) for each in (panel, elsewhere) if each is not None],
            "claims": [row for family in tested for row in claim_rows(family)],
            "units": [row for family in tested for row in unit_rows(family, again)],
            "replication": [row for place in again for row in place.rows],
            "calibration": [row for family in tested for row in calibration_rows(family)],
            **{name: [row for place in again for row in place.close[name]] for name in again[0].close},
            "within_source": within_source(tested, again),
            "scores": ranked,
            "identification": identified,
        }
    }


def _families(context: Context, layer: int) -> list[CountedUnits]:
    """The autoencoder's latents, and what is cheaper: the site's coordinates, and directions from `train`."""
    site = context.site(layer)
    neurons = site_neurons(context, site)
    return [Latents(load_sae(context)), neurons, language_directions(context, site)[0]]


def _tested(context: Context, layer: int, panel: Panel, report: Report) -> list[Tested]:
    families = _families(context, layer)
    collected = collect_all(
        context.lm,
        context.site(layer),
        families,
        panel.found_on,
        budget=context.recipe.batch_tokens,
        progress=part(report, 0.1, 0.5),
    )
    text = panel.found_on.corpus.sha256
    found = []
    for number, (units, (statistics, table)) in enumerate(zip(families, collected, strict=True)):
        assert table is not None
        evidence, frozen = find_and_freeze(
            context,
            table,
            context.folder.path / "evidence" / f"{units.kind}s.json",
            text=text,
            permutations=context.recipe.evidence.permutations,
            progress=part(
                report, 0.5 + 0.5 * number / len(families), 0.5 + 0.5 * (number + 1) / len(families)
            ),
        )
        found.append(Tested(units, table, statistics, evidence, frozen))
    return found


def _again(
    context: Context, layer: int, tested: list[Tested], panel: Panel, place: str, report: Report
) -> Again:
    """Every frozen set on other text: what the panel holds out."""
    tokens = panel.held_out
    collected = collect_all(
        context.lm,
        context.site(layer),
        [family.units for family in tested],
        tokens,
        budget=context.recipe.batch_tokens,
        progress=report,
    )
    tables = [table for _, table in collected if table is not None]
    close = close_languages(context, Looked(place, tested, tables, tokens, panel.doubtful))
    again, text, own = Again(place, [], {}, close), tokens.corpus.sha256, context.recipe.evidence.tokens
    for family, (_, table) in zip(tested, collected, strict=True):
        assert table is not None
        kind, frozen = family.units.kind, family.frozen
        again.tables[kind] = table
        for length in sorted({own, max(own, PASSAGE)}):
            try:
                replication = testing.replicate(frozen, passages(table, length), text=text, within="all")
            except GlossaeError as error:
                again.rows.append(untested_row(kind, place, length, len(frozen.units), str(error)))
                continue
            again.rows.append(replication_row(kind, place, length, replication))
            if length == own:
                again.replications[kind] = replication
    return again


def _write_units(context: Context, tested: list[Tested]) -> None:
    """Every unit with every claim's p and q, and its AUROC against every other language."""
    rows = []
    for family in tested:
        evidence, target = family.evidence, family.evidence.target
        columns: dict[str, Any] = {}
        for each in evidence.claims:
            columns |= {f"p {each.claim.name}": each.p, f"q {each.claim.name}": each.q}
            if each.family_wise is not None:
                columns[f"family-wise {each.claim.name}"] = each.family_wise
        for other in evidence.auroc.languages:
            if other != target:
                columns[f"auroc {target} {other}"] = evidence.auroc.of(target, other)
        rows += [
            {"kind": family.units.kind, "unit": unit}
            | {name: float(values[unit]) for name, values in columns.items()}
            for unit in range(len(family.units))
        ]
    write_table(context.folder.path / "evidence" / "units.parquet", rows)


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
    """Read the frozen latents, and what the tests say of every latent.

    Raises:
        GlossaeError: they are another autoencoder's than the run's.
    """
    folder = context.folder.path / "evidence"
    if context.folder.summary("evidence")["evidence"]["reason"] is not None:
        return FoundLatents((), {"q_value": None, "sentence_auroc": None})
    path = folder / "latents.json"
    frozen = testing.load_frozen(path)
    try:
        frozen.check_units(Latents(load_sae(context)).identity)
    except GlossaeError as error:
        # files of another run were put in this one's place
        raise GlossaeError(f"{path}: {error}: bring the right files back, or run in a new folder") from error

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
