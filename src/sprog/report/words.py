"""How numbers, languages and lists are written on the page."""

from collections.abc import Sequence

LANGUAGES = {
    "da": "Danish",
    "en": "English",
    "sv": "Swedish",
    "nb": "Norwegian Bokmål",
    "de": "German",
    "nl": "Dutch",
    "fr": "French",
}
NOT_MEASURED = "–"


def language_name(code: str) -> str:
    """The language's English name, or its code."""
    return LANGUAGES.get(code, code)


def percent(share: float | None) -> str:
    """A share as a percentage, with more digits where it is small."""
    if share is None:
        return NOT_MEASURED
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{value:.1f} %" if abs(value) >= 1 else f"{value:.2g} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of decimals; a dash where there is none."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign."""
    return NOT_MEASURED if value is None else f"{value:+.{digits}f}".replace("-", "−")


def dose(value: float | None) -> str:
    """A value that units are fixed at, without needless decimals."""
    return NOT_MEASURED if value is None else f"{value:.3g}".replace("-", "−")


def whole(value: int | None) -> str:
    """A count, with thousands set apart."""
    return NOT_MEASURED if value is None else f"{value:,}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """A 95 % interval in words."""
    return f"95 % {number(low, digits)} to {number(high, digits)}"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def counted(count: int, noun: str) -> str:
    """`1 latent`, `4 latents`."""
    return f"{whole(count)} {noun}" if count == 1 else f"{whole(count)} {noun}s"


def movement(delta: float, low: float, high: float) -> str:
    """What a loss does, in words that its interval bears out."""
    if low <= 0 <= high:
        return f"does not measurably move ({signed(delta)} nats per token, {interval(low, high)})"
    if delta > 0:
        return f"rises by {number(delta)} nats per token ({interval(low, high)})"
    return f"falls by {number(-delta)} nats per token ({interval(-high, -low)})"


def plain(text: str) -> str:
    """Text for a figure: a dollar sign is itself, not the start of mathematics."""
    return text.replace("$", r"\$")
