"""The stage `evidence`: test which units are the language, and whether they are again on other text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glossae.corpora import OPTIONAL
from glossae.errors import GlossaeError
from glossae.evidence import Family, evidence_result, families, find_families, panels
from glossae.plan import Quantities, Work, sentences_of, tokens_of
from glossae.results import EvidenceResult, IdentificationRow, NotTested, StageResults
from glossae.run.context import Context, Inputs, Progress, part
from glossae.run.folder import write_table
from glossae.stages.sae import load_sae
from glossae.stages.shared.panels import replication_panel, tested_panel, too_small, untested_lines
from glossae.stages.shared.units import evidence_settings, language_directions, site_neurons
from glossae.stages.stage import Stage, settings_of
from glossae.units import CountedUnits, Latents

# of a dry run: sentences of each language behind attribution, random tokens, and sentences of a language that
# languages are told apart on (evidence.result, evidence.identification); seconds of a regression by units of two
# kinds, and of one by the whole activation, a dimension
ATTRIBUTED_SENTENCES, RANDOM_TOKENS, IDENTIFIED_SENTENCES = 200, 2000, 2000
SECONDS_BY_UNITS, SECONDS_BY_COLUMN = 0.4, 0.008


def check(context: Context) -> None:
    """Check that text which is given to replicate has no language under two names.

    Raises:
        GlossaeError: it has.
    """
    corpora = context.roles.corpora
    if "replicate" in corpora:
        panels.plain_text("replicate", corpora["replicate"])


def run(context: Context, progress: Progress) -> StageResults:
    """Test units of every kind on half of the panel, freeze what passes, and test it on the rest and elsewhere."""
    lm, site, settings = context.lm, context.site, evidence_settings(context)
    folder = context.folder.path / "evidence"
    try:
        panel = tested_panel(context)
        units: list[CountedUnits] = [
            Latents(load_sae(context)),
            site_neurons(context),
            language_directions(context)[0],
        ]
        found = find_families(lm, site, units, panel, settings, folder, part(progress, 0.0, 0.6))
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        # text that was not given for this may be too little for it, and the run goes on without
        progress(1.0)
        return StageResults(evidence=NotTested(reason=str(error)))
    write_table(folder / "units.parquet", [row for family in found for row in _table_rows(family)])
    elsewhere = replication_panel(context)
    return StageResults(
        evidence=evidence_result(lm, site, found, panel, elsewhere, settings, part(progress, 0.6, 1.0))
    )


def _table_rows(family: Family) -> Iterator[dict[str, Any]]:
    """Every unit with every claim's p and q, and its AUROC against every other language."""
    evidence, target = family.evidence, family.evidence.target
    columns: dict[str, Any] = {}
    for each in evidence.claims:
        columns |= {f"p {each.claim.name}": each.p, f"q {each.claim.name}": each.q}
        if each.family_wise is not None:
            columns[f"family-wise {each.claim.name}"] = each.family_wise
    for other in evidence.auroc.languages:
        if other != target:
            columns[f"auroc {target} {other}"] = evidence.auroc.of(target, other)
    for unit in range(len(family.units)):
        own = {name: float(values[unit]) for name, values in columns.items()}
        yield {"kind": family.units.kind, "unit": unit} | own


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """How many units of each kind pass, how many of them again, and how well languages are told apart."""
    if not (evidence := results.evidence):
        return
    if isinstance(evidence, NotTested):
        yield f"evidence  not tested: {evidence.reason}"
        return
    places = {"held_out": "the half held out", "replicate": "other text"}
    for kind in dict.fromkeys(row.kind for row in evidence.claims):
        claims = [row for row in evidence.claims if row.kind == kind]
        found = ", ".join(f"{row.units} {row.claim}" for row in claims)
        again = "".join(
            f"; {row.passed} of {row.units} again on {places[row.on]}"
            for row in evidence.replication
            if row.kind == kind and row.share is not None and row.tokens == evidence.tokens
        )
        yield f"evidence  {claims[0].of} {kind}s, q {evidence.q:g}: {found}{again}"
    yield from _told_apart(evidence)


