"""Test whether consecutive sentences of a text without documents are correlated, and the effect on intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from glossae.effects.sweep import Measured
from glossae.evidence import testing
from glossae.lm import TokenizedCorpus
from glossae.results import SerialCorrelation

# fewer sentences are not tested
LEAST = 10
PERMUTATIONS = 999
# the edit whose change is tested: the first of these in a sweep, error-preserving
_OPERATIONS = ("zero", "mean", "project_out", "set")


def serial_correlations(
    sweeps: Mapping[str, tuple[Sequence[Measured], TokenizedCorpus, Int[np.ndarray, " sentences"]]],
    *,
    seed: int,
) -> list[SerialCorrelation]:
    """Test the consecutive sentences of every source and language that names no documents.

    Args:
        sweeps: by the name of a text, one sweep on it, the text, and the place of each sentence in its source.
    """
    found = []
    for text, (measured, tokens, places) in sweeps.items():
        sentences = tokens.corpus.sentences
        alone = [number for number, sentence in enumerate(sentences) if not sentence.doc]
        series: dict[tuple[str, str], list[int]] = {}
        for number in sorted(alone, key=lambda number: int(places[number])):
            series.setdefault((sentences[number].source, sentences[number].language), []).append(number)
        for (source, language), numbers in sorted(series.items()):
            if len(numbers) < LEAST:
                continue
            for statistic, edit, values in _statistics(measured):
                own, predicted = values[numbers], tokens.predicted[numbers]
                errors = own - own.sum() / predicted.sum() * predicted
                if not errors.any():
                    # an edit that changes nothing
                    continue
                lag_1, p = lag_1_test(errors, seed=seed)
                found.append(
                    SerialCorrelation(
                        text=text,
                        source=source,
                        language=language,
                        statistic=statistic,
                        edit=edit,
                        sentences=len(numbers),
                        lag_1=lag_1,
                        p=p,
                        q=p,
                        inflation=variance_inflation(errors),
                    )
                )
    q = testing.q_values(np.array([row.p for row in found], dtype=np.float64))
    return [row.model_copy(update={"q": float(own)}) for row, own in zip(found, q, strict=True)]


def _statistics(
    measured: Sequence[Measured],
) -> list[tuple[str, str | None, Float[np.ndarray, " sentences"]]]:
    rows: list[tuple[str, str | None, np.ndarray]] = []
    rows += [("loss", None, m.losses) for m in measured if m.edit is None][:1]
    # the first of each operation
    kept = {m.edit.operation: m for m in reversed(measured) if m.edit is not None and not m.edit.splice}
    operation = next((name for name in _OPERATIONS if name in kept), None)
    if "none" in kept and operation is not None:
        rows.append(("change", operation, kept[operation].losses - kept["none"].losses))
    return rows


def autocorrelations(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The sample autocorrelation at every lag from 0: sums of products about the mean over the sum of squares."""
    centred = values - values.mean()
    # padded to twice the length, so that the convolution is not circular
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    sums = np.fft.irfft(np.abs(spectrum) ** 2, 2 * len(centred))[: len(centred)]
    found: Float[np.ndarray, " n"] = sums / sums[0]
    return found


def lag_1_test(
    values: Float[np.ndarray, " n"], *, seed: int, draws: int = PERMUTATIONS
) -> tuple[float, float]:
    """The autocorrelation at lag 1, and its one-sided p-value over permutations of the order."""
    centred = values - values.mean()
    observed = float(centred[1:] @ centred[:-1])
    generator = np.random.default_rng(seed)
    larger = 0
    for _ in range(draws):
        shuffled = generator.permutation(centred)
        larger += float(shuffled[1:] @ shuffled[:-1]) >= observed
    return observed / float(centred @ centred), (larger + 1) / (draws + 1)


def variance_inflation(values: Float[np.ndarray, " n"]) -> float:
    """The variance of the mean of a stationary series over that of independent values: 1 + 2 sum rho_k, at least 1.

    Bayley and Hammersley (1946, J. R. Stat. Soc. Suppl. 8, 184-197). At large lags the sample has only noise,
    so the sum ends before the first pair rho_2m + rho_2m+1 that is not positive (the initial positive sequence
    of Geyer 1992, Statist. Sci. 7, 473-483, section 3.3).
    """
    rho = autocorrelations(values)
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    ends = np.flatnonzero(pairs <= 0)
    return max(1.0, float(2 * pairs[: ends[0] if len(ends) else len(pairs)].sum()) - 1)
