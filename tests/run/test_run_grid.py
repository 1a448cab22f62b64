"""The grid: one pass over the text for all its autoencoders, and nothing trained twice."""

import shutil
from contextlib import contextmanager

import pytest
from tiny_world import stages_worked_at

import glossae
from glossae.cli import main
from glossae.run.context import Show
from glossae.sae import choose, fronts
from glossae.stages.shared.sae_jobs import TrainingText

SMALL = {
    "layer": 1,
    "grid__k": "2,4",
    "grid__l1": "3e-3,3e-2",
    "grid__latents": 64,
    "sae__batch_sentences": 8,
}


@pytest.fixture(scope="module")
def with_grid(world, tmp_path_factory):
    """The folder of a run with a grid, up to the autoencoder; not to be written to."""
    out = tmp_path_factory.mktemp("grids") / "run"
    assert world.run(out, "--until", "sae", **SMALL) == 0
    return out


@pytest.fixture(scope="module")
def grid(with_grid):
    return glossae.open_run(with_grid).results.grid


@pytest.fixture
def copy(with_grid, tmp_path):
    return shutil.copytree(with_grid, tmp_path / "again")


@pytest.fixture
def works(world, capsys):
    """A function that runs the world and says which stages it worked at."""

    def works(out, *more, **changes):
        capsys.readouterr()
        assert main([*world.line(out, **changes), "--until", "sae", *more]) == 0
        return stages_worked_at(capsys.readouterr().err)

    return works


def kinds(cells):
    return [
        tuple(getattr(c, name) for name in ("activation", "k", "l1", "tied", "pre_encoder_bias"))
        for c in cells
    ]


# ---- what comes out


def test_every_kind_is_there_once(grid):
    sizes = [("topk", 2, None), ("topk", 4, None), ("relu", None, 0.003), ("relu", None, 0.03)]
    expected = [(*size, tied, bias) for size in sizes for tied in (False, True) for bias in (True, False)]
    assert kinds(grid.cells) == expected


def test_cells_say_what_they_measured(grid):
    for cell in grid.cells:
        assert set(cell.fvu) == {"da", "en", "sv"}
        assert cell.mse > 0
        assert 0 <= cell.dead_fraction < 1
        if cell.k is not None:
            assert 0 < cell.l0 <= cell.k
            assert 0 < cell.l0_select <= cell.k
        assert cell.l0 <= cell.active_per_batch <= 64
    # a stronger penalty fires less and fits worse
    relu = [cell for cell in grid.cells if cell.activation == "relu"]
    for weak, strong in zip(relu[:4], relu[4:], strict=True):
        assert strong.l0 < weak.l0
        assert strong.mse > weak.mse


def test_a_cell_is_the_autoencoder_that_the_next_stage_would_train(with_grid, grid):
    """The run's own is the grid's TopK of k 4 with separate matrices and a bias: same text, seed and settings."""
    own = glossae.open_run(with_grid).results.sae
    (cell,) = [c for c in grid.cells if (c.k, c.tied, c.pre_encoder_bias) == (4, False, True)]
    assert own.k == 4
    assert cell.fvu == pytest.approx(own.fvu, rel=0.02)
    assert cell.l0_select == pytest.approx(own.l0, rel=0.02)
    log = glossae.open_run(with_grid).table("sae/log")
    assert cell.mse == pytest.approx(log["mse"].iloc[-11:-1].mean(), rel=0.02)
    assert cell.active_per_batch == pytest.approx(log["active_per_batch"].iloc[-11:-1].mean(), rel=0.05)
    assert (grid.train_tokens, grid.tokens) == (own.train_tokens, own.tokens)


def test_fronts_and_choice_are_those_of_the_cells(grid):
    assert grid.pareto == fronts(grid.cells, ("da", "en"))
    assert grid.chosen == choose(grid.cells, ("da", "en"), 4)
    assert "at most 4 latents" in grid.chosen.rule


def test_the_tables_are_beside(with_grid, grid):
    run = glossae.open_run(with_grid)
    cells, log = run.table("grid/cells"), run.table("grid/log")
    assert cells["mse"].tolist() == [cell.mse for cell in grid.cells]
    assert set(log["cell"]) == set(range(16))
    assert log.groupby("cell")["tokens"].max().eq(grid.train_tokens).all()
    assert {"seconds", "tokens_per_second"} <= set(run.record["stages"]["grid"])
    assert not (with_grid / "grid" / "checkpoints").exists()


def test_the_report_has_figure_4(with_grid):
    page = (with_grid / "report.html").read_text(encoding="utf-8")
    assert "the grid search over autoencoders (" not in page
    assert (with_grid / "figures" / "figure-4-grid.csv").read_text().count("\n") == 17


