"""The one exception that a user, not a programmer, is meant to read, and the line that a terminal shows of a text."""

import re
import unicodedata


class GlossaeError(Exception):
    """Something in the input, the recipe or the surroundings that the user can mend.

    The message is one line that names the file and line, or the key, and says what to do. The command
    line prints it on standard error and leaves with status 2; a library user catches it.
    """


def one_line(message: str) -> str:
    """`message` without line breaks, and with what a terminal would obey made visible."""
    folded = re.sub(r"\s*[\r\n]+\s*", " ", message.strip())
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in folded
    )
