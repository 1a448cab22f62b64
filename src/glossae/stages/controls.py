"""The stage `controls`: hold what the selected units do against what others would, drawn ones and cheaper sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from glossae.effects import (
    Edit,
    Operation,
    Rises,
    UnitSet,
    compare_with_draws,
    compare_with_one,
    compile_edits,
    matched_sets,
    measure_rises,
    profiles,
    redirected_edits,
    smoothed_rate,
)
from glossae.errors import GlossaeError
from glossae.files import write_json
from glossae.lm import TokenEdit
from glossae.plan import Quantities, Work, share_of
from glossae.results import Control, Controls, Likeness, StageResults
from glossae.run.context import Context, Inputs, Progress, only, part
from glossae.run.folder import read_column
from glossae.stages.arms import (
    BEST_NEURON,
    BEST_NEURONS,
    DIRECTIONS,
    MeasuredSets,
    direction_reading,
    measured_sets,
    sets_encoding,
)
from glossae.stages.effects import FROZEN_SENTENCES, at_dose, matched_dose
from glossae.stages.panels import first_sentences
from glossae.stages.sae import load_sae
from glossae.stages.stage import Stage

MATCHED, REDIRECTED = "matched latents", "random directions"


def check(context: Context) -> None:
    """Refuse languages to draw controls on that `test` has no text in.

    Raises:
        GlossaeError: there is one.
    """
    present = context.roles.corpora["test"].languages
    for code in context.recipe.effects.controls_on:
        if code not in present:
            raise GlossaeError(
                f"effects.controls_on: test has no text in '{code}'; it has {', '.join(present)} "
                "(languages.others says which are read)"
            )


@dataclass
class _Jobs:
    """Edits to be measured in one pass, by what they are called."""

    fns: list[TokenEdit] = field(default_factory=list)
    places: dict[tuple[str, str], slice] = field(default_factory=dict)

    def add(self, name: str, edit: str, fns: Sequence[TokenEdit]) -> None:
        self.places[name, edit] = slice(len(self.fns), len(self.fns) + len(fns))
        self.fns += fns

    def of(self, rises: Rises, name: str, edit: str) -> Rises:
        return rises.take(self.places[name, edit])


def run(context: Context, progress: Progress) -> StageResults:
    """Draw the nulls, measure them and every set on the frozen sentences in one pass, and compare."""
    recipe = context.recipe
    found = measured_sets(context, part(progress, 0.0, 0.05))
    pair = (context.target, context.reference)
    text = only(context.tokens("test"), *pair, *recipe.effects.controls_on)
    tokens = first_sentences(text, FROZEN_SENTENCES)
    measured = context.folder.summary("effects").next_token
    value = None if measured is None else matched_dose(measured.selectivity, context.target)
    edits = _ablations(found) + ([] if value is None else [at_dose(found, value)])
    jobs, matched = _Jobs(), None
    if found.selected.units:
        sets, matched = _matched(context, found)
        # frozen before anything of them is measured
        write_json(
            context.folder.path / "controls" / "drawn.json",
            {"text": tokens.corpus.sha256, "sets": sets.tolist(), "seed": recipe.seed},
        )
        _latents(context, found, edits, sets, jobs)
    _cheaper(context, found, jobs)
    rises = measure_rises(
        context.lm,
        context.site,
        tokens,
        jobs.fns,
        *pair,
        keep=context.parts["controls"].arrays,
        progress=part(progress, 0.05, 1.0),
    )
    codes = [s.language for s in tokens.corpus.sentences]
    return StageResults(
        controls=Controls(
            rows=_rows(context, found, edits, jobs, rises),
            sentences={code: codes.count(code) for code in tokens.corpus.languages},
            tokens=int(tokens.predicted.sum()),
            sha256=tokens.corpus.sha256,
            draws=recipe.effects.controls,
            edits=len(jobs.fns),
            matched=matched,
        )
    )


def _ablations(found: MeasuredSets) -> list[Edit]:
    own = found.own
    return [Edit("zero", own.ids), Edit("mean", own.ids, own.low)] if own.ids else []


def _matched(context: Context, found: MeasuredSets) -> tuple[np.ndarray, dict[str, Likeness]]:
    """The drawn sets, and how like the selected ones they are."""
    path = context.folder.path / "features" / "statistics.parquet"

    def column(name: str, language: str) -> np.ndarray:
        return np.array(read_column(path, name, language=language))

    rate, active = (column(name, context.target) for name in ("rate", "mean_active"))
    other = smoothed_rate(column("fired", context.reference), int(column("tokens", context.reference)[0]))
    norm = load_sae(context).W_dec.detach().double().norm(dim=1).cpu().numpy()
    units = found.own.ids
    sets = matched_sets(
        profiles(rate, active, norm, other), units, context.recipe.effects.controls, seed=context.recipe.seed
    )
    return sets, {
        what: Likeness(selected=float(values[list(units)].mean()), drawn=float(values[sets].mean()))
        for what, values in (
            ("rate", rate),
            ("reference_rate", column("rate", context.reference)),
            ("mean_active", active),
            ("norm", norm),
        )
    }


def _latents(
    context: Context, found: MeasuredSets, edits: Sequence[Edit], sets: np.ndarray, jobs: _Jobs
) -> None:
    """The selected set under each edit, and the drawn sets in its place; then the same along random directions."""
    target, seed = context.target, context.recipe.seed
    own = found.own
    means = _reference_means(context)
    for edit in edits:
        drawn = [
            Edit(
                edit.operation,
                tuple(units),
                tuple(means[units].tolist()) if edit.operation == "mean" else edit.targets,
                value=edit.value,
            )
            for units in (sets.tolist() if edit.operation in context.recipe.effects.controls_edits else ())
        ]
        of_selected, *others = compile_edits([edit, *drawn], own.of)
        jobs.add(target, edit.operation, [of_selected])
        if drawn:
            jobs.add(MATCHED, edit.operation, others)
    jobs.add(_redirected(target), "zero", redirected_edits(edits[0], own.of, len(sets), seed=seed))
    for other in found.other_latents:
        for edit in edits:
            jobs.add(other.name, edit.operation, compile_edits([_same(other, edit)], other.of))


def _same(other: UnitSet, edit: Edit) -> Edit:
    """An edit of the selected latents made to another set of latents, which may be smaller."""
    if edit.operation == "zero":
        return Edit("zero", other.ids)
    targets = other.low if edit.operation == "mean" else edit.targets[: other.size]
    return Edit(edit.operation, other.ids, targets, value=edit.value)


def _reference_means(context: Context) -> Float[np.ndarray, " latents"]:
    """What every latent reads on the reference's text of `select` on average."""
    path = context.folder.path / "features" / "statistics.parquet"
    rate, active = (
        np.array(read_column(path, column, language=context.reference)) for column in ("rate", "mean_active")
    )
    means: Float[np.ndarray, " latents"] = rate * active
    return means


