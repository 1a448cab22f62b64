"""The schema is that of the classes; the page of what was measured is what results/make.py makes of results/."""

import importlib.util
import json
from pathlib import Path

import pytest

import glossae
from glossae.errors import GlossaeError
from glossae.results import SCHEMA_VERSION, Results, read_results

ROOT = Path(__file__).parents[1]


def test_the_schema_is_that_of_the_classes():
    file = Path(glossae.__file__).parent / "results.schema.json"
    # docs/architecture.md says how to write it anew
    assert json.loads(file.read_text(encoding="utf-8")) == Results.model_json_schema()


@pytest.mark.parametrize(
    ("version", "do"), [(SCHEMA_VERSION + 1, "made by a newer glossae: update"), (1, "run the same command")]
)
def test_results_of_another_version_say_what_to_do(tmp_path, version, do):
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"schema_version": version}))
    with pytest.raises(GlossaeError, match=do):
        read_results(Results, file)


def test_the_page_of_what_was_measured_is_made_from_results():
    spec = importlib.util.spec_from_file_location("make", ROOT / "results" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.PAGE.read_text(encoding="utf-8") == make.measured()
