"""The stage that looks at units over the whole text, and their pages, through the command line."""

import gzip
import json
import re
import shutil
from itertools import zip_longest

import html5lib
import pandas as pd
import pytest
from test_run_evidence import SMALL, write_panel

import glossae
from glossae.app.workbench import Workbench
from glossae.cli import main
from glossae.errors import GlossaeError
from glossae.reporting import write_report, write_unit_pages
from glossae.reporting.neuronpedia import write_neuronpedia
from glossae.results import read_dashboard
from recorded import record
from toy_grammar import sentences

SETTINGS = SMALL | {
    "features__rule": "tested",
    "evidence__permutations": 0,
    "evidence__scores": "false",
    "dashboards__units": 12,
}
UNTIL = ("--until", "dashboards")
KINDS = ("latent", "neuron", "direction")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panel")
    return SETTINGS | {"corpora__panel": write_panel(folder / "panel.tsv", sentences(320, seed=11))}


@pytest.fixture(scope="module")
def looked(world, settings, tmp_path_factory):
    """The folder of a run with its dashboards; not to be written to."""
    out = tmp_path_factory.mktemp("dashboards") / "run"
    # without the report, which takes most of a small run
    assert world.run_undrawn(out, *UNTIL, **settings) == 0
    write_unit_pages(out)
    return out


@pytest.fixture(scope="module")
def results(looked):
    return glossae.open_run(looked).results


def test_most_of_the_text_was_seen_by_earlier_stages(looked):
    record = json.loads((looked / "run.json").read_text())
    work = {name: stage["work"] for name, stage in record["stages"].items()}
    assert work["dashboards"]["stored_token_blocks"] > 2 * work["dashboards"]["token_blocks"]
    # of the whole run, whose probe reads every layer and whose training reads its own text
    stored, run = (
        sum(each[name] for each in work.values()) for name in ("stored_token_blocks", "read_token_blocks")
    )
    assert record["throughput"]["stored"] == pytest.approx(stored / (stored + run))
    assert stored > run


@pytest.fixture(scope="module")
def units(looked, results):
    return [
        read_dashboard(looked / "dashboards" / f"{row.kind}-{row.unit}.json") for row in results.dashboards
    ]


@pytest.fixture
def copied(looked, tmp_path):
    return shutil.copytree(looked, tmp_path / "run")


def test_the_selected_units_come_first_and_no_more_than_asked_for(results, units):
    rows = results.dashboards
    assert len(rows) <= 12
    assert {row.kind for row in rows} == set(KINDS)
    latents = [unit.unit for unit in units if unit.kind == "latent"]
    selected = [row.unit for row in results.features.units]
    assert latents[: len(selected)] == selected[: len(latents)]
    assert [unit.selected for unit in units if unit.kind == "latent"] == [
        unit in selected for unit in latents
    ]
    assert all(unit.label for unit in units)
    tested = {(row.kind, row.unit): row for row in results.evidence.units}
    for unit in units:
        if unit.kind != "latent":
            assert unit.selected == tested[unit.kind, unit.unit].selected


@pytest.mark.parametrize("most", [1, 3])
def test_few_units_are_selected_latents_then_other_latents_neurons_and_directions_in_turn(
    world, settings, copied, results, most
):
    few = settings | {"dashboards__sentences": 2, "dashboards__units": most}
    assert world.run_undrawn(copied, *UNTIL, **few) == 0
    shown = [(row.kind, row.unit) for row in glossae.open_run(copied).results.dashboards]
    latents = [("latent", row.unit) for row in results.features.units]
    others = [
        [
            (row.kind, row.unit)
            for row in results.dashboards
            if row.kind == kind and (kind, row.unit) not in latents
        ]
        for kind in KINDS
    ]
    in_turn = [each for turn in zip_longest(*others) for each in turn if each is not None]
    assert sorted(shown) == sorted([*latents, *in_turn][:most])


