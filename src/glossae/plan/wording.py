"""Numbers and lines of a dry run, for people."""

import textwrap
from collections.abc import Iterator

WIDTH = 80
UNKNOWN = "unknown until fetched"


def bytes_text(size: float) -> str:
    """Bytes in the unit that suits them, powers of ten: `2.93 GB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:.0f} B"


def count_text(count: float) -> str:
    """A whole number; of large ones the first three digits, marked as about."""
    if count < 1000:
        return f"~{count:.0f}"
    digits = len(str(round(count))) - 3
    return f"~{round(count, -digits):,.0f}"


def time_text(seconds: float) -> str:
    """A duration with the precision that arithmetic of this kind has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def wrapped(head: str, text: str, gap: int = 2) -> Iterator[str]:
    """`head` and `text` on one line, or on several with the rest indented."""
    # a path or a name may be longer than a line; it is better whole than cut
    start = head + " " * gap
    if len(start) > WIDTH - 24 and gap:
        yield head
        start = " " * 6
    indent = " " * (len(start) if len(start) <= 40 else 6)
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]
