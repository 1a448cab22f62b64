"""The stage that turns units up and down, and measures what becomes of the loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sprog.effects import (
    Dose,
    Edit,
    Measured,
    Sweep,
    best_dose,
    cells,
    continuations,
    measure_edits,
    measure_sweeps,
    part_edits,
    part_rows,
    selectivity,
    serial_correlations,
    side_effects,
)
from sprog.lm import TokenizedCorpus
from sprog.run.as_coded import coded_sweep
from sprog.run.context import Context
from sprog.run.effect_arms import Arms, all_arms
from sprog.run.folder import as_rows
from sprog.run.panels import test_panel
from sprog.run.samples import first_sentences
from sprog.run.show import Report, part
from sprog.run.tables import write_table
from sprog.sae import Sae

# the damage at whose dose units are looked at one by one
DAMAGE = 0.3
# sentences of each language on which they are, and on which controls are drawn
FROZEN_SENTENCES = 200
PANEL = "panel"


def effects_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Every set's sweep on `test` and on the half of the panel that is held out; and what follows from it."""
    recipe, settings = context.recipe, context.recipe.effects
    panel = test_panel(context) if "panel" in context.roles.corpora else None
    arms = all_arms(context, layer, part(report, 0.0, 0.1), panel)
    texts = {"test": _capped(context.tokens("test"), settings.sentences)}
    if panel is not None:
        texts[PANEL] = _capped(panel.held_out, settings.sentences)
    sizes = {name: float(tokens.lengths.sum()) for name, tokens in texts.items()}
    measured: dict[str, list[list[Measured]]] = {}
    done = 0.0
    for name, tokens in texts.items():
        share = sizes[name] / sum(sizes.values())
        measured[name] = measure_sweeps(
            context.lm,
            context.site(layer),
            [arm.sweep for arm in arms.arms],
            tokens,
            # of the reference alone is it asked how far its predictions move
            side_effects=np.array([s.language == context.reference for s in tokens.corpus.sentences])
            if name == "test"
            else False,
            budget=recipe.batch_tokens,
            progress=part(report, 0.1 + 0.6 * done, 0.1 + 0.6 * (done + share)),
        )
        done += share
    table = [row for name, tokens in texts.items() for row in _cells(context, arms, measured, name, tokens)]
    write_table(context.folder.path / "effects" / "next_token.parquet", table)
    compared = [
        row for name, tokens in texts.items() for row in _selectivity(context, arms, measured, name, tokens)
    ]
    test = texts["test"]
    moved = [
        row
        for arm, sweep in zip(arms.arms, measured["test"], strict=True)
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
    dose_list = arms.selected.doses
    written = (
        continuations(
            context.lm,
            context.site(layer),
            arms.autoencoders[context.target],
            (context.target, context.reference),
            _steering(arms.selected.units, dose_list),
            name=context.target,
            max_tokens=settings.max_length,
            progress=part(report, 0.95, 1.0),
        )
        if settings.prompts
        else []
    )
    return {
        "next_token": {
            "cells": table,
            "selectivity": compared,
            "side_effects": moved,
            "one_by_one": _one_by_one(context, layer, arms, compared, test, part(report, 0.75, 0.85)),
            "best_dose": _tuned(context, layer, arms, measured["test"], test, part(report, 0.85, 0.93)),
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
            "as_coded": coded_sweep(
                context, layer, arms.selected, context.tokens("test"), part(report, 0.93, 0.95)
            )
            if recipe.protocol == "as_coded"
            else None,
            "controls": None,
        },
        "generation": as_rows(written) if settings.prompts else None,
    }


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
        for arm, sweep in zip(arms.arms, measured[text], strict=True)
        for row in as_rows(
            selectivity(
                sweep,
                tokens,
                # another language's latents are held against what they do to that language
                arm.name if arm.name in tokens.corpus.languages else context.target,
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
    tokens = first_sentences(test, FROZEN_SENTENCES)
    measured = measure_edits(
        context.lm,
        context.site(layer),
        arms.autoencoders[context.target],
        tokens,
        [(Edit("none"), None), *((edit, None) for _, _, edit in parts)],
        budget=context.recipe.batch_tokens,
        progress=report,
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
    context: Context,
    layer: int,
    arms: Arms,
    measured: Sequence[list[Measured]],
    test: TokenizedCorpus,
    report: Report,
) -> list[dict[str, Any]]:
    """Of each set the edit with the target's lowest loss on `tune`, tested on `test`."""
    settings, target = context.recipe.effects, context.target
    whole = context.tokens("tune")
    tune = _capped(
        whole.take([i for i, s in enumerate(whole.corpus.sentences) if s.language == target]),
        settings.sentences,
    )
    if not settings.tune or not len(tune):
        return []
    tuned = measure_sweeps(
        context.lm,
        context.site(layer),
        [arm.sweep for arm in arms.arms],
        tune,
        budget=context.recipe.batch_tokens,
        progress=report,
    )
    rows = [
        best_dose(
            own,
            tune,
            sweep,
            test,
            target,
            name=arm.name,
            kind=arm.kind,
            draws=settings.bootstrap,
            seed=context.recipe.seed,
        )
        for arm, own, sweep in zip(arms.arms, tuned, measured, strict=True)
    ]
    return as_rows([row for row in rows if row is not None])


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
    units, edits = sweep[0]
    if isinstance(units, Sae) or units.kind == "direction":
        return []
    return list(next((edit.units for edit, _ in edits if edit is not None and edit.units), ()))


def _steering(units: tuple[int, ...], dose_list: Sequence[Dose]) -> list[Edit]:
    """Two arms beside the raw model: as far down as the sweep goes, and as far up as is in range."""
    if not dose_list:
        return []
    inside = [dose for dose in dose_list if dose.in_range]
    arms = [dose_list[0], inside[-1] if inside else dose_list[-1]]
    return [Edit("set", units, dose.targets, value=dose.value) for dose in arms]
