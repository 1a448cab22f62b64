"""How numbers, languages and lists are written, and the templates' environment, in which every text is escaped."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glossae.errors import visible

TEMPLATES = Path(__file__).parent / "templates"

NO_BREAK = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"

_LANGUAGES = {
    "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fo": "Faroese", "fr": "French", "ga": "Irish",
    "hr": "Croatian", "hu": "Hungarian", "is": "Icelandic", "it": "Italian", "lt": "Lithuanian", "lv": "Latvian",
    "mt": "Maltese", "nb": "Norwegian Bokmål", "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian",
    "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip
_WORDS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


def language_name(code: str) -> str:
    """The language's English name, or the code where it is not among those known here."""
    return _LANGUAGES.get(code, code)


def language_list(codes: Iterable[str]) -> str:
    """`Danish, English and Swedish`."""
    return listed([language_name(code) for code in codes])


def model_name(model: str) -> str:
    """A model as a title names it: a hub id as it is, a folder by its last part."""
    folder = model.startswith((".", "/", "~")) or model.count("/") > 1
    return PurePath(model).name or model if folder else model


def plural(count: int, noun: str) -> str:
    """`one latent`, `12 latents`."""
    return f"{counted(count)} {noun}{'' if count == 1 else 's'}"


def counted(count: int) -> str:
    """A whole number as a sentence has it: words up to twelve, then digits in groups of three."""
    return _WORDS[count] if 0 <= count < len(_WORDS) else whole(count)


def whole(count: float | None) -> str:
    """A whole number in digits, grouped by three."""
    return "–" if count is None else f"{count:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *before, last = parts or [""]
    return f"{', '.join(before)} and {last}" if before else last


def capital(sentence: str) -> str:
    """`sentence` with its first letter a capital."""
    return sentence[:1].upper() + sentence[1:]


def percent(share: float | None, digits: int = 0) -> str:
    """A share as `26 %` or `1.2 %`; None is a dash.

    Args:
        share: usually between 0 and 1.
        digits: decimals of a share of 10 % and more; smaller ones get one or two more.
    """
    if share is None:
        return "–"
    value = 100 * share
    if value == 0:
        return f"0{NO_BREAK}%"
    if 0 < value < 0.01:
        return f"under 0.01{NO_BREAK}%"
    decimals = digits if abs(value) >= 10 else max(digits, 1 if abs(value) >= 1 else 2)
    while 99 < value < 100 and decimals < 6 and float(f"{value:.{decimals}f}") == 100:
        # 99.96 % is not 100 %
        decimals += 1
    text = f"{value:.{decimals}f}".replace("-", MINUS)
    if "." in text and digits == 0:
        text = text.rstrip("0").rstrip(".")
    return f"{text}{NO_BREAK}%"


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals and a real minus sign; None is a dash, and there is no minus zero."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """The same with a plus sign before what is above zero."""
    text = number(value, digits)
    return f"+{text}" if value is not None and float(f"{value:.{digits}f}") > 0 else text


def short(value: float) -> str:
    """A dose or a lambda, with no more digits than it has to three places."""
    return f"{value:.3g}".replace("-", MINUS) if value else "0"


def interval(
    low: float | None, high: float | None, digits: int = 3, write: Callable[[float, int], str] = number
) -> str:
    """`0.190 to 0.231`, or nothing."""
    return "" if low is None or high is None else f"{write(low, digits)} to {write(high, digits)}"


def span(low: str, high: str) -> str:
    """`2 to 5`, or `2` where both ends are written alike."""
    return low if low == high else f"{low} to {high}"


def environment(**filters: Callable[..., Any]) -> Environment:
    """The templates' environment: every text is escaped, and what cannot be seen is written as an escape."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every text on a page is made writable here, before it is escaped
        finalize=lambda value: (
            visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    made.filters |= filters
    return made


def template_files(*names: str) -> Markup:
    """Files of the templates' folder, one after another, as they are: style sheets and scripts."""
    return Markup("".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))