def test_units_that_pass_for_a_family_of_languages_have_a_page_that_the_report_links(looked, results, copied):
    table = pd.read_parquet(looked / "evidence" / "units.parquet")
    names = [row.claim for row in results.evidence.claims if row.kind == "latent"]
    passes = {
        (row["kind"], row["unit"]): [name for name in names if row[f"q {name}"] <= results.evidence.q]
        for row in table.to_dict(orient="records")
    }
    shown = {(row.kind, row.unit): row.passes for row in results.dashboards}
    assert shown == {unit: passes[unit] for unit in shown}
    selected = {("latent", row.unit) for row in results.features.units}
    others = {unit for unit in shown if unit[0] == "latent"} - selected
    assert others
    assert all(passes[unit] for unit in others)
    # a unit of every claim that is some latent's most specific one
    own = {
        found[0] for unit, found in passes.items() if unit[0] == "latent" and found and unit not in selected
    }
    assert {shown[unit][0] for unit in others} == own
    write_report(copied)
    page = (copied / "report.html").read_text(encoding="utf-8")
    for kind, unit in others:
        assert f'href="units/{kind}-{unit}.html"' in page


def test_every_role_but_replicate_was_read(results, units):
    tokens = {}
    for row in results.corpora:
        tokens[row.language] = tokens.get(row.language, 0) + row.tokens
    for unit, row in zip(units, results.dashboards, strict=True):
        assert {code: each.tokens for code, each in unit.density.items()} == tokens
        assert row.tokens == sum(tokens.values())


def test_tests_are_those_of_the_table(looked, results, units):
    table = pd.read_parquet(looked / "evidence" / "units.parquet").set_index(["kind", "unit"])
    for unit in units:
        row = table.loc[(unit.kind, unit.unit)]
        assert unit.tests.auroc == {code: row[f"auroc da {code}"] for code in ("en", "sv", "de")}
        assert unit.tests.least == min(unit.tests.auroc.values())
        assert unit.tests.left_out["en"] == min(unit.tests.auroc[code] for code in ("sv", "de"))
        danish = unit.tests.claims["Danish"]
        assert (danish.p, danish.q) == (row["p Danish"], row["q Danish"])
        assert danish.passed == (danish.q <= results.evidence.q)


def test_the_same_command_gives_the_same_bytes_and_a_cap_reads_less(
    world, settings, looked, copied, tmp_path
):
    files = sorted(path.name for path in (looked / "dashboards").glob("*.json"))
    shutil.rmtree(copied / "dashboards")
    assert world.run(copied, *UNTIL, **settings) == 0
    for name in files:
        assert (copied / "dashboards" / name).read_bytes() == (looked / "dashboards" / name).read_bytes()
    assert world.run(copied, *UNTIL, **settings | {"dashboards__sentences": 5, "dashboards__units": 9}) == 0
    rows = glossae.open_run(copied).results.dashboards
    assert len(rows) < len(files)
    unit = read_dashboard(copied / "dashboards" / f"{rows[0].kind}-{rows[0].unit}.json")
    assert {each.sentences for each in unit.density.values()} == {5}
    # the files of units that are shown no more are gone
    names = {f"{row.kind}-{row.unit}.json" for row in rows} | {"summary.json"}
    assert {path.name for path in (copied / "dashboards").glob("*.json")} == names


def test_no_units_no_stage(finished):
    assert glossae.open_run(finished).results.dashboards is None
    assert not (finished / "units").exists()
    assert not (finished / "dashboards").exists()


# ---- the pages


def text_of(page):
    return re.sub(r"\s+", " ", "".join(html5lib.parse(page, namespaceHTMLElements=False).itertext()))


