"""A newcomer's questions each have a page, which the documentation's own search shows among its first three results."""

from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build" / "docs"
CHROMIUM = Path("/usr/bin/chromium")
# what a newcomer would type, and the page that answers
QUESTIONS = {
    "which recipe": "your_model",
    "needs BOS": "your_model",
    "how much text": "your_model",
    "texts not aligned": "your_model",
    "which site": "your_model",
    "two minutes": "your_model",
    "minimum AUROC 0.6": "your_model",
    "neurons resid": "your_model",
    "Gemma Scope": "public_saes",
    "train find steer Python": "quickstart",
    "what a latent fires on": "quickstart",
    "compare runs": "compare",
    "good ratio margin": "numbers",
}


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, and the pages that `make docs` has built."""
    if not (BUILT / "searchindex.js").is_file():
        pytest.skip("build/docs has no search index: make docs builds it")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("words", "page"), QUESTIONS.items())
def test_the_search_finds_the_page_of_a_question(browser, words, page):
    view = browser.new_page()
    view.goto(f"{(BUILT / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
    view.wait_for_selector("#search-results .search-summary:has-text('finished')")
    links = view.eval_on_selector_all(
        "#search-results ul.search li > a", "links => links.map(link => link.href)"
    )
    found = list(dict.fromkeys(Path(link.split("#")[0].split("?")[0]).stem for link in links))
    view.close()
    assert page in found[:3], f"{words}: {found[:6]}"
