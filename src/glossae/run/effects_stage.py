"""The stage that turns units up and down, and measures what becomes of the loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glossae.effects import (
    MATCHED_DAMAGE,
    Arm,
    Dose,
    Edit,
    Measured,
    Step,
    Sweep,
    best_dose,
    cells,
    lowest,
    matched_sweeps,
    measure_growing,
    part_edits,
    part_rows,
    selectivity,
    serial_correlations,
    side_effects,
)
from glossae.lm import TokenizedCorpus
from glossae.run.as_coded import coded_sweep
from glossae.run.context import Context
from glossae.run.effect_arms import Arms, all_arms
from glossae.run.folder import as_rows
from glossae.run.panels import test_panel
from glossae.run.samples import first_sentences
from glossae.run.show import Report, part
from glossae.run.tables import write_table
from glossae.steering import Continuation, continuations

# the damage at whose dose units are looked at one by one
DAMAGE = 0.3
# sentences of each language on which they are, and on which controls are drawn
FROZEN_SENTENCES = 200
PANEL = "panel"


def effects_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Every set's effects on `test` and on the half of the panel that is held out; and what follows from it."""
    recipe, settings, parts = context.recipe, context.recipe.effects, context.parts["effects"]
    panel = test_panel(context) if "panel" in context.roles.corpora else None
    arms = all_arms(context, layer, part(report, 0.0, 0.1), panel)
    whole = {"test": context.tokens("test")}
    if panel is not None:
        whole[PANEL] = panel.held_out
    sizes = {name: float(tokens.lengths.sum()) for name, tokens in whole.items()}
    texts: dict[str, TokenizedCorpus] = {}
    measured: dict[str, list[list[Measured]]] = {}
    done = 0.0
    for name, tokens in whole.items():
        share = sizes[name] / sum(sizes.values())
        own = part(report, 0.1 + 0.6 * done, 0.1 + 0.6 * (done + share))
        texts[name], measured[name] = _measure(context, layer, arms, name, tokens, own)
        done += share
    table = [row for name, tokens in texts.items() for row in _cells(context, arms, measured, name, tokens)]
    write_table(context.folder.path / "effects" / "next_token.parquet", table)
    _write_losses(context, arms, texts, measured)
    compared = [
        row for name, tokens in texts.items() for row in _selectivity(context, arms, measured, name, tokens)
    ]
    test = texts["test"]
    moved = [
        row
        for arm, sweep in _compared(arms, measured["test"])
        for row in as_rows(
            side_effects(
                sweep,
                test,
                context.target,
                context.reference,
                name=arm.name,
                kind=arm.kind,
                draws=settings.bootstrap,
                seed=recipe.seed,
            )
        )
    ]
    one_by_one = _one_by_one(context, layer, arms, compared, test, part(report, 0.75, 0.85))
    tuned = _tuned(context, layer, arms, test, part(report, 0.85, 0.93))
    coded = (
        parts.json(
            "as_coded",
            lambda: coded_sweep(
                context, layer, arms.selected, context.tokens("test"), part(report, 0.93, 0.95)
            ),
        )
        if recipe.protocol == "as_coded"
        else None
    )
    written = (
        parts.json("generation", lambda: as_rows(_continued(context, layer, arms, part(report, 0.95, 1.0))))
        if settings.prompts
        else None
    )
    return {
        "next_token": {
            "cells": table,
            "selectivity": compared,
            "side_effects": moved,
            "one_by_one": one_by_one,
            "best_dose": tuned,
            "sets": _sets(arms),
            "serial_correlation": as_rows(
                serial_correlations(
                    {
                        # the selected latents' sweep has the model as it is too
                        name: (measured[name][0], tokens, _places(context, name, tokens))
                        for name, tokens in texts.items()
                    },
                    seed=recipe.seed,
                )
            ),
            "chosen": as_rows(arms.chosen),
            "as_coded": coded,
            "controls": None,
        },
        "generation": written,
    }


def _measure(
    context: Context, layer: int, arms: Arms, name: str, tokens: TokenizedCorpus, report: Report
) -> tuple[TokenizedCorpus, list[list[Measured]]]:
    """The selected latents' whole sweep on as much text as its changes need; then on that text the other sets."""
    recipe, parts = context.recipe, context.parts["effects"]
    # of the reference's predictions on test alone is it asked how far they move
    compared = context.reference if name == "test" else None
    text, own = _grown(
        context,
        layer,
        [arms.arms[0].sweep],
        _capped(tokens, recipe.effects.sentences),
        name,
        part(report, 0.0, 0.5),
        precision=recipe.effects.precision,
        side_effects_on=compared,
    )
    sweeps = matched_sweeps(
        context.lm,
        context.site(layer),
        arms.arms[1:],
        _only(text, context.target),
        MATCHED_DAMAGE,
        only_off=_other_languages(arms),
        budget=recipe.batch_tokens,
        keep=parts.under(f"{name}-others"),
        progress=part(report, 0.5, 0.7),
    )
    _, others = _grown(
        context,
        layer,
        sweeps,
        text,
        f"{name}-others",
        part(report, 0.7, 1.0),
        precision=None,
        side_effects_on=compared,
    )
    return text, own + others


