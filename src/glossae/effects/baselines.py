"""What training adds: units of trained and untrained autoencoders by the same test, and what switching them off costs.

`ranked` orders the units of each group by one test, `found_units` looks at them on other text, `sets_off` and
`sets_down` make sets of the first ones, `switch_off` measures them, and `compared` says what each costs and what the
trained ones cost more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects.damage import SwitchOff, doses_of_each
from glossae.effects.edits import Edit
from glossae.effects.sets import Step, UnitSet, compile_steps
from glossae.evidence import LapeNeurons, paper_rule, passages, testing
from glossae.lm import LanguageModel, Site, TokenizedCorpus, replayed_losses, tokens_to_score
from glossae.results import (
    Comparison,
    FoundUnits,
    LossChange,
    MeasuredText,
    SwitchedSet,
    ToldAgain,
    TrainingAdds,
    TrainingCarries,
    TurnedSet,
)
from glossae.stats import interval
from glossae.units import Directions, Latents, Neurons, SentenceTable, UnitStatistics

TRAINED, UNTRAINED, FROZEN = "trained", "untrained", "frozen decoder"
COORDINATES, MEANS, LAPE = "coordinates", "difference of means", "LAPE neurons"
# the autoencoders that training is judged by
LEARNT = (TRAINED, UNTRAINED)
# of a language, for it to be among those of which one is the nearest
FEWEST_SENTENCES = 10
COMPARISONS: tuple[Comparison, ...] = ("target", "margin")
# a latent of another seed is the same one from this cosine of their decoder rows on
SAME = 0.7
# of all the damage that sets do, the share that "carries" it
CARRIED = 0.9

Aurocs = dict[str, Float[np.ndarray, " units"]]
"""By language, the AUROC of the target over it by each unit."""
Samples = dict[str, Float[np.ndarray, "draws sets"]]
"""By language, the mean change by set in each resample."""


@dataclass(frozen=True)
class Ranked:
    """The first units of one group, in the order of the test.

    Attributes:
        group: what they are of.
        seed: which draw of the group.
        units: the units.
        order: their numbers, the one that is furthest from its nearest language first.
        passing: how many pass the test.
        paper: how many latents pass the rate rule on the same text; None of coordinates.
        weakest: of all units, the AUROC over the nearest other language there.
    """

    group: str
    seed: int
    units: Latents | Neurons
    order: tuple[int, ...]
    passing: int
    paper: int | None
    weakest: Float[np.ndarray, " units"]


def ranked(
    groups: Sequence[tuple[str, int, Latents | Neurons]],
    statistics: Sequence[UnitStatistics],
    evidence: Sequence[testing.Evidence],
    claim: str,
    *,
    target: str,
    reference: str,
    most: int,
) -> list[Ranked]:
    """Order the units of every group by their AUROC over the nearest other language of one claim.

    Args:
        groups: of each its name, its seed and its units.
        statistics, evidence: of each, on the text that is searched.
        claim: the name of the claim that all are tested by.
        most: how many units of each are looked at further.
    """
    found = []
    for (group, seed, units), own, tested in zip(groups, statistics, evidence, strict=True):
        weakest = tested.weakest(claim)
        passing = paper_rule(own.rate(target), own.rate(reference)).sum()
        found.append(
            Ranked(
                group,
                seed,
                units,
                tuple(np.argsort(-weakest, kind="stable")[:most].tolist()),
                len(tested.passing(claim)),
                int(passing) if isinstance(units, Latents) else None,
                weakest,
            )
        )
    return found


def told_again(
    each: Ranked, table: SentenceTable, target: str, outside: Sequence[str], minimum: float, *, tokens: int
) -> ToldAgain:
    """The first units on other text.

    Args:
        outside: the languages that the claim is against.
        minimum: the AUROC that units are to reach over each of them.
        tokens: of a passage, as `passages` makes them of sentences.
    """
    found = testing.auroc_table(passages(table.columns(each.order), tokens))
    auroc: Aurocs = {code: found.of(target, code) for code in found.languages if code != target}
    least = np.min([values for code, values in auroc.items() if code in outside], axis=0)
    return ToldAgain(
        best=float(least[0]),
        above=int((least >= minimum).sum()),
        of=len(least),
        auroc={code: float(values[0]) for code, values in auroc.items()},
    )


def found_units(
    all_ranked: Sequence[Ranked],
    again: Mapping[str, Sequence[ToldAgain]],
    fvu: Sequence[dict[str, float] | None],
) -> list[FoundUnits]:
    """What passes in each group, how its best units do on other texts, and how stable they are over seeds.

    Args:
        again: by the name of a text, each group's units on it.
        fvu: of each group, by language.
    """
    return [
        FoundUnits(
            group=each.group,
            seed=each.seed,
            units=len(each.weakest),
            passing=each.passing,
            paper=each.paper,
            fvu=fvu[number],
            best=each.units.name(each.order[0]),
            weakest=float(each.weakest[each.order[0]]),
            again={name: told[number] for name, told in again.items()},
            stable=_stable(each, all_ranked),
        )
        for number, each in enumerate(all_ranked)
    ]


def _stable(each: Ranked, others: Sequence[Ranked]) -> float | None:
    """Of its first units, the share that has a latent of cosine `SAME` in the group's other seeds, on average."""
    if not isinstance(each.units, Latents):
        return None
    rows = torch.nn.functional.normalize(each.units.direction(each.order).detach().float(), dim=1)
    shares = []
    for other in others:
        if other.group == each.group and other.seed != each.seed and isinstance(other.units, Latents):
            best = [
                (rows.to(part.device) @ torch.nn.functional.normalize(part.float(), dim=1).T).amax(1)
                for part in other.units.rows()
            ]
            shares.append(float((torch.stack(best).amax(0) >= SAME).double().mean()))
    return float(np.mean(shares)) if shares else None


