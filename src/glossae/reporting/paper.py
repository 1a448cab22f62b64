"""The figures and tables of a run as a paper has them: PDF, SVG and LaTeX."""

from pathlib import Path

import pandas as pd

from glossae.errors import visible
from glossae.files import refuse_links, replacing, write_text
from glossae.reporting.exhibits import Table
from glossae.reporting.page import contents
from glossae.reporting.reading import read_run

# what LaTeX takes for commands, then letters and spaces that not every font has
_LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\N{MINUS SIGN}": "$-$", "≥": r"$\ge$", "±": r"$\pm$", "λ": r"$\lambda$", "–": "--"},
    **{"\N{NO-BREAK SPACE}": "~", "\N{NARROW NO-BREAK SPACE}": r"\,", "“": "``", "”": "''"},
}


def write_figures(folder: Path, out: Path) -> list[Path]:
    """Write every figure of a run's page as PDF and SVG at a paper's width, and every table as LaTeX, into `out`.

    The tables need the LaTeX package booktabs. Files of the same names are overwritten. The same run gives the same
    bytes.

    Raises:
        GlossaeError: the folder is not a run, a file in it is damaged, or a file cannot be written or is a link.
    """
    shown, written = contents(read_run(folder)), list[Path]()
    names = [f"{figure.name}.{kind}" for figure in shown.figures for kind in ("pdf", "svg")]
    refuse_links(out, (*names, *(f"{table.name}.tex" for table in shown.tables)))
    for figure in shown.figures:
        svg, pdf = figure.paper()
        write_text(out / f"{figure.name}.svg", svg)
        with replacing(out / f"{figure.name}.pdf") as temporary:
            temporary.write_bytes(pdf)
        written += [out / f"{figure.name}.svg", out / f"{figure.name}.pdf"]
    for table in shown.tables:
        write_text(out / f"{table.name}.tex", latex(table))
        written.append(out / f"{table.name}.tex")
    return written


def latex(table: Table) -> str:
    """A table as LaTeX with the rules of booktabs: intervals in brackets, every text escaped."""

    def joined(text: str, below: str) -> str:
        return _escaped(f"{text} ({below})" if below else text)

    columns = [joined(title.text, title.below) for title, _ in table.columns]
    rows = [[joined(cell.text, cell.below) for cell in row.values()] for row in table.rows]
    return pd.DataFrame(rows, columns=columns).to_latex(
        index=False,
        column_format="".join("l" if words else "r" for _, words in table.columns),
        caption=_escaped(f"{table.label}. {table.caption}"),
        label=f"tab:{table.name}",
        position="t",
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in visible(text).replace("\n", " "))
