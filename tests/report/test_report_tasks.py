"""Tasks on the page: Figure 9, the tables, and the paper's Appendix D beside them."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from fabricated_run import change_results, fabricate

from glossae.report import write_report

VALUES = (-8.0, 0.0, 8.0)
SETS = {
    "angry-tweets": {
        "language": "da",
        "source": "hub:DDSC/angry-tweets",
        "labels": ["negativ", "neutral", "positiv"],
        "rows": {"train": 2411, "test": 1047},
        "dropped": {"train": {"empty": 2}, "test": {}},
        "provenance": {},
        "sha256": "0",
    }
}


def row(edit, splice, value, score, *, protocol="as_coded", metric="weighted_f1", p=None, **more):
    return {
        "task": "angry-tweets",
        "language": "da",
        "units": "da",
        "kind": "latent",
        "edit": edit,
        "splice": splice,
        "value": value,
        "protocol": protocol,
        "metric": metric,
        "score": score,
        "ci_low": score - 0.04,
        "ci_high": score + 0.04,
        "delta": 0.0 if p is None else score - 0.6,
        "delta_low": -0.05,
        "delta_high": 0.01,
        "p": p,
        "detectable": None if p is None else 0.03,
        "n_train": 1600,
        "n_test": 400,
        "splits": 1,
        "seeds": 1,
        "converged": protocol != "as_coded",
        "penalty": 1.0,
    } | more


def coded(p=0.2):
    bases = [row("raw", None, None, 0.61), row("none", True, None, 0.6)]
    return bases + [row("set", True, value, 0.57 + value / 100, p=p) for value in VALUES]


def controlled(p=0.2):
    return [
        row(edit, splice, value, score, protocol="controlled", metric=metric, p=chance, splits=10)
        for metric in ("macro_f1", "mcc")
        for edit, splice, value, score, chance in (
            ("raw", None, None, 0.6, None),
            *(("set", False, value, 0.55, p) for value in VALUES),
            ("project_out", False, None, 0.3, 0.0005),
        )
    ]


def page(folder: Path, rows, case="published"):
    fabricate(folder, case)
    change_results(folder, tasks=rows)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sets.json").write_text(json.dumps(SETS))
    write_report(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    start = text.index('id="tasks"')
    return " ".join(text[start : text.index("<section", start)].replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_papers_numbers_stand_in_the_row_of_their_value(tmp_path):
    said = page(tmp_path, coded())
    assert "Appendix D: as the paper&#39;s code has it" in said
    lines = re.findall(r"<tr>(.*?)</tr>", said)
    theirs = [re.sub(r"<.*?>", " ", line).split()[-1] for line in lines if "angry-tweets" in line]
    # raw: not measured in the paper; the splice; then -8, 0, 8
    assert theirs == ["–", "0.607", "0.547", "0.596", "0.590"]
    assert "did not converge in 5 of 5 fits (angry-tweets)" in said
    assert "two rows without text left out" in said
    numbers = pd.read_csv(tmp_path / "figures" / "figure-9-tasks-as-coded.csv")
    assert numbers["score"].tolist() == pytest.approx([0.61, 0.6, 0.49, 0.57, 0.65])


def test_what_passes_is_told_from_what_could_not_have_been_found(tmp_path):
    said = page(tmp_path / "a", controlled())
    assert "Of three comparisons with no edit, none passes p &lt; 0.017" in said
    assert "A true difference of 0.030 in angry-tweets would be found at p &lt; 0.05 in 80 %" in said
    assert "erased at the site, macro F1 changes by −0.300 in angry-tweets (p under 0.001)" in said
    assert "from 1 600, 10 splits" in said.replace("\N{NARROW NO-BREAK SPACE}", " ")
    said = page(tmp_path / "b", controlled(p=0.01), case="found")
    assert (
        "angry-tweets at −8 −0.050, angry-tweets at 0 −0.050 and angry-tweets at 8 −0.050 in macro F1 pass p"
        in said
    )
    assert "The paper&#39;s" not in said


def test_without_units_there_is_nothing_to_compare(tmp_path):
    said = page(tmp_path, coded()[:2], case="empty")
    assert "No latent was selected, so there is nothing to compare." in said


def test_not_run(tmp_path):
    fabricate(tmp_path, "published")
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "The downstream tasks: not run." in text
    # the paper's own stand there all the same
    assert "Its tasks were not set in this run" in text
    assert "Appendix D, beside the paper" in text