def test_a_page_for_each_unit_is_valid_small_and_whole(looked, results, units):
    pages = {path.name for path in (looked / "units").iterdir()}
    assert pages == {f"{row.kind}-{row.unit}.html" for row in results.dashboards} | {"index.html"}
    for unit in units:
        page = (looked / "units" / f"{unit.kind}-{unit.unit}.html").read_text(encoding="utf-8")
        html5lib.HTMLParser(strict=True).parse(page)
        assert len(page.encode()) < 150_000
        assert "<script" not in page
        assert re.findall(r'(?:src|href)="(?!index.html|../report.html)([^"]+)"', page) == [
            f"{unit.kind}-{near.unit}.html"
            for near in unit.nearest
            if f"{unit.kind}-{near.unit}.html" in pages
        ]
        shown = text_of(page)
        assert unit.label in shown
        assert "Tokens read: " in shown
        for contexts in unit.contexts.values():
            for context in contexts[:3]:
                assert re.sub(r"\s+", " ", "".join(context.tokens)).strip() in shown
        for name, claim in unit.tests.claims.items():
            assert (f">passes {name}</li>" in page) == claim.passed
    index = (looked / "units" / "index.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(index)
    for row in results.dashboards:
        assert f'href="{row.kind}-{row.unit}.html"' in index


def test_latents_of_the_fallback_are_not_called_selected(copied, results):
    path = copied / "results.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for rule, said in (
        ("tested", "selected by the tests"),
        ("fallback", "selected by the fallback, because no latent passes"),
    ):
        written["features"]["rule"] = rule
        path.write_text(json.dumps(written), encoding="utf-8")
        record(copied)
        write_unit_pages(copied)
        selected = results.features.units[0].unit
        assert said in text_of((copied / "units" / f"latent-{selected}.html").read_text(encoding="utf-8"))


