"""Run a recipe's stages in order, skipping those whose inputs have not changed, into a run folder."""

from glossae.run.engine import Ran, assist, check_other_models, headlines, run_recipe
from glossae.run.folder import Run, check_folder, open_run
from glossae.run.shards import merge, parse_shard, run_shard

__all__ = [
    "Ran",
    "Run",
    "assist",
    "check_folder",
    "check_other_models",
    "headlines",
    "merge",
    "open_run",
    "parse_shard",
    "run_recipe",
    "run_shard",
]
