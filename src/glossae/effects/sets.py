"""Sets of units with their edits: sweeps of latents, neurons and directions, and families for steering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects.edits import Edit, Operation, as_units, compile_edits, unit_rows
from glossae.errors import GlossaeError
from glossae.lm import Positions, Site, TokenEdit
from glossae.results import TurnedSet
from glossae.sae import Sae
from glossae.units import Directions, Kind, Moments, Neurons, Units, difference_of_means

# the edit that switches units of each kind off
OFF: dict[Kind, Operation] = {"latent": "zero", "neuron": "mean", "direction": "project_out"}
# what is left of a latent's own value; 0 is `zero`
LATENT_SHARES = (-1.0, -2.0, -4.0)
# remaining shares of the distance from the reference's mean; 0 is the projection, below 0 lies the other side
SHARES = (0.75, 0.5, 0.25, -0.5, -1.0, -2.0)
# multiples of the distance between the means of target and reference
MULTIPLES = (-2.0, -1.0, -0.5, 0.5, 1.0)

FamilyName = Literal["latents_set", "latents_add", "neurons_set", "neurons_add", "means_add", "means_project"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)
Steering = Literal["set", "add", "project_out"]
STEERINGS: tuple[Steering, ...] = get_args(Steering)


@dataclass(frozen=True)
class Dose:
    """A value to fix units at.

    Attributes:
        value: as reported: in units of the saved latent, or in multiples of each unit's 99th percentile.
        targets: each unit's value in units of the saved latent.
        in_range: whether every unit takes such values without an edit on target text (0 counts: not firing).
    """

    value: float
    targets: tuple[float, ...]
    in_range: bool


@dataclass(frozen=True)
class UnitRange:
    """One unit's values on target text where it fires: smallest, median, 99th percentile, largest."""

    smallest: float
    median: float
    p99: float
    largest: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and min(0.0, self.smallest) <= value <= max(0.0, self.largest)


