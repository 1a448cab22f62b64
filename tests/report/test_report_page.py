"""The page of fabricated runs: self-contained, escaped, the same bytes again, figures with their numbers."""

import re

import pytest
from fabricated_run import CASES, fabricate

from sprog.report import write_report


@pytest.mark.parametrize("case", CASES)
def test_page_is_self_contained_and_every_figure_has_its_numbers(tmp_path, case):
    report = write_report(fabricate(tmp_path / "run", case))
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"']https?:", page)
    assert "<script" not in page
    drawn = {path.stem for path in (tmp_path / "run" / "figures").glob("*.svg")}
    assert drawn
    assert drawn == {path.stem for path in (tmp_path / "run" / "figures").glob("*.csv")}


def test_same_files_give_the_same_bytes(tmp_path):
    folder = fabricate(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_text_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = fabricate(tmp_path / "run", model=evil, tokens=(evil, "&", '"quoted"'), prompt=evil)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("until", ["corpora", "probe", "sae", "features"])
def test_what_was_not_run_is_said_to_be_so(tmp_path, until):
    page = write_report(fabricate(tmp_path / "run", until=until)).read_text(encoding="utf-8")
    assert "not run" in page
