"""The page stands alone, is the same every time, keeps the paper's order and lets no text become markup."""

import functools
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from fabricated_run import change_results, fabricate, page_of, results_of

from glossae.errors import GlossaeError
from glossae.reporting import write_report

# the fallback's page has the parts of the unselective one
CASES = ("found", "unselective", "empty", "published")
VOID = {"meta", "br", "hr", "img", "input", "link"}
FIGURES = {
    "figure-3-probes",
    "layer-rule",
    "figure-4-grid",
    "sae-training",
    "firing-rates",
    "figure-5-preactivations",
    "figure-6-texts",
    "figure-8-next-token",
}


class Page(HTMLParser):
    """Reads a page and keeps its tags, attributes, ids and headings; fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "h2" in self.open:
            self.headings[-1] += data


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


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_stands_alone(reported: Callable[[str], Path], case: str) -> None:
    text = read(reported(case))
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "data", "action"):
            assert value.startswith("#"), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    # no id is given twice, and links lead somewhere
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for _, name, value in page.attributes if name in ("href", "xlink:href")}
    assert links <= set(ids)


@pytest.mark.parametrize("case", CASES)
def test_every_figure_has_its_numbers_beside_it(reported: Callable[[str], Path], case: str) -> None:
    folder = reported(case)
    figures = folder / "figures"
    assert {path.stem for path in figures.glob("*.svg")} == FIGURES
    assert {path.stem for path in figures.glob("*.csv")} == FIGURES
    for name in FIGURES:
        root = ElementTree.parse(figures / f"{name}.svg").getroot()
        assert root.get("role") == "img"
        assert len(root.get("aria-label")) > 20
        assert len(pd.read_csv(figures / f"{name}.csv")) > 0
        assert f'<figure id="{name}"' in read(folder)


def test_csv_holds_what_the_results_say(reported: Callable[[str], Path]) -> None:
    folder = reported("found")
    results = results_of(folder)
    table = pd.read_csv(folder / "figures" / "figure-8-next-token.csv")
    assert table["ce"].tolist() == pytest.approx([cell["ce"] for cell in results["next_token"]["cells"]])
    rates = pd.read_csv(folder / "figures" / "firing-rates.csv").set_index("unit")
    assert set(rates.index[rates["selected"]]) == {unit["unit"] for unit in results["features"]["units"]}


def test_headings_keep_the_papers_order(reported: Callable[[str], Path]) -> None:
    places = [heading for heading in Page(read(reported("published"))).headings if heading[0].isdigit()]
    found = [
        re.search(r"section ([\d.]+)|not in the paper|Figures 3, 4, 8 and 9|Appendix B", h) for h in places
    ]
    sections = "3 4.1 4.2 5 - 6.2 - 5.1 5.1 5.1 - 5.2 - 5.2 6.1 - - -"
    assert [place[1] or "-" for place in found] == sections.split()
    assert [place[0] for place in found[-2:]] == ["Figures 3, 4, 8 and 9", "Appendix B"]
    numbers = [int(number) for number in re.findall(r"Figures? (\d)", " ".join(places[:-2]))]
    assert numbers == sorted(numbers)


def test_same_files_give_the_same_bytes(reported: Callable[[str], Path], tmp_path: Path) -> None:
    first = reported("found")
    second = shutil.copytree(first, tmp_path / "elsewhere")
    for old in (second / "figures").iterdir():
        old.unlink()
    write_report(second)
    for path in (first / "report.html", *(first / "figures").iterdir()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


def test_the_committed_results_of_a_real_model_are_drawn_again(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "results" / "gemma-3-270m"
    for name in ("recipe.yaml", "results.json", "run.json"):
        shutil.copy(kept / name, tmp_path)
    text = page_of(tmp_path)
    Page(text)
    for label in (
        "Replication",
        "Matched on tokenisation",
        "The nearest language by layer",
        "One rule for all",
    ):
        assert f"<strong>{label}" in text


def test_text_of_others_never_becomes_markup(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    folder = fabricate(
        tmp_path / "run",
        model=f'm"{attack}&$x_1$',
        tokens=(attack, '" onmouseover="x', "&amp;", "</span>", "\x00\x1b", "\ud800", "日本", "'", "\u202e"),
        prompt=f"{attack} & 'so' \"on\"",
    )
    change_results(folder, recipe=attack)
    text = page_of(folder)
    page = Page(text)
    assert "script" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert attack not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&amp;amp;" in text
    assert "\x00" not in text
    for path in (folder / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "script" not in tags
        assert "\ufffd" in text


@pytest.mark.parametrize(
    ("until", "missing", "figures"),
    [("corpora", 15, 0), ("probe", 14, 2), ("grid", 13, 3), ("sae", 12, 4), ("features", 9, 7)],
)
def test_a_run_that_stopped_early_says_so(tmp_path: Path, until: str, missing: int, figures: int) -> None:
    text = page_of(fabricate(tmp_path / "run", until=until))
    Page(text)
    assert text.count(": not run.") == missing
    assert ("Units were not looked for in this run." in text) == (until != "features")
    assert len(list((tmp_path / "run" / "figures").glob("*.svg"))) == figures


def test_a_run_with_nothing_but_a_recipe_has_a_page(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", until="corpora")
    for path in ("results.json", "run.json"):
        (folder / path).unlink()
    write_report(folder)
    assert "Text: not run." in read(folder)


def test_figures_of_an_earlier_run_are_taken_away(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", until="probe")
    write_report(folder)
    assert (folder / "figures" / "layer-rule.svg").is_file()
    mine = [folder / "figures" / name for name in ("mine.csv", "mine.svg", "figure-3-probes-before.csv")]
    for path in mine:
        path.write_text("mine")
    fabricate(folder, until="corpora")
    write_report(folder)
    assert sorted((folder / "figures").iterdir()) == sorted(mine)


@pytest.mark.parametrize("name", ["figures", "report.html", "figures/layer-rule.svg"])
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
    Page(text)
    line = '<p class="warning">This run is not complete. Still to come: sae and features.</p>\n'
    assert text.count(line) == 1
    assert text.index(line) < text.index("What was found")
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


def test_opens_by_file_in_a_browser(reported: Callable[[str], Path]) -> None:
    browser_path = Path("/usr/bin/chromium")
    if not browser_path.exists():
        pytest.skip("needs Chromium at /usr/bin/chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    complaints, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(browser_path), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for case in ("found", "published"):
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto((reported(case) / "report.html").as_uri())
            for width in (1200, 500):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert all(url.startswith("file:") for url in requests)
    assert len(requests) == 2
