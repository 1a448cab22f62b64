"""A run that replays the paper's own probes beside the optimum."""

import pandas as pd
import pytest
from results_contract import AS_CODED, breaches, contract

import glossae

LAMBDAS = (0.01, 1000.0)


@pytest.fixture(scope="module")
def replayed(world, tmp_path_factory):
    """A run up to its probes, with the replay; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "replayed"
    assert world.run(out, "--until", "probe", probe__as_coded="true", probe__lambdas="0.01,1000") == 0
    return out


def test_the_replay_is_in_a_file_of_its_own(replayed):
    table = pd.read_parquet(replayed / "probe" / "as_coded.parquet")
    expected = {(layer, seed, penalty) for layer in range(3) for seed in range(2) for penalty in LAMBDAS}
    assert len(table) == len(expected)
    assert set(zip(table["layer"], table["seed"], table["lambda"], strict=True)) == expected
    assert set(table["protocol"]) == {"as_coded"}
    dead = table[table["collapsed"]]
    assert set(dead["lambda"]) == {1000.0}
    assert (dead["optimum_norm"] == 0).all()
    assert (dead["norm"] > 0).all()


def test_results_have_a_row_for_every_layer_and_lambda(replayed):
    probe = glossae.open_run(replayed).results["probe"]
    assert breaches(probe, contract("da")["probe"] | {"as_coded": AS_CODED}) == []
    assert [(row["layer"], row["lambda"]) for row in probe["as_coded"]] == [
        (layer, penalty) for layer in range(3) for penalty in LAMBDAS
    ]
    assert [(row["scores"], row["lambda"], row["seeds"]) for row in probe["agreement"]] == [
        ("rule", None, 2),
        *(("as_coded", penalty, 2) for penalty in LAMBDAS),
    ]
    table = pd.read_parquet(replayed / "probe" / "as_coded.parquet")
    means = table.groupby(["layer", "lambda"])["accuracy"].mean()
    for row in probe["as_coded"]:
        assert row["accuracy"] == pytest.approx(means[row["layer"], row["lambda"]])


def test_the_page_shows_it(replayed):
    page = (replayed / "report.html").read_text(encoding="utf-8")
    assert '<figure id="probes-as-coded"' in page
    assert "3 of 6 replayed probes" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_the_optimum_is_the_same_with_it_and_without(replayed, world, page, tmp_path):
    out = tmp_path / "plain"
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000") == 0
    with_it, without = (glossae.open_run(folder).results["probe"] for folder in (replayed, out))
    assert without["as_coded"] is None
    assert without["cells"] == with_it["cells"]
    assert without["best_layer"] == with_it["best_layer"]
    # asked for, and no longer asked for: nothing of it is left
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000", probe__as_coded="true") == 0
    assert (out / "probe" / "as_coded.parquet").is_file()
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000") == 0
    assert not (out / "probe" / "as_coded.parquet").exists()
    assert not (out / "figures" / "probes-as-coded.svg").exists()
