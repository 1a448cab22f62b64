"""The sets of units that are switched off, or turned down to the same damage, for what training adds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects import Edit, UnitSet, compile_edits, doses_of_each, neurons_off
from glossae.find import lape
from glossae.lm import Site, TokenEdit, TokenizedCorpus, replayed_losses, worth_scoring
from glossae.run.context import Context
from glossae.run.samples import first_sentences
from glossae.run.show import Report
from glossae.units import Directions, Latents, Neurons, UnitStatistics

TRAINED, UNTRAINED, FROZEN = "trained", "untrained", "frozen decoder"
COORDINATES, MEANS, LAPE = "coordinates", "difference of means", "LAPE neurons"
# sentences of the target on which doses are looked for
DOSE_SENTENCES = 48


@dataclass(frozen=True)
class Ranked:
    """The units of one kind, in the order of the rule.

    Attributes:
        group: what they are of.
        seed: which draw of the group.
        units: the units.
        order: their numbers, the one that is furthest from its nearest language first.
        passing: how many pass the run's test on the half of the panel that is searched.
        paper: how many pass the paper's rule there.
        weakest: of each, its AUROC over its nearest other language there.
    """

    group: str
    seed: int
    units: Latents | Neurons
    order: tuple[int, ...]
    passing: int
    paper: int
    weakest: Float[np.ndarray, " units"]


@dataclass(frozen=True)
class Means:
    """What the site's coordinates read on average, and the differences of means as directions.

    Attributes:
        others: the mean of the languages but the target, each counting alike.
        directions: the target's mean less the reference's, and less `others` where that is another one.
    """

    others: Float[Tensor, " d"]
    directions: list[Directions]


def means_of(context: Context, statistics: UnitStatistics, width: int) -> Means:
    """The means of the site's coordinates.

    Args:
        context: the run.
        statistics: of the coordinates, those of both signs after each other.
        width: of the site.
    """
    target = context.target
    means = {code: statistics.mean_value(code)[:width] for code in statistics.languages}
    others = torch.stack([mean for code, mean in means.items() if code != target]).mean(0)
    contrasts = {f"{MEANS}, {target} less {context.reference}": means[target] - means[context.reference]}
    if len(means) > 2:
        contrasts[f"{MEANS}, {target} less all others"] = means[target] - others
    return Means(
        others,
        [Directions([name], vector[None], vector[None] @ others) for name, vector in contrasts.items()],
    )


def sets_off(
    context: Context, ranked: Sequence[Ranked], means: Means, found_on: TokenizedCorpus, report: Report
) -> list[UnitSet]:
    """The sets that are switched off: latents at 0, coordinates and directions at the other languages' mean.

    LAPE neurons are found on `found_on`.
    """
    lm, sizes = context.lm, context.recipe.baselines.sizes
    sets = []
    for each in ranked:
        chosen = [each.order[:size] for size in sorted(sizes) if size <= len(each.order)]
        edits = [_off(each, units, means.others) for units in chosen]
        for units, edit in zip(chosen, compile_edits(edits, each.units), strict=True):
            sets.append(UnitSet(each.group, each.seed, len(units), units, edit=edit))
    for number, direction in enumerate(means.directions):
        edit = Edit.project_to(direction, (0,), means.others).compile(direction)
        sets.append(UnitSet(direction.names[0], number, 1, (), edit=edit))
    if context.recipe.baselines.lape:
        neurons = lape(
            lm, found_on, target=context.target, budget=context.recipe.batch_tokens, progress=report
        )
        # they lie in many layers, so that each set is a pass of the whole model
        for size in sorted({min(max(sizes), len(neurons.ranked)), len(neurons.ranked)} - {0}):
            everywhere = tuple(neurons_off(lm, neurons.best(size)))
            sets.append(UnitSet(LAPE, 0, size, (), edit=everywhere))
    return sets


def _off(each: Ranked, units: tuple[int, ...], mean: Float[Tensor, " d"]) -> Edit:
    if isinstance(each.units, Latents):
        return Edit("zero", units)
    return Edit("mean", units, tuple(each.units.read(mean[None], units)[0].tolist()))


def sets_down(
    context: Context, site: Site, ranked: Sequence[Ranked], means: Means, report: Report
) -> list[UnitSet]:
    """Sets of the largest size turned down to the same damage, found on the target's sentences of `tune`."""
    recipe, mean = context.recipe, means.others
    levels = recipe.baselines.damage
    tune = context.tokens("tune")
    own = first_sentences(
        tune.take([i for i, s in enumerate(tune.corpus.sentences) if s.language == context.target]),
        DOSE_SENTENCES,
    )
    own = own.scoring(worth_scoring(context.lm, site, own))
    if not levels or not len(own):
        return []
    wanted: list[tuple[str, int, tuple[int, ...], Latents | Neurons | Directions, tuple[float, ...]]] = []
    for group in (TRAINED, FROZEN, UNTRAINED, COORDINATES):
        for each in [one for one in ranked if one.group == group][:1]:
            at = (
                ()
                if isinstance(each.units, Latents)
                else tuple(each.units.read(mean[None], each.order)[0].tolist())
            )
            wanted.append((group, each.seed, each.order, each.units, at))
    for number, direction in enumerate(means.directions):
        at = tuple(direction.read(mean[None], (0,))[0].tolist())
        wanted.append((direction.names[0], number, (0,), direction, at))

    def damage(asked: list[list[float]]) -> list[list[float]]:
        edits = [
            _towards(of, units, at, dose)
            for (_, _, units, of, at), doses in zip(wanted, asked, strict=True)
            for dose in doses
        ]
        losses = replayed_losses(context.lm, site, own, [None, *edits], budget=recipe.batch_tokens)
        rises = iter(((losses[1:] - losses[0]).sum(1) / own.predicted.sum()).tolist())
        return [[next(rises) for _ in doses] for doses in asked]

    known = [{1.0: off} for (off,) in damage([[1.0]] * len(wanted))]
    report(0.2)
    found = [
        UnitSet(group, seed, len(units), units, dose, level, _towards(of, units, at, dose))
        for (group, seed, units, of, at), doses in zip(
            wanted, doses_of_each(damage, known, [levels] * len(wanted)), strict=True
        )
        for level, dose in doses.items()
        if dose is not None
    ]
    report(1.0)
    return found


def _towards(
    of: Latents | Neurons | Directions, units: tuple[int, ...], at: tuple[float, ...], dose: float
) -> TokenEdit:
    """Units taken so far from what they read to 0 (latents) or to a mean: 1 is all the way, 2 as far beyond again."""
    if isinstance(of, Latents):
        return Edit("scale", units, (1 - dose,) * len(units), value=dose).compile(of)
    read, direction, target = of.read, of.direction(units).detach(), torch.tensor(at, dtype=torch.float64)

    def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        precise = x.float()
        change = dose * (target.to(precise) - read(precise, units))
        return torch.addmm(precise, change, direction.to(precise))

    return apply
