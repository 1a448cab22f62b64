"""What to do, typed: the settings of a run, and how they are read."""

from sprog.recipe.group import BadSettingError
from sprog.recipe.reading import load_recipe, nearest, shipped_recipes
from sprog.recipe.settings import (
    STAGES,
    Corpora,
    Effects,
    Evidence,
    Features,
    Grid,
    Languages,
    Probe,
    Recipe,
    Report,
    SaeSettings,
    Steering,
    Tasks,
)

__all__ = [
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
    "shipped_recipes",
]
