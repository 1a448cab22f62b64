"""Families of units that are steered alike: a dose takes each unit from one language's mean towards another's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from glossae.effects.edits import Edit, compile_edits
from glossae.effects.operations import unit_rows
from glossae.errors import GlossaeError
from glossae.lm import Positions, Site, TokenEdit
from glossae.sae import Sae
from glossae.units import Latents, Moments, Neurons, Units, difference_of_means

FamilyName = Literal["latents_set", "latents_add", "neurons_set", "neurons_add", "means_add", "means_project"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)
Steering = Literal["set", "add", "project_out"]
STEERINGS: tuple[Steering, ...] = get_args(Steering)


@dataclass(frozen=True)
class Family:
    """Units that are steered together.

    At the dose c an edit wants of unit i, with m its mean on a text of each language,

        set, project_out: m_reference + c (m_target - m_reference)        add: c (m_target - m_reference) more

    so that 1 takes the reference's mean to the target's, 0 is the reference's own mean (or no change), and families
    of every kind share one scale. What they do at the same dose is not the same: compare them at the same KL.

    Attributes:
        name: what a table calls it.
        units: the autoencoder whose latents are meant, or units of any kind.
        ids: which of them.
        operation: what is done with them.
        low: the mean on reference text of what each reads; of its component for `project_out`.
        high: the same on target text.
        positions: which tokens are edited.
    """

    name: str
    units: Sae | Units
    ids: tuple[int, ...]
    operation: Steering
    low: tuple[float, ...]
    high: tuple[float, ...]
    positions: Positions = "all"

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.low) == len(self.high):
            raise GlossaeError(
                f"steering: {self.name}: {len(self.ids)} units, {len(self.low)} and {len(self.high)} means"
            )

    @property
    def of(self) -> Units:
        """The units, as units."""
        return Latents(self.units) if isinstance(self.units, Sae) else self.units

    @property
    def competes(self) -> bool:
        """Whether reading the units takes all of an autoencoder, as where latents compete for a top-k."""
        return (
            self.operation == "set" and isinstance(self.units, Sae) and self.units.config.activation == "topk"
        )

    def edit(self, dose: float) -> Edit:
        """The edit that a dose is."""
        start = [0.0] * len(self.ids) if self.operation == "add" else self.low
        steps = [high - low for low, high in zip(self.low, self.high, strict=True)]
        targets = tuple(one + dose * step for one, step in zip(start, steps, strict=True))
        return Edit(self.operation, self.ids, targets, value=dose, positions=self.positions)

    def compiled(self, doses: Sequence[float]) -> list[TokenEdit]:
        """The edits of several doses; on the same tensor they encode it once."""
        return compile_edits([self.edit(dose) for dose in doses], self.units)


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
) -> list[Family]:
    """The families of these names; one without units is left out.

    Neurons are as many as latents (one at least): the best coordinates of the site (`best_neurons`). The direction is
    the difference of the two languages' means.

    Args:
        names: which.
        site: where.
        sae: the autoencoder.
        latents: the selected ones.
        latent_means: their mean values on reference and on target text, 0 counting where they do not fire.
        moments: of the site on text of both languages, with products.
        target: the language to steer to.
        reference: the language to steer from.
        model: its name, for what neurons are called.
        tested_neurons: those that passed the run's tests, best first.
    """
    own, other = moments.mean(target), moments.mean(reference)
    # some latents read the same on both and cannot be steered by
    kept = [i for i in range(len(latents)) if latent_means[0][i] != latent_means[1][i]]
    ids = tuple(int(latents[i]) for i in kept)
    low, high = (tuple(float(means[i]) for i in kept) for means in latent_means)
    neurons = Neurons(site, len(own), model=model)
    best = best_neurons(moments, target, reference, max(1, len(latents)), tested_neurons)
    direction = difference_of_means(moments, target, (reference,))
    made: dict[str, Family] = {
        f"latents_{operation}": Family(f"latents_{operation}", sae, ids, operation, low, high)
        for operation in ("set", "add")
    }
    for operation in ("set", "add"):
        made[f"neurons_{operation}"] = Family(
            f"neurons_{operation}",
            neurons,
            best,
            operation,
            tuple(other[list(best)].tolist()),
            tuple(own[list(best)].tolist()),
        )
    along = unit_rows(direction, (0,))[0].cpu()
    start, end = ((float(along @ mean.double().cpu()),) for mean in (other, own))
    made["means_add"] = Family("means_add", direction, (0,), "add", start, end)
    made["means_project"] = Family("means_project", direction, (0,), "project_out", start, end)
    return [made[name] for name in names if made[name].ids]


def best_neurons(
    moments: Moments, target: str, reference: str, count: int, tested: Sequence[int] = ()
) -> tuple[int, ...]:
    """The coordinates that stand for the target most, best first, none twice.

    Those that passed the run's tests come first; then those with the largest |difference of means| / deviation within
    languages (Cohen's d).

    Args:
        moments: of the site on text of both languages, with products.
        target: the language.
        reference: the language that it is told from.
        count: how many.
        tested: neurons that passed, best first; those past the site's width are the coordinates' negatives.
    """
    deviation = moments.pooled_covariance().diagonal().clamp_min(0).sqrt()
    difference = (moments.mean(target) - moments.mean(reference)).abs()
    effect = torch.where(deviation > 0, difference / deviation.clamp_min(1e-30), 0.0)
    order = effect.argsort(descending=True, stable=True).tolist()
    return tuple(dict.fromkeys([*(unit % len(order) for unit in tested), *order]))[:count]