def test_hostile_text_shows_as_text(copied):
    path = next((copied / "dashboards").glob("latent-*.json"))
    unit = json.loads(path.read_text(encoding="utf-8"))
    context = next(contexts[0] for contexts in unit["contexts"].values() if contexts)
    hostile = ["<script>alert(1)</script>", "a\u202eb", "\x1b[31m", "\u200f", "{{ x }}", "\ud7ff", "&amp;"]
    context["tokens"], context["ids"] = hostile, [0] * len(hostile)
    context["values"], context["peak"] = [1.0] * len(hostile), 0
    unit["label"] = '"><img src=x onerror=alert(1)>'
    unit["logits"]["raised"][0]["token"] = "</code>\u2066\n"
    path.write_text(json.dumps(unit), encoding="utf-8")
    record(copied)
    write_unit_pages(copied)
    page = (copied / "units" / f"{path.stem}.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<script" not in page
    assert "<img" not in page
    assert not set("\u202e\u2066\u200f\x1b") & set(page)
    shown = text_of(page)
    for text in (
        "<script>alert(1)</script>",
        "a\\u202eb",
        "\\x1b[31m",
        "{{ x }}",
        "&amp;",
        "</code>\\u2066↵",
    ):
        assert text in shown
    assert "<img" not in (copied / "units" / "index.html").read_text(encoding="utf-8")


def test_pages_of_an_earlier_run_go_and_other_files_stay(copied, tmp_path):
    for name in ("latent-9999.html", "latent-8888.html", "notes.html"):
        (copied / "units" / name).write_text("x")
    own = json.loads((copied / "page.json").read_text(encoding="utf-8"))
    (copied / "page.json").write_text(json.dumps([*own, "units/latent-9999.html"]), encoding="utf-8")
    write_unit_pages(copied)
    assert not (copied / "units" / "latent-9999.html").exists()
    for name in ("latent-8888.html", "notes.html"):
        assert (copied / "units" / name).read_text() == "x"
    assert json.loads((copied / "page.json").read_text(encoding="utf-8")) == own
    (copied / "units" / "latent-7777.html").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(glossae.GlossaeError, match="is a symbolic link"):
        write_unit_pages(copied)
    (copied / "units" / "latent-7777.html").unlink()
    file = next((copied / "dashboards").glob("neuron-*.json"))
    file.write_text("{")
    with pytest.raises(glossae.GlossaeError, match=f"{file.name}: was changed"):
        write_unit_pages(copied)


def test_the_browser_sorts_filters_and_finds_nothing_inaccessible(looked, results):
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        names = [f"{row.kind}-{row.unit}.html" for row in results.dashboards]
        for name in (names[0], names[-1], "index.html"):
            page.goto((looked / "units" / name).as_uri())
            found = axe.Axe().run(page).response["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        cells = "[...document.querySelectorAll('#units tbody tr:not([hidden]) th')].map(x => x.textContent)"
        before = page.evaluate(cells)
        page.get_by_role("button", name="rate en", exact=True).press("Enter")
        rates = {f"{row.kind}-{row.unit}": row for row in results.dashboards}
        assert sorted(page.evaluate(cells)) == sorted(before)
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("rate en")
        order = page.evaluate(
            "[...document.querySelectorAll('#units tbody a')].map(x => x.getAttribute('href').slice(0, -5))"
        )
        own = [
            read_dashboard(looked / "dashboards" / f"{name}.json").density["en"].rate
            for name in order
            if name in rates
        ]
        assert own == sorted(own, reverse=True)
        page.get_by_label("Show rows with").fill("direction")
        directions = sum(row.kind == "direction" for row in results.dashboards)
        assert len(page.evaluate(cells)) == directions
        assert page.locator("#left").inner_text() == f"{directions} of {len(before)}"
        assert said == []
        browser.close()


# ---- for Neuronpedia

TEXT, TEXTS, NUMBERS, WHOLES = (str,), [str], [float, int], [int]
# of the tables Neuron and Activation of Neuronpedia 2.0's database; a list is of values of these types
FEATURE = {
    "modelId": TEXT, "layer": TEXT, "index": TEXT, "sourceSetName": TEXT, "creatorId": TEXT, "maxActApprox": (float,),
    "hasVector": (bool,), "vector": NUMBERS, "vectorLabel": TEXT, "vectorDefaultSteerStrength": (float,),
    "hookName": TEXT, "topkCosSimIndices": WHOLES, "topkCosSimValues": NUMBERS, "neuron_alignment_indices": WHOLES,
    "neuron_alignment_values": NUMBERS, "neuron_alignment_l1": NUMBERS, "correlated_neurons_indices": WHOLES,
    "correlated_neurons_pearson": NUMBERS, "correlated_neurons_l1": NUMBERS, "correlated_features_indices": WHOLES,
    "correlated_features_pearson": NUMBERS, "correlated_features_l1": NUMBERS, "neg_str": TEXTS,
    "neg_values": NUMBERS, "pos_str": TEXTS, "pos_values": NUMBERS, "frac_nonzero": (float,),
    "freq_hist_data_bar_heights": NUMBERS, "freq_hist_data_bar_values": NUMBERS,
    "logits_hist_data_bar_heights": NUMBERS, "logits_hist_data_bar_values": NUMBERS, "decoder_weights_dist": NUMBERS,
}  # fmt: skip
ACTIVATION = {
    "id": TEXT, "tokens": TEXTS, "dataIndex": TEXT, "index": TEXT, "layer": TEXT, "modelId": TEXT, "dataSource": TEXT,
    "maxValue": (float, int), "maxValueTokenIndex": (int,), "minValue": (float, int), "values": NUMBERS,
    "dfaValues": NUMBERS, "dfaTargetIndex": (int,), "dfaMaxValue": (float,), "creatorId": TEXT, "lossValues": NUMBERS,
    "logitContributions": TEXT, "binMin": (float, int), "binMax": (float, int), "binContains": (float, int),
    "qualifyingTokenIndex": (int,),
}  # fmt: skip
# what has no default in the database
NEEDED = {"modelId", "layer", "index"}
NEEDED_OF_ACTIVATION = {
    *NEEDED,
    "id",
    "tokens",
    "maxValue",
    "maxValueTokenIndex",
    "minValue",
    "values",
    "creatorId",
}


def holds(row, schema, needed):
    assert needed <= set(row) <= set(schema)
    for key, value in row.items():
        types = schema[key]
        if isinstance(types, list):
            assert all(isinstance(each, tuple(types)) for each in value), key
        else:
            assert isinstance(value, types), key


def exported(out):
    def rows(what):
        (path,) = out.glob(f"*/*/{what}/batch-0.jsonl.gz")
        return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]

    return rows("features"), rows("activations")


def test_latents_for_neuronpedia_fit_its_schema(looked, units, tmp_path, capsys):
    line = f"export {looked} --to neuronpedia --out {tmp_path / 'out'}"
    assert main(line.split()) == 0
    assert "model/1-glossae-res-64: Neuronpedia, " in capsys.readouterr().out
    features, activations = exported(tmp_path / "out")
    for feature in features:
        holds(feature, FEATURE, NEEDED)
    for activation in activations:
        holds(activation, ACTIVATION, NEEDED_OF_ACTIVATION)
        assert len(activation["tokens"]) == len(activation["values"])
        assert activation["values"][activation["maxValueTokenIndex"]] == activation["maxValue"]
    assert len({row["id"] for row in activations}) == len(activations)
    latents = {str(unit.unit): unit for unit in units if unit.kind == "latent"}
    assert [feature["index"] for feature in features] == list(latents)
    for feature in features:
        unit = latents[feature["index"]]
        assert (feature["modelId"], feature["layer"]) == ("model", "1-glossae-res-64")
        assert feature["pos_str"] == [token.token for token in unit.logits.raised]
        assert len(feature["freq_hist_data_bar_values"]) == len(feature["freq_hist_data_bar_heights"])
        own = [row for row in activations if row["index"] == feature["index"]]
        best = [row for row in own if row["binContains"] == -1]
        assert len(best) == sum(map(len, unit.contexts.values()))
        assert [row["maxValue"] for row in best] == sorted((row["maxValue"] for row in best), reverse=True)
        for row in own[len(best) :]:
            assert row["binMin"] * 0.999 <= row["maxValue"] <= row["binMax"] * 1.001
            assert 0 < row["binContains"] <= 1
    # again, over the export of before, to the same bytes
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.gz")}
    assert main(line.split()) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.gz")} == before


def test_what_cannot_be_exported_for_neuronpedia(finished, copied, tmp_path, capsys):
    def refusal(line):
        assert main(line.split()) == 2
        (said,) = capsys.readouterr().err.splitlines()
        return said

    assert "the stage 'dashboards' is not done" in refusal(
        f"export {finished} --to neuronpedia --out {tmp_path / 'a'}"
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    assert "give another folder" in refusal(f"export {copied} --to neuronpedia --out {tmp_path / 'b'}")
    next((copied / "dashboards").glob("latent-*.json")).write_text("{}")
    assert "was changed since" in refusal(f"export {copied} --to neuronpedia --out {tmp_path / 'c'}")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("model", ["..", "x/..", "x/.", "x/@main"])
def test_a_model_without_a_name_is_not_exported_outside_of_the_folder(units, tmp_path, model):
    with pytest.raises(GlossaeError, match="has no name that a folder can have"):
        write_neuronpedia(units, model, 64, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_app_offers_the_neurons_that_have_a_page(looked, units):
    bench = Workbench(looked)
    pages = {f"neuron-{unit.unit}": unit for unit in units if unit.kind == "neuron"}
    assert pages
    assert [key for key in bench.units if key.startswith("neuron-")] == list(pages)
    for key, unit in pages.items():
        offered = bench.units[key]
        assert (offered.low, offered.high) == (unit.density["en"].mean, unit.density["da"].mean)
        assert (looked / "units" / f"{key}.html").is_file()
        context = next(c for c in unit.contexts["da"] if c.cut == (False, False))
        values = [token.values[key] for token in bench.colour("".join(context.tokens), [key])]
        assert values == pytest.approx(context.values, rel=1e-3)  # which has four digits