def doses(values: Sequence[float], ranges: Sequence[UnitRange], unit: str) -> list[Dose]:
    """The recipe's values, 0, and two in-range doses: the units' typical median and 99th percentile.

    Raises:
        GlossaeError: multiples of the 99th percentile are asked for and a unit never fires on the target.
    """
    if not ranges:
        return []
    if unit == "p99":
        if any(r.p99 <= 0 for r in ranges):
            raise GlossaeError(
                "effects.unit: p99 needs units that fire with positive values on the target's text"
            )
        medians = sorted(r.median / r.p99 for r in ranges)
        in_range = [medians[len(medians) // 2], 1.0]
    else:
        # if the units differ much, the mean of the medians is above the largest value of one of them
        least_p99 = min(r.p99 for r in ranges)
        in_range = [min(sum(r.median for r in ranges) / len(ranges), least_p99), least_p99]
    result = []
    for value in sorted({0.0, *values, *in_range}):
        targets = tuple(value * (r.p99 if unit == "p99" else 1.0) for r in ranges)
        result.append(Dose(value, targets, all(t in r for t, r in zip(targets, ranges, strict=True))))
    return result


class Step(NamedTuple):
    """One run of a model: units and an edit of them.

    Attributes:
        units: an SAE (its latents are the units), or units of any kind.
        edit: the edit; None for the unedited model.
        in_range: whether the units take the edit's value without an edit on target text; None if that is not
            checked.
    """

    units: Sae | Units
    edit: Edit | None
    in_range: bool | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the units."""
        return as_units(self.units).kind


Sweep = Sequence[Step]


def compile_steps(steps: Sweep) -> list[TokenEdit | None]:
    """The function of each step; None for the unedited model. Neighbours with the same units encode a tensor once.

    Raises:
        GlossaeError: an edit does not fit its units.
    """
    fns: list[TokenEdit | None] = [None] * len(steps)
    runs: list[list[int]] = []
    for place, step in enumerate(steps):
        if step.edit is not None and step.edit.changes:
            if not runs or steps[runs[-1][0]].units is not step.units:
                runs.append([])
            runs[-1].append(place)
    for places in runs:
        changes = [change for place in places if (change := steps[place].edit) is not None]
        for place, fn in zip(places, compile_edits(changes, steps[places[0]].units), strict=True):
            fns[place] = fn
    return fns


@dataclass(frozen=True)
class UnitSet:
    """Units that are turned together, and how: step by step (`sweep`), or by doses on one scale (`edit`).

    At the dose c an edit wants of unit i, with m its mean on a text of each language,

        set, project_out: m_reference + c (m_target - m_reference)        add: c (m_target - m_reference) more

    so that 1 takes the reference's mean to the target's, 0 is the reference's own mean (or no change), and units
    of every kind share one scale. What they do at the same dose is not the same: compare them at the same KL.

    Attributes:
        name: what tables call the set, or the group of sets that it is one of.
        units: the autoencoder whose latents are meant, or units of any kind; None of neurons of several layers.
        ids: which of them.
        sweep: the steps that are tried, the first of which is the model itself or no edit; of sets that are switched
            off, the one step that does it.
        operation: what doses do.
        low: the mean on reference text of what each reads; of its component for `project_out`.
        high: the same on target text.
        positions: which tokens are edited by doses.
        seed: which draw of its group the set is; 0 where there is but one.
        at: the rise of the target's loss that the dose of its step was looked for, nats a token.
        layers: neurons of `mlp.hidden` by layer, which are switched off at 0 all together.

    Raises:
        GlossaeError: there is not a mean of either language for each unit.
    """

    name: str
    units: Sae | Units | None = None
    ids: tuple[int, ...] = ()
    operation: Steering | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    positions: Positions = "all"
    sweep: Sweep = ()
    seed: int = 0
    at: float | None = None
    layers: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.operation is not None and not len(self.ids) == len(self.low) == len(self.high):
            raise GlossaeError(
                f"steering: {self.name}: {len(self.ids)} units, {len(self.low)} and {len(self.high)} means"
            )

    @property
    def all_units(self) -> Units:
        """The units, as units."""
        assert self.units is not None
        return as_units(self.units)

    @property
    def kind(self) -> Kind:
        """What sort of units these are."""
        return "neuron" if self.units is None else self.all_units.kind

    @property
    def size(self) -> int:
        """How many units there are."""
        return len(self.ids) + sum(map(len, self.layers.values()))

    @property
    def members(self) -> tuple[int, ...]:
        """The numbers of latents and neurons, for tables."""
        return () if self.kind == "direction" else self.ids

    @property
    def off(self) -> list[Step]:
        """The step that switches the units off; empty without units."""
        return [
            step
            for step in self.sweep
            if step.edit and not step.edit.splice and step.edit.operation == OFF[self.kind]
        ]

    @property
    def strongest(self) -> list[Step]:
        """The end of each error-preserving path of the sweep (`set`, `scale`, `add`)."""
        ends: dict[str, Step] = {}
        lowest: dict[str, float] = {}
        for step in self.sweep:
            change = step.edit
            if change is None or change.splice or change.operation not in ("set", "scale", "add"):
                continue
            if (value := change.value or 0.0) < lowest.get(change.operation, 0.0):
                ends[change.operation], lowest[change.operation] = step, value
        return list(ends.values())

    @property
    def competes(self) -> bool:
        """Whether reading the units takes all of an autoencoder, as where latents compete for a top-k."""
        return (
            self.operation == "set" and isinstance(self.units, Sae) and self.units.config.activation == "topk"
        )

    @property
    def row(self) -> TurnedSet:
        """What tables say of a set that is switched off, or turned down to a given damage."""
        dose = None if not self.sweep or self.sweep[0].edit is None else self.sweep[0].edit.value
        return TurnedSet(
            group=self.name,
            seed=self.seed,
            size=self.size,
            members=self.members,
            dose=1.0 if dose is None else dose,
            at=self.at,
        )

    def edit(self, dose: float) -> Edit:
        """The edit that a dose is."""
        assert self.operation is not None
        start = [0.0] * len(self.ids) if self.operation == "add" else self.low
        steps = [high - low for low, high in zip(self.low, self.high, strict=True)]
        targets = tuple(one + dose * step for one, step in zip(start, steps, strict=True))
        return Edit(self.operation, self.ids, targets, value=dose, positions=self.positions)

    def compiled(self, doses: Sequence[float]) -> list[TokenEdit]:
        """The edits of several doses; on the same tensor they encode it once."""
        return compile_edits([self.edit(dose) for dose in doses], self.all_units)


def latent_set(
    name: str,
    sae: Sae,
    units: tuple[int, ...],
    dose_list: Sequence[Dose],
    reference_means: tuple[float, ...],
    *,
    splice: bool = True,
) -> UnitSet:
    """Latents with the sweep of fixed values, with the latents switched off, and with their own values turned about.

    The unedited model comes first; then, spliced and error-preserving: no edit, every dose, the reference's
    mean.

    Args:
        reference_means: each latent's mean value on the reference's text.
        splice: whether the sweep includes spliced edits, and the unedited model.
    """
    steps = [Step(sae, None)] if splice else []
    for spliced in (True, False) if splice else (False,):
        steps.append(Step(sae, Edit("none", splice=spliced)))
        steps += [Step(sae, Edit("set", units, d.targets, spliced, d.value), d.in_range) for d in dose_list]
        if units:
            steps.append(Step(sae, Edit("mean", units, reference_means, spliced)))
    if units:
        edits = [Edit("zero", units), *_scaled(units, LATENT_SHARES)]
        steps += [Step(sae, edit) for edit in edits]
    return UnitSet(name, sae, units, low=reference_means, sweep=steps)


def neuron_set(name: str, neurons: Neurons, ids: tuple[int, ...], mean: Float[Tensor, " d"]) -> UnitSet:
    """Coordinates set to zero, to the reference's mean, and drawn towards it and beyond."""
    means = neurons.read(mean[None].double(), ids)[0].tolist()
    at_mean = Directions([*map(neurons.name, ids)], neurons.direction(ids), torch.tensor(means))
    own = (Edit("none"), Edit("zero", ids), Edit("mean", ids, tuple(means)))
    drawn = _scaled(tuple(range(len(ids))), SHARES)
    steps = [*(Step(neurons, edit) for edit in own), *(Step(at_mean, edit) for edit in drawn)]
    return UnitSet(name, neurons, ids, sweep=steps)


def direction_set(
    name: str, direction: Float[Tensor, " d"], mean: Float[Tensor, " d"], target_mean: Float[Tensor, " d"]
) -> UnitSet:
    """One direction projected to the reference's mean, drawn towards it and beyond, and added in multiples.

    Args:
        direction: of any length.
        target_mean: the target's; multiples are of the distance between the two means along the direction.
    """
    precise = direction.detach().double().cpu()[None]
    unit = Directions([name], precise, precise @ mean.double().cpu())
    (gap,) = unit.read(target_mean.double()[None], (0,))[0].tolist()
    off = Edit("project_out", (0,), Edit.project_to(unit, (0,), mean).targets, value=0.0)
    added = [Edit("add", (0,), (multiple * gap,), value=multiple) for multiple in MULTIPLES]
    steps = [Step(unit, edit) for edit in (Edit("none"), off, *_scaled((0,), SHARES), *added)]
    return UnitSet(name, unit, (0,), sweep=steps)


def _scaled(ids: tuple[int, ...], shares: Sequence[float]) -> list[Edit]:
    return [Edit("scale", ids, (share,) * len(ids), value=share) for share in shares]


def families(
    names: Sequence[FamilyName],
    *,
    site: Site,
    sae: Sae,
    latents: Sequence[int],
    latent_means: tuple[Sequence[float], Sequence[float]],
    moments: Moments,
    target: str,
    reference: str,
    model: str = "",
    tested_neurons: Sequence[int] = (),
) -> list[UnitSet]:
    """The families of these names; one without units is left out.

    The neurons are as many as the latents (at least one): the best coordinates of the site (`best_neurons`).
    The direction is the difference of the two languages' means.

    Args:
        latent_means: their mean values on reference and on target text, with 0 where they do not fire.
        moments: of the site on text of both languages, with products.
        tested_neurons: those that passed the run's tests, best first.
    """
    own, other = moments.mean(target), moments.mean(reference)
    # some latents have the same mean on both languages and cannot steer
    kept = [i for i in range(len(latents)) if latent_means[0][i] != latent_means[1][i]]
    ids = tuple(int(latents[i]) for i in kept)
    low, high = (tuple(float(means[i]) for i in kept) for means in latent_means)
    neurons = Neurons(site, len(own), model=model)
    best = best_neurons(moments, target, reference, max(1, len(latents)), tested_neurons)
    at_best = tuple(other[list(best)].tolist()), tuple(own[list(best)].tolist())
    direction = difference_of_means(moments, target, (reference,))
    along = unit_rows(direction, (0,))[0].cpu()
    start, end = ((float(along @ mean.double().cpu()),) for mean in (other, own))
    made: dict[
        FamilyName, tuple[Sae | Units, tuple[int, ...], Steering, tuple[float, ...], tuple[float, ...]]
    ]
    made = {
        "latents_set": (sae, ids, "set", low, high),
        "latents_add": (sae, ids, "add", low, high),
        "neurons_set": (neurons, best, "set", *at_best),
        "neurons_add": (neurons, best, "add", *at_best),
        "means_add": (direction, (0,), "add", start, end),
        "means_project": (direction, (0,), "project_out", start, end),
    }
    return [UnitSet(name, *made[name]) for name in names if made[name][1]]


def best_neurons(
    moments: Moments, target: str, reference: str, count: int, tested: Sequence[int] = ()
) -> tuple[int, ...]:
    """The coordinates that separate the target best, best first, none twice.

    Those that passed the run's tests come first; then those with the largest absolute difference of means, over the
    deviation within languages (Cohen's d).

    Args:
        moments: of the site on text of both languages, with products.
        tested: neurons that passed, best first; numbers beyond the site's width are the coordinates' negatives.
    """
    deviation = moments.pooled_covariance().diagonal().clamp_min(0).sqrt()
    difference = (moments.mean(target) - moments.mean(reference)).abs()
    effect = torch.where(deviation > 0, difference / deviation.clamp_min(1e-30), 0.0)
    order = effect.argsort(descending=True, stable=True).tolist()
    return tuple(dict.fromkeys([*(unit % len(order) for unit in tested), *order]))[:count]
