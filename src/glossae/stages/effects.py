"""The stage `effects`: turn units up and down, and measure what becomes of the loss."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glossae.effects import (
    MATCHED_DAMAGE,
    UNTRAINED,
    Edit,
    Measured,
    best_doses,
    cells,
    matched_sweeps,
    measure_growing,
    part_effects,
    selectivity,
    serial_correlations,
    side_effects,
)
from glossae.evidence import first_sentences
from glossae.lm import TokenizedCorpus
from glossae.paper import CODED_SENTENCES, coded_cells, coded_text, without_pre_encoder_bias
from glossae.plan import (
    BLOCK_OPERATIONS,
    Amounts,
    Quantities,
    Work,
    count_text,
    sentences_of,
    share_of,
    tokens_of,
)
from glossae.results import (
    SELECTED_BY,
    BestDose,
    CodedCell,
    Continuation,
    LossCell,
    NextToken,
    PartEffect,
    Selectivity,
    StageResults,
    SweptSet,
)
from glossae.run.context import Context, Inputs, Progress, check_length, only, part
from glossae.run.folder import as_rows, write_table
from glossae.stages.sae import load_sae
from glossae.stages.shared.measured_sets import (
    MeasuredSets,
    direction_reading,
    latent_reading,
    measured_sets,
    sets_encoding,
)
from glossae.stages.shared.panels import tested_panel
from glossae.stages.shared.units import Selected
from glossae.stages.stage import Stage, settings_of
from glossae.steering import continuations

# the damage at whose dose units are looked at one by one
DAMAGE = 0.3
# sentences of each language on which they are, and on which controls are drawn
FROZEN_SENTENCES = 200
PANEL = "panel"

# of a dry run: edits of a sweep, shares that are left of a latent's value and of a distance, multiples added
# (effects.sets), and damages that sets are compared at
LATENT_SHARES, SHARES, MULTIPLES, MATCHED = 3, 6, 5, len(MATCHED_DAMAGE)
# doses that are tried to match a damage
DOSES_TRIED = 5
# sentences of a language that a precision of effects takes, nats a token
PRECISE, PRECISION = 256, 0.03


def inputs(context: Context) -> Inputs:
    """The text of most roles, how units are selected, the sweep, and the order of sentences."""
    recipe, places = context.recipe, context.roles.places
    settings = {
        **settings_of(recipe, "features"),
        **settings_of(recipe, "effects", "controls", "controls_edits", "controls_on", "bootstrap"),
        # sentences that stood beside each other in a file are tested for correlation
        "order": [places[role] for role in ("test", "panel") if role in places],
    }
    return Inputs(
        ("train", "select", "tune", "test"),
        settings,
        # the neurons that latents are held against, and the panel, however units are selected
        ("evidence", "sae", "features/ranges.json"),
        {"bootstrap": recipe.effects.bootstrap},
    )


def check(context: Context) -> None:
    """Check that the model has positions for prompts and their continuations."""
    recipe, lm = context.recipe, context.lm
    if recipe.effects.prompts:
        check_length("effects.max_length", recipe.effects.max_length + len(lm.chat), lm)


def run(context: Context, progress: Progress) -> StageResults:
    """Every set's effects on `test` and on the half of the panel that is held out; and what follows from it."""
    recipe, parts, folder = context.recipe, context.parts["effects"], context.folder.path / "effects"
    panel = tested_panel(context) if "panel" in context.roles.corpora else None
    found = measured_sets(context, part(progress, 0.0, 0.1), panel)
    whole = {"test": context.tokens("test")} | ({} if panel is None else {PANEL: panel.held_out})
    sizes = {name: float(tokens.lengths.sum()) for name, tokens in whole.items()}
    texts: dict[str, TokenizedCorpus] = {}
    measured: dict[str, list[list[Measured]]] = {}
    done = 0.0
    for name, tokens in whole.items():
        share = sizes[name] / sum(sizes.values())
        told = part(progress, 0.1 + 0.6 * done, 0.1 + 0.6 * (done + share))
        texts[name], measured[name] = _measure(context, found, name, tokens, told)
        done += share
    table: list[LossCell] = []
    compared: list[Selectivity] = []
    for name, tokens in texts.items():
        for number, (each, sweep) in enumerate(zip(found.sets, measured[name], strict=True)):
            own: dict[str, Any] = {"name": each.name, "kind": each.kind, **context.resampling}
            pooled, by_source = "all" if name == "test" else name, name == "test" and number == 0
            table += cells(sweep, tokens, pooled=pooled, by_source=by_source, **own)
            if each.name not in found.only_off:
                compared += selectivity(sweep, tokens, context.target, text=name, **own)
    write_table(folder / "next_token.parquet", as_rows(table))
    _write_losses(folder / "losses.parquet", found, texts, measured)
    test, target, reference = texts["test"], context.target, context.reference
    moved = [
        row
        for own, sweep in zip(found.sets, measured["test"], strict=True)
        if own.name not in found.only_off
        for row in side_effects(
            sweep, test, target, reference, name=own.name, kind=own.kind, **context.resampling
        )
    ]
    one_by_one: list[PartEffect] = []
    tuned: list[BestDose] = []
    how: dict[str, Any] = {
        "precision": recipe.effects.precision,
        "budget": recipe.batch_tokens,
        **context.resampling,
    }
    if found.own.ids:
        value = matched_dose(compared, target)
        one_by_one = part_effects(
            context.lm,
            context.site,
            found.own.all_units,
            [Edit("zero", found.own.ids), *([] if value is None else [at_dose(found, value)])],
            first_sentences(test, FROZEN_SENTENCES),
            name=target,
            keep=parts.under("one-by-one"),
            progress=part(progress, 0.75, 0.85),
            **how,
        )
    if recipe.effects.tune:
        tuned = best_doses(
            context.lm,
            context.site,
            found.sets,
            _capped(context, only(context.tokens("tune"), target)),
            only(test, target),
            target,
            keep=parts.arrays,
            progress=part(progress, 0.85, 0.93),
            **how,
        )
    coded, written = None, None
    if recipe.protocol == "as_coded":
        replaying = partial(coded_sweep, context, found.selected, part(progress, 0.93, 0.95))
        coded = parts.rows(CodedCell, "as_coded", replaying)
    if recipe.effects.prompts:
        writing = partial(_continued, context, found, part(progress, 0.95, 1.0))
        written = parts.rows(Continuation, "generation", writing)
    # the selected latents' sweep has the model as it is too
    correlated: dict[str, tuple[Sequence[Measured], TokenizedCorpus, np.ndarray]] = {
        name: (measured[name][0], tokens, _places(context, name, tokens)) for name, tokens in texts.items()
    }
    return StageResults(
        next_token=NextToken(
            cells=table,
            selectivity=compared,
            side_effects=moved,
            one_by_one=one_by_one,
            best_dose=tuned,
            sets=[
                SweptSet(units=own.name, kind=own.kind, size=own.size, members=list(own.members))
                for own in found.sets
            ],
            serial_correlation=serial_correlations(correlated, seed=recipe.seed),
            chosen=found.chosen,
            as_coded=coded,
        ),
        generation=written,
    )


