"""The section on the grid says what its cells are, and what the paper's are."""

from pathlib import Path

import pandas as pd
import pytest
from fabricated_run import PUBLISHED, fabricate, page_of, plain, results_of, row, words_of

from glossae.paper.published import published_figures
from glossae.reporting.sections.grid import (
    choice,
    comparisons,
    disagreements,
    finding,
    large_k,
    outdone,
    rank_correlation,
    same_cells,
)
from glossae.results import GridCell, GridChoice, PaperCell

PAPER = published_figures().grid.cells


def cell(activation: str, size: float, tied: bool, bias: bool, *measured: float) -> GridCell:
    """A cell with its mean squared error, L0 and latents active in a batch."""
    k, l1 = (size, None) if activation == "topk" else (None, size)
    own = row("activation tied pre_encoder_bias k l1", activation, tied, bias, k, l1)
    return GridCell(
        **own, **row("mse l0 active_per_batch", *measured), fvu={}, l0_select=0.0, dead_fraction=0.0
    )


# ---- the paper's numbers, as they are written down


def test_the_papers_numbers_are_where_they_belong() -> None:
    at_k_30 = {(c.tied, c.pre_encoder_bias): c.active_per_batch for c in PAPER if c.k == 30}
    assert at_k_30 == {(True, True): 763, (True, False): 810, (False, True): 482, (False, False): 560}
    assert [c.l0 for c in PAPER if c.l1 == 0.0005] == [35.2, 35.7, 146, 155]
    assert [c.mse for c in PAPER if c.l1 == 0.005] == [0.0646, 0.0767, 0.0424, 0.0401]
    assert [c.mse for c in PAPER if c.k == 2] == [0.0239, 0.0236, 0.0216, 0.0212]


def test_where_the_papers_text_and_its_numbers_part() -> None:
    tied, bias, free = map(plain, disagreements(PAPER))
    assert "from k 30 on, 1.56 times (1.45 to 1.75) as many latents are active in a batch" in tied
    assert "at 0.98 times (0.91 to 1.04) the error" in tied
    assert tied.endswith("the kind that it chose has the fewest of all at each of these k.")
    assert "smaller in 2 of 12 pairs, at best by 1.9 %" in bias
    assert free.startswith("The decoder rows of its ReLU autoencoders are free.")
    # of a part of the numbers
    (bias,) = disagreements([c for c in PAPER if c.k == 30])
    assert "smaller in 0 of 2 pairs." in bias
    assert disagreements([PAPER[0]]) == []


# ---- comparisons


def test_comparisons_are_of_pairs_that_differ_in_one_thing() -> None:
    cells = [
        cell("topk", 4, False, True, 0.2, 4, 10),
        cell("topk", 4, True, True, 0.3, 4, 30),
        cell("topk", 8, False, True, 0.1, 8, 20),
        cell("topk", 8, True, True, 0.1, 8, 40),
        # fires nowhere: nothing is so many times as much
        cell("relu", 0.1, False, True, 0.5, 0, 0),
        cell("relu", 0.1, True, True, 0.4, 2, 6),
    ]
    found = {(c.what, c.among, c.measure): (c.ratios, c.direction) for c in comparisons(cells)}
    assert found == {
        ("tied", "TopK, k below 8", "mse"): (pytest.approx((1.5,)), 1),
        ("tied", "TopK, k below 8", "active_per_batch"): (pytest.approx((3,)), 1),
        ("tied", "TopK, k 8 and more", "mse"): (pytest.approx((1,)), 0),
        ("tied", "TopK, k 8 and more", "active_per_batch"): (pytest.approx((2,)), 1),
        ("tied", "ReLU", "mse"): (pytest.approx((0.8,)), -1),
    }
    assert large_k(cells) == 8
    assert large_k(cells[:2]) is None
    assert {c.among for c in comparisons(cells[:2])} == {"TopK"}
    assert comparisons(cells[:1]) == []


def test_outdone_is_no_more_active_and_no_worse() -> None:
    cells = [
        cell("topk", 4, False, True, 0.2, 4, 10),
        cell("relu", 0.1, False, True, 0.2, 4, 10),
        cell("relu", 0.2, False, True, 0.1, 5, 10),
        cell("relu", 0.3, False, True, 0.3, 3, 10),
    ]
    assert outdone(cells, "relu", "topk") == (1, 3)
    assert outdone(cells, "topk", "relu") == (1, 1)
    assert finding(cells).startswith("1 of the 3 ReLU autoencoders are outdone by a TopK one")
    assert finding(cells[1:]) == "The mean squared error goes from 0.3 (L1 0.3) to 0.1 (L1 0.2)."


