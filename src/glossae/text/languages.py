"""Language codes, as people write them and as they are kept."""

import re
from collections.abc import Sequence

from glossae.errors import GlossaeError

_CODE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")


def language_code(written: str) -> str | None:
    """The code that `written` stands for: lower-case, without a region; None where it is no code.

    `en-GB` and `da_DK` are `en` and `da`. Any two or three letters will do: no list of languages is kept.
    """
    match = _CODE.fullmatch(written.strip())
    return match[1].lower() if match else None


def wanted_languages(target: str, reference: str, others: Sequence[str]) -> tuple[str, ...]:
    """The codes of a run: the target's, the reference's, then the others'.

    Raises:
        GlossaeError: one is not a code, or two are the same.
    """
    keys = ["languages.target", "languages.reference", *["languages.others"] * len(others)]
    codes: list[str] = []
    for key, written in zip(keys, [target, reference, *others], strict=True):
        code = language_code(written)
        if code is None:
            raise GlossaeError(
                f"{key}: {written!r} is not a language code: write two or three letters, as in da"
            )
        if code in codes:
            raise GlossaeError(f"{key}: {code} is named twice among the languages: name each once")
        codes.append(code)
    return tuple(codes)
