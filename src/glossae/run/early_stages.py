"""The first two stages: text and probes."""

from functools import partial
from typing import Any

import numpy as np

from glossae.paper import AsCodedCell, as_coded_table, replay_layers
from glossae.probe import ProbeCell, choose_layer, probe_layers, rank_agreement, sample_sentences
from glossae.run.context import Context
from glossae.run.folder import as_rows
from glossae.run.layers import choose_by_nearest, only_the_pair
from glossae.run.show import Report, part
from glossae.run.tables import write_table

PAIR_RULE = (
    "the earliest layer whose standardised held-out BCE at 0.1 x the critical lambda is within one standard error of "
    "the best"
)


def corpora_stage(context: Context, report: Report) -> dict[str, Any]:
    """Count every role's sentences and tokens."""
    rows = []
    roles = list(context.roles.corpora)
    for number, role in enumerate(roles):
        tokens = context.tokens(role)
        lengths = dict.fromkeys(((s.source, s.language) for s in tokens.corpus.sentences), 0)
        for sentence, length in zip(tokens.corpus.sentences, tokens.lengths, strict=True):
            lengths[sentence.source, sentence.language] += int(length)
        for count in (c for c in context.roles.counts if c.role == role):
            where = (count.name, count.language)
            short = tokens.dropped.get(where, 0)
            (row,) = as_rows([count])
            row["sentences"] -= short
            if short:
                row["dropped"]["under_2_tokens"] = short
            rows.append({**row, "tokens": lengths.get(where, 0), "cut": tokens.cut.get(where, 0)})
        report((number + 1) / len(roles))
    return {"corpora": rows}


def probe_stage(context: Context, report: Report) -> dict[str, Any]:
    """Probe every layer of every model named, and choose the run's layer if the recipe names none.

    The target's nearest other language chooses, where there is text in a third language; otherwise, and in a recipe by
    the paper, the probes of the target against the reference do.
    """
    recipe, folder = context.recipe, context.folder.path / "probe"
    chooses = recipe.layer == "auto" and not recipe.by_the_paper
    parts = context.parts["probe"]
    nearest = (
        parts.json("nearest", lambda: choose_by_nearest(context, part(report, 0.0, 0.3))) if chooses else None
    )
    only_pair = only_the_pair(context) if chooses and nearest is None else None
    if only_pair is not None:
        context.show.note(only_pair)
    names = list(dict.fromkeys((recipe.model, *recipe.probe.models)))
    # without the paper's probes the rule still needs its own, where nothing else chooses
    penalties = recipe.probe.lambdas if recipe.fits_papers_probes else ()
    if nearest is not None and not recipe.fits_papers_probes:
        names = []
    report = report if nearest is None else part(report, 0.3, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[ProbeCell] = []
    replayed: list[AsCodedCell] = []
    layers: list[dict[str, Any]] = []
    agreement: list[dict[str, Any]] = []
    pair: dict[str, Any] | None = None
    for number, name in enumerate(names):
        own = name == recipe.model
        lm = context.model(name)
        sample = sample_sentences(
            context.tokens("train", lm),
            (context.target, context.reference),
            recipe.probe.tokens,
            seeds=recipe.probe.seeds,
            seed=recipe.seed,
        )
        own_part = part(report, number / len(names), (number + 1) / len(names))
        probing = partial(
            probe_layers,
            lm,
            sample,
            site=recipe.site,
            reference=context.reference,
            penalties=penalties,
            published=recipe.by_the_paper,
            budget=recipe.batch_tokens,
            scratch=folder,
            progress=part(own_part, 0.0, 0.5 if recipe.replays_probes else 1.0),
        )
        found = parts.rows(ProbeCell, f"cells-{number}", probing)
        choice = choose_layer(found)
        if own:
            pair = {"layer": choice.best, "rule": PAIR_RULE}
        cells += found
        layers += [{"model": name, **row._asdict()} for row in choice.layers]
        agreement.append(
            {
                "model": name,
                "scores": "rule",
                "lambda": None,
                "spearman": choice.agreement,
                "seeds": sample.seeds,
            }
        )
        if recipe.replays_probes:
            replaying = partial(
                replay_layers,
                lm,
                sample,
                site=recipe.site,
                reference=context.reference,
                penalties=recipe.probe.lambdas,
                seed=recipe.seed,
                budget=recipe.batch_tokens,
                scratch=folder,
                progress=part(own_part, 0.5, 1.0),
            )
            coded = parts.rows(AsCodedCell, f"as_coded-{number}", replaying)
            replayed += coded
            agreement += [
                {
                    "model": name,
                    "scores": "as_coded",
                    "lambda": penalty,
                    "spearman": _agreement(coded, penalty, sample.seeds),
                    "seeds": sample.seeds,
                }
                for penalty in recipe.probe.lambdas
            ]
    rows = _with_lambda(as_rows(cells))
    # those of an earlier run in this folder are not this one's
    for name in ("cells", "as_coded"):
        (folder / f"{name}.parquet").unlink(missing_ok=True)
    if rows:
        write_table(folder / "cells.parquet", rows)
    if replayed:
        write_table(folder / "as_coded.parquet", _with_lambda(as_rows(replayed)))
    chosen = {"layer": nearest["chosen"], "rule": nearest["rule"]} if nearest is not None else pair
    assert chosen is not None
    return {
        "probe": {
            "site": recipe.site,
            "best_layer": chosen["layer"],
            "rule": chosen["rule"],
            "pair": pair,
            "nearest": nearest,
            "only_pair": only_pair,
            "layers": layers,
            "agreement": agreement,
            "cells": rows,
            "as_coded": _with_lambda(as_rows(as_coded_table(replayed))) if replayed else None,
        }
    }


def _agreement(cells: list[AsCodedCell], penalty: float, seeds: int) -> float | None:
    """Whether seeds put the layers in the same order by the accuracy of the replayed probes."""
    at = [cell for cell in cells if cell.penalty == penalty]
    return rank_agreement(np.array([[c.accuracy for c in at if c.seed == seed] for seed in range(seeds)]))


def _with_lambda(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Python cannot call `lambda` goes by that name in files."""
    return [{"lambda" if key == "penalty" else key: value for key, value in row.items()} for row in rows]
