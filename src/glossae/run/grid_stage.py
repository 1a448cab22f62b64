"""The stage that trains a grid of autoencoders, to see which kind suits (the paper's section 4.2)."""

import dataclasses
from itertools import product
from typing import Any

from glossae.recipe import Recipe
from glossae.run.context import Context, check_grid, model_identity
from glossae.run.folder import as_rows
from glossae.run.show import Report, part
from glossae.run.tables import write_table
from glossae.run.training import TrainingText, train_jobs, train_settings
from glossae.sae import GridCell, SaeConfig, last_batches, measure_reconstruction

# what the main autoencoder is, in sae.*, is not how a grid's are trained
NOT_THE_GRIDS = (
    "expansion",
    "latents",
    "from",
    "activation",
    "k",
    "l1",
    "tied",
    "pre_encoder_bias",
    "matryoshka",
    "checkpoint",
    "precision",
)


def grid_settings(recipe: Recipe, layer: int) -> dict[str, Any]:
    """What a grid's cells depend on besides the text: its own settings, and how autoencoders are trained."""
    settings = recipe.to_dict()
    return {
        "grid": settings["grid"],
        "model_of_grid": model_identity(recipe.grid.model or recipe.model),
        "layer": layer if recipe.grid.layer is None else recipe.grid.layer,
        "sae": {key: value for key, value in settings["sae"].items() if key not in NOT_THE_GRIDS},
    }


def grid_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Train every autoencoder in one pass of the model over the text, and measure them in one over `select`."""
    recipe, folder = context.recipe, context.folder.path / "grid"
    lm = context.model(recipe.grid.model or recipe.model)
    site = check_grid(recipe, lm, layer)
    text = TrainingText(lm, site, context.training_tokens(lm), recipe)
    kinds = _kinds(recipe)
    settings = train_settings(recipe, text)
    jobs = [
        (
            SaeConfig(
                d_in=lm.width(site),
                latents=recipe.grid.size(lm.width(site)),
                relu=not recipe.by_the_paper,
                model=lm.name,
                site=site.name,
                layer=site.layer,
                **{name: value for name, value in kind.items() if name != "l1"},
            ),
            dataclasses.replace(settings, l1=kind["l1"] or 0.0),
        )
        for kind in kinds
    ]
    identity = context.fingerprint("train", **grid_settings(recipe, layer))
    trained = train_jobs(context, "grid", jobs, text, identity, part(report, 0.0, 0.8))
    measured = measure_reconstruction(
        lm,
        site,
        [sae for sae, _ in trained],
        context.tokens("select", lm),
        budget=recipe.batch_tokens,
        progress=part(report, 0.8, 1.0),
    )
    cells = []
    for kind, (_, log), quality in zip(kinds, trained, measured, strict=True):
        mse, l0, active = last_batches(log)
        cells.append(
            GridCell(
                **kind,
                mse=mse,
                l0=l0,
                active_per_batch=active,
                fvu=quality.fvu,
                l0_select=quality.l0,
                dead_fraction=quality.dead_fraction,
            )
        )
    rows = as_rows(cells)
    write_table(folder / "cells.parquet", rows)
    logs = [{"cell": number, **row} for number, (_, log) in enumerate(trained) for row in as_rows(log)]
    write_table(folder / "log.parquet", logs)
    config = jobs[0][0]
    return {
        "grid": {
            "model": lm.name,
            "site": site.name,
            "layer": site.layer,
            "d_in": config.d_in,
            "latents": config.latents,
            "train_tokens": trained[0][1][-1].tokens,
            "steps": trained[0][1][-1].step,
            "tokens": measured[0].tokens,
            "cells": rows,
        }
    }


def _kinds(recipe: Recipe) -> list[dict[str, Any]]:
    """Every kind of autoencoder in the grid: TopK before ReLU, and in the order of the recipe's lists."""
    grid = recipe.grid
    sparsities: list[dict[str, Any]] = [{"activation": "topk", "k": k, "l1": None} for k in grid.k]
    sparsities += [{"activation": "relu", "k": None, "l1": l1} for l1 in grid.l1]
    return [
        {"tied": tied, "pre_encoder_bias": bias, **sparsity}
        for sparsity, tied, bias in product(sparsities, grid.tied, grid.pre_encoder_bias)
    ]
