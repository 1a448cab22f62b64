"""From text to report through the command line: everything a run promises is there, and holds together."""

import csv
import json
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from tiny_world import EVERYTHING

import glossae
from glossae.cli import main
from glossae.recipe import load_recipe
from glossae.run import headlines
from glossae.sae import UnsoundWarning
from toy_grammar import sentences

FILES = [
    *("recipe.yaml", "run.json", "results.json", "report.html"),
    *("corpora/summary.json", "probe/summary.json", "probe/cells.parquet"),
    *("sae/summary.json", "sae/sae.safetensors", "sae/log.parquet"),
    *("features/summary.json", "features/statistics.parquet", "features/histograms.parquet"),
    *("features/selected.json", "features/ranges.json", "features/texts.json"),
    *("effects/summary.json", "effects/next_token.parquet"),
    *("figures/figure-3-probes.svg", "figures/layer-choice.svg", "figures/sae-training.svg"),
    *("figures/firing-rates.svg", "figures/figure-5-preactivations.svg", "figures/figure-6-texts.svg"),
    "figures/figure-8-next-token.svg",
]


@pytest.fixture(scope="module")
def world(world):
    """The tiny world with every set of units."""
    return world.other(**EVERYTHING | {"effects__families": "latent,neuron,direction"})


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "finished"
    assert world.run(out) == 0
    return out


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text())


def page_text(path):
    """The words of a page, scripts and styles left out."""
    words = []

    class Reader(HTMLParser):
        skipping = 0

        def handle_starttag(self, tag, attrs):  # noqa: ARG002
            self.skipping += tag in ("style", "script")

        def handle_endtag(self, tag):
            self.skipping -= tag in ("style", "script")

        def handle_data(self, data):
            if not self.skipping:
                words.append(data)

    Reader().feed(path.read_text(encoding="utf-8"))
    return " ".join(" ".join(words).replace("\N{NO-BREAK SPACE}", " ").split())


# ---- the folder


def test_every_file_of_a_run_is_there(finished):
    lacking = [name for name in FILES if not (finished / name).is_file()]
    assert lacking == []
    assert all((finished / name).stat().st_size > 0 for name in FILES)


def test_nothing_is_left_over(finished):
    hidden = [path.name for path in finished.rglob(".*") if path.name != ".lock"]
    assert hidden == []


