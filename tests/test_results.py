"""The schema is that of the classes; the page of what was measured is what results/make.py makes of results/."""

import importlib.util
import json
from pathlib import Path

import glossae
from glossae.results import Results

ROOT = Path(__file__).parents[1]


def test_the_schema_is_that_of_the_classes():
    file = Path(glossae.__file__).parent / "results.schema.json"
    # docs/architecture.md says how to write it anew
    assert json.loads(file.read_text(encoding="utf-8")) == Results.model_json_schema()


def test_the_page_of_what_was_measured_is_made_from_results():
    spec = importlib.util.spec_from_file_location("make", ROOT / "results" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.PAGE.read_text(encoding="utf-8") == make.measured()
