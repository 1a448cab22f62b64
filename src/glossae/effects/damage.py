"""Find doses of equal damage for several families, and switch sets of units off."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.effects.edits import Edit, neurons_off
from glossae.effects.sets import Step, Sweep, UnitSet, compile_steps
from glossae.effects.sweep import Arrays, Keep, keep_nothing, precise_enough
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    edits,
    growing_samples,
    replayed_losses,
    sentence_losses,
    tokens_to_score,
)
from glossae.stats import Clusters, resampled_sums

# relative tolerance of a level, and the most search steps
NEAR, ROUNDS = 0.02, 10
# a level that has to be reached, not only approached, is searched with this factor on the damage
ABOVE = 1.025
# the search stops for a family that does not reach the level at this many times the largest dose
FURTHEST = 64.0


def doses_at(
    damage: Callable[[list[float]], list[float]], known: dict[float, float], levels: Sequence[float]
) -> dict[float, float | None]:
    """For each level, a dose whose damage is within 2 % of it; None if no dose reaches it.

    Between the two doses around a level, the search interpolates linearly in the logarithms of dose and
    damage, a nearly
    straight relation for small changes: KL grows with the square of the dose.

    Args:
        known: damage by dose, for at least one positive dose; measured doses are added to it.
    """
    (found,) = doses_of_each(lambda asked: [damage(asked[0])], [known], [levels])
    return found


def doses_of_each(
    damage: Callable[[list[list[float]]], list[list[float]]],
    known: Sequence[dict[float, float]],
    levels: Sequence[Sequence[float]],
    *,
    furthest: float = FURTHEST,
) -> list[dict[float, float | None]]:
    """`doses_at` for several families at once, so that the doses of all of them are measured together.

    Args:
        damage: measures several doses of each family; an empty list for families that are finished.
        known: for each family, damage by dose, as in `doses_at`.
        furthest: the largest dose that is tried, as a multiple of the largest known one.
    """
    largest = [max(own) for own in known]
    done: list[dict[float, float | None]] = [{} for _ in known]
    for _ in range(ROUNDS):
        asked = []
        for own, most, wished, found in zip(known, largest, levels, done, strict=True):
            wanted = set()
            for level in wished:
                if level in found:
                    continue
                dose = _next(own, level)
                if dose in own:
                    found[level] = dose
                elif dose > furthest * most:
                    found[level] = None
                else:
                    wanted.add(dose)
            asked.append(sorted(wanted))
        if not any(asked):
            break
        for own, doses, rises in zip(known, asked, damage(asked), strict=True):
            own.update(zip(doses, rises, strict=True))
    return [
        {level: found[level] if level in found else _nearest(own, level) for level in wished}
        for own, wished, found in zip(known, levels, done, strict=True)
    ]


def _next(known: dict[float, float], level: float) -> float:
    """A dose that is near enough, or else the next dose to measure."""
    near = [dose for dose, found in known.items() if abs(found - level) <= NEAR * level]
    if near:
        return min(near)
    doses = sorted(known)
    above = [dose for dose in doses if known[dose] > level]
    if not above:
        return 2 * doses[-1]
    high = above[0]
    below = [dose for dose in doses if dose < high]
    if not below:
        # slightly further than the square law says, so that the level lies between two doses
        return 0.9 * high * math.sqrt(level / known[high])
    low = below[-1]
    if known[low] <= 0:
        return math.sqrt(low * high)
    slope = math.log(known[high] / known[low]) / math.log(high / low)
    share = math.log(level / known[low]) / slope / math.log(high / low)
    # not an end of the bracket, which would give no information
    return float(low * (high / low) ** min(0.95, max(0.05, share)))


def _nearest(known: dict[float, float], level: float) -> float | None:
    """The dose that came nearest, if its damage is within a tenth of the level."""
    dose = min(known, key=lambda dose: abs(known[dose] - level))
    return dose if abs(known[dose] - level) <= 0.1 * level else None


def matched_sweeps(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    levels: Sequence[float],
    *,
    only_off: Collection[str] = (),
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Sweep]:
    """For each set: no edit, its units switched off, and doses that just reach each level of damage.

    A dose path runs from no edit to an end of the set's own sweep; a level above the damage at its end is left
    out. If latents fixed at 0 already do more damage than a level, the path of `set`, which starts at 0,
    cannot have it.

    Args:
        tokens: the sentences whose loss is to rise.
        only_off: names of sets without doses.
        keep: the search of all doses is one part.
        progress: called with a finished share, which grows more slowly from round to round.
    """
    turned = [(number, own) for number, own in enumerate(sets) if own.name not in only_off]
    ways = [(number, end) for number, own in turned for end in own.strongest]
    rounds = 0

    def rises(steps: Sweep) -> list[float]:
        nonlocal rounds
        losses = replayed_losses(lm, site, tokens, [None, *compile_steps(steps)], budget=budget)
        rounds += 1
        progress(1 - 0.5**rounds)
        return [float((own - losses[0]).sum() / tokens.predicted.sum()) for own in losses[1:]]

    def search() -> Arrays:
        first = [step for _, own in turned for step in (*own.off, *own.strongest)]
        damage = dict(zip(map(id, first), rises(first), strict=True))
        switched = {number: damage[id(step)] for number, own in turned for step in own.off}
        known, wished = [], []
        for number, end in ways:
            assert end.edit is not None
            own = {1.0: damage[id(end)]}
            if end.edit.operation == "scale" and number in switched:
                assert end.edit.value is not None
                own[1 / (1 - end.edit.value)] = switched[number]
            known.append(own)
            too_late = switched.get(number, 0.0) if end.edit.operation == "set" else 0.0
            wished.append([ABOVE * level for level in levels if level > too_late])

        def further(asked: list[list[float]]) -> list[list[float]]:
            steps = [
                _partway(end, share) for (_, end), shares in zip(ways, asked, strict=True) for share in shares
            ]
            found = iter(rises(steps))
            return [[next(found) for _ in shares] for shares in asked]

        shares = np.full((len(ways), len(levels)), np.nan)
        for row, reached in enumerate(doses_of_each(further, known, wished, furthest=1.0)):
            for column, level in enumerate(levels):
                shares[row, column] = np.nan if (dose := reached.get(ABOVE * level)) is None else dose
        return {"shares": shares}

    shares = keep("doses", search)["shares"] if ways and len(tokens) else np.full((len(ways), 0), np.nan)
    found = [[Step(own.sweep[0].units, Edit("none")), *own.off] for own in sets]
    for (number, end), own in zip(ways, shares, strict=True):
        doses = sorted({float(share) for share in own if not math.isnan(share)})
        found[number] += [_partway(end, dose) for dose in doses]
    progress(1.0)
    return [*found]


def _partway(end: Step, share: float) -> Step:
    """A part of the end of a dose path: 0 is no edit (for `set`, the dose 0), 1 the edit itself."""
    edit = end.edit
    assert edit is not None
    assert edit.value is not None
    if edit.operation == "scale":
        left = 1 - share * (1 - edit.value)
        return Step(end.units, replace(edit, targets=(left,) * len(edit.units), value=left))
    targets = tuple(share * target for target in edit.targets)
    return Step(end.units, replace(edit, targets=targets, value=share * edit.value))


@dataclass(frozen=True)
class SwitchOff:
    """What switching sets off does to each sentence that was measured.

    Attributes:
        tokens: the measured sentences.
        index: their numbers in the text.
        raw: their summed loss under the unedited model, nats.
        change: the rise under each set, nats.
        used: whether a set was measured on a sentence: some sets need fewer; `change` is 0 elsewhere.
    """

    tokens: TokenizedCorpus
    index: Int[np.ndarray, " sentences"]
    raw: Float[np.ndarray, " sentences"]
    change: Float[np.ndarray, "sets sentences"]
    used: Bool[np.ndarray, "sets sentences"]

    def rows(self, language: str) -> Int[np.ndarray, " chosen"]:
        """The numbers of a language's sentences."""
        return np.flatnonzero([s.language == language for s in self.tokens.corpus.sentences])

    def mean(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats per token."""
        return self._means(language, self.tokens.predicted)

    def per_byte(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats per byte of UTF-8."""
        return self._means(language, self.tokens.predicted_bytes)

    def sentences(self, language: str) -> Int[np.ndarray, " sets"]:
        """The number of a language's sentences on which each set was measured."""
        found: Int[np.ndarray, " sets"] = self.used[:, self.rows(language)].sum(1)
        return found

    def _means(self, language: str, sizes: Int[np.ndarray, " sentences"]) -> Float[np.ndarray, " sets"]:
        rows = self.rows(language)
        found: Float[np.ndarray, " sets"] = self.change[:, rows].sum(1) / (self.used[:, rows] @ sizes[rows])
        return found

    def resampled(self, language: str, *, draws: int, seed: int) -> Float[np.ndarray, "draws sets"]:
        """The mean change by set, nats per token, in resamples of a language's documents (or pairs, or sentences)."""
        rows = self.rows(language)
        sums = resampled_sums(
            [*self.change[:, rows], *(self.used[:, rows] * self.tokens.predicted[rows])],
            draws=draws,
            seed=seed,
            clusters=Clusters.across(self.tokens.corpus, language),
        )
        with np.errstate(invalid="ignore"):
            found: Float[np.ndarray, "draws sets"] = np.divide(*np.split(sums, 2, axis=1))
        return found


def switch_off(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    *,
    precision: float,
    seed: int,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> SwitchOff:
    """Switch every set off on growing random samples of each language's sentences, until the changes are known.

    A set is done in a language once half the 95 % interval of its mean change there is at most `precision` nats a
    token, or a tenth of the change; or once the text is at an end. One of neurons of several layers, for which the
    whole model has to be run, is done after the first sample. Samples begin alike, so that sets are held against
    each other on the same sentences as far as both go. Losses are computed of some tokens of each sentence
    (`tokens_to_score`), and texts that a set does not touch are not run again.

    Args:
        site: where the sets are that have a step.
        sets: each with one step, or with neurons of several layers.
        precision: half the width of an interval, nats a token.
        keep: each sample of a language is a part of the work.

    Raises:
        GlossaeError: an edit does not fit the site.
    """
    tokens = tokens.scoring(tokens_to_score(lm, site, tokens))
    raw, change = np.zeros(len(tokens)), np.zeros((len(sets), len(tokens)))
    used = np.zeros(change.shape, dtype=bool)
    several = np.array([bool(each.layers) for each in sets], dtype=bool)
    open_ = {code: np.arange(len(sets)) for code in tokens.corpus.languages}
    measured = dict.fromkeys(open_, 0)
    samples = growing_samples([sentence.language for sentence in tokens.corpus.sentences], seed=seed)
    for step, sample in enumerate(samples):
        for code, numbers in open_.items():
            own = sample[code]
            new = own[measured[code] :]
            if not len(numbers) or not len(new):
                continue
            before, share = sum(measured.values()) / len(tokens), len(new) / len(tokens)
            cells = np.ix_(numbers, new)
            work = partial(
                _measured,
                lm,
                site,
                [sets[number] for number in numbers.tolist()],
                tokens.take(new),
                budget,
                lambda x, before=before, share=share: progress(before + share * x),  # type: ignore[misc]
            )
            found = keep(f"{step}-{code}", work)
            raw[new], change[cells], used[cells] = found["raw"], found["change"], True
            measured[code] = len(own)
            known = precise_enough(change[np.ix_(numbers, own)], tokens.predicted[own], precision)
            open_[code] = numbers[~(known | several[numbers])]
    chosen = np.flatnonzero(used.any(0))
    progress(1.0)
    return SwitchOff(tokens.take(chosen), chosen, raw[chosen], change[:, chosen], used[:, chosen])


def _measured(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    budget: int,
    progress: Callable[[float], None],
) -> Arrays:
    here = [number for number, each in enumerate(sets) if not each.layers]
    losses = replayed_losses(
        lm,
        site,
        tokens,
        [None, *compile_steps([sets[number].sweep[0] for number in here])],
        budget=budget,
        progress=lambda done: progress(done * (len(here) + 1) / (len(sets) + 1)),
    )
    change = np.zeros((len(sets), len(tokens)))
    change[here] = losses[1:] - losses[0]
    for number, each in enumerate(sets):
        if each.layers:
            with edits(lm, neurons_off(lm, each.layers)):
                change[number] = sentence_losses(lm, tokens, budget=budget) - losses[0]
    return {"raw": losses[0], "change": change}