def _grown(
    context: Context,
    layer: int,
    sweeps: Sequence[Sweep],
    tokens: TokenizedCorpus,
    name: str,
    report: Report,
    *,
    precision: float | None,
    side_effects_on: str | None = None,
) -> tuple[TokenizedCorpus, list[list[Measured]]]:
    """`measure_growing` at the run's site; what is finished is kept by this name."""
    return measure_growing(
        context.lm,
        context.site(layer),
        sweeps,
        tokens,
        precision=precision,
        seed=context.recipe.seed,
        side_effects_on=side_effects_on,
        budget=context.recipe.batch_tokens,
        keep=context.parts["effects"].under(name),
        progress=report,
    )


def _only(tokens: TokenizedCorpus, language: str) -> TokenizedCorpus:
    return tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == language])


def _other_languages(arms: Arms) -> set[str]:
    """The sets of other languages' latents, which are only switched off."""
    return {each.units for each in arms.chosen if each.units == each.language} - {arms.arms[0].name}


def _compared(arms: Arms, measured: Sequence[list[Measured]]) -> list[tuple[Arm, list[Measured]]]:
    """The sets that are compared at matched damage, with their sweeps."""
    others = _other_languages(arms)
    return [(arm, sweep) for arm, sweep in zip(arms.arms, measured, strict=True) if arm.name not in others]


def _continued(context: Context, layer: int, arms: Arms, report: Report) -> list[Continuation]:
    return continuations(
        context.lm,
        context.site(layer),
        arms.autoencoders[context.target],
        (context.target, context.reference),
        _steering(arms.selected.units, arms.selected.doses),
        name=context.target,
        max_tokens=context.recipe.effects.max_length,
        progress=report,
    )


def _write_losses(
    context: Context,
    arms: Arms,
    texts: dict[str, TokenizedCorpus],
    measured: dict[str, list[list[Measured]]],
) -> None:
    """Every measured sentence's loss under every edit, so that any other statistic can be computed from it."""
    columns: dict[str, list[np.ndarray]] = {}
    for name, tokens in texts.items():
        sentences = tokens.corpus.sentences
        of_sentence = {
            what: np.array([getattr(sentence, what) for sentence in sentences], dtype=object)
            for what in ("language", "source", "pair", "doc")
        } | {"tokens": tokens.predicted, "bytes": tokens.predicted_bytes}
        for arm, sweep in zip(arms.arms, measured[name], strict=True):
            for m in sweep:
                edit = (
                    ("raw", None, None) if m.edit is None else (m.edit.operation, m.edit.splice, m.edit.value)
                )
                of_edit = dict(
                    zip(("text", "units", "edit", "splice", "value"), (name, arm.name, *edit), strict=True)
                )
                repeated = {
                    what: np.full(len(tokens), value, dtype=object) for what, value in of_edit.items()
                }
                for what, values in (repeated | of_sentence | {"loss": m.losses}).items():
                    columns.setdefault(what, []).append(values)
    write_table(
        context.folder.path / "effects" / "losses.parquet",
        {what: np.concatenate(values) for what, values in columns.items()},
    )


def _places(context: Context, role: str, tokens: TokenizedCorpus) -> np.ndarray:
    """Where each sentence of a text stood in its source."""
    roles = context.roles
    places = dict(zip(roles.corpora[role].sentences, roles.places[role], strict=True))
    return np.array([places[sentence] for sentence in tokens.corpus.sentences], dtype=np.int64)


def _capped(tokens: TokenizedCorpus, most: int | None) -> TokenizedCorpus:
    """A text, or as much of it as `effects.sentences` allows."""
    return tokens if most is None else first_sentences(tokens, most)


def matched_dose(rows: Sequence[dict[str, Any]], name: str, at: float = DAMAGE) -> float | None:
    """The value at which a set costs the target so much on `test`, error-preserving; None where there is none."""
    for row in rows:
        key = (row["units"], row["text"], row["edit"], row["splice"], row["at"])
        if key == (name, "test", "set", False, at):
            value: float | None = row["value"]
            return value
    return None


def at_dose(arms: Arms, value: float) -> Edit:
    """The selected latents set to any value between two of the sweep's, each in its own units."""
    units = arms.selected.units
    for dose in arms.selected.doses:
        # targets are in proportion to the value, whatever it counts
        if dose.value:
            targets = tuple(value * target / dose.value for target in dose.targets)
            return Edit("set", units, targets, value=value)
    return Edit("set", units, (value,) * len(units), value=value)