def test_a_headline_tells_of_it(world, copy, capsys):
    assert main([*world.line(copy, **SMALL), "--until", "grid"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("grid ")]
    assert "16 autoencoders; grid choice: topk, k " in line


def test_the_model_reads_the_text_once_for_all(world, tmp_path, monkeypatch):
    """However many autoencoders: one pass over what they are trained on, and one over what they are measured on."""
    read = []
    original = TrainingText.stream

    def counted(self, start):
        for x in original(self, start):
            read.append(len(x))
            yield x

    monkeypatch.setattr(TrainingText, "stream", counted)
    out = tmp_path / "run"
    assert world.run(out, "--until", "grid", **SMALL) == 0
    assert sum(read) == glossae.open_run(out).results.grid.train_tokens


# ---- what is done again


def test_nothing_is_trained_twice(works, copy):
    assert works(copy, **SMALL) == []
    # another autoencoder is no other grid, but the rule may choose another cell of it
    assert works(copy, **SMALL | {"sae__k": 2}) == ["sae"]
    assert "at most 2 latents" in glossae.open_run(copy).results.grid.chosen.rule
    # and another grid is no other autoencoder
    assert works(copy, **SMALL | {"sae__k": 2, "grid__k": "2", "grid__l1": None}) == ["grid"]
    assert len(glossae.open_run(copy).results.grid.cells) == 4


def test_how_autoencoders_are_trained_is_the_grids_too(works, copy):
    assert works(copy, **SMALL | {"sae__lr": 0.002}) == ["grid", "sae"]


def test_a_grid_given_up_leaves_null(works, copy, page):
    assert works(copy, **{**SMALL, "grid__k": None, "grid__l1": None}) == []
    assert glossae.open_run(copy).results.grid is None
    assert "the grid search over autoencoders (" in (copy / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_grid_cut_off_goes_on_from_its_checkpoint_to_the_same_numbers(
    world, with_grid, tmp_path, monkeypatch, share
):
    original = Show.stage
    reported = []

    @contextmanager
    def watched(self, name, what):
        def report(fraction):
            if name == "grid":
                reported.append(fraction)
                if fraction >= share and len(reported) > 3 and not gone_on:
                    raise KeyboardInterrupt

        with original(self, name, what):
            yield report

    gone_on = False
    monkeypatch.setattr(Show, "stage", watched)
    out = tmp_path / "run"
    line = [*world.line(out, **SMALL, sae__checkpoint=0), "--quiet", "--until", "sae"]
    assert main(line) == 130
    assert list((out / "grid" / "checkpoints").glob("*.safetensors"))
    gone_on = True
    reported.clear()
    assert main(line) == 0
    # it did not begin at the beginning
    assert reported[0] > share - 0.1
    assert (out / "results.json").read_bytes() == (with_grid / "results.json").read_bytes()
    assert not (out / "grid" / "checkpoints").exists()


# ---- other models, the paper's protocol, and what is refused


def test_a_grid_on_another_model(world, tmp_path, make_model_folder):
    other = make_model_folder(tmp_path / "other", intermediate_size=40)
    out = tmp_path / "run"
    changes = {
        "grid__model": other,
        "grid__layer": 2,
        "grid__latents": None,
        "grid__l1": None,
        "site": "mlp.hidden",
    }
    assert world.run(out, "--until", "sae", **SMALL | changes) == 0
    results = glossae.open_run(out).results
    grid = results.grid
    assert (grid.model, grid.layer, grid.d_in, grid.latents) == (other.name, 2, 40, 160)
    assert (results.sae.layer, results.sae.d_in) == (1, 64)
    # another tokenizer makes other tokens of the same text
    assert grid.train_tokens != results.sae.train_tokens


def test_published_cells_fire_when_selected(world, tmp_path):
    out = tmp_path / "run"
    assert world.run(out, "--until", "grid", **SMALL | {"protocol": "published", "grid__tied": "false"}) == 0
    topk = [cell for cell in glossae.open_run(out).results.grid.cells if cell.activation == "topk"]
    assert [(cell.l0, cell.l0_select) for cell in topk] == [(2, 2), (2, 2), (4, 4), (4, 4)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"grid__latents": None, "grid__expansion": 1, "grid__k": "4,40"},
            "grid.k: 40 is more than the 32 latents",
        ),
        ({"grid__layer": 3}, "grid.layer: {model} has the layers 0 to 2, and 3 is not one of them"),
        ({"grid__model": "toy", "grid__layer": 99}, "grid.layer: toy has the layers 0 to "),
        (
            {"grid__model": "toy", "grid__layer": 0, "grid__latents": None, "grid__k": "4,4000"},
            "grid.k: 4000 is more than the 512 latents",
        ),
        ({"grid__model": "./nowhere"}, "grid.model: there is no folder ./nowhere"),
        (
            {"grid__model": "toy", "layer": "auto"},
            "--grid.model: needs grid.layer beside it: the probes choose a layer of {model}, not of toy",
        ),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_is_written(world, tmp_path, capsys, changes, message):
    out = tmp_path / "run"
    assert world.run(out, **SMALL | changes) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message.format(model=world.model) in said
    assert not out.exists()
