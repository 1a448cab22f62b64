"""Which language a continuation is in, by two identifiers that know nothing of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from glossae.find import identify

# what is asked of either identifier before its answer counts
LEAST_PROBABLE = 0.5
# with fewer letters a text is left unanswered
LEAST_LETTERS = 10
# languages that a continuation could be mistaken for, beside the run's own
NEIGHBOURS = ("da", "nb", "sv", "en", "de", "nl", "fr")


@dataclass(frozen=True)
class Identified:
    """A language for each text, or `UNANSWERED`.

    Attributes:
        ngrams: by the character n-gram model.
        lingua: by lingua; None where it is not installed.
        both: what both say; `UNANSWERED` where they differ. None without lingua.
    """

    ngrams: list[str]
    lingua: list[str] | None
    both: list[str] | None

    @property
    def best(self) -> list[str]:
        """What both say, or else the n-grams."""
        return self.ngrams if self.both is None else self.both


def language_of(texts: Sequence[str], ngrams: identify.NgramModel) -> Identified:
    """Identify texts; those with fewer than `LEAST_LETTERS` letters are unanswered, by both.

    Args:
        texts: continuations, without their prompts.
        ngrams: a model of the run's languages.
    """
    long = [sum(c.isalpha() for c in text) >= LEAST_LETTERS for text in texts]

    def kept(answers: Sequence[str]) -> list[str]:
        return [
            answer if enough else identify.UNANSWERED for answer, enough in zip(answers, long, strict=True)
        ]

    own = kept(ngrams.identify(texts, least=LEAST_PROBABLE))
    detector = lingua_detector(lingua_languages(ngrams.languages))
    if detector is None:
        return Identified(own, None, None)
    found = kept(
        [_answer(values) for values in detector.compute_language_confidence_values_in_parallel(list(texts))]
    )
    both = [one if one == other else identify.UNANSWERED for one, other in zip(own, found, strict=True)]
    return Identified(own, found, both)


def lingua_languages(languages: Sequence[str]) -> tuple[str, ...]:
    """What lingua is asked to choose from: `NEIGHBOURS` and the run's own languages, as far as it knows them."""
    try:
        from lingua import IsoCode639_1
    except ImportError:
        return ()
    return tuple(
        code for code in dict.fromkeys((*NEIGHBOURS, *languages)) if hasattr(IsoCode639_1, code.upper())
    )


def lingua_version() -> str | None:
    """Which lingua is installed; None if none is. What it says may differ from one to the next."""
    try:
        return version("lingua-language-detector")
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=4)
def lingua_detector(languages: tuple[str, ...]) -> Any:
    """A detector of lingua's for these languages; None where lingua is not installed (extra `lid`)."""
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError:
        return None
    codes = [getattr(IsoCode639_1, code.upper()) for code in languages]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()


def _answer(values: Sequence[Any]) -> str:
    best = max(values, key=lambda value: value.value)
    return best.language.iso_code_639_1.name.lower() if best.value >= LEAST_PROBABLE else identify.UNANSWERED