def _told_apart(evidence: EvidenceResult) -> Iterator[str]:
    """Macro-F1 of the largest set of languages, by sentences of the half held out."""
    own = [
        row
        for row in evidence.identification
        if isinstance(row, IdentificationRow)
        and (row.level, row.on, row.how == "largest") == ("sentence", "held_out", False)
    ]
    if own:
        languages = max((row.set for row in own), key=len)
        # of each kind the row of most units, which comes last
        last = {row.by: row for row in own if row.set == languages}
        told = ", ".join(
            f"{row.per_language} {by}s each {row.macro_f1:.3f}"
            if row.per_language
            else f"{by} {row.macro_f1:.3f}"
            for by, row in last.items()
        )
        yield f"evidence  {' '.join(languages)} told apart, macro-F1: {told}"


def directions_from(counts: Quantities) -> float:
    """Tokens of train that directions are made from."""
    return min(counts.train_tokens, 2 * min(families.DIRECTION_TOKENS, families.PER_DIMENSION * counts.d_in))


def cost(counts: Quantities) -> Work:
    """One pass over text of train for directions, and one over each panel; every unit's tests; other scores."""
    panels = [counts.roles[role] for role in OPTIONAL if role in counts.roles]
    text = panels if "panel" in counts.roles else [counts.roles["select"], *panels]
    tokens, sentences = sum(map(tokens_of, text)), sum(map(sentences_of, text))
    passes = counts.forward(tokens + directions_from(counts), counts.depth)
    # neurons of both signs are in the table at every sentence, latents at those where they fire
    entries = sentences * 2 * counts.d_in + min(tokens * counts.live_latents, sentences * counts.latents)
    draws = 2 * counts.recipe.evidence.permutations * max(1, len(text[0]) - 1)
    tests = Work(float_flops=2 * entries * draws / 2, moved=entries * 400, tables=entries * 60, seconds=2)
    work = passes + counts.encode(tokens) + tests
    if counts.recipe.evidence.scores:
        attributed = sum(
            a.tokens * min(1.0, ATTRIBUTED_SENTENCES / max(1.0, a.sentences)) for a in text[0].values()
        )
        # a backward pass through the whole model costs two forward ones
        asked = counts.forward(3 * attributed, counts.shape.layers, output=True)
        drawn = counts.forward(RANDOM_TOKENS, counts.depth)
        work += asked + drawn + counts.encode(attributed + RANDOM_TOKENS)
    return work + _identification_work(counts, text)


def _identification_work(counts: Quantities, text: Sequence[Mapping[str, Any]]) -> Work:
    """Another pass over a sample of each half of a panel (and of what replicates it), and all regressions."""
    languages = len(text[0])
    if not counts.recipe.evidence.identify or languages < 2:
        return Work()
    # of each half, and of the other text
    read = sum(
        a.tokens * min(1.0, halves * IDENTIFIED_SENTENCES / max(1.0, a.sentences))
        for halves, amounts in zip((2, 1, 1), text, strict=False)
        for a in amounts.values()
    )
    # the pair and all together by every number of units, each other language by one; sentences and tokens
    sets = len(counts.recipe.evidence.identify_units) * min(2, languages - 1) + languages - 2
    seconds = sets * 2 * 2 * SECONDS_BY_UNITS + languages * 2 * counts.d_in * SECONDS_BY_COLUMN
    return counts.forward(read, counts.depth) + Work(seconds=seconds)


def words(counts: Quantities) -> str:
    """How many units, on which text."""
    return (
        f"tests of {counts.latents:,} latents and the site's coordinates, each language against each, on "
        + ("panel" if "panel" in counts.roles else "select")
        + (" and again on replicate" if "replicate" in counts.roles else "")
    )


STAGE = Stage(
    name="evidence",
    does="testing which units are the language",
    run=run,
    inputs=lambda context: Inputs(
        ("train", *context.reads_panel), settings_of(context.recipe, "evidence", "seeds"), ("sae",)
    ),
    cost=cost,
    words=words,
    lower="batch_tokens, evidence.permutations or sae.latents (or sae.expansion)",
    check=check,
    notes=too_small,
    forecast=untested_lines,
    lines=lines,
)
