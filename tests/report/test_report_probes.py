"""What the page says of probes: which are noise, whether seeds agree, and the paper's own optimisation."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated_run import change_results, fabricate, replayed, results_of

from glossae.report import probe_table, write_report

MODEL = "models/tiny"


def page(folder: Path, **probe: Any) -> str:
    """The page of a run whose probe section is changed; spaces and signs are plain."""
    change_results(folder, probe=results_of(folder)["probe"] | probe)
    write_report(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-").split())


def coded(values: dict[float, float | None]) -> list[dict[str, Any]]:
    """The rows of `probe.agreement`."""
    rows = [{"model": MODEL, "scores": "rule", "lambda": None, "spearman": 0.8, "seeds": 3}]
    return rows + [
        {"model": MODEL, "scores": "as_coded", "lambda": penalty, "spearman": found, "seeds": 3}
        for penalty, found in values.items()
    ]


@pytest.fixture
def folder(tmp_path):
    """A run up to its probes."""
    return fabricate(tmp_path / "run", until="probe")


def test_a_collapsed_probe_is_marked_in_the_figures_table(folder):
    page(folder)
    drawn = pd.read_csv(folder / "figures" / "figure-3-probes.csv")
    # critical lambdas are 0.6, 1.5, 2.4 and 3.3
    assert drawn["collapsed"].tolist() == [
        penalty >= critical for critical in (0.6, 1.5, 2.4, 3.3) for penalty in (0.1, 1.0, 10.0)
    ]


def test_a_cells_own_word_is_taken_and_a_folder_without_it_goes_by_the_norm(folder):
    cells = results_of(folder)["probe"]["cells"]
    said = probe_table([cell | {"collapsed": True} for cell in cells])
    assert said["collapsed"].all()
    silent = probe_table([{key: cell[key] for key in cell if key != "collapsed"} for cell in cells])
    assert silent["collapsed"].tolist() == probe_table(cells)["collapsed"].tolist()


def test_the_accuracy_of_a_probe_without_weights_is_in_no_table(folder):
    text = page(folder)
    row = text[text.index("What the penalty leaves") :]
    row = row[: row.index("</table>")]
    assert "0 of 4" in row
    assert "3 of 4" in row
    assert "4 of 4" in row
    # what the fabricated probes without weights would have said
    assert "55.2" not in row


def test_the_layers_table_has_the_spread_between_seeds(folder):
    text = page(folder)
    assert "Between seeds" in text
    assert "0.020" in text[text.index("Between seeds") :]


def test_whether_seeds_agree_is_said_where_there_are_several(folder):
    assert (
        "Over three seeds the orders of the layers by this loss have a mean rank correlation of 0.80."
        in page(folder)
    )
    alone = [{"model": MODEL, "scores": "rule", "lambda": None, "spearman": None, "seeds": 1}]
    assert "rank correlation" not in page(folder, agreement=alone)


def test_nothing_is_said_of_a_replay_that_was_not_asked_for(folder):
    assert "Adam" not in page(folder)
    assert not (folder / "figures" / "probes-as-coded.svg").exists()


def test_the_replay_says_which_probes_should_be_zero(folder):
    text = page(folder, as_coded=replayed(MODEL), agreement=coded({0.1: 0.9, 1.0: 0.2, 10.0: -0.15}))
    assert "8 of 12 replayed probes of models/tiny have an optimum of exactly zero" in text
    assert "Their norms are 0.0034 to 0.0034" not in text
    assert "Their norm is 0.0034" in text
    assert "a constant answer is right on 52.3 % of held-out tokens" in text
    assert "the accuracy lies between 31.0 % and 91.3 %" in text
    assert "At lambda 10 two seeds' orders of the layers have a rank correlation of -0.15" in text.replace(
        "&#x27;", "'"
    )
    drawn = pd.read_csv(folder / "figures" / "probes-as-coded.csv")
    assert set(drawn.loc[drawn["collapsed"], "accuracy_high"]) == {0.913}
    assert (folder / "figures" / "probes-as-coded.svg").is_file()


def test_a_replay_without_collapse_says_so(folder):
    rows = replayed(MODEL, (0.05, 0.1))
    text = page(folder, as_coded=rows, agreement=coded({0.05: 1.0, 0.1: None}))
    assert "no replayed probe merely trembles around it" in text
    assert "0 of 4" in text


def test_other_models_have_a_panel_and_no_row(folder):
    rows = replayed(MODEL) + replayed("models/other")
    text = page(folder, as_coded=rows, agreement=coded({}))
    assert "8 of 12 replayed probes of models/tiny" in text
    assert set(pd.read_csv(folder / "figures" / "probes-as-coded.csv")["model"]) == {MODEL, "models/other"}
