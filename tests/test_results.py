"""The page of what was measured is what results/make.py makes of the files in results/."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_what_was_measured_is_made_from_results():
    spec = importlib.util.spec_from_file_location("make", ROOT / "results" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.PAGE.read_text(encoding="utf-8") == make.measured()