def _measure(
    context: Context, found: MeasuredSets, name: str, tokens: TokenizedCorpus, progress: Progress
) -> tuple[TokenizedCorpus, list[list[Measured]]]:
    """The selected latents' whole sweep on as much text as its changes need; then on that text the other sets."""
    recipe, keep = context.recipe, context.parts["effects"].under
    how: dict[str, Any] = {
        "seed": recipe.seed,
        # of the reference's predictions on test alone is it asked how far they move
        "side_effects_on": context.reference if name == "test" else None,
        "budget": recipe.batch_tokens,
    }
    text, own = measure_growing(
        context.lm,
        context.site,
        [found.own.sweep],
        _capped(context, tokens),
        precision=recipe.effects.precision,
        keep=keep(name),
        progress=part(progress, 0.0, 0.5),
        **how,
    )
    sweeps = matched_sweeps(
        context.lm,
        context.site,
        found.sets[1:],
        only(text, context.target),
        MATCHED_DAMAGE,
        only_off=found.only_off,
        budget=recipe.batch_tokens,
        keep=keep(f"{name}-others"),
        progress=part(progress, 0.5, 0.7),
    )
    _, others = measure_growing(
        context.lm,
        context.site,
        sweeps,
        text,
        precision=None,
        keep=keep(f"{name}-others"),
        progress=part(progress, 0.7, 1.0),
        **how,
    )
    return text, own + others


