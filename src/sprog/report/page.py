"""From a run folder to one page that opens anywhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sprog.files import replacing, write_text
from sprog.report.blocks import Block, Cell, Picture, Row, Section
from sprog.report.figures import Drawing
from sprog.report.reading import RunFiles, read_run
from sprog.report.sections import sections
from sprog.report.sentences import site_words
from sprog.report.verdict import verdict
from sprog.report.wording import language_name, model_name, visible

_TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"
FIGURES = "figures"


def write_report(folder: Path) -> Path:
    """Write `report.html` and `figures/` from the files of a run, and say where the page is.

    What was not run is said to be so. The same files give the same bytes.

    Raises:
        SprogError: the folder is not a run, a file in it is damaged, or the page cannot be written.
    """
    files = read_run(folder)
    parts = sections(files)
    drawings = [picture.drawing for part in parts for picture in _pictures(part.blocks)]
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
    # a figure of an earlier run in this folder would belong to other numbers
    names = {drawing.name for drawing in drawings}
    for kind in ("svg", "csv"):
        for old in folder.glob(f"*.{kind}"):
            if old.stem not in names:
                old.unlink()


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
        verdict=verdict(files),
        sections=parts,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        svg=Markup,
    )


def _finalize(value: Any) -> Any:
    """Every text on the page is made writable here, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
