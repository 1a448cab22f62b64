"""A page for each unit, and a table of all of them: `units/KIND-NUMBER.html` and `units/index.html` of a run."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from glossae.files import refuse_links, write_text
from glossae.record import Record
from glossae.reporting.reading import FILES, INDEX, RunFiles, own_files, read_run
from glossae.reporting.wording import (
    environment,
    interval,
    language_name,
    listed,
    model_name,
    number,
    percent,
    short,
    signed,
    template_files,
    whole,
)
from glossae.results import (
    SELECTED_BY,
    LanguageDensity,
    TestedClaim,
    UnitContext,
    UnitDashboard,
    UnitLabel,
    ValueHistogram,
    read_dashboard,
    read_label,
)

UNITS = "units"
# shades of a token's value; a page has room for so many coloured tokens of contexts by language
_SHADES, _ROOM = 5, 1900
# of languages, in the order target, reference, others: also told apart by their dashes
_COLOURS = ("target", "reference", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_DASHES = ("", "7 3", "2 2", "9 3 2 3", "4 2", "12 4", "1 3", "6 2 1 2")
# what stands in a word without being seen, and is needed there
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍"}


def write_unit_pages(folder: Path) -> None:
    """Write a page for each unit that the stage `dashboards` looked at, and their index.

    Pages of an earlier run of the folder are deleted. The same files give the same bytes.

    Args:
        folder: the run's.

    Raises:
        GlossaeError: a dashboard is damaged, a page cannot be written, or something that would be is a symbolic link.
    """
    refuse_links(folder, (UNITS, FILES))
    pages = list(_pages(folder, read_run(folder)))
    names = {f"{UNITS}/{page.name}.html" for page in pages} | ({INDEX} if pages else set())
    place = folder / UNITS
    made = environment(**_FILTERS)
    unit, index = (made.get_template(f"{name}.html.j2") for name in ("unit", "units"))
    style, script = template_files("style.css", "units.css"), template_files("sort.js", "filter.js")
    with own_files(folder, (UNITS,), names):
        for page in pages:
            write_text(place / f"{page.name}.html", unit.render(page=page, style=style))
        if pages:
            write_text(place / "index.html", index.render(**_index(pages), style=style, script=script))


def _pages(folder: Path, files: RunFiles) -> Iterator["_Page"]:
    rows = files.results.dashboards or []
    linked = {(row.kind, row.unit) for row in rows}
    record = Record.of(folder) if rows else Record(folder, {})
    for row in rows:
        unit = read_dashboard(record.file("dashboards", f"{row.kind}-{row.unit}.json"))
        yield _Page(files, unit, linked, read_label(folder, row.kind, row.unit))


class _Drawing(NamedTuple):
    svg: Markup
    key: list[tuple[str, Markup]]


@dataclass(frozen=True)
class _Page:
    """What the templates ask of one unit."""

    files: RunFiles
    unit: UnitDashboard
    with_page: set[tuple[str, int]] = field(repr=False)
    named: UnitLabel | None = None

    @property
    def name(self) -> str:
        return f"{self.unit.kind}-{self.unit.unit}"

    @property
    def label(self) -> str:
        label = self.unit.label
        return label if label.startswith(self.unit.kind) else f"{self.unit.kind}: {label}"

    @property
    def model(self) -> str:
        return model_name(self.files.recipe.model)

    @property
    def place(self) -> str:
        return f"{self.model}, {self.unit.site} of layer {self.unit.layer}"

    @property
    def by_rule(self) -> bool:
        """Whether it passes the rate rule or the tests, rather than being the fallback's where none passes."""
        features = self.files.results.features
        fallback = self.unit.kind == "latent" and features is not None and features.rule == "fallback"
        return self.unit.selected and not fallback

    @property
    def chosen(self) -> str:
        """Whether it was selected, and by what."""
        features = self.files.results.features
        rule = features.rule if features and self.unit.kind == "latent" else "tested"
        return f"selected by {SELECTED_BY[rule]}" if self.unit.selected else "not selected"

    @property
    def named_by(self) -> str:
        """Where the label is from, how well it did, and that it is no evidence."""
        if (named := self.named) is None:
            return ""
        score = (
            f"balanced accuracy {number(named.balanced_accuracy, 2)} "
            f"({interval(named.low, named.high, 2)}) on {named.firing + named.silent} sentences"
        )
        return f"label by {named.model}, not evidence; {score}"

    @property
    def target(self) -> str:
        return language_name(self.unit.target)

    @cached_property
    def languages(self) -> list[str]:
        """The target, the reference, then the others."""
        first = [code for code in (self.unit.target, self.unit.reference) if code in self.unit.density]
        return first + [code for code in self.unit.density if code not in first]

    @cached_property
    def colours(self) -> dict[str, str]:
        return {code: _COLOURS[place % len(_COLOURS)] for place, code in enumerate(self.languages)}

    @property
    def read(self) -> str:
        amounts = [
            f"{whole(self.unit.density[code].tokens)} of {language_name(code)}" for code in self.languages
        ]
        most = self.files.recipe.dashboards.sentences
        drawn = f" (at most {whole(most)} sentences of each language, drawn at random)" if most else ""
        return f"Tokens read: {listed(amounts)}{drawn}."

    @property
    def claims(self) -> list[tuple[str, TestedClaim]]:
        return list(self.unit.tests.claims.items()) if self.unit.tests else []

    @property
    def least_auroc(self) -> float:
        return self.files.tested.minimum if self.files.tested else 0.5

    @property
    def minimum(self) -> str:
        return short(self.least_auroc)

    @property
    def q(self) -> str:
        return short(self.files.tested.q) if self.files.tested else "–"

    @property
    def aurocs(self) -> list[tuple[str, float, float | None]]:
        tests = self.unit.tests
        assert tests is not None
        ordered = [code for code in self.languages if code in tests.auroc]
        return [(language_name(code), tests.auroc[code], tests.left_out.get(code)) for code in ordered]

    @property
    def fires(self) -> str:
        if self.unit.kind == "latent":
            return "The latent fires where the autoencoder selects it and its value is above 0."
        return (
            f"The unit fires above {short(self.unit.threshold)}: at most 1 % of all tokens that were read have such "
            "values."
        )

    @property
    def densities(self) -> list[tuple[str, LanguageDensity, int, str]]:
        largest = max((row.rate for row in self.unit.density.values()), default=0.0) or 1.0
        return [
            (language_name(code), row, round(100 * row.rate / largest), self.colours[code])
            for code in self.languages
            for row in (self.unit.density[code],)
        ]

    @property
    def values(self) -> _Drawing | None:
        histogram = self.unit.histogram
        if not histogram.edges:
            return None
        return _histogram(
            histogram,
            {code: self.unit.density[code].tokens for code in self.languages},
            [(language_name(code), code, self.colours[code]) for code in self.languages],
            "Histogram of the unit's values by language",
        )

    @property
    def values_caption(self) -> str:
        where = "where it fires" if self.unit.kind == "latent" else "at every token"
        return f"The unit's value {where}: share of a language's tokens in each bin, on a logarithmic scale."

    @property
    def effects(self) -> _Drawing:
        logits = self.unit.logits
        assert logits is not None
        histogram = ValueHistogram(edges=logits.edges, counts={"": logits.counts})
        return _histogram(histogram, {"": 1}, [("", "", "accent")], "Histogram of logit effects")

    @cached_property
    def most(self) -> int:
        """Contexts of a language that the page has room for."""
        for most in range(max(map(len, self.unit.contexts.values()), default=0), 1, -1):
            shown = [context for contexts in self.unit.contexts.values() for context in contexts[:most]]
            if sum(value != 0 for context in shown for value in context.values) <= _ROOM:
                return most
        return 1

    @property
    def contexts_caption(self) -> str:
        negative = ", dotted blue below 0" if any(value < 0 for value in self._every_value()) else ""
        few = f" The page has room for {self.most} of each language." if self.most < 10 else ""
        return (
            "Sentences with the largest values, near-duplicates left out. The stronger the colour, the larger the value"
            f"{negative}; the number is the largest, at the framed token. Hover over a token for its value, or click "
            f"a sentence (or move to it with the tab key) for all.{few}"
        )

    def _every_value(self) -> Iterator[float]:
        for contexts in self.unit.contexts.values():
            for context in contexts:
                yield from context.values

    @property
    def contexts(self) -> list[tuple[str, list[UnitContext], bool]]:
        pair = (self.unit.target, self.unit.reference)
        return [
            (language_name(code), self.unit.contexts.get(code, [])[: self.most], code in pair)
            for code in self.languages
        ]

    @property
    def intervals(self) -> list[tuple[str, list[UnitContext]]]:
        return [
            (f"{short(each.low)} to {short(each.high)}: {whole(each.sentences)} sentences", each.contexts)
            for each in reversed(self.unit.intervals)
        ]

    @property
    def shares(self) -> list[tuple[str, float, str]]:
        logits = self.unit.logits
        assert logits is not None
        own = [
            (language_name(code), logits.languages.get(code, 0.0), self.colours[code])
            for code in self.languages
        ]
        return [*own, ("no language's own", max(0.0, 1 - sum(logits.languages.values())), "pale")]

    def linked(self, unit: int) -> bool:
        return (self.unit.kind, unit) in self.with_page

    @cached_property
    def largest(self) -> float:
        return max((abs(value) for value in self._every_value()), default=0.0) or 1.0

    def tokens(self, context: UnitContext) -> Markup:
        """A context with its tokens coloured by value."""
        parts = ["…"] if context.cut[0] else []
        for text, value, is_peak in _groups(context):
            shade = math.ceil(_SHADES * min(1.0, abs(value) / self.largest) - 1e-9)
            shown = escape(shown_token(text))
            # what is nearly nothing has no colour, so that pages stay small
            if not is_peak and abs(value) < 0.02 * self.largest:
                parts.append(shown)
                continue
            kind = f"{'n' if value < 0 else 'p'}{max(1, shade)}{' top' if is_peak else ''}"
            parts.append(f'<i class="{kind}" title="{short(value)}">{shown}</i>')
        parts += ["…"] if context.cut[1] else []
        language = f"<small>{escape(context.language)}</small> "
        peak = short(context.values[context.peak])
        return Markup(f'<p class="ctx" tabindex="0" dir="auto"><b>{peak}</b>{language}{"".join(parts)}</p>')


