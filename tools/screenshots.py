"""Take the documentation's pictures of a run: `python tools/screenshots.py RUN [CHROMIUM]` writes docs/images."""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from glossae import open_run
from glossae.app import launch

IMAGES = Path(__file__).parents[1] / "docs" / "images"
TEXT = "Den gamle mand drikker kaffe, fordi han er træt."


def take(run: Path, chromium: str) -> None:
    """Write report.png, unit.png and app.png, 1280 pixels wide."""
    results = open_run(run).results
    features = results.features
    assert features is not None
    first = (features.units or features.nearest)[0].unit
    app = launch(run, wait=False)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for name, place in (("report", "report.html"), ("unit", f"units/latent-{first}.html")):
            page.goto((run.resolve() / place).as_uri())
            page.screenshot(path=IMAGES / f"{name}.png")
        _app(page, app.local_url)
        page.screenshot(path=IMAGES / "app.png")
        browser.close()
    app.close(verbose=False)


def _app(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1240})
    page.goto(address)
    page.get_by_label("Danish").first.fill(TEXT)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_timeout(8000)


if __name__ == "__main__":
    take(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/usr/bin/chromium")
