"""How every figure looks, and how it becomes files: SVG with its numbers beside it as CSV."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sprog.files import write_text

# Okabe and Ito's palette, told apart by colour-blind readers
TARGET, REFERENCE = "#D55E00", "#0072B2"
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A53")
GREY = "#8A8F98"
# text stays text in the SVG, and the same numbers give the same bytes
SETTINGS = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E4E6EA",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#70757E",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn: its name, what it shows for those who cannot see it, its SVG and numbers."""

    name: str
    label: str
    svg: str
    numbers: pd.DataFrame

    def save(self, folder: Path) -> None:
        """Write the SVG and the CSV into `folder`."""
        write_text(folder / f"{self.name}.svg", self.svg)
        write_text(folder / f"{self.name}.csv", self.numbers.to_csv(index=False, lineterminator="\n"))

    @property
    def inline(self) -> str:
        """The SVG for the inside of a page: no prologue, no metadata, and ids that no other figure has."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'\b(id="|href="#)', rf"\g<1>{self.name}-", svg)
        return svg.replace("url(#", f"url(#{self.name}-")


def colours(languages: list[str]) -> dict[str, str]:
    """A colour for each language; the target and the reference stand first."""
    return dict(zip(languages, (TARGET, REFERENCE, *OTHERS, *[GREY] * len(languages)), strict=False))


def panels(
    count: int, columns: int = 3, width: float = 9.6, height: float = 2.9
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows."""
    columns = min(columns, count)
    rows = -(-count // columns)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def finish(figure: Figure, name: str, label: str, numbers: pd.DataFrame) -> Drawing:
    """The figure as SVG."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    # matplotlib ends some lines with blanks
    svg = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
    return Drawing(name, label, svg, numbers)