def _continued(context: Context, found: MeasuredSets, progress: Progress) -> list[Continuation]:
    """Raw, and under two edits: as far down as the sweep goes, and as far up as is in range."""
    doses = found.selected.doses
    inside = [dose for dose in doses if dose.in_range]
    return continuations(
        context.lm,
        context.site,
        found.own.all_units,
        (context.target, context.reference),
        [
            Edit("set", found.own.ids, dose.targets, value=dose.value)
            for dose in (*doses[:1], *(inside or doses)[-1:])
        ],
        name=context.target,
        max_tokens=context.recipe.effects.max_length,
        progress=progress,
    )


def _write_losses(
    path: Path,
    found: MeasuredSets,
    texts: dict[str, TokenizedCorpus],
    measured: dict[str, list[list[Measured]]],
) -> None:
    """Every measured sentence's loss under every edit, so that any other statistic can be computed from it."""
    columns: dict[str, list[np.ndarray]] = {}
    for name, tokens in texts.items():
        of_sentence = {
            what: np.array([getattr(sentence, what) for sentence in tokens.corpus.sentences], dtype=object)
            for what in ("language", "source", "pair", "doc")
        } | {"tokens": tokens.predicted, "bytes": tokens.predicted_bytes}
        for own, sweep in zip(found.sets, measured[name], strict=True):
            for m in sweep:
                edit, splice, value = (
                    ("raw", None, None) if m.edit is None else (m.edit.operation, m.edit.splice, m.edit.value)
                )
                of_edit = {"text": name, "units": own.name, "edit": edit, "splice": splice, "value": value}
                repeated = {
                    what: np.full(len(tokens), value, dtype=object) for what, value in of_edit.items()
                }
                for what, values in (repeated | of_sentence | {"loss": m.losses}).items():
                    columns.setdefault(what, []).append(values)
    write_table(path, {what: np.concatenate(values) for what, values in columns.items()})


def _places(context: Context, role: str, tokens: TokenizedCorpus) -> np.ndarray:
    """Where each sentence of a text stood in its source."""
    roles = context.roles
    places = dict(zip(roles.corpora[role].sentences, roles.places[role], strict=True))
    return np.array([places[sentence] for sentence in tokens.corpus.sentences], dtype=np.int64)


def _capped(context: Context, tokens: TokenizedCorpus) -> TokenizedCorpus:
    """A text, or as much of it as `effects.sentences` allows."""
    most = context.recipe.effects.sentences
    return tokens if most is None else first_sentences(tokens, most)


def matched_dose(rows: Sequence[Selectivity], name: str) -> float | None:
    """The value at which a set costs the target 0.3 nats on `test`, error-preserving; None where there is none."""
    wanted = (name, "test", "set", False, DAMAGE)
    return next(
        (row.value for row in rows if (row.units, row.text, row.edit, row.splice, row.at) == wanted), None
    )


def at_dose(found: MeasuredSets, value: float) -> Edit:
    """The selected latents set to any value between two of the sweep's, each in its own units."""
    units = found.selected.units
    for dose in found.selected.doses:
        # targets are in proportion to the value, whatever it counts
        if dose.value:
            targets = tuple(value * target / dose.value for target in dose.targets)
            return Edit("set", units, targets, value=value)
    return Edit("set", units, (value,) * len(units), value=value)


