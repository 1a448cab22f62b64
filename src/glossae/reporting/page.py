"""From a run folder to one page that opens anywhere."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

from glossae.errors import visible
from glossae.files import refuse_links, write_text
from glossae.reporting.canvas import Figure
from glossae.reporting.exhibits import Exhibit, Missing, Table, csv_text
from glossae.reporting.first import continuation, dose_response, heat_map, to_add
from glossae.reporting.reading import FILES, INDEX, RunFiles, own_files, read_run
from glossae.reporting.sections.beside import beside
from glossae.reporting.sections.effects import baselines, effects, selectivity
from glossae.reporting.sections.evidence import close, evidence, identification
from glossae.reporting.sections.grid import grid
from glossae.reporting.sections.inputs import autoencoder, how, text
from glossae.reporting.sections.layers import probes
from glossae.reporting.sections.units import preactivations, rates, texts
from glossae.reporting.sections.writing import continuations, steering, tasks
from glossae.reporting.unit_pages import write_unit_pages
from glossae.reporting.verdict import site_words, verdict
from glossae.reporting.wording import environment, listed, model_name, template_files

_CAPTIONS = Path(__file__).parent / "captions.yaml"
PAGE, FIGURES, TABLES = "report.html", "figures", "tables"

_APART = "not in the paper"
# in the paper's order: an anchor, the title, where the paper has it, and what makes the exhibits
_SECTIONS: tuple[tuple[str, str, str, Callable[[RunFiles], Iterator[Exhibit]]], ...] = (
    ("text", "Text", "section 3", text),
    ("probes", "Probes: which layer tells the languages apart", "section 4.1, Figure 3", probes),
    ("grid", "Choosing the autoencoder", "section 4.2, Figure 4, Appendix A", grid),
    ("autoencoder", "The autoencoder", "section 5, Table 4", autoencoder),
    ("evidence", "Which units stand for the language: tests", _APART, evidence),
    ("close", "Close languages and the tokenizer", "section 6.2 asks for it", close),
    ("identification", "Telling languages apart", _APART, identification),
    ("units", "Which latents fire on the language", "section 5.1", rates),
    ("preactivations", "Pre-activations", "section 5.1, Figure 5", preactivations),
    ("texts", "One latent along a text", "section 5.1, Figure 6", texts),
    ("baselines", "What training adds", _APART, baselines),
    ("effects", "What the latents do to the next token", "section 5.2, Figures 7 and 8, Appendix C", effects),
    ("selectivity", "Selectivity at the same damage", _APART, selectivity),
    ("tasks", "What the latents do to downstream tasks", "section 5.2, Figure 9, Appendix D", tasks),
    ("continuations", "Continuations", "section 6.1, Tables 1 and 2", continuations),
    ("steering", "What the model writes under steering", _APART, steering),
    ("beside", "Beside the paper", "Figures 3, 4, 8 and 9, Appendices C and D", beside),
    ("how", "How it was run", "Appendix B", how),
)


@dataclass(frozen=True)
class Section:
    """A part of the page; `paper` says where the paper has it."""

    anchor: str
    title: str
    paper: str
    exhibits: Sequence[Exhibit]


@dataclass(frozen=True)
class Contents:
    """What a page shows: the pictures of the first screen, sections that have something, and what was not run."""

    first: list[Figure]
    sections: list[Section]
    missing: list[Missing]

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [
            *self.first,
            *(one for section in self.sections for one in section.exhibits if isinstance(one, Figure)),
        ]

    @property
    def tables(self) -> list[Table]:
        """Every table that has rows."""
        return [
            one
            for section in self.sections
            for one in section.exhibits
            if isinstance(one, Table) and one.rows
        ]


def contents(files: RunFiles) -> Contents:
    """What the page of a run shows."""
    captions = yaml.safe_load(_CAPTIONS.read_text(encoding="utf-8"))
    names: dict[str, Any] = dict(zip(("target", "reference"), files.names, strict=True))

    def captioned(one: Exhibit) -> Exhibit:
        if isinstance(one, Table):
            return replace(one, caption=captions[one.key or one.name].format(**names, **one.facts))
        return (
            replace(one, caption=captions[one.name].format(**names, **one.facts))
            if isinstance(one, Figure)
            else one
        )

    first = [captioned(figure) for figure in (heat_map(files), dose_response(files)) if figure is not None]
    sections, missing = [], list[Missing]()
    for anchor, title, paper, exhibits in _SECTIONS:
        shown = [captioned(one) for one in exhibits(files)]
        missing += [one for one in shown if isinstance(one, Missing)]
        here = [one for one in shown if not isinstance(one, Missing)]
        if here:
            sections.append(Section(anchor, title, paper, here))
    # what is still to come is told apart from what nobody asked for
    missing = [one for one in missing if one.stage not in files.to_come]
    return Contents([figure for figure in first if isinstance(figure, Figure)], sections, missing)


def write_report(folder: Path) -> Path:
    """Write `report.html`, `figures/`, `tables/` and `units/` from the files of a run, and return the path of the page.

    The page says which stages were not run. The same files give the same bytes.

    Raises:
        GlossaeError: the folder is not a run, a file in it is damaged, the page cannot be written, or it or a figure is
            a symbolic link.
    """
    refuse_links(folder, (PAGE, FIGURES, TABLES, FILES))
    # the page links those of units that are there
    write_unit_pages(folder)
    files = read_run(folder)
    shown = contents(files)
    page = _render(files, shown)
    names = {f"{FIGURES}/{figure.name}.{kind}" for figure in shown.figures for kind in ("svg", "csv")}
    names |= {f"{TABLES}/{table.name}.csv" for table in shown.tables}
    # a figure of the page before would belong to other numbers
    with own_files(folder, (FIGURES, TABLES), names):
        for figure in shown.figures:
            write_text(folder / FIGURES / f"{figure.name}.svg", figure.svg())
        for home, exhibits in ((FIGURES, shown.figures), (TABLES, shown.tables)):
            for exhibit in exhibits:
                write_text(folder / home / f"{exhibit.name}.csv", csv_text(exhibit.numbers))
        write_text(folder / PAGE, page)
    return folder / PAGE


def _render(files: RunFiles, shown: Contents) -> str:
    recipe, to_come = files.recipe, files.to_come
    missing: dict[str, None] = dict.fromkeys(
        f"{m.what} ({m.how})" if m.how else m.what for m in shown.missing
    )
    unsound = files.results.sae.unsound if files.results.sae else []
    continued = continuation(files)
    dose = any(figure.name == "dose-response" for figure in shown.first)
    return (
        environment(flags=_flags)
        .get_template("report.html.j2")
        .render(
            title=recipe.report.title or f"{' and '.join(files.names)} in {model_name(recipe.model)}",
            subtitle=f"Target {files.names[0]}, reference {files.names[1]}, {site_words(files)}; recipe {recipe.name}, "
            f"protocol {recipe.protocol}, seed {recipe.seed}",
            to_come=f"This run is not complete. Still to come: {listed(to_come)}." if to_come else "",
            unsound=f"The autoencoder is unsound. {' '.join(unsound)}" if unsound else "",
            verdict=verdict(files),
            first=shown.first,
            continued=continued,
            to_add=to_add(files, dose, continued is not None),
            sections=shown.sections,
            missing="; ".join(missing),
            index=INDEX if INDEX in files.pages else "",
            style=template_files("style.css"),
            sorting=template_files("sort.js"),
            markup=Markup,
        )
    )


def _flags(text: str) -> Markup:
    """`text`, escaped, whose flags are not broken at the end of a line."""
    return Markup(re.sub(r"--[a-z_.]+", r"<code>\g<0></code>", str(escape(visible(text)))))
