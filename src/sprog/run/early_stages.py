"""The first two stages: text and probes."""

from typing import Any

from sprog.probe import ProbeCell, choose_layer, probe_layers, sample_sentences
from sprog.run.context import Context
from sprog.run.folder import as_rows
from sprog.run.show import Report, part
from sprog.run.tables import write_table


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
    """Probe every layer of every model named, the run's own always."""
    recipe, folder = context.recipe, context.folder.path / "probe"
    names = list(dict.fromkeys((recipe.model, *recipe.probe.models)))
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[ProbeCell] = []
    layers: list[dict[str, Any]] = []
    best = 0
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
        found = probe_layers(
            lm,
            sample,
            site=recipe.site,
            reference=context.reference,
            penalties=recipe.probe.lambdas,
            published=recipe.protocol == "published",
            budget=recipe.batch_tokens,
            scratch=folder,
            progress=part(report, number / len(names), (number + 1) / len(names)),
        )
        choice = choose_layer(found)
        best = choice.best if own else best
        cells += found
        layers += [
            {"model": name, "layer": layer, "bce": bce, "bce_se": error}
            for layer, bce, error in choice.layers
        ]
    rows = [
        {"lambda" if key == "penalty" else key: value for key, value in row.items()} for row in as_rows(cells)
    ]
    write_table(folder / "cells.parquet", rows)
    return {
        "probe": {
            "site": recipe.site,
            "best_layer": best,
            "rule": "the earliest layer whose standardised held-out BCE at 0.1 x the critical lambda is within "
            "one standard error of the best",
            "layers": layers,
            "cells": rows,
        }
    }
