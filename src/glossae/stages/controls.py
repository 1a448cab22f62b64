"""The stage `controls`: hold what the selected units do against what others would, drawn ones and cheaper sets."""

from collections.abc import Iterator

import numpy as np

from glossae.effects import Edit, UnitSet, compare_sets, matched_sets, profiles, smoothed_rate
from glossae.errors import GlossaeError
from glossae.evidence import first_sentences
from glossae.files import write_json
from glossae.plan import Quantities, Work, share_of
from glossae.results import Controls, Likeness, StageResults
from glossae.run.context import Context, Inputs, Progress, only, part
from glossae.run.folder import read_column
from glossae.stages.effects import FROZEN_SENTENCES, at_dose, matched_dose
from glossae.stages.sae import latents_planned, load_sae
from glossae.stages.shared.measured_sets import direction_reading, measured_sets, sets_encoding
from glossae.stages.stage import Stage
from glossae.units import Latents


def check(context: Context) -> None:
    """Refuse languages to draw controls on that `test` has no text in, and given units that leave too few others.

    Raises:
        GlossaeError: there is one.
    """
    units, latents = set(context.recipe.features.units), latents_planned(context)
    if context.recipe.effects.controls and 2 * len(units) > latents:
        raise GlossaeError(
            f"features.units: {len(units)} of {latents} latents leave too few others to match them: give fewer, or "
            "--effects.controls 0"
        )
    present = context.roles.corpora["test"].languages
    for code in context.recipe.effects.controls_on:
        if code not in present:
            raise GlossaeError(
                f"effects.controls_on: test has no text in '{code}'; it has {', '.join(present)} "
                "(languages.others says which are read)"
            )


def run(context: Context, progress: Progress) -> StageResults:
    """Draw the nulls, measure them and every set on the frozen sentences in one pass, and compare."""
    recipe, effects = context.recipe, context.recipe.effects
    found = measured_sets(context, part(progress, 0.0, 0.05))
    pair, own = (context.target, context.reference), found.own
    text = only(context.tokens("test"), *pair, *effects.controls_on)
    tokens = first_sentences(text, FROZEN_SENTENCES)
    # what every latent reads on the reference's text of `select` on average
    means = _column(context, "rate", context.reference) * _column(context, "mean_active", context.reference)
    edits: list[Edit] = []
    drawn, matched = None, None
    if own.ids:
        measured = context.folder.summary("effects").next_token
        value = None if measured is None else matched_dose(measured.selectivity, context.target)
        edits = [Edit("zero", own.ids), Edit("mean", own.ids, own.low)]
        edits += [] if value is None else [at_dose(found, value)]
        drawn, matched = _matched(context, own)
        # frozen before anything of them is measured
        write_json(
            context.folder.path / "controls" / "drawn.json",
            {"text": tokens.corpus.sha256, "sets": drawn.tolist(), "seed": recipe.seed},
        )
    rows, count = compare_sets(
        context.lm,
        context.site,
        tokens,
        found.sets,
        edits,
        *pair,
        drawn=drawn,
        means=means,
        matched_under=effects.controls_edits,
        draws=effects.controls,
        seed=recipe.seed,
        keep=context.parts["controls"].arrays,
        share=context.share,
        progress=part(progress, 0.05, 1.0),
    )
    codes = [s.language for s in tokens.corpus.sentences]
    return StageResults(
        controls=Controls(
            rows=rows,
            sentences={code: codes.count(code) for code in tokens.corpus.languages},
            tokens=int(tokens.predicted.sum()),
            sha256=tokens.corpus.sha256,
            draws=effects.controls,
            edits=count,
            matched=matched,
        )
    )


def _column(context: Context, name: str, language: str) -> np.ndarray:
    """What every latent has in a column of the statistics of `select`."""
    path = context.folder.path / "features" / "statistics.parquet"
    return np.array(read_column(path, name, language=language))


def _matched(context: Context, own: UnitSet) -> tuple[np.ndarray, dict[str, Likeness]]:
    """The drawn sets, and how like the selected ones they are."""
    target, reference = context.target, context.reference
    rate, active = (_column(context, name, target) for name in ("rate", "mean_active"))
    tokens = int(_column(context, "tokens", reference)[0])
    other = smoothed_rate(_column(context, "fired", reference), tokens)
    norm = Latents(load_sae(context)).norms().cpu().numpy()
    profile, draws = profiles(rate, active, norm, other), context.recipe.effects.controls
    sets = matched_sets(profile, own.ids, draws, seed=context.recipe.seed)
    compared = {
        "rate": rate,
        "reference_rate": _column(context, "rate", reference),
        "mean_active": active,
        "norm": norm,
    }
    return sets, {
        what: Likeness(selected=float(values[list(own.ids)].mean()), drawn=float(values[sets].mean()))
        for what, values in compared.items()
    }


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """A line for each set, edit and drawn control: every statistic, and the set's rank among the draws."""
    found: dict[tuple[str, str, int, str], list[str]] = {}
    for row in results.controls.rows if results.controls else []:
        if row.rank is not None:
            said = f"{row.statistic} {row.observed:+.4f}, rank {row.rank:,} of {row.draws + 1:,}"
            found.setdefault((row.units, row.edit, row.draws, row.control), []).append(said)
    for (units, edit, draws, control), parts in found.items():
        yield f"controls  {units} {edit} against {draws:,} {control}, nats per byte: {'; '.join(parts)}"


def drawn(counts: Quantities) -> int:
    """Edits of the controls: matched latents under each that is asked for, and random directions.

    Random directions are drawn for the selected latents, the best neuron and each direction.
    """
    effects = counts.recipe.effects
    redirected = 1 + ("neuron" in effects.families) + 2 * ("direction" in effects.families)
    return effects.controls * (len(effects.controls_edits) + redirected)


def cost(counts: Quantities) -> Work:
    """The frozen sentences to the site once, and from there on under every draw."""
    wanted = (*counts.pair, *counts.recipe.effects.controls_on)
    texts = [counts.roles["test"][code] for code in wanted if code in counts.roles["test"]]
    tokens = sum(a.tokens * share_of(a.sentences, FROZEN_SENTENCES) for a in texts)
    once = counts.forward(tokens, counts.shape.layers, output=True) + sets_encoding(counts, tokens)
    every = counts.forward(drawn(counts) * tokens, counts.blocks_above, output=True)
    # a number for each draw and sentence
    losses = Work(held=8 * drawn(counts) * len(texts) * FROZEN_SENTENCES)
    return once + every + direction_reading(counts) + losses


STAGE = Stage(
    name="controls",
    does="turning other units up and down",
    run=run,
    inputs=lambda context: Inputs(
        settings={
            "draws": context.recipe.effects.controls,
            "edits": context.recipe.effects.controls_edits,
            "on": context.recipe.effects.controls_on,
        },
        after=("effects", "features/statistics.parquet"),
    ),
    cost=cost,
    words=lambda counts: (
        f"{drawn(counts):,} passes from the site on, over 200 sentences of "
        f"{2 + len(counts.recipe.effects.controls_on)} languages each"
    ),
    asked=lambda recipe: recipe.effects.controls > 0,
    check=check,
    lines=lines,
    cells=True,
)
