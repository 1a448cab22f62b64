"""results.json: every headline number, and nothing that depends on clock or machine."""

from typing import Any

from sprog.recipe import Recipe
from sprog.run.folder import RunFolder
from sprog.run.published import published_figures

SCHEMA_VERSION = 1
# which stage fills which keys; a key of a stage that was not run is null
KEYS_OF_STAGE = {
    "corpora": ("corpora",),
    "probe": ("probe",),
    "sae": ("sae",),
    "features": ("features",),
    "effects": ("next_token", "generation"),
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
    return {
        "recipe": recipe.name,
        "protocol": recipe.protocol,
        "model": recipe.model,
        "seed": recipe.seed,
        "schema_version": SCHEMA_VERSION,
        "corpora": found.get("corpora"),
        "probe": found.get("probe"),
        "grid": None,
        "sae": found.get("sae"),
        "features": found.get("features"),
        "next_token": found.get("next_token"),
        "tasks": None,
        "generation": found.get("generation"),
        "published": published_figures() if recipe.name == "paper" else None,
    }
