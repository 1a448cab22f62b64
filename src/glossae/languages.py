"""Language codes: the primary language of a BCP 47 tag, and the macrolanguage Norwegian."""

from collections.abc import Iterable
from functools import lru_cache

UNDETERMINED = "und"
"""The code of text whose language its source does not tell."""
MACROLANGUAGES = {"no": ("nb", "nn")}
"""Macrolanguages with the languages whose text counts as theirs. Only Norwegian: text in Bokmål or Nynorsk is text in
`no`, while Malay (`ms`) and Indonesian (`id`), or `zh` and Cantonese (`yue`), are told apart."""

# two-letter codes that the registry of BCP 47 has replaced
_FORMER = {"in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro"}


@lru_cache(maxsize=4096)
def language_code(written: str) -> str | None:
    """The primary language of a BCP 47 tag, as its shortest ISO 639 code; None if it is no tag of a known language.

    `da-DK`, `da_DK` and `dan` give `da`, `zh-Hant` gives `zh`, `i-klingon` gives `tlh`. Scripts and regions are left
    out. A private tag such as `x-none` gives `und`. The list of languages is the registry's (IANA), as `langcodes`
    ships it.
    """
    # a tenth of a second, which `import glossae` does not take
    from langcodes import Language
    from langcodes.data_dicts import LANGUAGE_ALPHA3, LANGUAGE_ALPHA3_BIBLIOGRAPHIC

    written = written.strip()
    try:
        tag = Language.get(written, normalize=False)
        code = tag.language or UNDETERMINED
        if code.startswith("x-"):
            return UNDETERMINED
        if not 2 <= len(code) <= 3:
            # a tag from before BCP 47, which the registry replaces as a whole
            code = Language.get(written).language or UNDETERMINED
    except ValueError:
        return None
    for shorter in (LANGUAGE_ALPHA3, LANGUAGE_ALPHA3_BIBLIOGRAPHIC):
        code = next((two for two, three in shorter.items() if three == code), code)
    code = _FORMER.get(code, code)
    return code if 2 <= len(code) <= 3 and Language.make(language=code).is_valid() else None


def suggested_code(written: str) -> str:
    """The code to suggest where none was written: of a country the likeliest language (CLDR), else da."""
    from langcodes import Language

    country = written.strip().upper()
    if len(country) != 2 or not country.isalpha() or not country.isascii():
        return "da"
    # what is no country gives English
    spoken = Language.make(territory=country).maximize().language
    return "da" if spoken in (None, "en") else spoken


def counted_as(languages: Iterable[str]) -> dict[str, str]:
    """For each language that is part of one of `languages`, that one: `nb` and `nn` are text in `no`."""
    given = set(languages)
    return {part: whole for whole, parts in MACROLANGUAGES.items() if whole in given for part in parts}


def overlapping(languages: Iterable[str]) -> tuple[str, str] | None:
    """The first (macrolanguage, language) of `languages` of which one holds the other's text; None if there is none."""
    given = set(languages)
    return next(((whole, part) for part, whole in counted_as(given).items() if part in given), None)
