"""From a run folder to one page that opens anywhere."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glossae.files import refuse_links, replacing, write_text
from glossae.report.blocks import Block, Cell, Picture, Row, Section
from glossae.report.figures.canvas import Drawing
from glossae.report.reading import RunFiles, read_run
from glossae.report.sections import sections
from glossae.report.sentences import site_words
from glossae.report.verdict import verdict
from glossae.report.wording import language_name, listed, model_name, visible

_TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"
FIGURES = "figures"


def write_report(folder: Path) -> Path:
    """Write `report.html` and `figures/` from the files of a run, and say where the page is.

    What was not run is said to be so. The same files give the same bytes.

    Raises:
        GlossaeError: the folder is not a run, a file in it is damaged, the page cannot be written, or it or a figure is
            a symbolic link.
    """
    refuse_links(folder, (PAGE, FIGURES))
    files = read_run(folder)
    parts = sections(files)
    drawings = [picture.drawing for part in parts for picture in _pictures(part.blocks)]
    # a figure of the page before would belong to other numbers; other files in the folder are not ours to delete
    for name in _drawn(folder / PAGE) - {drawing.name for drawing in drawings}:
        for kind in ("svg", "csv"):
            (folder / FIGURES / f"{name}.{kind}").unlink(missing_ok=True)
    _write_figures(folder / FIGURES, drawings)
    write_text(folder / PAGE, _render(files, parts))
    return folder / PAGE


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Row):
            yield from block.pictures


def _write_figures(folder: Path, drawings: Sequence[Drawing]) -> None:
    for drawing in drawings:
        write_text(folder / f"{drawing.name}.svg", drawing.svg)
        with replacing(folder / f"{drawing.name}.csv") as temporary:
            drawing.numbers.to_csv(temporary, index=False, lineterminator="\n")


def _drawn(page: Path) -> set[str]:
    """The names of the figures on a page that was written before; none if there is no page."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return set(re.findall(r'<figure id="([a-z0-9-]+)"', text))


def _render(files: RunFiles, parts: Sequence[Section]) -> str:
    target, reference = language_name(files.target), language_name(files.reference)
    title = files.recipe.report.title or f"{target} and {reference} in {model_name(files.recipe.model)}"
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.tests["cell"] = lambda value: isinstance(value, Cell)
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=f"Recipe {files.recipe.name}, protocol {files.recipe.protocol}, {site_words(files)}, "
        f"seed {files.recipe.seed}",
        to_come=_to_come(files),
        verdict=verdict(files),
        sections=parts,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        svg=Markup,
    )


def _to_come(files: RunFiles) -> str:
    """What is missing from the page of a run that is not complete."""
    stages = files.to_come
    return f"This run is not complete. Still to come: {listed(list(stages))}." if stages else ""


def _finalize(value: Any) -> Any:
    """Every text on the page is made writable here, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
