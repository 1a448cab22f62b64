"""The table of sizes that ships with the recipes."""

from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def sizes() -> dict[str, Any]:
    """`recipes/tables/sizes.yaml`: known models, corpora, tokenizers and GPUs."""
    text = (resources.files("glossae") / "recipes" / "tables" / "sizes.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table
