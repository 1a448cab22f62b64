"""Measure the effect of sweeps' edits on next-token loss (the paper's section 5.2), with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.effects.edits import Edit
from glossae.effects.sets import Step, Sweep, compile_steps
from glossae.lm import (
    LanguageModel,
    Site,
    TokenEdit,
    TokenizedCorpus,
    growing_samples,
    half_width,
    narrow_enough,
    replayed,
    tokens_to_score,
)
from glossae.results import LossCell, PartEffect
from glossae.stats import Clusters, interval, resampled_sums
from glossae.units import Units

# sentences of a language in the first sample: with a precision, and without one
FIRST, PART = 32, 256

Arrays: TypeAlias = dict[str, np.ndarray]
Keep: TypeAlias = Callable[[str, Callable[[], Arrays]], Arrays]
"""Does a named part of the work, or returns its stored result if it was done before."""


def keep_nothing(_: str, work: Callable[[], Arrays]) -> Arrays:
    """Do the work and store nothing."""
    return work()


@dataclass(frozen=True)
class SentenceSideEffects:
    """Changes of a text's predictions and activations under an edit, summed over each sentence.

    Attributes:
        kl: KL(p || q) in nats, p the model's prediction and q that under the edit, over predicted tokens.
        agreed: the number of those at which the most probable token stayed the same.
        moved, size: norms of the change at the site, and of the activation there, over all tokens.
    """

    kl: Float[np.ndarray, " sentences"]
    agreed: Float[np.ndarray, " sentences"]
    moved: Float[np.ndarray, " sentences"]
    size: Float[np.ndarray, " sentences"]


@dataclass(frozen=True)
class Measured:
    """The summed loss of every sentence under one edit; None is the unedited model."""

    edit: Edit | None
    in_range: bool | None
    losses: Float[np.ndarray, " sentences"]
    moved: SentenceSideEffects | None = None


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
    """Run growing random samples of each language under every edit, until the changes of loss are known.

    A language is finished once, for every edit, half the 95 % interval of the mean change from no edit is at
    most `precision` nats per token, or a tenth of the change; or once its text is at its end. With a
    precision, losses are computed at some tokens of each sentence (`glossae.lm.tokens_to_score`). The part below
    the site is computed once.

    Args:
        sweeps: each has no edit among its steps.
        precision: half the width of an interval, nats per token; None measures all of the text.
        side_effects_on: the language for `Measured.moved`; for others it is 0. None measures none.
        keep: each sample is one part.

    Returns:
        The measured sentences, in the order of the text, and the sweeps on them.

    Raises:
        GlossaeError: an edit does not fit its units, or the site.
    """
    if precision is not None:
        tokens = tokens.scoring(tokens_to_score(lm, site, tokens))
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    steps = list(chain.from_iterable(sweeps))
    fns, base = compile_steps(steps), _bases(sweeps)
    found: Arrays = {}
    done: dict[str, Int[np.ndarray, " own"]] = {}
    open_ = set(languages)
    first = FIRST if precision is not None else PART
    for number, sample in enumerate(growing_samples(languages, seed=seed, first=first)):
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
                steps,
                fns,
                tokens.take(new),
                side_effects_on,
                budget,
                lambda done: progress(before + share * done),
            )

        for name, values in keep(str(number), measured).items():
            found.setdefault(name, np.zeros((*values.shape[:-1], len(tokens))))[..., new] = values
        for code in sorted(open_):
            done[code] = own = sample[code]
            if precision is not None:
                changes = found["losses"][:, own] - found["losses"][base][:, own]
                if precise_enough(changes, tokens.predicted[own], precision).all():
                    open_.discard(code)
    chosen = np.sort(np.concatenate(list(done.values())))
    found = {name: values[..., chosen] for name, values in found.items()}
    rows = iter(
        Measured(
            step.edit,
            step.in_range,
            found["losses"][row],
            None
            if side_effects_on is None
            else SentenceSideEffects(
                found["kl"][row], found["agreed"][row], found["moved"][row], found["size"]
            ),
        )
        for row, step in enumerate(steps)
    )
    progress(1.0)
    return tokens.take(chosen), [[next(rows) for _ in sweep] for sweep in sweeps]


def _sample(
    lm: LanguageModel,
    site: Site,
    steps: Sweep,
    fns: Sequence[TokenEdit | None],
    tokens: TokenizedCorpus,
    side_effects_on: str | None,
    budget: int,
    progress: Callable[[float], None],
) -> Arrays:
    """Every edit's losses and side effects on a sample; the language whose predictions are compared is run separately.

    For the others, texts that an edit does not change need not be run.
    """
    compared = np.array([s.language == side_effects_on for s in tokens.corpus.sentences])
    names = ("losses",) if side_effects_on is None else ("losses", "kl", "agreed", "moved")
    found: Arrays = {name: np.zeros((len(steps), len(tokens))) for name in names}
    if side_effects_on is not None:
        found["size"] = np.zeros(len(tokens))
    done = 0.0
    for own, side_effects in ((compared, True), (~compared, False)):
        if not own.any():
            continue
        share = float(own.mean())
        result = replayed(
            lm,
            site,
            tokens.take(np.flatnonzero(own)),
            fns,
            positions=["all" if step.edit is None else step.edit.positions for step in steps],
            side_effects=side_effects,
            budget=budget,
            progress=lambda part, done=done, share=share: progress(done + share * part),  # type: ignore[misc]
        )
        done += share
        found["losses"][:, own] = result.losses
        if result.side_effects is not None:
            for name in ("kl", "agreed", "moved", "size"):
                found[name][..., own] = getattr(result.side_effects, name)
    return found


def _bases(sweeps: Sequence[Sweep]) -> list[int]:
    """For each edit, the place of its base: no edit with the same splice; for the unedited model, itself."""
    places: list[int] = []
    for sweep in sweeps:
        start, edits = len(places), [step.edit for step in sweep]
        none = {edit.splice: start + n for n, edit in enumerate(edits) if edit and edit.operation == "none"}
        places += [start + n if edit is None else none[edit.splice] for n, edit in enumerate(edits)]
    return places


def precise_enough(
    changes: Float[np.ndarray, "edits sentences"], predicted: Int[np.ndarray, " sentences"], precision: float
) -> Bool[np.ndarray, " edits"]:
    """Whether the mean change under each edit is known to the precision, nats per token."""
    total = predicted.sum()
    return np.array(
        [narrow_enough(half_width(own, predicted), float(own.sum() / total), precision) for own in changes],
        dtype=bool,
    )


def cells(
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    *,
    name: str,
    draws: int,
    seed: int,
    kind: str = "latent",
    pooled: str = "all",
    by_source: bool = True,
) -> list[LossCell]:
    """A cell for each edit, language and source, and for all sources pooled.

    Args:
        pooled: the source name of rows for all sources pooled.
        by_source: whether there are also rows for each source.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    sources = np.array([s.source for s in tokens.corpus.sentences])
    rows = []
    for language in tokens.corpus.languages:
        own = languages == language
        groups = [(source, own & (sources == source)) for source in tokens.corpus.sources if by_source]
        for source, here in [*groups, (pooled, own)]:
            chosen = np.flatnonzero(here)
            if not len(chosen):
                continue
            predicted, size = tokens.predicted[chosen], tokens.predicted_bytes[chosen]
            changes = [m.losses[chosen] - base_of(measured, m).losses[chosen] for m in measured]
            clusters = Clusters.within(tokens.corpus, chosen)
            sums = resampled_sums([*changes, predicted, size], draws=draws, seed=seed, clusters=clusters)
            for number, (m, change) in enumerate(zip(measured, changes, strict=True)):
                low, high = interval(sums[:, number] / sums[:, -2])
                byte_low, byte_high = interval(sums[:, number] / sums[:, -1])
                cell = LossCell(
                    units=name,
                    kind=kind,
                    **edit_columns(m.edit),
                    language=language,
                    source=source,
                    ce=float(m.losses[chosen].sum() / predicted.sum()),
                    ce_per_byte=float(m.losses[chosen].sum() / size.sum()),
                    delta=float(change.sum() / predicted.sum()),
                    ci_low=low,
                    ci_high=high,
                    delta_per_byte=float(change.sum() / size.sum()),
                    byte_ci_low=byte_low,
                    byte_ci_high=byte_high,
                    tokens=int(predicted.sum()),
                    sentences=len(chosen),
                    in_range=m.in_range,
                )
                rows.append(cell)
    return rows


