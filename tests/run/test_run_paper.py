"""The paper's recipe, every stage for real, on random weights: in Pythia's shape and with its tokenizer, and tiny."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_world import PAIRS, as_tmx, write_model

import glossae
from glossae.cli import main
from glossae.corpora import split_tasks
from glossae.paper.published import published_figures
from glossae.recipe import load_recipe
from glossae.sae import read_sae
from glossae.stages import stage_of
from toy_grammar import sentences

LAMBDAS = (0.05, 0.5)


class PaperRun(NamedTuple):
    """A run of the recipe `paper`, and the layer and width of the MLP it looked at."""

    run: Any
    model: str
    layers: int
    layer: int
    width: int


def run_paper(out, model, **changes):
    """Run the recipe as it is shipped, with less text, fewer samples and this model."""
    texts = out.parent
    pairs = sentences(PAIRS + 8, seed=3)
    rows = [f"{pair[code]}\t{label}\n" for pair in pairs[:PAIRS] for code, label in (("da", 0), ("en", 1))]
    (texts / "talks.tsv").write_text("".join(rows), encoding="utf-8")
    (texts / "ELRC.tmx").write_text(as_tmx(pairs[PAIRS:], ("da", "en")), encoding="utf-8")
    settings = {
        "model": model,
        "probe.models": model,
        "probe.seeds": 2,
        "probe.tokens": 200,
        "probe.lambdas": ",".join(map(str, LAMBDAS)),
        "corpora.train": texts / "talks.tsv",
        "corpora.test": texts / "ELRC.tmx",
        "corpora.limit": 64,
        "effects.values": "-8,8",
        "effects.bootstrap": 20,
    }
    settings |= changes
    line = [f"--{key}={value}" for key, value in settings.items()]
    assert main(["run", "paper", "--out", str(out), "--quiet", *line]) == 0
    return glossae.open_run(out)


@pytest.fixture(scope="module", params=["pythia", "tiny"])
def paper(request, tmp_path_factory, world):
    """The recipe on a model of Pythia 1.4B's shape, of little width, and on the tiny model."""
    folder = tmp_path_factory.mktemp("paper")
    if request.param == "tiny":
        # with the paper's grid, all 48 of it
        grid = {"grid.model": world.model, "grid.layer": 1}
        # the paper's sets are on the hub, and this one is written here
        tasks = {"tasks.names": "toy-sentiment:da", "tasks.rows": 100, "tasks.values": "-8,8"}
        run = run_paper(folder / "run", world.model, **{"layer": 1, "sae.k": 8, **grid, **tasks})
        return PaperRun(run, "model", 3, 1, 64)
    from transformers import PreTrainedTokenizerFast

    file = request.getfixturevalue("shared") / "data" / "tokenizer" / "20B_tokenizer.json"
    if not file.is_file():
        pytest.skip("there is no copy of Pythia's tokenizer in the shared folder")
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token=end, eos_token=end, unk_token=end)
    model = write_model(
        folder / "model",
        tokenizer,
        vocab_size=50304,
        hidden_size=16,
        num_hidden_layers=24,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=2048,
        rotary_pct=0.25,
        use_parallel_residual=True,
    )
    run = run_paper(folder / "run", model, **{"grid.k": "none", "grid.l1": "none", "tasks.names": "none"})
    return PaperRun(run, str(model), 24, 16, 64)


def test_the_results_have_the_papers_numbers(paper):
    published = paper.run.results.published
    assert published.selected_units == [20680, 26335, 27584, 41388, 44148, 46619]
    table = published.next_token
    assert len(table.values) == len(table.losses["da"]) == len(table.losses["en"]) == 9
    # the paper's main finding: at -8 Danish loses more than English
    assert table.losses["da"][0] - table.no_modification["da"] == pytest.approx(1.30)
    assert table.losses["en"][0] - table.no_modification["en"] == pytest.approx(0.38)


def test_the_run_is_the_papers(paper):
    results, recipe = paper.run.results, paper.run.recipe
    assert (results.recipe, results.protocol) == ("paper", "published")
    assert (results.sae.site, results.sae.layer) == ("mlp.hidden", paper.layer)
    assert results.sae.d_in == paper.width
    assert results.sae.latents == 8 * paper.width
    assert (recipe.sae.batch_sentences, recipe.bos) == (32, False)
    assert results.probe.chosen_by == "recipe"


def test_the_autoencoder_is_the_papers(paper):
    sae = paper.run.results.sae
    # a latent is on when it is selected: there is no ReLU after the top k
    assert sae.l0 == sae.k == paper.run.recipe.sae.k
    assert read_sae(paper.run.path / "sae").config.relu is False
    log = paper.run.table("sae/log")
    sentences_read = sum(row.sentences for row in paper.run.results.corpora if row.role == "train")
    assert log["step"].max() == np.ceil(sentences_read / 32) * paper.run.recipe.sae.epochs