def directions_to(
    statistics: UnitStatistics, width: int, target: str, reference: str
) -> tuple[Float[Tensor, " d"], list[Directions]]:
    """The mean of the languages but the target, and the differences of means as directions.

    The target's mean less the reference's, and less that of all others where that is another one.

    Args:
        statistics: of the site's coordinates, those of both signs after each other.
        width: of the site.
    """
    means = {code: statistics.mean_value(code)[:width] for code in statistics.languages}
    # each counts alike
    others = torch.stack([mean for code, mean in means.items() if code != target]).mean(0)
    contrasts = {f"{MEANS}, {target} less {reference}": means[target] - means[reference]}
    if len(means) > 2:
        contrasts[f"{MEANS}, {target} less all others"] = means[target] - others
    return others, [
        Directions([name], vector[None], vector[None] @ others) for name, vector in contrasts.items()
    ]


def sets_off(
    all_ranked: Sequence[Ranked],
    mean: Float[Tensor, " d"],
    directions: Sequence[Directions],
    sizes: Sequence[int],
    lape: LapeNeurons | None = None,
) -> list[UnitSet]:
    """The sets that are switched off: latents at 0, coordinates and directions at the other languages' mean.

    Of LAPE neurons the best, as many as the largest of `sizes`, and all.
    """
    sets = []
    for each in all_ranked:
        for ids in (each.order[:size] for size in sorted(sizes) if size <= len(each.order)):
            off = (
                Edit("zero", ids)
                if isinstance(each.units, Latents)
                else Edit("mean", ids, _at(each.units, ids, mean))
            )
            sets.append(UnitSet(each.group, each.units, ids, seed=each.seed, sweep=[Step(each.units, off)]))
    for number, direction in enumerate(directions):
        off = Edit.project_to(direction, (0,), mean)
        sets.append(UnitSet(direction.names[0], direction, (0,), seed=number, sweep=[Step(direction, off)]))
    if lape is not None:
        # they lie in many layers, so that each set is a pass of the whole model
        for size in sorted({min(max(sizes), len(lape.ranked)), len(lape.ranked)} - {0}):
            sets.append(UnitSet(LAPE, layers=lape.best(size)))
    return sets


