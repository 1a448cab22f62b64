"""The one exception that a user, not a programmer, is meant to read; text as it may be shown; the log of a bug."""

import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
import unicodedata
from pathlib import Path
from typing import Any

from glossae._version import __version__

# format characters that scripts and line breaking need, and that turn nothing: soft hyphen, zero-width space and
# joiners, and the Arabic, Syriac and Kaithi signs that stand before a number
_NEEDED = {
    *"\u00ad\u200b\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2",
    *"\U000110bd\U000110cd",
}


INTERRUPTED = "interrupted; the same command carries on where it stopped"


class GlossaeError(Exception):
    """Something in the input, the recipe or the surroundings that the user can mend.

    The message is one line that names the file and line, or the key, and says what to do. The command
    line prints it on standard error and leaves with status 2; a library user catches it.
    """


def expect(value: Any, kinds: Any, what: str) -> None:
    """Refuse an argument of another type.

    Args:
        value: the argument.
        kinds: a type, or a union of types.
        what: begins the line: the argument and what is expected, such as `text: expected a text of gl.text`.

    Raises:
        GlossaeError: it is of another type.
    """
    if not isinstance(value, kinds):
        shown = one_line(repr(value))
        raise GlossaeError(f"{what}, got {shown if len(shown) <= 60 else type(value).__name__}")


def visible(text: str) -> str:
    r"""`text` as a terminal, a page or a figure can show it: what would act on them is written as an escape.

    Terminals obey control characters (ANSI escapes begin with one); XML does not allow them, nor lone surrogates and
    non-characters; marks of writing directions show what follows them backwards; tags hide text. Each stands as `\x1b`
    or `\u202e`. Line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if _unwritable(letter) else letter for letter in text
    )


def _unwritable(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return letter not in "\n\t" and (
        kind in ("Cc", "Cs", "Zl", "Zp")
        or (kind == "Cn" and ord(letter) & 0xFFFE == 0xFFFE)
        or (kind == "Cf" and letter not in _NEEDED)
    )


def one_line(message: str) -> str:
    """`message` without line breaks and tabs, and `visible`."""
    return visible(re.sub(r"\s*[\r\n]+\s*", " ", message.strip()).replace("\t", "\\t"))


def bug(error: BaseException) -> str:
    """Write the traceback of an exception that nobody foresaw to a log file; return the line that a user reads.

    The log lies in the folder for temporary files, and only its owner can read it.
    """
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    trace = "".join(traceback.format_exception(error))
    head = f"glossae {__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        handle, log = tempfile.mkstemp(prefix="glossae-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{head}\n{shlex.join(sys.argv)}\n\n{trace}")
    except OSError as refused:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        at = f" in line {place[0].lineno} of {Path(place[0].filename).name}" if place else ""
        return f"a bug of glossae ({what}{at}); its log cannot be written ({refused.strerror}): please report this line"
    return (
        f"a bug of glossae ({what}); the traceback is in {log}: please report it with that file, which also holds the "
        "command line"
    )
