"""The prompts of the paper's Tables 1 and 2, continued by the model as it is and with the units fixed."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from glossae.effects.edits import Edit
from glossae.lm import LanguageModel, Site, continue_prompts, edit
from glossae.sae import Sae
from glossae.units import Units

PROMPTS: dict[str, tuple[str, ...]] = {
    "da": (
        "En gang for længe siden var der",
        "Da han var ude og fiske så han",
        "Hver torsdag spiser hun",
        "Zooen har fået en ny",
    ),
    "en": (
        "Once upon a time there was a",
        "When he went fishing he saw",
        "Every thursday she eats",
        "The zoo got a new",
    ),
}


@dataclass(frozen=True)
class Continuation:
    """What came after a prompt; `edit` is raw or the operation, `value` the dose."""

    prompt: str
    language: str
    units: str
    edit: str
    value: float | None
    text: str


def _edited(lm: LanguageModel, site: Site, units: Sae | Units, change: Edit) -> AbstractContextManager[None]:
    return edit(lm, site, change.compile(units), positions=change.positions)


def continuations(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    languages: Sequence[str],
    edits: Sequence[Edit],
    *,
    name: str,
    max_tokens: int,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Continuation]:
    """Continue the prompts of each language raw, then under each edit."""
    rows = []
    arms: list[Edit | None] = [None, *edits]
    for number, change in enumerate(arms):
        with nullcontext() if change is None else _edited(lm, site, units, change):
            for language in languages:
                prompts = PROMPTS.get(language, ())
                texts = continue_prompts(lm, prompts, max_tokens=max_tokens)
                rows += [
                    Continuation(
                        prompt,
                        language,
                        name,
                        "raw" if change is None else change.operation,
                        None if change is None else change.value,
                        text,
                    )
                    for prompt, text in zip(prompts, texts, strict=True)
                ]
        progress((number + 1) / len(arms))
    return rows