def _groups(context: UnitContext) -> list[tuple[str, float, bool]]:
    """The tokens with their values; those that make up one character together, with the largest of theirs."""
    groups: list[tuple[str, float, bool]] = []
    for place, (text, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        if text or not groups:
            groups.append((text, value, place == context.peak))
        else:
            before, largest, peak = groups[-1]
            groups[-1] = (before, max(largest, value, key=abs), peak or place == context.peak)
    return groups


def shown_token(text: str) -> str:
    """A token as a page can show it: what would be invisible, or turn the text around, is written out."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"
        else _SIGNS.get(letter) or letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in text
    )


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 190, 50, 22, 8


def _histogram(
    histogram: ValueHistogram,
    totals: dict[str, int],
    lines: Sequence[tuple[str, str, str]],
    title: str,
) -> _Drawing:
    """Steps for each language on a logarithmic scale of shares (or counts, with totals of 1)."""
    shares = {
        code: [count / max(1, totals[code]) for count in histogram.counts.get(code, [])]
        for _, code, _ in lines
    }
    some = [share for own in shares.values() for share in own if share > 0]
    low, high = (math.floor(math.log10(min(some))), math.ceil(math.log10(max(some)))) if some else (0, 1)
    high = max(high, low + 1)
    first, last = histogram.edges[0], histogram.edges[-1]

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 8) * (value - first) / ((last - first) or 1)

    def y(share: float) -> float:
        inside = (math.log10(share) - low) / (high - low) if share > 0 else 0.0
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * inside

    parts = []
    step = -(-(high - low) // 4)
    for power in range(low, high + 1, step):
        at, text = (
            y(10.0**power),
            (f"{10**power:,}" if power >= 0 else f"1e{power}" if power < -3 else short(10.0**power)),
        )
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - 8}" style="stroke:var(--grid)"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for place in range(5):
        value = first + (last - first) * place / 4
        anchor = ("start", "middle", "middle", "middle", "end")[place]
        parts.append(
            f'<text x="{x(value):.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{short(value)}</text>'
        )
    key = []
    for place, (name, code, colour) in enumerate(lines):
        dashes = f' stroke-dasharray="{_DASHES[place % len(_DASHES)]}"' if place else ""
        stroke = f'style="stroke:var(--{colour})"{dashes}'
        path = f"M{x(first):.1f} {y(0):.1f}"
        for end, share in zip(histogram.edges[1:], shares[code], strict=False):
            path += f"V{y(share):.1f}H{x(end):.1f}"
        parts.append(f'<path d="{path}V{y(0):.1f}" {stroke}/>')
        if name:
            sample = f'<svg viewBox="0 0 36 8" aria-hidden="true"><path d="M0 4H36" {stroke}/></svg>'
            key.append((name, Markup(sample)))
    head = f'<svg class="hist" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return _Drawing(Markup(f"{head}{''.join(parts)}</svg>"), key)


def _index(pages: Sequence[_Page]) -> dict[str, Any]:
    """What the table of all units has."""
    first = pages[0]
    codes = first.languages
    claim = next((name for name, _ in first.claims), "")
    others = [
        code for code in codes if any(page.unit.tests and code in page.unit.tests.auroc for page in pages)
    ]
    columns = [
        ("unit", True),
        ("kind", True),
        ("chosen", True),
        ("passes", True),
        (f"q {claim}".strip(), False),
        *((f"AUROC over {code}", False) for code in others),
        *((f"rate {code}", False) for code in codes),
        *((("label", True),) if any(page.named for page in pages) else ()),
    ]
    return {
        "title": f"{' and '.join(first.files.names)} in {first.place}",
        "read": first.read,
        "target": first.target,
        "columns": columns,
        "labelled": any(page.named for page in pages),
        "rows": [_row(page, claim, others, codes) for page in pages],
    }


def _row(page: _Page, claim: str, others: Iterable[str], codes: Iterable[str]) -> dict[str, Any]:
    tests, density = page.unit.tests, page.unit.density
    return {
        "unit": page.unit,
        "chosen": "selected" if page.by_rule else "nearest" if page.unit.selected else "not selected",
        "passes": ", ".join(name for name, test in page.claims if test.passed) or "none",
        "q": tests.claims[claim].q if tests and claim in tests.claims else None,
        "aurocs": [tests.auroc.get(code) if tests else None for code in others],
        "rates": [density[code].rate if code in density else None for code in codes],
        "named": page.named,
        "named_by": page.named_by,
    }


_FILTERS: dict[str, Callable[..., Any]] = {
    "three": number,
    "q": lambda value: "–" if value is None else short(value),
    "percent": percent,
    "count": whole,
    "whole": round,
    "value": lambda value: "–" if value is None else short(value),
    "plus": signed,
    "token": shown_token,
}
