"""What to do, typed: the settings of a run, and how they are read."""

from glossae.recipe.finding import Evidence, Features
from glossae.recipe.group import BadSettingError, Settings, all_settings
from glossae.recipe.reading import (
    PRECISIONS,
    QUICK,
    QUICK_PRECISION,
    SHORT,
    load_recipe,
    nearest,
    recipe_values,
    shipped_recipes,
    unknown_flag,
)
from glossae.recipe.settings import STAGES, Recipe, Report
from glossae.recipe.text import Corpora, Languages
from glossae.recipe.training import Grid, Probe, SaeSettings
from glossae.recipe.turning import Effects, Steering, Tasks

__all__ = [
    "PRECISIONS",
    "QUICK",
    "QUICK_PRECISION",
    "SHORT",
    "STAGES",
    "BadSettingError",
    "Corpora",
    "Effects",
    "Evidence",
    "Features",
    "Grid",
    "Languages",
    "Probe",
    "Recipe",
    "Report",
    "SaeSettings",
    "Settings",
    "Steering",
    "Tasks",
    "all_settings",
    "load_recipe",
    "nearest",
    "recipe_values",
    "shipped_recipes",
    "unknown_flag",
]