def edit_columns(edit: Edit | None) -> dict[str, Any]:
    """The columns of an edit in tables: its operation (`raw` for the unedited model), splice and dose."""
    if edit is None:
        return {"edit": "raw", "splice": None, "value": None}
    return {"edit": edit.operation, "splice": edit.splice, "value": edit.value}


def base_of(measured: Sequence[Measured], m: Measured) -> Measured:
    """The base of an edit's change: no edit with the same splice; for the unedited model, itself."""
    if m.edit is None:
        return m
    return next(
        b for b in measured if b.edit and b.edit.operation == "none" and b.edit.splice == m.edit.splice
    )


Way = Literal["alone", "left out"]


def part_edits(edit: Edit) -> list[tuple[int, Way, Edit]]:
    """An edit of each of its units alone, and of all but that one; for one unit there is nothing to leave out."""
    parts: list[tuple[int, Way, Edit]] = []
    for place, unit in enumerate(edit.units):
        ways: list[tuple[Way, list[int]]] = [("alone", [place])]
        if len(edit.units) > 1:
            ways.append(("left out", [other for other in range(len(edit.units)) if other != place]))
        for way, kept in ways:
            targets = tuple(edit.targets[i] for i in kept) if edit.targets else ()
            parts.append(
                (unit, way, replace(edit, units=tuple(edit.units[i] for i in kept), targets=targets))
            )
    return parts


def part_effects(
    lm: LanguageModel,
    site: Site,
    units: Units,
    edits: Sequence[Edit],
    tokens: TokenizedCorpus,
    *,
    name: str,
    precision: float | None,
    draws: int,
    seed: int,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> list[PartEffect]:
    """What each unit of some edits does alone, and all but that one; on as much text as `measure_growing` needs."""
    parts = [row for edit in edits for row in part_edits(edit)]
    steps = [Step(units, edit) for edit in (Edit("none"), *(edit for *_, edit in parts))]
    how: dict[str, Any] = {"budget": budget, "keep": keep, "progress": progress}
    text, (measured,) = measure_growing(lm, site, [steps], tokens, precision=precision, seed=seed, **how)
    return part_rows(parts, measured, text, name=name, draws=draws, seed=seed)


def part_rows(
    parts: Sequence[tuple[int, Way, Edit]],
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    *,
    name: str,
    draws: int,
    seed: int,
) -> list[PartEffect]:
    """A row for each part (`part_edits`) and language; `measured` is no edit, then each part's."""
    table = cells(measured, tokens, name=name, draws=draws, seed=seed, by_source=False)
    # no edit comes first in every language
    return [
        PartEffect(
            units=name,
            unit=unit,
            way=way,
            edit=edit.operation,
            value=edit.value,
            language=cell.language,
            delta=cell.delta,
            ci_low=cell.ci_low,
            ci_high=cell.ci_high,
        )
        for start in range(0, len(table), len(measured))
        for (unit, way, edit), cell in zip(parts, table[start + 1 : start + len(measured)], strict=True)
    ]