def sets_down(
    lm: LanguageModel,
    site: Site,
    all_ranked: Sequence[Ranked],
    mean: Float[Tensor, " d"],
    directions: Sequence[Directions],
    tokens: TokenizedCorpus,
    levels: Sequence[float],
    *,
    budget: int = 1024,
) -> list[UnitSet]:
    """Sets of the largest size, of the first seed of each group, turned down until the target's loss has risen so far.

    Args:
        tokens: the target's sentences whose loss is to rise.
        levels: by how much, nats a token.
    """
    tokens = tokens.scoring(tokens_to_score(lm, site, tokens))
    if not levels or not len(tokens):
        return []
    first = {each.group: each for each in reversed(all_ranked)}
    wanted = [
        UnitSet(each.group, each.units, each.order, seed=each.seed)
        for group in (TRAINED, FROZEN, UNTRAINED, COORDINATES)
        if (each := first.get(group)) is not None
    ]
    wanted += [UnitSet(one.names[0], one, (0,), seed=number) for number, one in enumerate(directions)]

    def towards(own: UnitSet, dose: float) -> Step:
        """From what units read to 0 (latents) or to a mean: 1 is all the way, 2 as far beyond again."""
        if isinstance(own.all_units, Latents):
            return Step(own.all_units, Edit("scale", own.ids, (1 - dose,) * own.size, value=dose))
        return Step(own.all_units, Edit("draw", own.ids, _at(own.all_units, own.ids, mean), value=dose))

    def damage(asked: list[list[float]]) -> list[list[float]]:
        steps = [towards(own, dose) for own, doses in zip(wanted, asked, strict=True) for dose in doses]
        losses = replayed_losses(lm, site, tokens, [None, *compile_steps(steps)], budget=budget)
        rises = iter(((losses[1:] - losses[0]).sum(1) / tokens.predicted.sum()).tolist())
        return [[next(rises) for _ in doses] for doses in asked]

    known = [{1.0: off} for (off,) in damage([[1.0]] * len(wanted))]
    found = doses_of_each(damage, known, [levels] * len(wanted))
    return [
        UnitSet(own.name, own.units, own.ids, seed=own.seed, sweep=[towards(own, dose)], at=level)
        for own, doses in zip(wanted, found, strict=True)
        for level, dose in doses.items()
        if dose is not None
    ]


def _at(units: Any, ids: Sequence[int], mean: Float[Tensor, " d"]) -> tuple[float, ...]:
    """What units read of a mean."""
    return tuple(units.read(mean[None], ids)[0].tolist())


@dataclass(frozen=True)
class Compared:
    """What sets cost each language, on how much text, and what trained ones cost more than untrained ones."""

    sets: list[SwitchedSet]
    measured: dict[str, MeasuredText]
    adds: list[TrainingAdds | TrainingCarries]


def compared(
    sets: Sequence[TurnedSet], switched: SwitchOff, target: str, *, draws: int, seed: int
) -> Compared:
    """What was measured of some sets, with 95 % intervals over sentences."""
    languages = switched.tokens.corpus.languages
    samples = {code: switched.resampled(code, draws=draws, seed=seed) for code in languages}
    return Compared(
        _set_rows(sets, switched, samples, target),
        {code: _measured(switched, code) for code in languages},
        _adds(sets, switched, samples, target, draws, seed),
    )


def _others(switched: SwitchOff, target: str) -> list[str]:
    """The languages among which the nearest one is looked for: one sentence would make any language the nearest."""
    return [
        code
        for code in switched.tokens.corpus.languages
        if code != target and len(switched.rows(code)) >= FEWEST_SENTENCES
    ]