def coded_sweep(context: Context, selected: Selected, progress: Progress) -> list[CodedCell]:
    """The sweep of Appendix C by the mis-read code."""
    edits = [Edit("set", selected.units, dose.targets, True, dose.value) for dose in selected.doses]
    return coded_cells(
        context.lm,
        context.site,
        without_pre_encoder_bias(load_sae(context)),
        coded_text(context.tokens("test"), (context.target, context.reference)),
        edits,
        budget=context.recipe.batch_tokens,
        progress=progress,
    )


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """What equal damage to the target costs the reference, and how many latents pass without training."""
    if not (next_token := results.next_token):
        return
    for row in next_token.selectivity:
        if row.versus == reference and not row.splice and _headline(row, target):
            yield _selectivity_line(row)
    own = [each for each in next_token.chosen if each.language == target and each.passing is not None]
    untrained = [str(each.passing) for each in own if each.seed is not None]
    for each in own:
        if each.seed is None and untrained:
            yield (
                f"effects   {each.passing} of {each.of} latents pass {SELECTED_BY[each.asked]}; untrained, on the "
                f"same text: {', '.join(untrained)}"
            )


def _headline(row: Selectivity, target: str) -> bool:
    """The selected latents at every damage; of what is cheaper, where it is projected, the larger."""
    if row.text != "test":
        return False
    if row.units == target:
        return row.edit == "set"
    return row.kind != "latent" and row.edit == "scale" and row.at == DAMAGE


def _selectivity_line(row: Selectivity) -> str:
    start = f"effects   {row.units} +{row.at:.1f} nats per token: "
    if not row.reached:
        return start + "no dose of the sweep reaches it"
    if row.ratio_per_byte is not None and row.ratio_per_byte_high is not None:
        ratio = (
            f"{row.ratio_per_byte:.1f}, 95 % {row.ratio_per_byte_low:.1f} to {row.ratio_per_byte_high:.1f}"
        )
    elif row.ratio_per_byte_least is not None:
        # the other language's rise may be 0, so that only the lower end is known
        ratio = f"at least {row.ratio_per_byte_least:,.1f}, one-sided 95 %"
    else:
        ratio = "without limit"
    return (
        f"{start}per byte {row.target_delta_per_byte:+.4f}, {row.versus} {row.other_delta_per_byte:+.4f}, "
        f"difference {row.margin_per_byte:+.4f} (95 % {row.margin_per_byte_low:+.4f} to "
        f"{row.margin_per_byte_high:+.4f}), ratio {ratio}"
    )


def edits_of(counts: Quantities) -> int:
    """Edits of the selected latents that run the model: doses, no edit and the mean, spliced and not; the rest."""
    doses = len({0.0, *counts.recipe.effects.values}) + 2
    # switched off, and their own values turned about
    return (doses + 2) + (doses + 1) + 1 + LATENT_SHARES


def _others(counts: Quantities) -> int:
    return sum(code not in counts.pair for code in counts.panel)


def cheaper(counts: Quantities) -> int:
    """Edits of the other sets that are tried on `tune`: other latents, random weights, neurons, directions."""
    effects = counts.recipe.effects
    down = len({0.0, *(value for value in effects.values if value < 0)}) if effects.unit == "latent" else 1
    of_kind = {
        # at each value, the mean, switched off, and turned about
        "latent": (_others(counts) + UNTRAINED) * (down + 2 + LATENT_SHARES),
        # all of them and the best one: zero, the mean, and drawn towards it
        "neuron": 2 * (2 + SHARES),
        # the difference of means and the probe's: projected, drawn, added
        "direction": 2 * (1 + SHARES + MULTIPLES),
    }
    return sum(of_kind[family] for family in effects.families)


def ways(counts: Quantities) -> int:
    """Ways down of the other sets, on each of which a dose is looked for at each damage."""
    of_kind = {
        # fixed at values below 0, where values count the latents' own units, and turned about
        "latent": UNTRAINED * (1 + (counts.recipe.effects.unit == "latent")),
        "neuron": 2,
        "direction": 2 * 2,
    }
    return sum(of_kind[family] for family in counts.recipe.effects.families)


