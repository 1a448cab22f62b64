"""What edits do to next-token loss: the paper's section 5.2, with the model itself and intervals beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sprog.effects.bootstrap import interval, resampled_ratios
from sprog.effects.doses import Dose
from sprog.effects.edits import Edit, compile_edits
from sprog.features import Units
from sprog.lm import LanguageModel, Site, TokenizedCorpus, replayed_losses
from sprog.sae import Sae

ALL_SOURCES = "all"


@dataclass(frozen=True)
class Measured:
    """The summed loss of every sentence under one edit; None is the model as it is."""

    edit: Edit | None
    in_range: bool | None
    losses: Float[np.ndarray, " sentences"]


@dataclass(frozen=True)
class Cell:
    """Mean loss on one language of one source under one edit.

    Attributes:
        edit: raw, or the operation.
        splice: whether the reconstruction stood in the activation's place; None for raw.
        value: the dose, for `set`.
        ce: nats per predicted token. ce_per_byte: nats per UTF-8 byte of predicted tokens.
        delta: ce minus that of `none` with the same splice, and its 95 % interval, paired by sentence.
        in_range: whether the units take this value by themselves on target text.
    """

    units: str
    kind: str
    edit: str
    splice: bool | None
    value: float | None
    language: str
    source: str
    ce: float
    ce_per_byte: float
    delta: float
    ci_low: float
    ci_high: float
    tokens: int
    sentences: int
    in_range: bool | None


def sweep_edits(
    units: tuple[int, ...], dose_list: Sequence[Dose], reference_means: tuple[float, ...]
) -> list[tuple[Edit | None, bool | None]]:
    """The model itself; then, spliced and error-preserving: no edit, every dose, the reference's mean."""
    edits: list[tuple[Edit | None, bool | None]] = [(None, None)]
    for splice in (True, False):
        edits.append((Edit("none", splice=splice), None))
        edits += [(Edit("set", units, d.targets, splice, d.value), d.in_range) for d in dose_list]
        if units:
            edits.append((Edit("mean", units, reference_means, splice), None))
    return edits


def measure_edits(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    tokens: TokenizedCorpus,
    edits: Sequence[tuple[Edit | None, bool | None]],
    *,
    budget: int = 4096,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Measured]:
    """Run the corpus under each edit; what lies below the site, and the autoencoder's code, are computed once.

    Args:
        lm: the model.
        site: where the units are.
        units: the autoencoder whose latents are edited, or units of any kind.
        tokens: the text.
        edits: each with whether it is in range; None is the model as it is.
        budget: tokens in a batch.
        progress: called with the share that is done.

    Raises:
        SprogError: an edit does not fit the units, or the site.
    """
    # the error-preserving edit of nothing is the model itself
    runs = [None if change is None or _nothing(change) else change for change, _ in edits]
    fns = iter(compile_edits([change for change in runs if change is not None], units))
    losses = replayed_losses(
        lm,
        site,
        tokens,
        [None if change is None else next(fns) for change in runs],
        positions=["all" if change is None else change.positions for change in runs],
        budget=budget,
        progress=progress,
    )
    return [Measured(change, inside, row) for (change, inside), row in zip(edits, losses, strict=True)]


def _nothing(change: Edit) -> bool:
    return not change.splice and not change.units


def cells(
    measured: Sequence[Measured], tokens: TokenizedCorpus, *, name: str, draws: int, seed: int
) -> list[Cell]:
    """A cell for each edit, language and source, and for all sources pooled."""
    languages = np.array([s.language for s in tokens.corpus.sentences])
    sources = np.array([s.source for s in tokens.corpus.sentences])
    rows = []
    for language in tokens.corpus.languages:
        for source in (*tokens.corpus.sources, ALL_SOURCES):
            chosen = np.flatnonzero((languages == language) & ((sources == source) | (source == ALL_SOURCES)))
            if len(chosen):
                rows += _group_cells(measured, tokens, chosen, language, source, name, draws, seed)
    return rows


def _group_cells(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    chosen: np.ndarray,
    language: str,
    source: str,
    name: str,
    draws: int,
    seed: int,
) -> list[Cell]:
    predicted, size = tokens.predicted[chosen], tokens.predicted_bytes[chosen]
    base = {m.edit.splice: m.losses[chosen] for m in measured if m.edit and m.edit.operation == "none"}
    changes = [
        m.losses[chosen] - (m.losses[chosen] if m.edit is None else base[m.edit.splice]) for m in measured
    ]
    samples = resampled_ratios(changes, predicted, draws=draws, seed=seed)
    rows = []
    for number, m in enumerate(measured):
        low, high = interval(samples[:, number])
        rows.append(
            Cell(
                units=name,
                kind="latent",
                edit="raw" if m.edit is None else m.edit.operation,
                splice=None if m.edit is None else m.edit.splice,
                value=None if m.edit is None else m.edit.value,
                language=language,
                source=source,
                ce=float(m.losses[chosen].sum() / predicted.sum()),
                ce_per_byte=float(m.losses[chosen].sum() / size.sum()),
                delta=float(changes[number].sum() / predicted.sum()),
                ci_low=low,
                ci_high=high,
                tokens=int(predicted.sum()),
                sentences=len(chosen),
                in_range=m.in_range,
            )
        )
    return rows