def _measured(switched: SwitchOff, code: str) -> MeasuredText:
    rows, tokens = switched.rows(code), switched.tokens
    predicted = tokens.predicted[rows].sum()
    return MeasuredText(
        sentences=len(rows),
        tokens=int(predicted),
        bytes=int(tokens.predicted_bytes[rows].sum()),
        loss=float(switched.raw[rows].sum() / predicted),
    )


def _set_rows(
    sets: Sequence[TurnedSet], switched: SwitchOff, samples: Samples, target: str
) -> list[SwitchedSet]:
    """What each set costs each language, nats a token and a byte, with 95 % intervals over sentences."""
    mean, sentences, per_byte = (
        {code: find(code) for code in samples}
        for find in (switched.mean, switched.sentences, switched.per_byte)
    )
    rows = []
    for number, each in enumerate(sets):
        change = {}
        for code, drawn in samples.items():
            low, high = interval(drawn[:, number])
            change[code] = LossChange(
                delta=float(mean[code][number]),
                low=low,
                high=high,
                per_byte=float(per_byte[code][number]),
                sentences=int(sentences[code][number]),
            )
        others = {code: change[code].delta for code in _others(switched, target)}
        nearest = max(others, key=lambda code: others[code]) if others else None
        rows.append(SwitchedSet(**each.to_json(), change=change, nearest=nearest))
    return rows


def _adds(
    sets: Sequence[TurnedSet], switched: SwitchOff, samples: Samples, target: str, draws: int, seed: int
) -> list[TrainingAdds | TrainingCarries]:
    """Trained less untrained, size by size; the nearest other language is found anew in every resample."""
    others = _others(switched, target)
    point = {code: switched.mean(code)[None] for code in samples}
    generator = np.random.default_rng([seed, 1])
    rows: list[TrainingAdds | TrainingCarries] = []
    for size in sorted({each.size for each in sets if each.group in LEARNT and each.at is None}):
        numbers = {
            group: [
                n for n, each in enumerate(sets) if (each.group, each.size, each.at) == (group, size, None)
            ]
            for group in LEARNT
        }
        if not all(numbers.values()):
            continue
        drawn = {group: generator.choice(own, (draws, len(own))) for group, own in numbers.items()}
        for what in COMPARISONS:

            def statistic(changes: Samples, what: Comparison = what) -> Float[np.ndarray, "draws sets"]:
                if what == "target" or not others:
                    return changes[target]
                margin: Float[np.ndarray, "draws sets"] = changes[target] - np.max(
                    [changes[code] for code in others], axis=0
                )
                return margin

            at, every = statistic(point)[0], statistic(samples)
            trained, untrained = (float(at[own].mean()) for own in numbers.values())
            spread = [np.take_along_axis(every, own, axis=1).mean(1) for own in drawn.values()]
            low, high = interval(spread[0] - spread[1])
            rows.append(
                TrainingAdds(
                    what=what,
                    size=size,
                    trained=trained,
                    untrained=untrained,
                    difference=trained - untrained,
                    low=low,
                    high=high,
                    seeds=[len(own) for own in numbers.values()],
                )
            )
    return [*rows, _carrying(sets, point[target][0])]


def _carrying(sets: Sequence[TurnedSet], damage: Float[np.ndarray, " sets"]) -> TrainingCarries:
    """The smallest of the measured sizes that does 90 % of what the largest set does to the target, seed by seed."""
    needed: dict[str, list[int]] = {group: [] for group in LEARNT}
    for group, seed in dict.fromkeys((s.group, s.seed) for s in sets if s.group in LEARNT and s.at is None):
        own = {
            each.size: damage[n]
            for n, each in enumerate(sets)
            if (each.group, each.seed, each.at) == (group, seed, None)
        }
        # a largest set that does no damage carries itself
        least = min(CARRIED * own[max(own)], own[max(own)])
        needed[group].append(min(size for size, value in own.items() if value >= least))
    return TrainingCarries(trained=needed[TRAINED], untrained=needed[UNTRAINED])