def test_rank_correlation_is_of_order() -> None:
    def changed(cell: PaperCell, mse: float) -> PaperCell:
        return cell.model_copy(update={"mse": mse})

    pairs = same_cells([changed(c, c.mse**2) for c in PAPER], PAPER)
    assert len(pairs) == 48
    assert rank_correlation(pairs, "mse") == pytest.approx(1)
    backwards = [(own, changed(other, -other.mse)) for own, other in pairs]
    assert rank_correlation(backwards, "mse") == pytest.approx(-1)
    assert rank_correlation(pairs[:1], "mse") is None
    assert rank_correlation([(own, changed(other, 1.0)) for own, other in pairs], "mse") is None


def test_the_choice_names_where_it_differs_from_the_papers() -> None:
    cells = [cell("topk", 8, tied, bias, 0.1, 8, 10) for tied in (True, False) for bias in (True, False)]

    def chosen(place: int | None) -> str:
        return choice(cells, GridChoice(cell=place, rule="", reason="So."), published_figures().grid)

    assert chosen(2).endswith("otherwise): the same kind.")
    assert chosen(3).endswith("otherwise): the rule differs in the bias.")
    assert chosen(1).endswith("otherwise): the rule differs in the matrices and the bias.")
    assert chosen(None).startswith("The rule chooses none. So. The paper chose TopK, separate matrices")


# ---- the page


def numbers_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "figures" / "figure-4-grid.csv")


def test_the_papers_grid_stands_beside_the_runs(tmp_path: Path) -> None:
    page = words_of(page_of(fabricate(tmp_path, "published", until="grid")))
    grid = results_of(tmp_path)["grid"]
    assert "48 autoencoders of 2 048 latents each" in page
    assert "resid of layer 3 of EleutherAI/pythia-14m (512 wide)" in page
    assert "In its numbers: 13 of the 24 ReLU autoencoders are outdone by a TopK one" in page
    assert "Of tied matrices the paper's text sees no clear impact." in page
    assert "The paper chose TopK, separate matrices, with a pre-encoder bias" in page
    numbers = numbers_of(tmp_path)
    assert numbers["paper_mse"].tolist() == [c["mse"] for c in PUBLISHED["grid"]["cells"]]
    assert numbers["mse"].tolist() == pytest.approx([c["mse"] for c in grid["cells"]])
    assert numbers["chosen"].sum() == 1
    svg = (tmp_path / "figures" / "figure-4-grid.svg").read_text(encoding="utf-8")
    assert "The paper" in svg
    assert "TopK, tied, no bias" in svg
    # only cells that both have stand beside each other
    cells = [c for c in grid["cells"] if c["k"] in (2, 30)]
    cells += [c | {"k": 31, "l0": 31.0, "mse": 0.9 * c["mse"]} for c in cells if c["k"] == 30]
    chosen = {"pareto": [], "chosen": grid["chosen"] | {"cell": None}}
    page = words_of(page_of(tmp_path, grid=grid | {"cells": cells} | chosen))
    assert "the order of the 8 autoencoders" in page
    assert "The rule chooses none." in page
    theirs = numbers_of(tmp_path).set_index("k")["paper_mse"]
    assert theirs.loc[31].isna().all()
    assert theirs.loc[30].notna().all()


def test_another_grid_stands_alone_also_where_nothing_fires(tmp_path: Path) -> None:
    page = words_of(page_of(fabricate(tmp_path, until="grid")))
    assert "20 autoencoders" in page
    assert "The paper chose" not in page
    assert "paper_mse" not in numbers_of(tmp_path).columns
    assert "The paper" not in (tmp_path / "figures" / "figure-4-grid.svg").read_text(encoding="utf-8")
    grid = results_of(tmp_path)["grid"]
    dead = [c | {"l0": 0.0, "active_per_batch": 0.0, "mse": 0.0} for c in grid["cells"] if c["l1"]]
    chosen = {"pareto": [], "chosen": grid["chosen"] | {"cell": 0}}
    assert "chosen by the rule" in page_of(tmp_path, grid=grid | {"cells": dead} | chosen)