def test_the_grid_is_the_papers_and_stands_beside_it(paper):
    grid, published = paper.run.results.grid, paper.run.results.published.grid.cells
    page = (paper.run.path / "report.html").read_text(encoding="utf-8")
    kind = ("activation", "tied", "pre_encoder_bias", "k", "l1")
    kinds = {tuple(getattr(cell, name) for name in kind) for cell in published}
    assert len(kinds) == len(published) == 48
    if grid is None:
        assert "the grid search over autoencoders (" in page
        return
    assert {tuple(getattr(cell, name) for name in kind) for cell in grid.cells} == kinds
    assert (grid.d_in, grid.latents) == (paper.width, 4 * paper.width)
    with (paper.run.path / "figures" / "figure-4-grid.csv").open(encoding="utf-8", newline="") as file:
        beside = {
            (row["activation"], row["tied"], row["pre_encoder_bias"], row["k"] or row["l1"]): row["paper_mse"]
            for row in csv.DictReader(file)
        }
    assert beside["topk", "False", "True", "30"] == "0.0059"
    assert beside["relu", "True", "False", "0.005"] == "0.0767"
    assert "Rank correlation (Spearman) with the paper&#39;s grid: " in page


def test_probes_are_the_papers_and_the_rule_has_its_own(paper):
    cells = paper.run.results.probe.cells
    grid = {
        (cell.layer, cell.penalty, cell.seed) for cell in cells if not cell.standardised and not cell.rule
    }
    assert grid == {(la, penalty, s) for la in range(paper.layers) for penalty in LAMBDAS for s in (0, 1)}
    rule = [(cell.layer, cell.seed) for cell in cells if cell.rule]
    assert sorted(rule) == [(layer, seed) for layer in range(paper.layers) for seed in (0, 1)]
    assert all(cell.standardised for cell in cells if cell.rule)
    # the model is named as the run's own and as one to probe, and is probed once
    assert {cell.model for cell in cells} == {Path(paper.model).name}
    assert len(cells) == paper.layers * 2 * (len(LAMBDAS) + 1)


def test_the_rule_is_honoured(paper):
    features = paper.run.results.features
    rates = paper.run.table("features/statistics").pivot(index="unit", columns="language", values="rate")
    passing = set(rates[(rates["da"] > 0.5) & (rates["en"] < 0.01)].index)
    units = [row.unit for row in features.units]
    close = rates[(rates["en"] < 0.02) & (rates["da"] > rates["en"])]
    if passing:
        assert (features.rule, set(units)) == ("paper", passing)
    else:
        best = (close["da"] - close["en"]).sort_values(ascending=False, kind="stable").iloc[:4]
        assert features.rule == ("fallback" if len(close) else "none")
        assert [rates["da"][unit] - rates["en"][unit] for unit in units] == best.tolist()
    assert features.thresholds.min_target == 0.5
    for row in features.units:
        assert row.rate == rates.loc[row.unit].to_dict()


def test_the_sweep_is_told_beside_the_papers(paper):
    page = (paper.run.path / "report.html").read_text(encoding="utf-8")
    assert "4.24" in page
    with (paper.run.path / "figures" / "figure-8-next-token.csv").open(encoding="utf-8", newline="") as file:
        assert {row["language"] for row in csv.DictReader(file)} == {"da", "en"}
    cells = paper.run.results.next_token.cells
    assert {"raw", "none"} <= {cell.edit for cell in cells}
    if paper.run.results.features.units:
        values = {cell.value for cell in cells if cell.edit == "set"}
        assert {-8.0, 0.0, 8.0} <= values  # 0 is always in a sweep


def test_the_recipe_sets_the_papers_three_tasks(paper):
    recipe = load_recipe("paper")
    assert [task.name for task in split_tasks(recipe.tasks.names)] == list(published_figures().tasks.scores)
    assert (recipe.task_protocol, stage_of("tasks").asked(recipe)) == ("controlled", True)
    assert load_recipe("paper", {"protocol": "as_coded"}).task_protocol == "both"
    tasks = paper.run.results.tasks
    if paper.run.recipe.tasks.names is None:
        assert tasks is None
        return
    assert {row.task for row in tasks} == {"toy-sentiment"}
    assert {row.protocol for row in tasks} == {"controlled"}


def test_nothing_is_not_a_number(paper):
    def refuse(word):
        raise AssertionError(f"{word} in a file of the run")

    for path in paper.run.path.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
