"""The stage `grid`: train a grid of autoencoders, to see which kind suits (the paper's section 4.2)."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site
from glossae.plan import UNKNOWN, Quantities, Shape, Work, count_text, model_facts, tokens_of
from glossae.plan.quantities import LIVE
from glossae.recipe import Recipe
from glossae.results import GridCell, GridResult, StageResults
from glossae.run.context import Context, Inputs, Progress, model_identity, part
from glossae.run.folder import CHECKPOINTS, as_rows, write_table
from glossae.sae import Checkpoints, SaeConfig, choose, fronts, last_batches, measure_reconstruction
from glossae.stages.shared.sae_jobs import (
    check_memory,
    train_jobs,
    train_settings,
    training_text,
    training_work,
)
from glossae.stages.stage import Stage, settings_of

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
    "precision",
)


def inputs(context: Context) -> Inputs:
    """What a grid's cells depend on: its own settings, and how autoencoders are trained."""
    recipe = context.recipe
    settings = {
        **settings_of(recipe, "grid"),
        "model_of_grid": model_identity(_model(recipe)),
        "layer": context.site.layer if recipe.grid.layer is None else recipe.grid.layer,
        **settings_of(recipe, "sae", *NOT_THE_GRIDS),
    }
    text = context.trained_text()
    return Inputs((*text.roles, "select"), settings | text.settings)


def _model(recipe: Recipe) -> str:
    return recipe.grid.model or recipe.model


def check(context: Context) -> None:
    """Check the grid against its model: the run's is loaded, and of another the configuration is read."""
    recipe = context.recipe
    if not recipe.grid.wanted:
        return
    if _model(recipe) == recipe.model:
        check_grid(recipe, context.lm, 0 if recipe.layer == "auto" else recipe.layer)
    elif (shape := model_facts(_model(recipe)).shape) is not None:
        check_shape(recipe, shape)


def check_shape(recipe: Recipe, shape: Shape) -> None:
    """Check the grid against the shape of its model.

    Raises:
        GlossaeError: the model has no such layer, or there are fewer latents than the largest k.
    """
    layer = recipe.layer if recipe.grid.layer is None else recipe.grid.layer
    if layer != "auto" and layer >= shape.layers:
        raise GlossaeError(
            f"grid.layer: {_model(recipe)} has the layers 0 to {shape.layers - 1}, and {layer} is not one of them"
        )
    latents = recipe.grid.size(shape.site_width(recipe.site))
    if recipe.grid.k and max(recipe.grid.k) > latents:
        raise GlossaeError(f"grid.k: {max(recipe.grid.k)} is more than the {latents} latents")


def check_grid(recipe: Recipe, lm: LanguageModel, layer: int) -> Site:
    """The site that the grid's autoencoders are trained on.

    Args:
        recipe: the run's.
        lm: the grid's model.
        layer: the run's, for a grid that names none.

    Raises:
        GlossaeError: the model has no such layer, or there are fewer latents than the largest k, or there
            is no memory for so many.
    """
    site = Site(recipe.site, layer if recipe.grid.layer is None else recipe.grid.layer)
    try:
        latents = recipe.grid.size(lm.width(site))
    except GlossaeError as error:
        raise GlossaeError(f"grid.{error}") from error
    if recipe.grid.k and max(recipe.grid.k) > latents:
        raise GlossaeError(f"grid.k: {max(recipe.grid.k)} is more than the {latents} latents")
    tied = [one for one in recipe.grid.tied for _ in recipe.grid.pre_encoder_bias]
    check_memory(recipe, lm, "grid", latents, tied * (len(recipe.grid.k) + len(recipe.grid.l1)))
    return site


def run(context: Context, progress: Progress) -> StageResults:
    """Train every autoencoder in one pass of the model over the text, and measure them in one over `select`.

    Each is a cell of its own: its bits do not depend on which are trained beside it.
    """
    recipe, folder = context.recipe, context.folder.path / "grid"
    lm = context.model(_model(recipe))
    site = check_grid(recipe, lm, context.site.layer)
    kinds, parts, done = _kinds(recipe), context.parts["grid"], list[dict[str, Any]]()
    for own in context.share_at_once(range(len(kinds))):
        missing = [number for number in own if parts.json_found(f"cell-{number}") is None]
        made = iter(_train(context, lm, site, missing, progress) if missing else ())
        done = [parts.json(f"cell-{number}", partial(next, made)) for number in own]
    for place in () if ranks.rank() else folder.glob("shard-*-of-*"):
        # of a shard that was cut off
        Checkpoints(place / CHECKPOINTS, "", seconds=0).clear()
        with suppress(OSError):
            place.rmdir()
    cells = [GridCell(**each["cell"]) for each in done]
    write_table(folder / "cells.parquet", as_rows(cells))
    logs = [{"cell": number, **row} for number, each in enumerate(done) for row in each["log"]]
    write_table(folder / "log.parquet", logs)
    return StageResults(
        grid=GridResult(
            model=lm.name,
            site=site.name,
            layer=site.layer,
            d_in=lm.width(site),
            latents=recipe.grid.size(lm.width(site)),
            train_tokens=done[0]["log"][-1]["tokens"],
            steps=done[0]["log"][-1]["step"],
            tokens=done[0]["tokens"],
            cells=cells,
        )
    )