def test_every_figure_has_its_numbers_beside_it(finished):
    pictures = {path.stem for path in finished.glob("figures/*.svg")}
    tables = {path.stem for path in finished.glob("figures/*.csv")}
    assert pictures == tables
    for path in finished.glob("figures/*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows, path.name


def sweep_of(results):
    """The cells of the selected latents."""
    return [cell for cell in results["next_token"]["cells"] if cell["units"] == "da"]


def test_the_numbers_of_a_figure_are_those_of_the_results(finished, results):
    with (finished / "figures" / "figure-8-next-token.csv").open(encoding="utf-8", newline="") as file:
        drawn = {
            (row["edit"], row["splice"], row["value"], row["language"], row["source"]): float(row["ce"])
            for row in csv.DictReader(file)
        }
    for cell in sweep_of(results):
        splice = "" if cell["splice"] is None else str(cell["splice"])
        value = "" if cell["value"] is None else str(cell["value"])
        assert drawn[cell["edit"], splice, value, cell["language"], cell["source"]] == cell["ce"]


def test_the_same_seed_gives_the_same_bytes_in_another_folder(world, finished, tmp_path, page):
    other = tmp_path / "elsewhere" / "other"
    assert world.run(other) == 0
    for name in ("results.json", "sae/sae.safetensors"):
        assert (other / name).read_bytes() == (finished / name).read_bytes()
    names = sorted(path.name for path in finished.glob("figures/*"))
    assert sorted(path.name for path in other.glob("figures/*")) == names
    for name in names:
        assert (other / "figures" / name).read_bytes() == (finished / "figures" / name).read_bytes(), name


# ---- results.json


def test_results_read_back_as_they_were_written(finished, results):
    found = glossae.open_run(finished).results
    assert json.loads(json.dumps(found.to_json())) == results
    assert found.next_token.serial_correlation
    assert found.next_token.chosen


def test_results_hold_no_nan(finished):
    def refuse(word):
        raise AssertionError(f"{word} in results.json")

    json.loads((finished / "results.json").read_text(), parse_constant=refuse)


def test_results_name_the_run(results, world):
    assert (results["recipe"], results["protocol"], results["seed"]) == ("tiny", "controlled", 0)
    assert (results["model"], results["schema_version"]) == ("model", 3)


def test_every_role_source_and_language_is_counted(results):
    rows = results["corpora"]
    assert {row["role"] for row in rows} == {"train", "select", "tune", "test"}
    assert {(row["name"], row["language"]) for row in rows if row["role"] == "test"} == {
        ("press.tmx", code) for code in ("da", "en", "sv")
    }
    for row in rows:
        assert row["read"] == row["sentences"] + sum(row["dropped"].values()) + sum(row["moved"].values())
        assert row["tokens"] >= 2 * row["sentences"]


def test_each_stage_measured_the_text_that_the_roles_give_it(results):
    def tokens(role, language):
        return sum(r["tokens"] for r in results["corpora"] if (r["role"], r["language"]) == (role, language))

    selecting = {code: tokens("select", code) for code in ("da", "en", "sv")}
    assert results["features"]["tokens"] == selecting
    assert results["sae"]["tokens"] == sum(selecting.values())
    assert results["sae"]["train_tokens"] == tokens("train", "da") + tokens("train", "en")
    for cell in results["next_token"]["cells"]:
        # without a BOS the first token of a sentence is not predicted
        assert cell["tokens"] == tokens("test", cell["language"]) - cell["sentences"]


def test_probes_cover_every_layer_seed_and_lambda(results, world):
    grid = [
        (cell["layer"], cell["seed"], cell["lambda"])
        for cell in results["probe"]["cells"]
        if not cell["rule"]
    ]
    expected = {(layer, seed, penalty) for layer in range(3) for seed in range(2) for penalty in (0.01, 0.1)}
    assert len(grid) == len(set(grid))
    assert set(grid) == expected
    assert results["probe"]["layer_used"] == results["probe"]["best_layer"] == results["sae"]["layer"]


def test_the_autoencoder_is_the_one_asked_for(results):
    sae = results["sae"]
    assert (sae["site"], sae["d_in"], sae["latents"], sae["k"]) == ("resid", 32, 64, 4)
    assert sae["activation"] == "topk"
    assert 0 < sae["l0"] <= 4
    assert 0 <= sae["dead_fraction"] < 1
    assert set(sae["fvu"]) == set(sae["ce"]) == {"da", "en", "sv"}
    assert all(0 < fvu < 1 for fvu in sae["fvu"].values())
    for loss in sae["ce"].values():
        recovered = (loss["ablated"] - loss["spliced"]) / (loss["ablated"] - loss["raw"])
        assert loss["recovered"] == pytest.approx(recovered)


def test_the_sweep_has_every_edit_with_and_without_splicing(results):
    cells = sweep_of(results)
    pooled = {
        (cell["edit"], cell["splice"], cell["value"])
        for cell in cells
        if (cell["language"], cell["source"]) == ("da", "all")
    }
    values = {value for edit, _, value in pooled if edit == "set"}
    assert {-4.0, 0.0, 4.0} <= values
    # and two within the latents' own range
    assert len(values) == 5
    sweep = {
        (edit, splice, value)
        for splice in (True, False)
        for edit, value in [("none", None), ("mean", None), *(("set", value) for value in values)]
    }
    # and error-preserving ones beyond the paper's
    more = {("zero", False, None), *(("scale", False, share) for share in (-1.0, -2.0, -4.0))}
    assert pooled == sweep | more | {("raw", None, None)}


def test_one_source_pools_to_itself(results):
    by_source = {}
    for cell in sweep_of(results):
        key = (cell["edit"], cell["splice"], cell["value"], cell["language"])
        by_source.setdefault(key, {})[cell["source"]] = cell["ce"]
    for sources in by_source.values():
        assert set(sources) == {"press.tmx", "all"}
        assert sources["press.tmx"] == pytest.approx(sources["all"], rel=1e-12)


def test_delta_is_against_no_edit_with_the_same_splice(results):
    cells = results["next_token"]["cells"]
    # that of every set is the same, to the bit
    none = {(c["language"], c["source"], c["splice"]): c["ce"] for c in cells if c["edit"] == "none"}
    assert all(c["ce"] == none[c["language"], c["source"], c["splice"]] for c in cells if c["edit"] == "none")
    for cell in cells:
        if cell["edit"] == "raw":
            assert (cell["splice"], cell["delta"], cell["ci_low"], cell["ci_high"]) == (None, 0, 0, 0)
        else:
            base = none[cell["language"], cell["source"], cell["splice"]]
            assert cell["delta"] == pytest.approx(cell["ce"] - base, abs=1e-9)
            assert cell["ci_low"] <= cell["ci_high"]


def test_an_error_preserving_run_without_an_edit_is_the_model_itself(results):
    cells = [cell for cell in results["next_token"]["cells"] if cell["source"] == "all"]
    raw = {cell["language"]: cell["ce"] for cell in cells if cell["edit"] == "raw"}
    for cell in cells:
        if cell["edit"] == "none" and not cell["splice"]:
            assert cell["ce"] == pytest.approx(raw[cell["language"]], rel=1e-6)
    spliced = {cell["language"]: cell["ce"] for cell in cells if cell["edit"] == "none" and cell["splice"]}
    assert all(abs(spliced[language] - raw[language]) > 1e-4 for language in raw)


def test_every_prompt_is_continued_raw_and_steered(results):
    rows = results["generation"]
    for language in ("da", "en"):
        prompts = {row["prompt"] for row in rows if row["language"] == language}
        assert len(prompts) == 4
        for prompt in prompts:
            edits = [row["edit"] for row in rows if row["prompt"] == prompt]
            assert sorted(edits) == ["raw", "set", "set"]


# ---- the rule


def test_the_fallback_takes_only_what_it_may(finished, results):
    features = results["features"]
    assert features["rule"] == "fallback"
    units = [row["unit"] for row in features["units"]]
    table = (
        glossae.open_run(finished)
        .table("features/statistics")
        .pivot(index="unit", columns="language", values="rate")
    )
    assert not ((table["da"] > 0.5) & (table["en"] < 0.01)).any()
    allowed = table[(table["en"] < 0.02) & (table["da"] > table["en"])]
    best = (allowed["da"] - allowed["en"]).sort_values(ascending=False).index[:4]
    assert units == list(best)


def test_the_rule_takes_all_that_pass_and_no_other(world, copy_of_finished, capsys, page):
    changes = {"features__min_target": 0.03, "features__max_reference": 0.05}
    assert world.run(copy_of_finished, "--until", "features", **changes) == 0
    run = glossae.open_run(copy_of_finished)
    features = run.results.features
    table = run.table("features/statistics").pivot(index="unit", columns="language", values="rate")
    selected = table[(table["da"] > 0.03) & (table["en"] < 0.05)].index
    assert features.rule == "paper"
    assert {row.unit for row in features.units} == set(selected)
    assert len(selected) > 0
    text = page_text(copy_of_finished / "report.html")
    assert "fires on more than 3 % of Danish and less than 5 % of English tokens" in text


def test_no_unit_at_all_is_no_error(world, copy_of_finished, capsys, page):
    assert main(world.line(copy_of_finished, features__fallback=0)) == 0
    captured = capsys.readouterr()
    assert "no unit" in captured.out
    run = glossae.open_run(copy_of_finished)
    assert run.results.features.units == []
    assert run.results.features.nearest
    found = run.results.next_token
    assert {cell.edit for cell in found.cells if cell.units == "da"} == {"raw", "none"}
    # what is cheaper is measured all the same
    assert {row.kind for row in found.selectivity} == {"neuron", "direction"}
    assert found.one_by_one == []
    assert "o latent fires on more than 50 % of Danish" in page_text(copy_of_finished / "report.html")


# ---- what a person sees


def test_the_report_is_one_page_that_says_the_rule(finished):
    text = page_text(finished / "report.html")
    assert "fires on more than 50 % of Danish and less than 1 % of English tokens" in text
    source = (finished / "report.html").read_text(encoding="utf-8")
    assert source.count("<svg") >= 7
    assert "<link" not in source
    assert "<script src" not in source


def test_headlines_end_a_run(world, copy_of_finished, capsys):
    assert main(world.line(copy_of_finished)) == 0
    captured = capsys.readouterr()
    # whether so small an autoencoder is sound is not what this is about
    lines = [line for line in captured.out.splitlines() if not line.startswith("unsound")]
    assert [line.split()[0] for line in lines] == [
        # the selected latents at both damages, four sets that are cheaper, and the untrained autoencoders
        "complete", "probe", "sae", "evidence", "features", *["effects"] * 7, "report"
    ]  # fmt: skip
    assert lines[0].endswith(f"{copy_of_finished}: every stage was done before")
    assert "64 latents, k 4" in lines[2]
    assert "not tested: " in lines[3]
    assert "selected by the fallback, because no latent passes: " in lines[4]
    assert "untrained, on the same text: " in lines[-2]
    assert lines[-1].endswith(str(copy_of_finished / "report.html"))
    assert "effects: done before, kept" in captured.err


def test_quiet_says_where_the_page_is(world, copy_of_finished, capsys):
    assert world.run(copy_of_finished) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{copy_of_finished / 'report.html'}\n", "")


def test_until_leaves_the_rest_null(world, tmp_path, capsys, page):
    out = tmp_path / "short"
    assert main([*world.line(out), "--until", "probe"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert [key for key, value in results.items() if value is None] == [
        "grid", "sae", "evidence", "stability", "features", "dashboards", "baselines", "next_token", "controls",
        "tasks", "generation", "steering", "published",
    ]  # fmt: skip
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "probe", "throughput", "report"
    ]  # fmt: skip
    assert not (out / "sae").exists()
    assert (out / "report.html").is_file()


def test_a_run_measures_its_throughput(world, tmp_path, page):
    out, settings = tmp_path / "run", {"layer": 1, "probe__paper": "false"}
    assert world.run(out, "--until", "sae", **settings) == 0
    record = json.loads((out / "run.json").read_text())
    work, measured = record["stages"]["sae"]["work"], record["throughput"]
    assert 0 < work["training_model_flops"] < work["model_flops"]
    assert 0 < work["training_seconds"] < work["seconds"]
    assert work["training_sae_flops"] > 0
    assert 0 < measured["mfu"] == measured["model_flops_per_second"] / measured["peak_flops_per_second"] < 1
    assert 0 < measured["training_roofline"] < 1
    assert f"Throughput: {measured['words']}." in (out / "report.html").read_text(encoding="utf-8")


def test_a_process_of_its_own_ends_with_0(world, copy_of_finished):
    script = "import sys; from glossae.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *world.line(copy_of_finished)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "selected by the fallback" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


# ---- for a notebook


def test_open_run_gives_all_of_it(finished, results, world):
    run = glossae.open_run(str(finished))
    assert (run.recipe.name, run.recipe.sae.latents, run.recipe.languages.others) == ("tiny", 64, ("sv",))
    assert set(run.record["stages"]) == {"corpora", "probe", "sae", "evidence", "features", "effects"}
    assert run.record["device"] == "cpu"
    assert len(run.table("effects/next_token")) == len(results["next_token"]["cells"])
    assert len(run.table("probe/cells")) == len(results["probe"]["cells"])
    assert len(run.table("features/statistics")) == 64 * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnsoundWarning)
        sae = run.sae()
    codes = sae.encode(torch.from_numpy(np.random.default_rng(0).normal(size=(5, 32))).float())
    assert codes.indices.shape == (5, 4)


def test_open_run_says_what_is_not_there(finished, tmp_path):
    with pytest.raises(glossae.GlossaeError, match="is not a run"):
        glossae.open_run(tmp_path)
    with pytest.raises(
        glossae.GlossaeError, match="there is no table 'effects/tasks'; there are effects/losses, eff"
    ):
        glossae.open_run(finished).table("effects/tasks")


# ---- other text


@pytest.mark.parametrize("train", ["moses", "tmx"])
def test_other_formats_run_too(world, tmp_path, train):
    changes = {"corpora__train": world.texts[train], "corpora__test": None, "languages__others": "none"}
    out = tmp_path / "run"
    assert world.run(out, "--until", "corpora", **changes) == 0
    results = json.loads((out / "results.json").read_text())
    assert all(row["sentences"] > 0 for row in results["corpora"] if row["language"] in ("da", "en"))
    # these texts are aligned, so no translation is in another role than its original
    assert glossae.open_run(out).record["translations_may_straddle"] is False


@pytest.fixture
def own_results(finished):
    return glossae.open_run(finished).results


def said_of(results, **sae):
    """The headlines of results with an autoencoder of which something is otherwise."""
    changed = {"sae": results.sae.model_copy(update=sae)}
    return headlines(results.model_copy(update=changed), "da", "en")


def test_until_corpora_prints_the_counts(world, tmp_path, capsys):
    out = tmp_path / "text"
    assert main([*world.line(out), "--until", "corpora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads((out / "results.json").read_text())["corpora"]
    said = {line.split()[1].rstrip(":"): line for line in lines if line.startswith("corpora ")}
    assert set(said) == {row["role"] for row in rows}
    for role, line in said.items():
        for language, counted, tokens in re.findall(r"(\w+) ([\d,]+) sentences, ([\d,]+) tokens", line):
            own = [row for row in rows if (row["role"], row["language"]) == (role, language)]
            assert int(counted.replace(",", "")) == sum(row["sentences"] for row in own)
            assert int(tokens.replace(",", "")) == sum(row["tokens"] for row in own)
    assert lines[-1].startswith("report ")


def test_a_language_without_text_is_named_once(world, tmp_path, capsys):
    line = [*world.line(tmp_path / "run", languages__others="sv,nl,fr"), "--until", "corpora"]
    assert main(line) == 0
    err = capsys.readouterr().err
    # after the time
    lines = [said.partition(" ")[2] for said in err.splitlines()]
    assert [said for said in lines if said.startswith("languages.others")] == [
        f"languages.others: {code} is neither tested nor measured: there is no text in it"
        for code in ("nl", "fr")
    ]


def test_where_every_language_has_text_nothing_is_said(world, tmp_path, capsys):
    assert main([*world.line(tmp_path / "run"), "--until", "corpora"]) == 0
    assert "languages.others" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("activation", "k", "said"),
    [("topk", 4, "k 4"), ("batchtopk", 4, "L0 3.2"), ("jumprelu", 4, "L0 3.2"), ("relu", None, "L0 3.2")],
)
def test_l0_is_shown_where_k_does_not_say_it(own_results, activation, k, said):
    (line,) = [
        line for line in said_of(own_results, activation=activation, k=k, l0=3.21) if line[:4] == "sae "
    ]
    assert f"64 latents, {said}: FVU" in line


def test_an_unsound_autoencoder_is_the_first_thing_said(own_results):
    lines = said_of(own_results, unsound=["One thing.", "Another."])
    assert lines[:2] == ["unsound   One thing.", "unsound   Another."]
    assert not any(line.startswith("unsound") for line in said_of(own_results, unsound=[]))


def test_find_goes_from_one_text_to_a_page(world, tmp_path, capsys, page):
    pairs = sentences(300, seed=5)
    for code in ("da", "en", "sv"):
        (tmp_path / f"{code}.txt").write_text("".join(f"{pair[code]}\n" for pair in pairs), encoding="utf-8")
    text = f"sv={tmp_path}/sv.txt en={tmp_path}/en.txt da={tmp_path}/da.txt"
    out = tmp_path / "run"
    line = ["run", "find", "--model", str(world.model), "--target", "sv", "--text", text, "--out", str(out)]
    small = ["--sae.latents", "64", "--sae.k", "4", "--sae.batch_tokens", "256", "--probe.tokens", "1000"]
    assert main([*line, "--languages.others", "da,nb", "--quick", *small, "--quiet"]) == 0
    assert "languages.others: nb is neither tested nor measured: there is no text" in capsys.readouterr().err
    assert "</html>" in (out / "report.html").read_text(encoding="utf-8")
    results = json.loads((out / "results.json").read_text())
    sizes = {
        role: {row["language"] for row in results["corpora"] if row["role"] == role and row["sentences"]}
        for role in ("train", "select", "tune", "test", "panel")
    }
    assert all(languages == {"sv", "en", "da"} for languages in sizes.values())
    assert {row["role"] for row in results["evidence"]["panels"]} == {"panel"}
    recipe = load_recipe(out / "recipe.yaml")
    assert (recipe.languages.target, recipe.corpora.text, recipe.sae.latents) == ("sv", text, 64)
    # the same command carries on in the same folder
    assert main([*line, "--languages.others", "da,nb", "--quick", *small]) == 0
    assert "sae: done before, kept" in capsys.readouterr().err


def test_the_page_and_its_figures_name_no_folder_of_this_machine(world, finished):
    shared = [*finished.rglob("*.html"), *(finished / "figures").iterdir()]
    assert len(shared) > 2
    for path in shared:
        assert str(world.folder) not in path.read_text(encoding="utf-8"), path.name
