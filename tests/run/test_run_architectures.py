"""Whole runs, from text to report, on models of other families than Pythia's."""

import json

import pytest
from results_contract import breaches, contract
from tiny_world import trained_tokenizer

import glossae
from glossae.sae import read_sae
from tiny_families import HIDDEN, write_family


@pytest.mark.parametrize(("family", "site"), [("llama", "mlp.hidden"), ("gpt2", "attn.out")])
def test_a_run_from_text_to_report(world, tmp_path, capsys, page, family, site):
    tokenizer = trained_tokenizer()
    model = write_family(tmp_path / "model", family, tokenizer, vocab_size=len(tokenizer))
    out = tmp_path / "run"
    capsys.readouterr()
    assert world.run(out, model=model, site=site) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "can only see da against en" in line
    results = json.loads((out / "results.json").read_text())
    assert breaches(results, contract("da")) == []
    assert (out / "report.html").stat().st_size > 10_000
    run = glossae.open_run(out)
    assert run.results["probe"]["site"] == run.results["sae"]["site"] == site
    assert {cell["layer"] for cell in results["probe"]["cells"]} == {0, 1, 2}
    assert read_sae(out / "sae").config.d_in == (HIDDEN if site == "mlp.hidden" else 32)
    # turning units does something, here and in what is written
    cells = results["next_token"]["cells"]
    assert {cell["edit"] for cell in cells} >= {"raw", "none", "set"}
    assert any(abs(cell["delta"]) > 1e-6 for cell in cells if cell["edit"] == "set")
    assert len({row["text"] for row in results["generation"]}) > 1


@pytest.mark.parametrize(("asked", "longest"), [("auto", 64), ("64", 64), ("9", 9)])
def test_texts_are_cut_at_what_is_asked_for_or_the_models_positions(world, tmp_path, asked, longest):
    text = tmp_path / "long.tsv"
    rows = (f"{'abc ' * 100}{n}.\t{label}\n" for n in range(40) for label in ("0", "1"))
    text.write_text("".join(rows))
    changes = {"corpora__train": text, "corpora__test": None, "languages__others": "none"}
    out = tmp_path / "run"
    assert world.run(out, "--until", "corpora", "--max_tokens", asked, **changes) == 0
    counted = json.loads((out / "results.json").read_text())["corpora"]
    assert all(row["cut"] == row["sentences"] > 0 for row in counted)
    assert all(row["tokens"] == longest * row["sentences"] for row in counted)
    assert glossae.open_run(out).recipe.max_tokens == (asked if asked == "auto" else int(asked))


def test_a_model_that_is_only_probed_has_its_own_positions(world, tmp_path, capsys):
    tokenizer = trained_tokenizer()
    short = write_family(tmp_path / "short", "gpt2", tokenizer, vocab_size=len(tokenizer), n_positions=32)
    out = tmp_path / "run"
    assert world.run(out, "--until", "probe", probe__models=short) == 0
    capsys.readouterr()
    # asked for by name, the shorter one cannot have it; what is done stays done
    assert world.run(out, "--until", "probe", probe__models=short, max_tokens=64) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.endswith(f"max_tokens: 64 is more than the 32 tokens that {short} has positions for")
    assert (out / "corpora" / "summary.json").is_file()