def _train(
    context: Context, lm: LanguageModel, site: Site, numbers: Sequence[int], progress: Progress
) -> list[dict[str, Any]]:
    """Train and measure some cells together: of each the cell, its log, and the tokens that it was measured on."""
    recipe, every = context.recipe, _kinds(context.recipe)
    kinds = [every[number] for number in numbers]
    train, measure = part(progress, 0.0, 0.8), part(progress, 0.8, 1.0)
    text, train = training_text(context, lm, site, recipe, train)
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
    own, shard = inputs(context).settings, context.shard
    identity = context.identity(*context.trained_text().roles, **own, cells=list(numbers))
    # shards that are at work at once have checkpoints of their own
    place = "grid" if shard is None else f"grid/shard-{shard.number}-of-{shard.of}"
    trained = train_jobs(context, place, jobs, text, identity, train)
    if shard is not None:
        with suppress(OSError):
            (context.folder.path / place).rmdir()
    measured = measure_reconstruction(
        lm,
        site,
        [sae for sae, _ in trained],
        context.tokens("select", lm),
        budget=recipe.batch_tokens,
        progress=measure,
    )
    found = []
    for kind, (_, log), quality in zip(kinds, trained, measured, strict=True):
        mse, l0, active = last_batches(log)
        cell = GridCell(
            **kind,
            mse=mse,
            l0=l0,
            active_per_batch=active,
            fvu=quality.fvu,
            l0_select=quality.l0,
            dead_fraction=quality.dead_fraction,
        )
        found.append({"cell": cell.to_json(), "log": as_rows(log), "tokens": quality.tokens})
    return found


def _kinds(recipe: Recipe) -> list[dict[str, Any]]:
    """Every kind of autoencoder in the grid: TopK before ReLU, and in the order of the recipe's lists."""
    grid = recipe.grid
    sparsities: list[dict[str, Any]] = [{"activation": "topk", "k": k, "l1": None} for k in grid.k]
    sparsities += [{"activation": "relu", "k": None, "l1": l1} for l1 in grid.l1]
    return [
        {"tied": tied, "pre_encoder_bias": bias, **sparsity}
        for sparsity, tied, bias in product(sparsities, grid.tied, grid.pre_encoder_bias)
    ]


def adds(recipe: Recipe, results: StageResults) -> StageResults:
    """The fronts among the cells, and the grid choice, which depends on `sae.k`."""
    assert results.grid is not None
    cells, pair = results.grid.cells, (recipe.languages.target, recipe.languages.reference)
    more = {"pareto": fronts(cells, pair), "chosen": choose(cells, pair, recipe.sae.k)}
    return StageResults(grid=results.grid.model_copy(update=more))


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """The grid choice."""
    if not (grid := results.grid) or grid.chosen is None:
        return
    cells, number = grid.cells, grid.chosen.cell
    if number is None:
        yield f"grid      {len(cells)} autoencoders, none chosen: {grid.chosen.reason}"
        return
    cell = cells[number]
    size = f"k {cell.k}" if cell.l1 is None else f"L1 {cell.l1:g}"
    kind = "tied" if cell.tied else "separate matrices"
    bias = "with" if cell.pre_encoder_bias else "without"
    fvu = ", ".join(f"{code} {cell.fvu[code]:.3f}" for code in (target, reference) if code in cell.fvu)
    yield (
        f"grid      {len(cells)} autoencoders; grid choice: {cell.activation}, {size}, {kind}, {bias} pre-encoder "
        f"bias: FVU {fvu}; {cell.dead_fraction:.1%} dead"
    )


def cost(counts: Quantities) -> Work | None:
    """Training every autoencoder of the grid in one pass, and measuring all of them on `select` in another.

    Raises:
        GlossaeError: there is no such layer, or there are fewer latents than k.
    """
    recipe, shape = counts.recipe, counts.shape_of(_model(counts.recipe))
    if shape is None:
        return None
    check_shape(recipe, shape)
    layer = recipe.layer if recipe.grid.layer is None else recipe.grid.layer
    d, depth = shape.site_width(recipe.site), shape.layers if layer == "auto" else layer + 1
    m, kinds = recipe.grid.size(d), _kinds(recipe)
    select = tokens_of(counts.roles["select"])
    live = [float(kind["k"] or LIVE * m) for kind in kinds]
    train = training_work(counts, shape, depth, m, live, [kind["tied"] for kind in kinds])
    look = counts.forward(select, depth, shape=shape) + counts.encodings(select, d, m, live)
    weights = shape.weights + (0 if _model(recipe) == recipe.model else counts.shape.weights)
    return dataclasses.replace(train + look, weights=weights)


def words(counts: Quantities) -> str:
    """What is trained, and on what."""
    recipe, name = counts.recipe, _model(counts.recipe)
    shape = counts.shape_of(name)
    if shape is None:
        return f"on {name}: memory and time are {UNKNOWN}, and left out below"
    d, of = shape.site_width(recipe.site), "" if name == recipe.model else f" of {name}"
    return (
        f"{len(_kinds(recipe))} autoencoders of {recipe.grid.size(d):,} latents on {recipe.site}{of}, "
        f"width {d:,}, in one pass over {count_text(counts.sae_tokens * recipe.sae.epochs)} tokens; "
        "then measured on select"
    )


STAGE = Stage(
    name="grid",
    does="training a grid of autoencoders",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.grid.wanted,
    cells=True,
    lower="batch_tokens, grid.latents (or grid.expansion) or sae.batch_tokens",
    models=lambda recipe: (
        [("grid.model", recipe.grid.model)] if recipe.grid.wanted and recipe.grid.model is not None else []
    ),
    check=check,
    adds=adds,
    lines=lines,
)
