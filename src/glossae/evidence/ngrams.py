"""A character n-gram model of several languages: it identifies languages without a language model."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.corpora import clean_text
from glossae.errors import GlossaeError
from glossae.evidence.classify import UNANSWERED

ORDER = 4
"""Characters of the longest n-grams: four of 15 bits each fit into one int64."""

_BITS = 15
_BOUNDARY, _UNKNOWN, _FIRST = 0, 1, 2
_LARGEST_ALPHABET = 2**_BITS - _FIRST
# characters scored at once
_CHUNK = 200_000
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class NgramModel:
    """Counts of the n-grams of up to `ORDER` characters in each language.

    Characters are lower-cased, and all digits count as one. Probabilities are interpolated with Witten and
    Bell's weights (1991, method C; Chen and Goodman 1999, eq. 13): with c occurrences of a character after a
    context h that occurs N(h) times before T(h) different characters,

        p(x | h) = (c(h, x) + T(h) p(x | h')) / (N(h) + T(h)),

    where h' is h without its first character; below single characters comes the uniform distribution over the
    alphabet. So every character has a probability in every language.

    Attributes:
        languages: the codes, sorted.
        alphabet: code points that occur in any of them, sorted.
        grams: per order, the n-grams that occur, as sorted integers.
        counts: per order, the count of each in each language.
    """

    languages: tuple[str, ...]
    alphabet: Int[np.ndarray, " characters"]
    grams: tuple[Int[np.ndarray, " _"], ...]
    counts: tuple[Int[np.ndarray, "_ languages"], ...]

    @staticmethod
    def fit(texts: Sequence[str], languages: Sequence[str]) -> "NgramModel":
        """Count the n-grams of texts; `languages` has the code of each text.

        Raises:
            GlossaeError: there is no text, or a language has none.
        """
        codes = tuple(sorted(set(languages)))
        if not codes:
            raise GlossaeError("n-grams: no text to fit to: give text in two languages or more")
        points: dict[str, list[np.ndarray]] = {code: [] for code in codes}
        for text, language in zip(texts, languages, strict=True):
            if len(found := _code_points(text)):
                points[language].append(found)
        for code in codes:
            if not points[code]:
                raise GlossaeError(f"n-grams: no text in {code}: give text in {code}")
        # of more code points than symbols, the most frequent are kept
        every, times = np.unique(
            np.concatenate([part for found in points.values() for part in found]), return_counts=True
        )
        alphabet = np.sort(every[np.argsort(-times, kind="stable")[:_LARGEST_ALPHABET]])
        numbered = [_grams(*_laid_out([_symbols(part, alphabet) for part in points[code]])) for code in codes]
        grams, counts = [], []
        for of_size in zip(*numbered, strict=True):
            keys = np.unique(np.concatenate(of_size))
            grams.append(keys)
            places = [np.searchsorted(keys, own) for own in of_size]
            counts.append(np.stack([np.bincount(at, minlength=len(keys)) for at in places], axis=1))
        return NgramModel(codes, alphabet, tuple(grams), tuple(counts))

    def score(self, texts: Sequence[str], *, end: bool = True) -> Float[np.ndarray, "texts languages"]:
        """The log-likelihood of each text in each language, in nats; 0 for an empty text.

        Args:
            texts: the texts.
            end: whether the end of the text counts as a symbol.
        """
        scores = np.zeros((len(texts), len(self.languages)))
        for numbers, symbols in self._chunks(texts):
            laid, predicted = _laid_out(symbols)
            p = np.full((int(predicted.sum()), len(self.languages)), 1 / (len(self.alphabet) + _FIRST))
            for size, keys in enumerate(_grams(laid, predicted)):
                count, total, types = self._looked_up(size, keys)
                # for an unseen context both weights are 0, and the shorter context decides
                p = np.where(total > 0, (count + types * p) / np.maximum(total + types, 1), p)
            starts = np.cumsum([0, *[len(part) + 1 for part in symbols[:-1]]])
            logs = np.log(p)
            if not end:
                logs[starts + [len(part) for part in symbols]] = 0
            scores[numbers] = np.add.reduceat(logs, starts, axis=0)
        return scores

    def probabilities(self, texts: Sequence[str]) -> Float[np.ndarray, "texts languages"]:
        """The probability of each language for each text, under equal prior probabilities.

        A text without a letter (a number, a smiley, nothing) gives no information: all languages are equally
        probable.
        """
        scores = self.score(texts)
        scores[~has_letters(texts)] = 0
        odds = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True))

    def identify(self, texts: Sequence[str], *, least: float = 0.0) -> list[str]:
        """The most probable language of each text; `UNANSWERED` without a letter, or below `least`."""
        probabilities = self.probabilities(texts)
        answered = has_letters(texts) & (probabilities.max(1) >= least)
        return [
            self.languages[number] if known else UNANSWERED
            for number, known in zip(probabilities.argmax(1), answered, strict=True)
        ]

    @cached_property
    def _contexts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per order, the contexts that occur, how often each does, and how many characters follow it."""
        found = []
        for keys, counts in zip(self.grams, self.counts, strict=True):
            contexts, starts = np.unique(keys >> _BITS, return_index=True)
            total, types = (np.add.reduceat(table, starts, axis=0) for table in (counts, counts > 0))
            found.append((contexts, total, types))
        return found

    def _looked_up(self, size: int, keys: Int[np.ndarray, " found"]) -> tuple[np.ndarray, ...]:
        """c(h, x), N(h) and T(h) of some n-grams, in every language."""
        contexts, total, types = self._contexts[size]
        here, is_here = _places(self.grams[size], keys)
        above, is_above = _places(contexts, keys >> _BITS)
        return (
            self.counts[size][here] * is_here[:, None],
            total[above] * is_above[:, None],
            types[above] * is_above[:, None],
        )

    def _chunks(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """The texts that are not empty, with their numbers, a limited number of characters at a time."""
        numbers: list[int] = []
        symbols: list[np.ndarray] = []
        held = 0
        for number, text in enumerate(texts):
            if not len(points := _code_points(text)):
                continue
            numbers.append(number)
            symbols.append(_symbols(points, self.alphabet))
            held += len(points)
            if held >= _CHUNK:
                yield numbers, symbols
                numbers, symbols, held = [], [], 0
        if numbers:
            yield numbers, symbols


def has_letters(texts: Sequence[str]) -> Bool[np.ndarray, " texts"]:
    """Which texts have a letter."""
    return np.array([any(c.isalpha() for c in text) for text in texts], dtype=bool)


def _code_points(text: str) -> Int[np.ndarray, " characters"]:
    """The characters of a text: cleaned, in lower case, every digit a 0."""
    plain = _DIGIT.sub("0", unicodedata.normalize("NFC", clean_text(text).lower()))
    return np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)


def _symbols(
    points: Int[np.ndarray, " characters"], alphabet: Int[np.ndarray, " known"]
) -> Int[np.ndarray, " characters"]:
    place, known = _places(alphabet, points)
    return np.where(known, place + _FIRST, _UNKNOWN)


def _laid_out(symbols: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Texts joined, each after `ORDER - 1` boundaries and before one; and which symbols are predicted."""
    before, after = np.full(ORDER - 1, _BOUNDARY), np.array([_BOUNDARY])
    laid = np.concatenate([piece for part in symbols for piece in (before, part, after)])
    predicted = np.ones(len(laid), dtype=bool)
    starts = np.cumsum([0, *[len(part) + ORDER for part in symbols[:-1]]])
    for offset in range(ORDER - 1):
        predicted[starts + offset] = False
    return laid, predicted


def _grams(laid: np.ndarray, predicted: np.ndarray) -> list[np.ndarray]:
    """The n-gram that ends at each predicted symbol, of every order from 1."""
    at = np.flatnonzero(predicted)
    keys = [laid[at]]
    for size in range(1, ORDER):
        keys.append(keys[-1] + (laid[at - size] << (_BITS * size)))
    return keys


def _places(ordered: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each wanted number among ordered ones, and whether it is there."""
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return place, ordered[place] == wanted
