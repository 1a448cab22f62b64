"""Measure continuations: their language, their repetition, and their loss under the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glossae.corpora import Corpus, Sentence
from glossae.evidence import identify
from glossae.languages import counted_as
from glossae.lm import LanguageModel, TokenizedCorpus, sentence_losses
from glossae.stats import interval

# the n of the n-grams whose repeated share is the repetition
REPEATED = 4
# the least probability at which an identifier's answer counts
LEAST_PROBABLE = 0.5
# texts with fewer letters are left unanswered
LEAST_LETTERS = 10
# languages that a continuation could be mistaken for, besides the run's own
NEIGHBOURS = ("da", "nb", "sv", "en", "de", "nl", "fr")

Ids = Sequence[Int[np.ndarray, " _"]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over prompts (or sentences), with the terms of both.

    Attributes:
        numerators: the terms of the first sum.
        denominators: the terms of the second sum.
    """

    numerators: Float[np.ndarray, " prompts"]
    denominators: Float[np.ndarray, " prompts"]

    @property
    def value(self) -> float | None:
        """The ratio of the sums; None if the denominator is 0."""
        under = float(self.denominators.sum())
        return float(self.numerators.sum()) / under if under else None

    def interval(self, weights: Float[np.ndarray, "draws prompts"]) -> tuple[float | None, float | None]:
        """The central 95 % of the ratio over resamples."""
        under = weights @ self.denominators
        if not (under > 0).any():
            return None, None
        return interval((weights @ self.numerators)[under > 0] / under[under > 0])


def repetition(continuations: Ids, n: int = REPEATED) -> Ratio:
    """The share of n-grams of tokens that occurred before in the same text (Welleck et al. 2020, eq. 10: seq-rep-n)."""
    grams = [_grams(ids, n) for ids in continuations]
    return Ratio(
        np.array([len(found) - len(set(found)) for found in grams], dtype=np.float64),
        np.array([len(found) for found in grams], dtype=np.float64),
    )


def distinct(continuations: Ids, n: int) -> float | None:
    """The number of distinct n-grams of tokens in all texts, over that of all n-grams (Li et al. 2016).

    None if no text has any. It falls with the amount of text: compare it between arms with as many prompts.
    """
    grams = [gram for ids in continuations for gram in _grams(ids, n)]
    return len(set(grams)) / len(grams) if grams else None


def continuation_losses(lm: LanguageModel, prompts: Ids, continuations: Ids, *, budget: int = 1024) -> Ratio:
    """Summed nats of the continuations given their prompts, and their numbers of tokens.

    It is the loss of prompt and continuation less that of the prompt, which is valid for a causal model. No
    edit may be active.
    """
    some = [number for number, ids in enumerate(continuations) if len(ids)]
    nats = np.zeros(len(continuations))
    if some:
        whole = _as_tokens([np.concatenate([prompts[i], continuations[i]]) for i in some])
        before = _as_tokens([prompts[i] for i in some])
        nats[some] = sentence_losses(lm, whole, budget=budget) - sentence_losses(lm, before, budget=budget)
    return Ratio(nats, np.array([len(ids) for ids in continuations], dtype=np.float64))


def _as_tokens(rows: Ids) -> TokenizedCorpus:
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence("", "-", str(number), "written") for number in range(len(rows))),
        ids=rows,
        predicted_bytes=np.zeros(len(rows), dtype=np.int64),
        dropped={},
        cut={},
        prefix=0,
    )


def _grams(ids: Int[np.ndarray, " _"], n: int) -> list[tuple[int, ...]]:
    row = ids.tolist()
    return [tuple(row[start : start + n]) for start in range(len(row) - n + 1)]


@dataclass(frozen=True)
class TextLanguages:
    """The language of each text, or `UNANSWERED`.

    Attributes:
        ngrams: by the character n-gram model.
        lingua: by lingua; None if it is not installed.
        both: the common answer; `UNANSWERED` if they differ. Of a language that lingua does not know, such as
            Faroese, the n-grams' answer. None without lingua.
    """

    ngrams: list[str]
    lingua: list[str] | None
    both: list[str] | None

    @property
    def best(self) -> list[str]:
        """The common answer if there is lingua, else that of the n-grams."""
        return self.ngrams if self.both is None else self.both


def identify_languages(texts: Sequence[str], ngrams: identify.NgramModel) -> TextLanguages:
    """Identify texts; those with fewer than `LEAST_LETTERS` letters are unanswered, by both."""
    long = [sum(c.isalpha() for c in text) >= LEAST_LETTERS for text in texts]

    def require_letters(answers: Sequence[str]) -> list[str]:
        return [
            answer if enough else identify.UNANSWERED for answer, enough in zip(answers, long, strict=True)
        ]

    own = require_letters(ngrams.identify(texts, least=LEAST_PROBABLE))
    choices = lingua_languages(ngrams.languages)
    counted = counted_as(ngrams.languages)
    detector = lingua_detector(choices)
    if detector is None:
        return TextLanguages(own, None, None)
    answers = map(_answer, detector.compute_language_confidence_values_in_parallel(list(texts)))
    found = require_letters([counted.get(answer, answer) for answer in answers])
    judged = {counted.get(code, code) for code in choices}
    both = [
        one if one == other or one not in judged else identify.UNANSWERED
        for one, other in zip(own, found, strict=True)
    ]
    return TextLanguages(own, found, both)


def lingua_languages(languages: Sequence[str]) -> tuple[str, ...]:
    """The languages that lingua chooses from: `NEIGHBOURS` and the run's own, as far as it knows them.

    Norwegian (`no`) is Bokmål and Nynorsk.
    """
    try:
        from lingua import IsoCode639_1
    except ImportError:
        return ()
    return tuple(
        code
        for code in dict.fromkeys((*NEIGHBOURS, *languages, *counted_as(languages)))
        if hasattr(IsoCode639_1, code.upper())
    )


def lingua_version() -> str | None:
    """The installed version of lingua; None if there is none. Its answers may differ between versions."""
    try:
        return version("lingua-language-detector")
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=4)
def lingua_detector(languages: tuple[str, ...]) -> Any:
    """Lingua's detector for these languages; None if lingua is not installed (extra `lid`)."""
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError:
        return None
    codes = [getattr(IsoCode639_1, code.upper()) for code in languages]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()


def _answer(values: Sequence[Any]) -> str:
    best = max(values, key=lambda value: value.value)
    return best.language.iso_code_639_1.name.lower() if best.value >= LEAST_PROBABLE else identify.UNANSWERED
