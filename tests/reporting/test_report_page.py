"""The page stands alone, is the same every time, keeps the paper's order and lets no text become markup."""

import csv
import functools
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from fabricated_run import change_results, fabricate, page_of, results_of, words_of

from glossae.cli import main
from glossae.errors import GlossaeError
from glossae.reporting import write_figures, write_report
from glossae.reporting.exhibits import Cell, Table, csv_text
from glossae.reporting.page import contents
from glossae.reporting.paper import latex
from glossae.reporting.reading import read_run
from recorded import record

# the fallback's page has the parts of the unselective one
CASES = ("found", "unselective", "empty", "published")
FIGURES = {
    "heat-map",
    "dose-response",
    "figure-3-probes",
    "layer-choice",
    "figure-4-grid",
    "sae-training",
    "firing-rates",
    "figure-5-preactivations",
    "figure-6-texts",
    "figure-8-next-token",
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of a case, with its report."""

    @functools.cache
    def report(case: str) -> Path:
        folder = fabricate(tmp_path_factory.mktemp("run") / case, case)
        write_report(folder)
        return folder

    return report


def read(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def parsed(text: str) -> ElementTree.Element:
    """The tree of a page, which breaks no rule of HTML."""
    html5lib = pytest.importorskip("html5lib")
    parser = html5lib.HTMLParser(
        strict=True, tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False
    )
    return parser.parse(text)


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_stands_alone(reported: Callable[[str], Path], case: str) -> None:
    text = read(reported(case))
    page = parsed(text)
    tags = [element.tag for element in page.iter()]
    assert not {"link", "iframe", "img", "object", "embed"} & set(tags)
    assert tags.count("script") == 1
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in page.iter():
        for name, value in element.attrib.items():
            if str(name).endswith(("src", "href")):
                # within the page, or a file of the run
                assert value[1:] in ids or (reported(case) / value).is_file(), value
            assert not str(name).startswith("on")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    # text is text, and colours follow the page's
    assert "<text" in text
    assert "var(--target)" in text
    assert len(text) < 2e6


def test_every_figure_and_table_has_its_numbers_beside_it(reported: Callable[[str], Path]) -> None:
    folder = reported("found")
    assert {path.stem for path in folder.glob("figures/*.svg")} == FIGURES
    assert {path.stem for path in folder.glob("figures/*.csv")} == FIGURES
    for name in FIGURES:
        root = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert root.get("role") == "img"
        # no panel lies on another
        parts = root.findall(f"{SVG}svg")
        boxes = [[float(part.get(key)) for key in ("x", "y", "width", "height")] for part in parts]
        for a, b in itertools.combinations(boxes, 2):
            assert any(a[n] + a[n + 2] <= b[n] or b[n] + b[n + 2] <= a[n] for n in (0, 1)), name
        assert len(pd.read_csv(folder / "figures" / f"{name}.csv")) > 0
        assert f'<figure id="{name}"' in read(folder)
    results = results_of(folder)
    table = pd.read_csv(folder / "figures" / "figure-8-next-token.csv")
    assert table["ce"].tolist() == pytest.approx([cell["ce"] for cell in results["next_token"]["cells"]])
    rates = pd.read_csv(folder / "figures" / "firing-rates.csv").set_index("unit")
    assert set(rates.index[rates["selected"]]) == {unit["unit"] for unit in results["features"]["units"]}
    # a table's numbers are not rounded, and an interval has two columns
    ratios = pd.read_csv(folder / "tables" / "selectivity.csv")
    own = [found for found in results["next_token"]["selectivity"] if found["edit"] == "set"]
    for column, key in (("Margin", ""), ("Margin low", "_low"), ("Margin high", "_high")):
        assert ratios[column].tolist() == pytest.approx([found[f"margin_per_byte{key}"] for found in own])


def test_the_first_screen_shows_units_by_language_loss_by_dose_and_a_continuation(
    reported: Callable[[str], Path],
) -> None:
    folder = reported("found")
    units = pd.read_csv(folder / "figures" / "heat-map.csv")
    selected = results_of(folder)["features"]["units"]
    assert units["unit"].tolist() == [f"latent {unit['unit']}" for unit in selected]
    assert units["da"].tolist() == pytest.approx([unit["rate"]["da"] for unit in selected])
    svg = (folder / "figures" / "heat-map.svg").read_text(encoding="utf-8")
    assert f">{selected[0]['rate']['da']:.2f}<" in svg
    doses = pd.read_csv(folder / "figures" / "dose-response.csv")
    assert set(doses["language"]) == {"da", "en", "sv", "de"}
    # the language that loses most besides is drawn, and no other
    assert "Swedish" in (drawn := (folder / "figures" / "dose-response.svg").read_text(encoding="utf-8"))
    assert "German" not in drawn
    assert "<title>Danish: -8, " in drawn.replace(f"{SVG}", "")
    words = words_of(read(folder))
    assert words.index("Found.") < words.index("Units by language") < words.index("1. Text section 3")
    assert (
        "Prompt Hver torsdag spiser hun As it is: the most probable token at every step en kop kaffe."
        in words
    )
    assert "Turned: latents fixed at -8; loss Danish +" in words
    assert " nats a token the the the" in words


@pytest.mark.parametrize(
    ("sweep", "prompts", "line"),
    [
        (False, False, "the loss by dose and one continuation. The same command with --effects.sweep true "
         "--effects.prompts true adds both and keeps the stages that are done."),
        (False, True, "the loss by dose and one continuation. The same command with --effects.sweep true adds both"),
        (True, False, "one continuation. The same command with --effects.prompts true adds it"),
        (True, True, ""),
    ],
)  # fmt: skip
def test_the_first_screen_names_the_flags_that_add_what_it_lacks(
    tmp_path: Path, sweep: bool, prompts: bool, line: str
) -> None:
    folder = fabricate(tmp_path)
    recipe = folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    for key, value in (("sweep", sweep), ("prompts", prompts)):
        assert text.count(f"  {key}: true\n") == 1
        text = text.replace(f"  {key}: true\n", f"  {key}: {str(value).lower()}\n")
    recipe.write_text(text, encoding="utf-8")
    results = results_of(folder)
    page = words_of(
        page_of(
            folder,
            next_token=results["next_token"] if sweep else None,
            generation=results["generation"] if sweep and prompts else None,
        )
    )
    assert (f"Not measured in this run: {line}" in page) == bool(line)
    assert ("Not measured in this run" in page) == bool(line)


def test_headings_keep_the_papers_order(reported: Callable[[str], Path]) -> None:
    headings = [words_of(found) for found in re.findall("<h2>(.*?)</h2>", read(reported("published")))]
    places = [
        re.search(r"section ([\d.]+)|not in the paper|Figures 3, 4|Appendix B", text) for text in headings
    ]
    sections = "3 4.1 4.2 5 5.1 5.1 5.1 5.2 - 6.1 - -"
    assert " ".join(place[1] or "-" for place in places) == sections
    assert [place[0] for place in places[-2:]] == ["Figures 3, 4", "Appendix B"]


def test_same_files_give_the_same_bytes(reported: Callable[[str], Path], tmp_path: Path) -> None:
    first = reported("found")
    second = shutil.copytree(first, tmp_path / "elsewhere")
    for old in (*(second / "figures").iterdir(), *(second / "tables").iterdir()):
        old.unlink()
    write_report(second)
    for path in (first / "report.html", *(first / "figures").iterdir(), *(first / "tables").iterdir()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


def test_the_committed_results_of_a_real_model_are_drawn_again(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "results" / "gemma-3-270m"
    for name in ("recipe.yaml", "results.json", "run.json"):
        shutil.copy(kept / name, tmp_path)
    text = page_of(tmp_path)
    parsed(text)
    for label in (
        "Replication",
        "Matched on tokenisation",
        "The nearest language by layer",
        "The same test for all",
    ):
        assert f"<strong>{label}" in text


def test_text_of_others_never_becomes_markup(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    folder = fabricate(
        tmp_path / "run",
        model=f'm"{attack}&$x_1$',
        tokens=(attack, '" onmouseover="x', "&amp;", "</span>", "\x00\x1b", "\ud800", "日本", "'", "\u202e"),
        prompt=f"{attack} & 'so' \"on\"\u2067",
    )
    change_results(folder, recipe=attack)
    text = page_of(folder)
    page = parsed(text)
    assert not any(str(name).startswith("on") for element in page.iter() for name in element.attrib)
    assert attack not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&amp;amp;" in text
    # what cannot be seen is written out
    for letter in "\x00\x1b\u202e\u2067":
        assert letter not in text
    for escape in (r"\x00\x1b", r"\ud800", r"\u202e", r"\u2067"):
        assert escape in text
    for path in (folder / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "script" not in tags


@pytest.mark.parametrize(
    ("until", "missing"),
    [
        ("corpora", "probes; the grid search over autoencoders (--grid.k 8,32)"),
        ("sae", "tests of units; close"),
    ],
)
def test_what_was_not_run_is_one_line(tmp_path: Path, until: str, missing: str) -> None:
    text = page_of(fabricate(tmp_path / "run", until=until))
    parsed(text)
    (line,) = re.findall('<p id="not-run">.*</p>', text)
    assert words_of(line).startswith(f"Not run, and what asks for it: {missing}")
    assert "steering over doses (--steering.prompts 200)" in words_of(line)
    assert "Units were not looked for in this run." in text
    assert ("<h2>2. Probes" in text) == (until == "sae")


def test_a_run_with_nothing_but_a_recipe_has_a_page(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", until="corpora")
    for path in ("results.json", "run.json"):
        (folder / path).unlink()
    write_report(folder)
    assert "Not run, and what asks for it: text; probes;" in words_of(read(folder))


@pytest.mark.parametrize(
    "said",
    [
        *("3", "null", "[3]", "[" * 100_000, '[{"tokens": 3}]'),
        '[{"pair": "p", "source": "s", "language": "da", "tokens": ["a"], "units": {"1": {"pre": [], "fires": []}}}]',
    ],
    ids=lambda said: said[:20],
)
def test_texts_of_another_shape_are_one_line(tmp_path: Path, said: str) -> None:
    file = fabricate(tmp_path / "run", until="features") / "features" / "texts.json"
    file.write_text(said, encoding="utf-8")
    record(tmp_path / "run")
    with pytest.raises(GlossaeError, match="run the stage that writes it again") as caught:
        read_run(tmp_path / "run")
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_units_lead_to_their_pages_where_these_are(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", until="features")
    (folder / "units").mkdir()
    (folder / "units" / "latent-11.html").touch()
    (table,) = [one for one in contents(read_run(folder)).tables if one.label == "Selected latents"]
    links = {cells["Latent"].text: cells["Latent"].link for cells in table.rows}
    assert links == {"11": "units/latent-11.html", "5": "", "90": ""}


def test_figures_and_tables_of_an_earlier_run_are_taken_away(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", until="probe")
    write_report(folder)
    assert (folder / "figures" / "layer-choice.svg").is_file()
    assert (folder / "tables" / "layers.csv").is_file()
    mine = [folder / "figures" / name for name in ("mine.csv", "mine.svg", "figure-3-probes-before.csv")]
    for path in mine:
        path.write_text("mine")
    fabricate(folder, until="corpora")
    write_report(folder)
    assert sorted((folder / "figures").iterdir()) == sorted(mine)
    assert not (folder / "tables" / "layers.csv").exists()


@pytest.mark.parametrize("name", ["figures", "report.html", "figures/layer-choice.svg", "tables/layers.csv"])
def test_nothing_is_written_or_deleted_behind_a_link(tmp_path: Path, name: str) -> None:
    folder = fabricate(tmp_path / "run", until="probe")
    write_report(folder)
    link, elsewhere = folder / name, tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    fabricate(folder, until="corpora")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(GlossaeError, match=f"^{re.escape(str(link))}: is a symbolic link"):
        write_report(folder)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_incomplete_run_says_what_is_to_come_and_shows_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    fresh, again = fabricate(tmp_path / "fresh", until="probe"), fabricate(tmp_path / "again")
    # the files of the stages sae and features stay where they were, one of them spoilt
    fabricate(again, until="probe")
    (again / "features" / "statistics.parquet").write_text("no")
    complete = page_of(fresh)
    for folder in (fresh, again):
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        (folder / "run.json").write_text(json.dumps(run | {"to_come": ["sae", "features"]}), encoding="utf-8")
    text = page_of(again)
    line = '<p class="warning">This run is not complete. Still to come: sae and features.</p>\n'
    assert text.count(line) == 1
    assert text.index(line) < text.index("Found.")
    assert "the autoencoder;" not in words_of(text)
    assert text == page_of(fresh)
    assert "not complete" not in complete


@pytest.mark.parametrize(
    ("path", "content"),
    [("results.json", "{"), ("results.json", "[]"), ("features/statistics.parquet", "no")],
)
def test_a_damaged_file_is_named(tmp_path: Path, path: str, content: str) -> None:
    folder = fabricate(tmp_path / "run", until="features")
    (folder / path).write_text(content)
    with pytest.raises(GlossaeError, match=re.escape(str(folder / path))):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GlossaeError, match="recipe.yaml"):
        write_report(tmp_path)


# ---- for a paper


def test_figures_and_tables_for_a_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = fabricate(tmp_path / "run", until="probe"), tmp_path / "paper"
    assert main(["figures", str(folder), "--style", "paper", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 2 pdf, 2 svg, 5 tex\n"
    pdf = (out / "layer-choice.pdf").read_bytes()
    # fonts of type 42, and nothing of the clock
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_figures(folder, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert main(["figures", str(tmp_path), "--out", str(out)]) == 2
    assert "recipe.yaml" in capsys.readouterr().err
    # without --out, beside what else the run has
    assert main(["figures", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in (folder / "paper").iterdir()} == before
    (folder / "paper").rename(tmp_path / "moved")
    (folder / "paper").symlink_to(tmp_path / "moved")
    assert main(["figures", str(folder)]) == 2
    assert "paper: is a symbolic link" in capsys.readouterr().err


def test_tables_are_escaped_for_latex() -> None:
    rows = [{"A_b": Cell(r"\input{x} & 5 %"), "n": Cell("\N{MINUS SIGN}1", "≥ 2", {"": -1})}]
    text = latex(Table("A $ table", rows, caption="50 % of # ~ ^"))
    assert r"\begin{tabular}{lr}" in text
    assert r"A\_b & n \\" in text
    assert r"\textbackslash{}input\{x\} \& 5 \% & $-$1 ($\ge$ 2) \\" in text
    assert r"\caption{A \$ table. 50 \% of \# \textasciitilde{} \textasciicircum{}}" in text
    assert r"\label{tab:a-table}" in text


# ---- in a browser


def test_in_a_browser(reported: Callable[[str], Path]) -> None:
    browser_path = Path("/usr/bin/chromium")
    if not browser_path.exists():
        pytest.skip("needs Chromium at /usr/bin/chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    complaints, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(browser_path), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for case, scheme in (("found", "light"), ("published", "dark")):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto((reported(case) / "report.html").as_uri())
            # the verdict and the pictures need no scrolling
            for name in ("heat-map", "dose-response", "continued"):
                box = page.locator(f"#{name} .panels, #{name} blockquote").last.bounding_box()
                assert box["y"] + box["height"] <= 800, name
            violations = axe.run(page).response["violations"]
            assert [each["id"] for each in violations if each["impact"] in ("serious", "critical")] == []
            head = page.locator("#table-layers th button").nth(1)
            for direction, ordered in (("descending", -1), ("ascending", 1)):
                head.click()
                assert head.locator("xpath=..").get_attribute("aria-sort") == direction
                cells = [
                    float(text) for text in page.locator("#table-layers td:nth-child(2)").all_inner_texts()
                ]
                assert cells == sorted(cells, reverse=ordered < 0)
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                # a table that is wider than its box scrolls inside it
                tables = "[...document.querySelectorAll('table')].filter(e => !e.closest('.scroll')).length"
                assert page.evaluate(tables) == 0
            # no figure is wider than a phone, and its letters are legible there
            size = "[...document.querySelectorAll('svg.drawing')].map(e => e.getBoundingClientRect().width)"
            assert max(page.evaluate(size)) <= 390
            letters = (
                "[...document.querySelectorAll('svg.drawing text')].map(e => parseFloat(getComputedStyle(e).fontSize)"
                " * e.closest('svg').getBoundingClientRect().width / e.closest('svg').viewBox.baseVal.width)"
            )
            assert min(page.evaluate(letters)) >= 10.9
        browser.close()
    assert complaints == []
    assert len(requests) == 2


FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1+1",
    '=HYPERLINK("x")',
    "a;=1+1",
    "-",
    "=",
    "-a",
]


def test_no_text_is_a_formula_to_a_spreadsheet_and_numbers_stay_numbers():
    numbers = [-4.5, 0.1, float("inf"), -0.0]
    texts = ["-4.5", "+0.10", "1e-3", "a-b", "−4.5", "it's = that", ""]
    frame = pd.DataFrame({"=n": pd.Series(numbers), "k": pd.Series([-1, 2, 3, 4])})
    rows = list(csv.reader(io.StringIO(csv_text(frame))))
    assert rows[0] == ["'=n", "k"]
    assert [float(row[0]) for row in rows[1:]] == numbers
    assert [row[1] for row in rows[1:]] == ["-1", "2", "3", "4"]
    mixed = pd.DataFrame({"text": [*texts, *FORMULAS, -3, None, True, 0.25]})
    found = [row[0] for row in csv.reader(io.StringIO(csv_text(mixed)))][1:]
    assert found[: len(texts)] == texts
    assert found[-4:] == ["-3", "", "True", "0.25"]
    made_safe = found[len(texts) : -4]
    assert [value.replace("'", "").replace("\\r", "\r") for value in made_safe] == FORMULAS
    assert [value for value in made_safe if re.search(r"(^|;)[=+\-@\t\r＝]", value)] == []


def test_every_csv_of_a_run_holds_no_formula(tmp_path):
    folder = fabricate(tmp_path / "run", "found")
    path = folder / "features" / "texts.json"
    texts = json.loads(path.read_text(encoding="utf-8"))
    for text in texts:
        text["tokens"] = ["=cmd|' /C calc'!A0", "\x1b[31m", *text["tokens"][2:]]
    path.write_text(json.dumps(texts), encoding="utf-8")
    record(folder)
    write_report(folder)
    found = [path for path in folder.rglob("*.csv") if "cmd|" in path.read_text(encoding="utf-8")]
    assert [path.name for path in found] == ["figure-6-texts.csv"]
    for path in folder.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        formulas = [cell for cell in cells if re.search(r"^[=+@\t\r]|^-(?![\d.])|\x1b", cell)]
        assert formulas == [], path.name
