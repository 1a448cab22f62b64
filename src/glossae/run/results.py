"""results.json: every headline number, and nothing that depends on clock or machine."""

from typing import Any

from glossae.paper import published_figures
from glossae.recipe import Recipe
from glossae.report import SCHEMA_VERSION
from glossae.run.folder import RunFolder, as_rows
from glossae.sae import GridCell, choose, fronts

# which stage fills which keys; a key of a stage that was not run is null
KEYS_OF_STAGE = {
    "corpora": ("corpora",),
    "probe": ("probe",),
    "grid": ("grid",),
    "sae": ("sae",),
    "evidence": ("evidence",),
    "stability": ("stability",),
    "features": ("features",),
    "baselines": ("baselines",),
    "effects": ("next_token", "generation"),
    "steering": ("steering",),
    "tasks": ("tasks",),
    "controls": ("controls",),
}


def assemble(recipe: Recipe, folder: RunFolder, done: list[str]) -> dict[str, Any]:
    """The contents of `results.json` from the summaries of the stages that are done."""
    found: dict[str, Any] = {}
    for stage in done:
        if stage in KEYS_OF_STAGE:
            found |= folder.summary(stage)
    if "probe" in found:
        # said here and not by the stage, so that another layer does not probe every layer again
        auto = recipe.layer == "auto"
        found["probe"] |= {
            "layer_used": found["probe"]["best_layer"] if auto else recipe.layer,
            "chosen_by": "probe" if auto else "recipe",
        }
    if "grid" in found:
        # likewise: what is chosen depends on sae.k, and on nothing that has to be trained again
        found["grid"] |= _compared(recipe, found["grid"]["cells"])
    if "controls" in found:
        found["next_token"] |= found["controls"]
    return {
        "recipe": recipe.name,
        "protocol": recipe.protocol,
        "model": recipe.model,
        "seed": recipe.seed,
        "schema_version": SCHEMA_VERSION,
        "corpora": found.get("corpora"),
        "probe": found.get("probe"),
        "grid": found.get("grid"),
        "sae": found.get("sae"),
        "evidence": found.get("evidence"),
        "stability": found.get("stability"),
        "features": found.get("features"),
        "baselines": found.get("baselines"),
        "next_token": found.get("next_token"),
        "tasks": found.get("tasks"),
        "generation": found.get("generation"),
        "steering": found.get("steering"),
        "published": published_figures() if recipe.name == "paper" else None,
    }


def _compared(recipe: Recipe, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The fronts among a grid's cells, and the one that the rule chooses."""
    cells = [GridCell(**row) for row in rows]
    pair = (recipe.languages.target, recipe.languages.reference)
    (chosen,) = as_rows([choose(cells, pair, recipe.sae.k)])
    return {"pareto": as_rows(fronts(cells, pair)), "chosen": chosen}
