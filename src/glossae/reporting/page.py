"""From a run folder to one page that opens anywhere."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glossae.files import refuse_links, replacing, write_text
from glossae.reporting.blocks import Block, Blocks, Cell, Picture, SideBySide
from glossae.reporting.findings import site_words, verdict
from glossae.reporting.reading import RunFiles, read_run
from glossae.reporting.sections.autoencoder import autoencoder_blocks
from glossae.reporting.sections.baselines import baselines_blocks
from glossae.reporting.sections.beside import beside_blocks
from glossae.reporting.sections.effects import effects_blocks
from glossae.reporting.sections.evidence import evidence_blocks
from glossae.reporting.sections.grid import grid_blocks
from glossae.reporting.sections.inputs import how_blocks, text_blocks
from glossae.reporting.sections.languages import close_blocks, identification_blocks
from glossae.reporting.sections.probes import probes_blocks
from glossae.reporting.sections.selectivity import selectivity_blocks
from glossae.reporting.sections.steering import continuations_blocks, steering_blocks
from glossae.reporting.sections.tasks import tasks_blocks
from glossae.reporting.sections.units import preactivations_blocks, rates_blocks, texts_blocks
from glossae.reporting.unit_pages import write_unit_pages
from glossae.reporting.wording import listed, model_name, visible

_TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"
FIGURES = "figures"

_APART = "not in the paper"
# in the paper's order: an anchor, the title, where the paper has it, and what makes the blocks
_SECTIONS: tuple[tuple[str, str, str, Callable[[RunFiles], Blocks]], ...] = (
    ("text", "Text", "section 3", text_blocks),
    ("probes", "Probes: which layer tells the languages apart", "section 4.1, Figure 3", probes_blocks),
    ("grid", "Choosing the autoencoder", "section 4.2, Figure 4, Appendix A", grid_blocks),
    ("autoencoder", "The autoencoder", "section 5, Table 4", autoencoder_blocks),
    ("evidence", "Which units stand for the language: tests", _APART, evidence_blocks),
    ("close", "Close languages and the tokenizer", "section 6.2 asks for it", close_blocks),
    ("identification", "Telling languages apart", _APART, identification_blocks),
    ("units", "Which latents fire on the language", "section 5.1", rates_blocks),
    ("preactivations", "Pre-activations", "section 5.1, Figure 5", preactivations_blocks),
    ("texts", "One latent along a text", "section 5.1, Figure 6", texts_blocks),
    ("baselines", "What training adds", _APART, baselines_blocks),
    (
        "effects",
        "What the latents do to the next token",
        "section 5.2, Figures 7 and 8, Appendix C",
        effects_blocks,
    ),
    ("selectivity", "Selectivity at the same damage", _APART, selectivity_blocks),
    (
        "tasks",
        "What the latents do to downstream tasks",
        "section 5.2, Figure 9, Appendix D",
        tasks_blocks,
    ),
    ("continuations", "Continuations", "section 6.1, Tables 1 and 2", continuations_blocks),
    ("steering", "What the model writes under steering", _APART, steering_blocks),
    ("beside", "Beside the paper", "Figures 3, 4, 8 and 9, Appendices C and D", beside_blocks),
    ("how", "How it was run", "Appendix B", how_blocks),
)


@dataclass(frozen=True)
class _Section:
    """A part of the page; `paper` says where the paper has it."""

    anchor: str
    title: str
    paper: str
    blocks: Sequence[Block]


def write_report(folder: Path) -> Path:
    """Write `report.html` and `figures/` from the files of a run, and return the path of the page.

    The page says which stages were not run. The same files give the same bytes.

    Raises:
        GlossaeError: the folder is not a run, a file in it is damaged, the page cannot be written, or it or a figure is
            a symbolic link.
    """
    refuse_links(folder, (PAGE, FIGURES))
    files = read_run(folder)
    write_unit_pages(folder, files)
    sections = [
        _Section(anchor, title, paper, list(blocks(files))) for anchor, title, paper, blocks in _SECTIONS
    ]
    drawings = [picture.drawing for section in sections for picture in _pictures(section.blocks)]
    # a figure of the page before would belong to other numbers; other files in the folder are not ours to delete
    for name in _drawn(folder / PAGE) - {drawing.name for drawing in drawings}:
        for kind in ("svg", "csv"):
            (folder / FIGURES / f"{name}.{kind}").unlink(missing_ok=True)
    for drawing in drawings:
        write_text(folder / FIGURES / f"{drawing.name}.svg", drawing.svg)
        with replacing(folder / FIGURES / f"{drawing.name}.csv") as temporary:
            drawing.numbers.to_csv(temporary, index=False, lineterminator="\n")
    write_text(folder / PAGE, _render(files, sections))
    return folder / PAGE


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, SideBySide):
            yield from block.pictures


def _drawn(page: Path) -> set[str]:
    """The names of the figures on a page that was written before; none if there is no page."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return set(re.findall(r'<figure id="([a-z0-9-]+)"', text))


def _render(files: RunFiles, sections: Sequence[_Section]) -> str:
    recipe, to_come = files.recipe, files.to_come
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
        title=recipe.report.title or f"{' and '.join(files.names)} in {model_name(recipe.model)}",
        subtitle=f"Recipe {recipe.name}, protocol {recipe.protocol}, {site_words(files)}, seed {recipe.seed}",
        to_come=f"This run is not complete. Still to come: {listed(to_come)}." if to_come else "",
        verdict=verdict(files),
        sections=sections,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        svg=Markup,
    )


def _finalize(value: Any) -> Any:
    """Every text on the page is made writable here, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
