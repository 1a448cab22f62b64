"""What edits do to next-token loss: the paper's section 5.2, with the model itself and intervals beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.effects.bootstrap import Clusters, interval, resampled_sums
from glossae.effects.doses import Dose
from glossae.effects.edits import Edit, compile_edits
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    growing,
    half_width,
    narrow_enough,
    replayed,
    worth_scoring,
)
from glossae.sae import Sae
from glossae.units import Units

ALL_SOURCES = "all"
# sentences of a language that are measured first: where a precision is asked for, and where all are measured anyway
FIRST, PART = 32, 256
# the edit that switches units of each kind off
OFF = {"latent": "zero", "neuron": "mean", "direction": "project_out"}

Arrays: TypeAlias = dict[str, np.ndarray]
Keep: TypeAlias = Callable[[str, Callable[[], Arrays]], Arrays]
"""Do a part of the work, called by a name; or take what came of it if it was done before."""


def keep_nothing(_: str, work: Callable[[], Arrays]) -> Arrays:
    """Do the work."""
    return work()


@dataclass(frozen=True)
class Moved:
    """How far an edit moves a text's predictions and activations, summed over each sentence.

    Attributes:
        kl: KL(p || q) in nats, p the model's prediction and q that under the edit, over predicted tokens.
        agreed: at how many of them the most probable token stayed the same.
        moved, size: lengths of the change at the site, and of the activation there, over all tokens.
    """

    kl: Float[np.ndarray, " sentences"]
    agreed: Float[np.ndarray, " sentences"]
    moved: Float[np.ndarray, " sentences"]
    size: Float[np.ndarray, " sentences"]


@dataclass(frozen=True)
class Measured:
    """The summed loss of every sentence under one edit; None is the model as it is."""

    edit: Edit | None
    in_range: bool | None
    losses: Float[np.ndarray, " sentences"]
    moved: Moved | None = None


@dataclass(frozen=True)
class Cell:
    """Mean loss on one language of one source under one edit.

    Attributes:
        edit: raw, or the operation.
        splice: whether the reconstruction stood in the activation's place; None for raw.
        value: the dose: the value for `set`; the share left of the difference from the reference for `scale`; how
            often the distance between the languages for `add`.
        ce: nats per predicted token. ce_per_byte: nats per UTF-8 byte of predicted tokens.
        delta: ce minus that of `none` with the same splice, and its 95 % interval, paired by cluster.
        delta_per_byte: the same of ce_per_byte, which languages compare by more nearly.
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
    delta_per_byte: float
    byte_ci_low: float
    byte_ci_high: float
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
    budget: int = 1024,
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
        GlossaeError: an edit does not fit the units, or the site.
    """
    (measured,) = measure_sweeps(lm, site, [[(units, edits)]], tokens, budget=budget, progress=progress)
    return measured


Sweep = Sequence[tuple[Sae | Units, Sequence[tuple[Edit | None, bool | None]]]]
"""Edits, each with whether it is in range, beside the units that they are of; of one family or several."""


def measure_sweeps(
    lm: LanguageModel,
    site: Site,
    sweeps: Sequence[Sweep],
    tokens: TokenizedCorpus,
    *,
    side_effects: bool | Bool[np.ndarray, " sentences"] = False,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[list[Measured]]:
    """Several sweeps over one text, which share what lies below the site.

    Args:
        lm: the model.
        site: where the units are.
        sweeps: each is a list of edits with their units.
        tokens: the text.
        side_effects: whether to say how far predictions and activations move (`Measured.moved`), and of which
            sentences predictions (`glossae.lm.replayed`).
        budget: tokens in a batch.
        progress: called with the share that is done.

    Raises:
        GlossaeError: an edit does not fit its units, or the site.
    """
    asked = [edit for sweep in sweeps for _, edits in sweep for edit in edits]
    # the error-preserving edit of nothing is the model itself
    runs = [None if change is None or _nothing(change) else change for change, _ in asked]
    fns = []
    for sweep in sweeps:
        for units, edits in sweep:
            own = [change for change, _ in edits if change is not None and not _nothing(change)]
            fns += compile_edits(own, units)
    remaining = iter(fns)
    result = replayed(
        lm,
        site,
        tokens,
        [None if change is None else next(remaining) for change in runs],
        positions=["all" if change is None else change.positions for change in runs],
        side_effects=side_effects,
        budget=budget,
        progress=progress,
    )
    side = result.side_effects
    found = iter(
        Measured(
            change,
            inside,
            result.losses[row],
            None if side is None else Moved(side.kl[row], side.agreed[row], side.moved[row], side.size),
        )
        for row, (change, inside) in enumerate(asked)
    )
    return [[next(found) for _, edits in sweep for _ in edits] for sweep in sweeps]


def measure_growing(
    lm: LanguageModel,
    site: Site,
    sweeps: Sequence[Sweep],
    tokens: TokenizedCorpus,
    *,
    precision: float | None,
    seed: int,
    side_effects_on: str | None = None,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[TokenizedCorpus, list[list[Measured]]]:
    """`measure_sweeps` on random sentences of each language, ever more, until the changes of loss are known.

    A language is done once, for every edit, half the 95 % interval of the mean change from no edit is at most
    `precision` nats a token, or a tenth of the change; or once its text is at an end. Losses are computed of some
    tokens of each sentence then (`glossae.lm.worth_scoring`).

    Args:
        lm: the model.
        site: where the units are.
        sweeps: each is a list of edits with their units, with no edit among them.
        tokens: the text.
        precision: half the width of an interval, nats a token; None measures all of the text.
        seed: of the order in which sentences are drawn.
        side_effects_on: the language whose sentences `Measured.moved` is measured on; of others it is 0. None measures
            none.
        budget: tokens in a batch.
        keep: each sample is a part of the work.
        progress: called with the share of the text that is done; the last call says 1.

    Returns:
        The sentences that were measured, in the order of the text, and the sweeps on them.

    Raises:
        GlossaeError: an edit does not fit its units, or the site.
    """
    if precision is not None:
        tokens = tokens.scoring(worth_scoring(lm, site, tokens))
    languages = np.array([sentence.language for sentence in tokens.corpus.sentences], dtype=object)
    asked = [edit for sweep in sweeps for _, edits in sweep for edit in edits]
    base = _base_of_each(sweeps)
    found: Arrays = {}
    done: dict[str, Int[np.ndarray, " own"]] = {}
    open_ = set(languages.tolist())
    first = FIRST if precision is not None else PART
    for number, sample in enumerate(growing(languages.tolist(), seed=seed, first=first)):
        fresh = [sample[code][len(done.get(code, ())) :] for code in sorted(open_)]
        new = np.concatenate(fresh) if fresh else np.zeros(0, dtype=np.int64)
        if not len(new):
            break
        before, share = sum(map(len, done.values())) / len(tokens), len(new) / len(tokens)

        def measured(
            new: Int[np.ndarray, " new"] = new, before: float = before, share: float = share
        ) -> Arrays:
            return _sample(
                lm,
                site,
                sweeps,
                tokens.take(new),
                side_effects_on,
                budget,
                lambda done: progress(before + share * done),
            )

        for name, values in keep(str(number), measured).items():
            found.setdefault(name, np.zeros((*values.shape[:-1], len(tokens))))[..., new] = values
        for code in sorted(open_):
            done[code] = own = sample[code]
            changes = found["losses"][:, own] - found["losses"][base][:, own]
            if precision is not None and _known(changes, tokens.predicted[own], precision):
                open_.discard(code)
    chosen = np.sort(np.concatenate(list(done.values())))
    found = {name: values[..., chosen] for name, values in found.items()}
    rows = iter(
        Measured(
            change,
            inside,
            found["losses"][row],
            None
            if side_effects_on is None
            else Moved(found["kl"][row], found["agreed"][row], found["moved"][row], found["size"]),
        )
        for row, (change, inside) in enumerate(asked)
    )
    progress(1.0)
    return tokens.take(chosen), [[next(rows) for _, edits in sweep for _ in edits] for sweep in sweeps]


def _sample(
    lm: LanguageModel,
    site: Site,
    sweeps: Sequence[Sweep],
    tokens: TokenizedCorpus,
    side_effects_on: str | None,
    budget: int,
    progress: Callable[[float], None],
) -> Arrays:
    """Every edit's losses and side effects on a sample; the language whose predictions are compared by itself.

    Of the others texts that an edit does not change need not be run.
    """
    compared = np.array([s.language == side_effects_on for s in tokens.corpus.sentences])
    edits = sum(len(edits) for sweep in sweeps for _, edits in sweep)
    found: Arrays = {"losses": np.zeros((edits, len(tokens)))}
    if side_effects_on is not None:
        found |= {name: np.zeros((edits, len(tokens))) for name in ("kl", "agreed", "moved")}
        found["size"] = np.zeros(len(tokens))
    done = 0.0
    for own, side_effects in ((compared, True), (~compared, False)):
        if not own.any():
            continue
        share = float(own.mean())
        text = tokens.take(np.flatnonzero(own))
        measured = measure_sweeps(
            lm,
            site,
            sweeps,
            text,
            side_effects=side_effects,
            budget=budget,
            progress=lambda part, done=done, share=share: progress(done + share * part),  # type: ignore[misc]
        )
        done += share
        for row, m in enumerate(m for sweep in measured for m in sweep):
            found["losses"][row, own] = m.losses
            if m.moved is not None:
                for name in ("kl", "agreed", "moved"):
                    found[name][row, own] = getattr(m.moved, name)
                found["size"][own] = m.moved.size
    return found


def _base_of_each(sweeps: Sequence[Sweep]) -> list[int]:
    """For each edit the place of what its change is taken from: no edit with the same splice; of the model itself."""
    places: list[int] = []
    start = 0
    for sweep in sweeps:
        edits = [change for _, own in sweep for change, _ in own]
        none = {
            change.splice: start + place
            for place, change in enumerate(edits)
            if change is not None and change.operation == "none"
        }
        places += [
            start + place if change is None else none[change.splice] for place, change in enumerate(edits)
        ]
        start += len(edits)
    return places


def _known(
    changes: Float[np.ndarray, "edits sentences"], predicted: Int[np.ndarray, " sentences"], precision: float
) -> bool:
    """Whether the mean change under every edit is known as well as is asked for."""
    total = predicted.sum()
    return all(
        narrow_enough(half_width(own, predicted), float(own.sum() / total), precision) for own in changes
    )


def _nothing(change: Edit) -> bool:
    return not change.splice and not change.units


def cells(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: str = "latent",
    pooled: str = ALL_SOURCES,
    by_source: bool = True,
) -> list[Cell]:
    """A cell for each edit, language and source, and for all sources pooled.

    Args:
        measured: one sweep.
        tokens: its text.
        name: of the set of units.
        draws: resamples behind an interval.
        seed: of the resamples.
        kind: of the units.
        pooled: what the source of all of them together is called.
        by_source: whether there are rows for each source by itself.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    sources = np.array([s.source for s in tokens.corpus.sentences])
    rows = []
    for language in tokens.corpus.languages:
        own = languages == language
        groups = [(source, own & (sources == source)) for source in tokens.corpus.sources if by_source]
        for source, here in [*groups, (pooled, own)]:
            chosen = np.flatnonzero(here)
            if len(chosen):
                rows += _group_cells(measured, tokens, chosen, (name, kind, language, source), draws, seed)
    return rows


def _group_cells(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    chosen: np.ndarray,
    names: tuple[str, str, str, str],
    draws: int,
    seed: int,
) -> list[Cell]:
    name, kind, language, source = names
    predicted, size = tokens.predicted[chosen], tokens.predicted_bytes[chosen]
    base = {m.edit.splice: m.losses[chosen] for m in measured if m.edit and m.edit.operation == "none"}
    changes = [
        m.losses[chosen] - (m.losses[chosen] if m.edit is None else base[m.edit.splice]) for m in measured
    ]
    clusters = Clusters.within(tokens.corpus, chosen)
    sums = resampled_sums([*changes, predicted, size], draws=draws, seed=seed, clusters=clusters)
    rows = []
    for number, m in enumerate(measured):
        low, high = interval(sums[:, number] / sums[:, -2])
        byte_low, byte_high = interval(sums[:, number] / sums[:, -1])
        rows.append(
            Cell(
                units=name,
                kind=kind,
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
                delta_per_byte=float(changes[number].sum() / size.sum()),
                byte_ci_low=byte_low,
                byte_ci_high=byte_high,
                tokens=int(predicted.sum()),
                sentences=len(chosen),
                in_range=m.in_range,
            )
        )
    return rows