def compared(counts: Quantities) -> int:
    """Edits of the other sets that all languages are measured under: switched off, and at the same damage."""
    sets = {"latent": _others(counts) + UNTRAINED, "neuron": 2, "direction": 2}
    off = sum(sets[family] for family in counts.recipe.effects.families)
    return off + ways(counts) * MATCHED


def measured_on(counts: Quantities, role: str) -> Amounts:
    """What effects are measured on of a text: half of the panel, and `effects.sentences` of each language.

    With a precision that is as many sentences as intervals of 0.03 nats a token take.
    """
    effects, half = counts.recipe.effects, 2 if role == PANEL else 1
    finer = math.inf if effects.precision is None else PRECISION / effects.precision
    needed = PRECISE * finer * finer
    most = min(needed, math.inf if effects.sentences is None else effects.sentences)
    amounts = {code: a * (1 / half) for code, a in counts.roles[role].items()}
    return {code: a * share_of(a.sentences, most) for code, a in amounts.items()}


def cost(counts: Quantities) -> Work:
    """The raw model, and from the site on every edit of every set, on each text; the best dose; the prompts."""
    effects, shape, edits = counts.recipe.effects, counts.shape, edits_of(counts) + compared(counts)
    if effects.prompts:
        counts.check_length("effects.max_length", effects.max_length)
    texts = [measured_on(counts, role) for role in ("test", PANEL) if role in counts.roles]
    tokens = sum(map(tokens_of, texts))
    target = sum(tokens_of(text, counts.pair[:1]) for text in texts)
    tuned = tokens_of(measured_on(counts, "tune"), counts.pair[:1]) if effects.tune else 0.0
    # the selected latents' error-preserving edits are tried on tune beside the other sets'
    tried = tuned * (edits_of(counts) // 2 + cheaper(counts)) + target * ways(counts) * MATCHED * DOSES_TRIED
    read = direction_reading(counts) + latent_reading(counts)
    codes = sets_encoding(counts, tokens + tuned)
    passes = counts.forward(tokens + tuned, shape.layers, output=True)
    passes += counts.forward(edits * tokens + tried, counts.blocks_above, output=True)
    # KL and agreement: another softmax of the logits of the reference's sentences of test
    passes += Work(moved=16 * shape.vocabulary * edits * tokens_of(texts[0], counts.pair[1:]))
    work = passes.beside(codes) + read
    # resamples behind the intervals, drawn on the CPU, of each language for each set's cells and curves
    resampling = 1 + 3e-8 * effects.bootstrap * sum(map(sentences_of, texts)) * 4 * len(effects.families)
    work += Work(seconds=resampling)
    if counts.recipe.protocol == "as_coded":
        work += _coded_work(counts)
    if effects.prompts:
        # eight prompts, raw and at two doses, some twelve new tokens each; every token reads all weights
        new = 8 * 3 * 12
        work += Work(
            moved=4 * new * (shape.weights + 2 * counts.d_in * counts.latents / 3),
            operations=new * shape.layers * BLOCK_OPERATIONS * 2,
        )
    return work


def _coded_work(counts: Quantities) -> Work:
    """Some sentences of the pair once more to the site, and from there on at every dose, by another code."""
    test = (counts.roles["test"][code] for code in counts.pair if code in counts.roles["test"])
    tokens = sum(a.tokens * share_of(a.sentences, min(CODED_SENTENCES)) for a in test)
    doses = len({0.0, *counts.recipe.effects.values}) + 1
    once = counts.forward(tokens, counts.depth) + counts.encode(tokens)
    return once + counts.forward(doses * tokens, counts.blocks_above, output=True)


def words(counts: Quantities) -> str:
    """How many passes."""
    return (
        f"1 pass over test, {count_text(tokens_of(counts.roles['test']))} tokens, and {edits_of(counts)} from the site "
        f"on, and {compared(counts)} of other sets"
        + ("; the same on half of panel" if PANEL in counts.roles else "")
        + ("; 8 prompts" if counts.recipe.effects.prompts else "")
    )


STAGE = Stage(
    name="effects",
    does="turning the units up and down",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.effects.sweep,
    lower="batch_tokens or max_tokens",
    check=check,
    lines=lines,
)