def _cells(
    context: Context,
    arms: Arms,
    measured: dict[str, list[list[Measured]]],
    text: str,
    tokens: TokenizedCorpus,
) -> list[dict[str, Any]]:
    rows = []
    for number, (arm, sweep) in enumerate(zip(arms.arms, measured[text], strict=True)):
        rows += as_rows(
            cells(
                sweep,
                tokens,
                name=arm.name,
                kind=arm.kind,
                draws=context.recipe.effects.bootstrap,
                seed=context.recipe.seed,
                pooled="all" if text == "test" else text,
                by_source=text == "test" and number == 0,
            )
        )
    return rows


def _selectivity(
    context: Context,
    arms: Arms,
    measured: dict[str, list[list[Measured]]],
    text: str,
    tokens: TokenizedCorpus,
) -> list[dict[str, Any]]:
    return [
        row
        for arm, sweep in _compared(arms, measured[text])
        for row in as_rows(
            selectivity(
                sweep,
                tokens,
                context.target,
                name=arm.name,
                kind=arm.kind,
                text=text,
                draws=context.recipe.effects.bootstrap,
                seed=context.recipe.seed,
            )
        )
    ]


def _one_by_one(
    context: Context,
    layer: int,
    arms: Arms,
    compared: Sequence[dict[str, Any]],
    test: TokenizedCorpus,
    report: Report,
) -> list[dict[str, Any]]:
    """Every selected latent alone and left out: switched off, and at the dose of 0.3 nats where there is one."""
    if not arms.selected.units:
        return []
    edits = [Edit("zero", arms.selected.units)]
    value = matched_dose(compared, context.target)
    if value is not None:
        edits.append(at_dose(arms, value))
    parts = [row for edit in edits for row in part_edits(edit)]
    sae = arms.autoencoders[context.target]
    tokens, (measured,) = _grown(
        context,
        layer,
        [[Step(sae, edit) for edit in (Edit("none"), *(edit for *_, edit in parts))]],
        first_sentences(test, FROZEN_SENTENCES),
        "one-by-one",
        report,
        precision=context.recipe.effects.precision,
    )
    return as_rows(
        part_rows(
            parts,
            measured,
            tokens,
            name=context.target,
            draws=context.recipe.effects.bootstrap,
            seed=context.recipe.seed,
        )
    )


def _tuned(
    context: Context, layer: int, arms: Arms, test: TokenizedCorpus, report: Report
) -> list[dict[str, Any]]:
    """Of each set the edit with the target's lowest loss on `tune`, tested on `test`; likewise of spliced edits."""
    recipe, settings, target = context.recipe, context.recipe.effects, context.target
    whole = _capped(_only(context.tokens("tune"), target), settings.sentences)
    own = _only(test, target)
    if not settings.tune or not len(whole) or not len(own):
        return []
    ways = [(arm, _only_spliced(arm.sweep, splice)) for splice in (False, True) for arm in arms.arms]
    ways = [(arm, sweep) for arm, sweep in ways if sweep]
    sweeps = [sweep for _, sweep in ways]
    tune, tuned = _grown(
        context, layer, sweeps, whole, "tune", part(report, 0.0, 0.8), precision=settings.precision
    )
    chosen: list[Sweep] = []
    for sweep, losses in zip(sweeps, tuned, strict=True):
        place = lowest(losses, tune, target)
        none = Edit("none", splice=any(step.edit and step.edit.splice for step in sweep))
        best = [] if place is None else [sweep[place]._replace(in_range=None)]
        chosen.append([Step(sweep[place or 0].units, none), *best])
    _, tested = _grown(context, layer, chosen, own, "tuned", part(report, 0.8, 1.0), precision=None)
    rows = [
        best_dose(
            losses,
            tune,
            sweep,
            own,
            target,
            name=arm.name,
            kind=arm.kind,
            draws=settings.bootstrap,
            seed=recipe.seed,
        )
        for (arm, _), losses, sweep in zip(ways, tuned, tested, strict=True)
    ]
    return as_rows([row for row in rows if row is not None])


def _only_spliced(sweep: Sweep, splice: bool) -> list[Step]:
    """The edits of one kind; nothing where there is none but the splice itself."""
    kept = [step for step in sweep if step.edit is not None and step.edit.splice == splice]
    return kept if any(step.edit and step.edit.operation != "none" for step in kept) else []


def _sets(arms: Arms) -> list[dict[str, Any]]:
    """What each set is."""
    return [
        {
            "units": arm.name,
            "kind": arm.kind,
            "size": arm.size,
            "members": list(arms.latents.get(arm.name, ())) or _members(arm.sweep),
        }
        for arm in arms.arms
    ]


def _members(sweep: Sweep) -> list[int]:
    if sweep[0].kind != "neuron":
        return []
    return list(next((edit.units for _, edit, _ in sweep if edit is not None and edit.units), ()))


def _steering(units: tuple[int, ...], dose_list: Sequence[Dose]) -> list[Edit]:
    """Two arms beside the raw model: as far down as the sweep goes, and as far up as is in range."""
    if not dose_list:
        return []
    inside = [dose for dose in dose_list if dose.in_range]
    arms = [dose_list[0], inside[-1] if inside else dose_list[-1]]
    return [Edit("set", units, dose.targets, value=dose.value) for dose in arms]
