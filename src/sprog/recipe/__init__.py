"""What to do, typed: the settings of a run, and how they are read."""

from sprog.recipe.finding import Evidence, Features
from sprog.recipe.group import BadSettingError
from sprog.recipe.reading import (
    PRECISIONS,
    QUICK,
    QUICK_PRECISION,
    SHORT,
    load_recipe,
    nearest,
    recipe_values,
    shipped_recipes,
)
from sprog.recipe.settings import STAGES, Recipe, Report
from sprog.recipe.text import Corpora, Languages
from sprog.recipe.training import Grid, Probe, SaeSettings
from sprog.recipe.turning import Effects, Steering, Tasks

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
    "Steering",
    "Tasks",
    "load_recipe",
    "nearest",
    "recipe_values",
    "shipped_recipes",
]
