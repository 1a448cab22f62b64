"""Markers of the speaker's language, such as `(DE)`, which parliamentary records put before what is said.

They give a language away without a word of it: `(SV)` hardly stands before Swedish speech in the Swedish text.
"""

import re

# the official languages of the EU, as their codes are printed in Europarl
_CODES = "BG|CS|DA|DE|EL|EN|ES|ET|FI|FR|GA|HR|HU|IT|LT|LV|MT|NL|PL|PT|RO|SK|SL|SV"
# At the start, or where a sentence has ended or a dash stands: `in writing. - (FR) The draft`. Elsewhere it is an
# ordinary parenthesis: `Domstolsadministrasjonen (DA) i Trondheim`. Possessive, so that a run of markers is taken
# whole or not at all.
_MARKERS = re.compile(rf"(?:^|(?<=[.!?…–—-] ))(?:\((?:{_CODES})\)(?: (?:[-–—] )?)?+)++")
# what follows a marker starts a sentence; after one of these the parenthesis is part of a running one
_RUNNING_ON = frozenset(",.;:!?)]}/-–—%&")


def without_markers(text: str) -> str:
    """`text`, whose blanks are single, without markers of the speaker's language and the dash after one.

    Only an official EU language code in capitals and parentheses is one, and only where a sentence can start:
    at the beginning, after the end of a sentence or after a dash, and before a capital, a digit, an opening
    mark or nothing. What stands before a marker stays, and so does any other parenthesis.
    """
    # most text has no parenthesis, and finding that out is the cheaper search
    if "(" not in text:
        return text
    return _MARKERS.sub(_kept, text).strip()


def _kept(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 1]
    return match[0] if following.islower() or following in _RUNNING_ON else ""
