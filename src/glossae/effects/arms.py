"""Sets of units with the edits that are tried on them, families side by side: latents, neurons and directions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects.doses import Dose
from glossae.effects.edits import Edit
from glossae.effects.next_token import OFF, Sweep, sweep_edits
from glossae.sae import Sae
from glossae.units import Directions, Kind, Neurons, Units

# what is left of a latent's own value; 0 is `zero`
LATENT_SHARES = (-1.0, -2.0, -4.0)
# what is left of the distance from the reference's mean; 0 is the projection, below it goes to the other side
SHARES = (0.75, 0.5, 0.25, -0.5, -1.0, -2.0)
# how often the distance between the means of target and reference is added
MULTIPLES = (-2.0, -1.0, -0.5, 0.5, 1.0)


@dataclass(frozen=True)
class Arm:
    """A set of units of one kind and its sweep.

    Attributes:
        name: what tables call the set.
        kind: of the units.
        size: how many there are.
        sweep: the edits, the first of which is the model itself or no edit.
    """

    name: str
    kind: Kind
    size: int
    sweep: Sweep

    @property
    def off(self) -> list[tuple[Sae | Units, Edit]]:
        """The edit that switches the units off, beside the units; none where there are no units."""
        return [
            (units, change)
            for units, edits in self.sweep
            for change, _ in edits
            if change is not None and not change.splice and change.operation == OFF[self.kind]
        ]

    @property
    def strongest(self) -> list[tuple[Sae | Units, Edit]]:
        """Of each error-preserving way down of the sweep (`set`, `scale`, `add`), its end, beside its units."""
        found: dict[str, tuple[Sae | Units, Edit]] = {}
        for units, edits in self.sweep:
            for change, _ in edits:
                if change is None or change.splice or change.operation not in ("set", "scale", "add"):
                    continue
                end = found.get(change.operation)
                if (change.value or 0.0) < (0.0 if end is None else end[1].value or 0.0):
                    found[change.operation] = (units, change)
        return list(found.values())


def partway(edit: Edit, share: float) -> Edit:
    """As much of an edit that is the end of a way down: 0 is no edit (of `set`, the dose 0), 1 the edit itself."""
    assert edit.value is not None
    if edit.operation == "scale":
        left = 1 - share * (1 - edit.value)
        return replace(edit, targets=(left,) * len(edit.units), value=left)
    return replace(edit, targets=tuple(share * target for target in edit.targets), value=share * edit.value)


def latent_arm(
    name: str,
    sae: Sae,
    units: tuple[int, ...],
    dose_list: Sequence[Dose],
    reference_means: tuple[float, ...],
    *,
    splice: bool = True,
) -> Arm:
    """The sweep of fixed values, with the latents switched off, and with their own values turned about.

    Args:
        name: of the set.
        sae: the autoencoder.
        units: which latents.
        dose_list: the values.
        reference_means: what each reads on the reference's text on average.
        splice: whether the sweep is also made with the reconstruction in the activation's place, and has the raw
            model in it.
    """
    edits = sweep_edits(units, dose_list, reference_means)
    if not splice:
        edits = [(change, inside) for change, inside in edits if change is not None and not change.splice]
    if units:
        edits.append((Edit("zero", units), None))
        edits += [(Edit("scale", units, (s,) * len(units), value=s), None) for s in LATENT_SHARES]
    return Arm(name, "latent", len(units), [(sae, edits)])


def neuron_arm(name: str, neurons: Neurons, ids: tuple[int, ...], mean: Float[Tensor, " d"]) -> Arm:
    """Coordinates set to zero, to the reference's mean, and drawn towards it and beyond.

    Args:
        name: of the set.
        neurons: the site's coordinates.
        ids: which.
        mean: the reference's mean activation.
    """
    means = neurons.read(mean[None].double(), ids)[0].tolist()
    at_mean = Directions([*map(neurons.name, ids)], neurons.direction(ids), torch.tensor(means))
    edits = [Edit("none"), Edit("zero", ids), Edit("mean", ids, tuple(means))]
    return Arm(
        name,
        "neuron",
        len(ids),
        [(neurons, _plain(edits)), (at_mean, _plain(_drawn(tuple(range(len(ids))))))],
    )


def direction_arm(
    name: str, direction: Float[Tensor, " d"], mean: Float[Tensor, " d"], target_mean: Float[Tensor, " d"]
) -> Arm:
    """One direction projected to the reference's mean, drawn towards it and beyond, and added in multiples.

    Args:
        name: of the set.
        direction: of any length.
        mean: the reference's mean activation.
        target_mean: the target's; the distance between the two along the direction is what multiples are of.
    """
    unit = centred(name, direction[None], mean)
    (gap,) = unit.read(target_mean.double()[None], (0,))[0].tolist()
    edits = [Edit("none"), projection(unit, (0,), mean), *_drawn((0,))]
    edits += [Edit("add", (0,), (multiple * gap,), value=multiple) for multiple in MULTIPLES]
    return Arm(name, "direction", 1, [(unit, _plain(edits))])


def centred(name: str, vectors: Float[Tensor, "units d"], mean: Float[Tensor, " d"]) -> Directions:
    """Directions that read 0 at a mean activation."""
    precise = vectors.detach().double().cpu()
    names = [name] if len(precise) == 1 else [f"{name} {number}" for number in range(len(precise))]
    return Directions(names, precise, precise @ mean.double().cpu())


def projection(units: Units, ids: tuple[int, ...], mean: Float[Tensor, " d"]) -> Edit:
    """The edit that projects units to a mean activation."""
    edit = Edit.project_to(units, ids, mean)
    return Edit("project_out", ids, edit.targets, value=0.0)


def _drawn(ids: tuple[int, ...]) -> list[Edit]:
    return [Edit("scale", ids, (share,) * len(ids), value=share) for share in SHARES]


def _plain(edits: Sequence[Edit]) -> list[tuple[Edit | None, bool | None]]:
    return [(edit, None) for edit in edits]
