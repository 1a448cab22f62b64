"""Draw figures in one style, without global state: the same numbers give the same bytes."""

import copy
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from glossae.errors import visible

INK, QUIET, PALE, FAINT = "#1f252c", "#56606b", "#8d97a2", "#d6dce2"
# Okabe and Ito's palette, some a little darker for white paper; the paper's Danish is red
ORANGE, BLUE, GREEN = "#d55e00", "#0072b2", "#009e73"
_OTHERS = (GREEN, "#b0568a", "#8c6d00", "#2f93cc", "#7a7a7a", "#5b3a8c")
_DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (7, 3)))
_VARIABLES = {
    **{INK: "fg", QUIET: "muted", PALE: "pale", FAINT: "line", "#e8ebee": "grid", "#ffffff": "bg"},
    **{ORANGE: "target", BLUE: "reference"},
    **dict(zip(_OTHERS, ("third", "fourth", "fifth", "sixth", "seventh", "eighth"), strict=True)),
}
"""The colours that the page's style has a light and a dark value for."""

_STYLE: Any = {
    # text stays text: small files, words that can be searched and read aloud
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10,
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
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_PAPER: Any = {"font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5, "legend.fontsize": 7}
# column and text width of a two-column paper, in inches
_COLUMN, _TEXT = 3.35, 6.9
NAMED = "named"
"""The gid of a line whose name stands beside it, and not in the legend."""
# the width of a letter and the height of a line of text, in sizes of its font; the share of a panel that axes take
_LETTER, _LINE, _AXES = 0.55, 1.3, 0.8
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Panel:
    """One pair of axes: what is drawn on it, and its title."""

    paint: Callable[[Axes], None]
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: its file's name without an ending, and the key of its caption.
        label: what it is called, such as `Figure 8`.
        panels: each is drawn by itself, so that they stand beside one another or below, as a window has room.
        numbers: what it shows.
        size: of a panel, in inches.
        share: whether all panels have one vertical scale.
        facts: the numbers and names that its caption has.
        caption: what is drawn, how to read it, and what a good value is; filled in from the captions.
    """

    kind: ClassVar[str] = "figure"
    name: str
    label: str
    panels: Sequence[Panel]
    numbers: pd.DataFrame
    size: tuple[float, float] = (4.0, 2.8)
    share: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""

    @property
    def width(self) -> int:
        """Of a panel, in CSS pixels, beyond which it is not stretched."""
        return round(self.size[0] * 96)

    @cached_property
    def _drawn(self) -> list[ElementTree.Element]:
        """The panels, then a legend where several panels have one."""
        with _styled(self.name):
            limits, drawn = self._limits(), []
            for place, panel in enumerate(self.panels):
                canvas = Canvas(figsize=self.size, layout="constrained")
                axes = canvas.subplots()
                self._paint(axes, panel, limits)
                if len(self.panels) == 1:
                    _legend(canvas, [axes], 2)
                words = f"{self.label} {panel.title}: {self.caption}"
                drawn.append(_tree(canvas, f"{self.name}-{place}", words))
            if len(self.panels) > 1:
                several = list(Canvas().subplots(len(self.panels), 1))
                for one, panel in zip(several, self.panels, strict=True):
                    panel.paint(one)
                if entries := _entries(several):
                    canvas = Canvas(figsize=(self.size[0], 0.12 + 0.19 * -(-len(entries) // 2)))
                    canvas.legend(list(entries.values()), list(entries), loc="center left", ncols=2)
                    drawn.append(_tree(canvas, f"{self.name}-key", f"Legend of {self.label}"))
            return drawn

    def inline(self) -> list[str]:
        """The panels and the legend as elements of an HTML page, in the page's own colours."""
        return [_element(root) for root in self._drawn]

    def svg(self) -> str:
        """The panels and the legend as one SVG file."""
        columns, (width, height) = min(len(self._drawn), 3), (72 * side for side in self.size)
        whole = ElementTree.Element(f"{{{_SVG}}}svg", {"role": "img", "aria-label": visible(self.label)})
        sides = (f"{width * columns:g}", f"{height * -(-len(self._drawn) // columns):g}")
        whole.attrib |= {
            "viewBox": f"0 0 {' '.join(sides)}",
            "width": f"{sides[0]}pt",
            "height": f"{sides[1]}pt",
        }
        for place, root in enumerate(self._drawn):
            part = copy.copy(root)
            part.attrib = {**root.attrib, "x": f"{width * (place % columns):g}"}
            part.set("y", f"{height * (place // columns):g}")
            # within another drawing a point is no unit of it
            part.set("width", root.get("width", "").removesuffix("pt"))
            part.set("height", root.get("height", "").removesuffix("pt"))
            whole.append(part)
        return _serialised(whole)

    def paper(self) -> tuple[str, bytes]:
        """The figure at a paper's column or text width, as SVG and as PDF with fonts of type 42."""
        columns = min(len(self.panels), 3)
        rows = -(-len(self.panels) // columns)
        width = _COLUMN if columns == 1 else _TEXT
        # text shrinks less than the figure
        height = (self.size[1] / self.size[0] * width / columns + 0.3) * rows

        def whole() -> Canvas:
            canvas = Canvas(figsize=(width, height), layout="constrained")
            axes, limits = list(canvas.subplots(rows, columns, squeeze=False).flat), self._limits()
            for one, panel in zip(axes, self.panels, strict=False):
                self._paint(one, panel, limits)
            for empty in axes[len(self.panels) :]:
                empty.set_axis_off()
            _legend(canvas, axes[: len(self.panels)], 2 * columns)
            return canvas

        with _styled(self.name, _PAPER):
            svg = _serialised(_tree(whole(), self.name, self.label))
            canvas, buffer = whole(), io.BytesIO()
            FigureCanvasPdf(canvas)
            nothing = {"CreationDate": None, "Creator": None, "Producer": None}
            canvas.savefig(buffer, format="pdf", metadata=nothing)
        return svg, buffer.getvalue()

    def _paint(self, axes: Axes, panel: Panel, limits: tuple[float, float] | None) -> None:
        panel.paint(axes)
        if panel.title:
            axes.set_title(visible(panel.title))
        if limits:
            axes.set_ylim(*limits)

    def _limits(self) -> tuple[float, float] | None:
        """The vertical scale that all panels share."""
        if not self.share or len(self.panels) == 1:
            return None
        axes = Canvas().subplots(len(self.panels), 1, sharey=True)
        for one, panel in zip(axes, self.panels, strict=True):
            panel.paint(one)
        low, high = axes[0].get_ylim()
        return float(low), float(high)


@contextmanager
def _styled(name: str, more: Any = None) -> Iterator[None]:
    # the user's matplotlibrc must not change a report; what is set here is put back
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | (more or {}))
        matplotlib.rcParams["svg.hashsalt"] = name
        # the browser has fonts for the scripts that the drawing's own lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _tree(canvas: Canvas, name: str, description: str) -> ElementTree.Element:
    titles = _titles(canvas)
    FigureCanvasSVG(canvas)
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas.savefig(buffer, format="svg", metadata=nothing)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(buffer.getvalue())
    for group in root.iter(f"{{{_SVG}}}g"):
        marks = group.findall(f"{{{_SVG}}}g/{{{_SVG}}}use")
        said = titles.get(group.get("id", ""), [])
        # a mark outside of the axes is not written, and then nobody knows which is which
        for mark, words in zip(marks, said, strict=True) if len(marks) == len(said) else ():
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = visible(words)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    root.set("role", "img")
    root.set("aria-label", visible(description))
    return root


def _titles(canvas: Canvas) -> dict[str, list[str]]:
    """What a pointer that rests on a mark is told, by the id of its line."""
    titles = {}
    for number, line in enumerate(line for axes in canvas.axes for line in axes.get_lines()):
        label = str(line.get_label())
        if line.get_marker() not in (None, "None", "") and not label.startswith("_"):
            line.set_gid(f"marks-{number}")
            points: Any = line.get_xydata()
            titles[f"marks-{number}"] = [f"{label}: {x:.4g}, {y:.4g}" for x, y in points if y == y]
    return titles


def _serialised(root: ElementTree.Element) -> str:
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _element(drawn: ElementTree.Element) -> str:
    """An element of an HTML page, in the page's own colours."""
    root = copy.deepcopy(drawn)
    root.set("class", "drawing")
    # within a page these rules would hold for every element of it
    for definitions in root.findall(f"{{{_SVG}}}defs"):
        for style in definitions.findall(f"{{{_SVG}}}style"):
            definitions.remove(style)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    for element in root.iter():
        if path := element.get("d"):
            element.set("d", re.sub(r"(\.\d\d)\d+", r"\1", path).replace("\n", ""))
        if rules := element.get("style"):
            rules = re.sub(r"font-family: [^;]*;?", "", rules)
            element.set("style", re.sub("#[0-9a-f]{6}", lambda found: _coloured(found[0]), rules))
    return ElementTree.tostring(root, encoding="unicode")


def _coloured(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour


def _entries(axes: Iterable[Axes]) -> dict[str, Any]:
    """What a legend has, where a label that several panels have stands once."""
    entries: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            # bars of a kind that a panel has none of are an empty tuple
            if len(handle) if isinstance(handle, tuple) else handle.get_gid() != NAMED:
                entries.setdefault(visible(label), handle)
    return entries


def _legend(canvas: Canvas, axes: Sequence[Axes], columns: int) -> None:
    if entries := _entries(axes):
        canvas.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=columns)


def language_style(languages: Sequence[str], language: str) -> dict[str, Any]:
    """Colour and dashes of a language's line: the target and the reference stand out, the others are thin."""
    place = languages.index(language) if language in languages else len(languages)
    if place < 2:
        return {"color": (ORANGE, BLUE)[place], "linestyle": "-", "linewidth": 2.0}
    other = (place - 2) % len(_OTHERS)
    return {"color": _OTHERS[other], "linestyle": _DASHES[other], "linewidth": 1.1}


def name_ends(axes: Axes) -> None:
    """Write the names of the lines that are `NAMED` beside their last points, clear of other lines and names.

    Lines of one name have it once, at the one that ends last. A name that has no room beside its point stands above or
    below and is joined to it. The limits of the axes have to be set before.
    """
    size = float(matplotlib.rcParams["legend.fontsize"])
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wide, tall = (_AXES * 72 / axes.figure.dpi * side for side in axes.figure.bbox.size)
    letter, line = _LETTER * size / wide * (right - left), _LINE * size / tall * (high - low)
    curves = [np.asarray(own.get_xydata(), float) for own in axes.get_lines()]
    ends: dict[str, tuple[float, float]] = {}
    for own in axes.get_lines():
        if own.get_gid() == NAMED:
            x, y = np.asarray(own.get_xydata(), float)[-1]
            name = str(own.get_label())
            ends[name] = max(ends.get(name, (x, y)), (x, y))
    taken: list[tuple[float, float, float]] = []

    def free(start: float, end: float, height: float) -> bool:
        """Whether a name there lies within the axes and clear of the names before."""
        apart = all(end < a or b < start or abs(height - other) >= 0.99 * line for a, b, other in taken)
        return apart and bool(low + line / 2 <= height <= high - line / 2)

    def crossed(start: float, end: float, height: float) -> int:
        """How many lines run through a name there."""
        steps = np.linspace(start, end, 12)
        heights = [np.interp(steps, curve[:, 0], curve[:, 1], left=np.inf, right=np.inf) for curve in curves]
        return sum(bool((np.abs(own - height) < 0.6 * line).any()) for own in heights)

    for name, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        length, gap = letter * len(name), letter
        places = [
            (start, start + length, y + step * line / 2)
            for step in sorted(range(-16, 17), key=abs)
            for start in (x + gap, x - gap - length)
            if left <= start and start + length <= right + letter
        ]
        inside = max(left, min(x + gap, right - length))
        clear = [place for place in places if free(*place)] or [(inside, inside + length, y)]
        # of those crossed least, the nearest
        start, end, height = min(clear, key=lambda place: crossed(*place))
        taken.append((start, end, height))
        near = start if start > x else end
        style: Any = {"color": PALE, "linewidth": 0.5, "zorder": 1}
        if abs(height - y) > line:
            axes.plot([x, near], [y, height], label="_joins", **style)
        # in the layout, a name that is wider than the axes would leave them no room
        axes.text(start, height, visible(name), fontsize=size, color=QUIET, va="center", in_layout=False)


def ring(panel: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Circles around the marks that no other dominates."""
    style: Any = {"linestyle": "none", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
    panel.plot(xs, ys, markeredgecolor=INK, label="not dominated", **style)