def _cheaper(context: Context, found: MeasuredSets, jobs: _Jobs) -> None:
    """Neurons and directions brought to the reference's mean; the same written along random directions."""
    for each in found.sets:
        if each.kind == "latent":
            continue
        ((units, off, _),) = each.off
        assert off is not None
        jobs.add(each.name, off.operation, compile_edits([off], units))
        if each.name != BEST_NEURONS:
            draws = context.recipe.effects.controls
            # another seed than the latents' random directions have
            drawn = redirected_edits(off, units, draws, seed=context.recipe.seed + 1)
            jobs.add(_redirected(each.name), off.operation, drawn)


def _redirected(name: str) -> str:
    """The draws in the place of a set, among the jobs."""
    return f"{REDIRECTED} for {name}"


def _rows(
    context: Context, found: MeasuredSets, edits: Sequence[Edit], jobs: _Jobs, rises: Rises
) -> list[Control]:
    target, rows = context.target, []
    for edit in edits:
        own = jobs.of(rises, target, edit.operation)
        for control, place in ((MATCHED, MATCHED), (REDIRECTED, _redirected(target))):
            if (place, edit.operation) in jobs.places:
                drawn = jobs.of(rises, place, edit.operation)
                rows += compare_with_draws(target, edit, own, control, drawn)
    singles: list[tuple[str, Operation]] = [
        (BEST_NEURON, "mean"),
        *((name, "project_out") for name in DIRECTIONS),
    ]
    for name, operation in singles:
        if (name, operation) in jobs.places:
            rows += compare_with_draws(
                name,
                Edit(operation, value=None),
                jobs.of(rises, name, operation),
                REDIRECTED,
                jobs.of(rises, _redirected(name), operation),
            )
    for edit in edits:
        own = jobs.of(rises, target, edit.operation)
        others: list[tuple[str, Operation]] = [
            *singles,
            (BEST_NEURONS, "mean"),
            *((other.name, edit.operation) for other in found.other_latents),
        ]
        for name, operation in others:
            if (name, operation) in jobs.places:
                rows += compare_with_one(target, edit, own, name, operation, jobs.of(rises, name, operation))
    return rows


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
    every = counts.forward(drawn(counts) * tokens, counts.above, output=True)
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
)
