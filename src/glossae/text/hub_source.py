"""What a source string says of a data set on the hub."""

import difflib
import re

from glossae.errors import GlossaeError
from glossae.hub import Repository
from glossae.text.hub import SCHEME, HubDataSet
from glossae.text.hub_columns import Columns
from glossae.text.languages import language_code
from glossae.text.lines import shown

_KEYS = ("config", "split", "text", "label", "language", "pair", "doc")
_LABEL_OF = re.compile(r"(?:label|language)\.(.+)", re.DOTALL)


def parse_hub(text: str) -> HubDataSet:
    """What `hub:OWNER/NAME[@REVISION][,KEY=VALUE]...` names.

    Keys are `config`, `split`, `text`, `label` or `language` (the column that says a row's language), `pair`,
    `doc`, `label.VALUE` (the language code that a value of that column stands for), and language codes, for columns
    in one language. A column inside another is written `OUTER.INNER`.

    Raises:
        GlossaeError: it is not understood.
    """
    place, *settings = text.removeprefix(SCHEME).split(",")
    given: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key or not value:
            raise GlossaeError(
                f"{shown(text, 200)}: {shown(setting)} says nothing: write KEY=VALUE between commas"
            )
        key = "label" if key == "language" else key
        if key in given:
            raise GlossaeError(f"{shown(text, 200)}: {key} is said twice: say it once")
        given[key] = value
    try:
        repository = Repository.parse(place, "dataset")
    except GlossaeError as error:
        raise GlossaeError(f"{shown(text, 200)}: {error}") from error
    config, split = given.pop("config", None), given.pop("split", None)
    return HubDataSet(repository, config, split, _columns(text, given))


def _columns(text: str, given: dict[str, str]) -> Columns:
    """The columns that the settings name.

    Raises:
        GlossaeError: a key is none, or they contradict each other.
    """
    named = {key: given.pop(key, None) for key in ("text", "label", "pair", "doc")}
    labels: list[tuple[str, str]] = []
    languages: list[tuple[str, str]] = []
    for key, value in given.items():
        if match := _LABEL_OF.fullmatch(key):
            code = language_code(value)
            if code is None:
                raise GlossaeError(
                    f"{shown(text, 200)}: {shown(value)} is not a language code: write two or three letters, as in da"
                )
            labels.append((match[1], code))
        elif code := language_code(key):
            languages.append((code, value))
        else:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)} and language codes"
            raise GlossaeError(f"{shown(text, 200)}: there is no key {shown(key)}: {hint}")
    if languages and (named["text"] or named["label"] or labels):
        raise GlossaeError(
            f"{shown(text, 200)}: names a column for a language and a column of text with a label: say one of the two"
        )
    if len({code for code, _ in languages}) < len(languages):
        raise GlossaeError(f"{shown(text, 200)}: a language is named twice: name each once")
    return Columns(**named, languages=tuple(languages), labels=tuple(labels))
