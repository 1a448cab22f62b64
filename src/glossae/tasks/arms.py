"""The arms of a comparison: the model itself, the splice without an edit, and every edit."""

from collections.abc import Sequence
from dataclasses import dataclass

from glossae.effects import Edit, compile_edits
from glossae.lm import Positions, TokenEdit
from glossae.sae import Sae
from glossae.units import Units


@dataclass(frozen=True)
class Arm:
    """One way the model is run.

    Attributes:
        edit: what is done at the site; None for the model as it is.
        base: the number of the arm that it is compared with: no edit, with the same splice.
        units: the name of the units that are edited. kind: latent, neuron or direction.
    """

    edit: Edit | None
    base: int
    units: str = ""
    kind: str = "latent"

    @property
    def positions(self) -> Positions:
        """Which tokens are edited."""
        return "all" if self.edit is None else self.edit.positions


def arms_of(edits: Sequence[Edit], name: str = "", kind: str = "latent") -> list[Arm]:
    """The model itself; the splice without an edit, where an edit is spliced; then every edit, in order.

    Edits that are no more than one of the first two are left out.

    Args:
        edits: what is done.
        name: of the units.
        kind: of the units.
    """
    arms = [Arm(None, 0, name, kind)]
    if any(edit.splice for edit in edits):
        arms.append(Arm(Edit("none", splice=True), 1, name, kind))
    return arms + [Arm(edit, 1 if edit.splice else 0, name, kind) for edit in edits if edit.units]


def compiled_arms(arms: Sequence[Arm], units: Sae | Units) -> list[TokenEdit | None]:
    """The function that each arm's edit is.

    Raises:
        GlossaeError: an edit does not fit the units.
    """
    fns = iter(compile_edits([arm.edit for arm in arms if arm.edit is not None], units))
    return [None if arm.edit is None else next(fns) for arm in arms]


def kind_of(units: Sae | Units) -> str:
    """What sort of units these are."""
    return "latent" if isinstance(units, Sae) else units.kind
