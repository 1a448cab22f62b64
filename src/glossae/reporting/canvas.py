"""Draw figures as SVG in one style, without global state: the same numbers give the same bytes."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#22272e"
QUIET = "#6b7480"
PALE = "#9aa3ad"
FAINT = "#d4d9df"

# Okabe and Ito's palette, told apart by every kind of eye; the paper's Danish is red
ORANGE, BLUE, GREEN = "#d55e00", "#0072b2", "#009e73"
_OTHERS = (GREEN, "#cc79a7", "#56b4e9", "#8c6d00", "#7a7a7a", "#5b3a8c")
_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (7, 3)))

_STYLE: Any = {
    # text stays text: small files, words that can be searched and read aloud
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e8ebee",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    # a dollar sign in a model's name is a dollar sign
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: its file's name without an ending.
        svg: a whole SVG file.
        inline: the same as an element of an HTML page.
        width: in CSS pixels, beyond which it is not stretched.
        numbers: what it shows.
    """

    name: str
    svg: str
    inline: str
    width: int
    numbers: pd.DataFrame


def draw(
    name: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    numbers: pd.DataFrame,
    description: str,
) -> Drawing:
    """Draw a figure.

    Args:
        name: its file's name without an ending.
        size: width and height in inches.
        paint: draws on the empty figure.
        numbers: what it shows.
        description: what it shows, in words, for screen readers.
    """
    # the user's matplotlibrc must not change a report; what is set here is put back
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["svg.hashsalt"] = name
        # the browser has fonts for the scripts that the drawing's own lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(buffer.getvalue())
    _own_names(root, name)
    for key, value in (("role", "img"), ("aria-label", description), ("class", "drawing")):
        root.set(key, value)
    svg = ElementTree.tostring(root, encoding="unicode")
    # within a page these rules would hold for every element of it: the page's own style has them
    for definitions in root.findall(f"{{{_SVG}}}defs"):
        for style in definitions.findall(f"{{{_SVG}}}style"):
            definitions.remove(style)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    inline = ElementTree.tostring(root, encoding="unicode")
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    return Drawing(name, declaration + svg + "\n", inline, round(size[0] * 96), numbers)


def _own_names(root: ElementTree.Element, name: str) -> None:
    """Begin every id with the figure's name: several figures share one page."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))


def language_style(languages: Sequence[str], language: str) -> dict[str, Any]:
    """Colour and dashes of a language's line: the target and the reference stand out, the others are thin."""
    place = languages.index(language) if language in languages else len(languages)
    if place < 2:
        return {"color": (ORANGE, BLUE)[place], "linestyle": "-", "linewidth": 2.0}
    other = (place - 2) % len(_OTHERS)
    return {"color": _OTHERS[other], "linestyle": _DASHES[other], "linewidth": 1.1}


def language_colour(languages: Sequence[str], language: str) -> str:
    """The colour of a language."""
    return str(language_style(languages, language)["color"])


def panels(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """`count` axes in rows of `columns`; the last row may be part empty."""
    axes = list(figure.subplots(rows_of(count, columns), columns, squeeze=False, **options).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return axes[:count]


def rows_of(count: int, columns: int) -> int:
    """How many rows of `columns` hold `count` panels."""
    return -(-count // columns)


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int) -> None:
    """One legend below all panels, where a label that several panels have stands once."""
    entries: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=columns)


def ring(panel: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Circles around the marks that no other dominates."""
    style: Any = {"linestyle": "none", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
    panel.plot(xs, ys, markeredgecolor=INK, label="not dominated", **style)
