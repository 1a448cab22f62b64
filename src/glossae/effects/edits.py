"""Edits as data: an operation, units, their values, and which tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from jaxtyping import Float
from torch import Tensor

from glossae.effects.operations import Operation, Reading, compiled, unit_rows
from glossae.errors import GlossaeError
from glossae.lm import POSITIONS, Positions, TokenEdit
from glossae.sae import Sae
from glossae.units import Latents, Units

OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True)
class Edit:
    """A change to some latents of an autoencoder, or to some units of another kind.

    | operation | what it does to each unit, at every token that is edited | `targets` |
    |---|---|---|
    | `none` | nothing | none |
    | `set`, `mean` | it reads its target, also where it did not fire | what each reads |
    | `zero` | it reads 0 | none |
    | `scale` | it reads its target times what it read | factors |
    | `add` | its direction is added, its target times | amounts |
    | `project_out` | the site's component along it becomes its target | components; none for 0 |

    A latent reads its value in the code, a neuron the coordinate, a direction the product less its offset; a
    component is the product with the direction at length 1, whatever the offset. `glossae.effects.operations` has the
    formulas.

    Attributes:
        operation: one of those.
        units: the units' numbers.
        targets: a value for each.
        splice: the reconstruction replaces the activation, as in the paper, which latents only have. Otherwise
            the edit is error-preserving: what the autoencoder does not explain stays as it was.
        value: the dose that the targets stand for, as it is reported; None where there is none.
        positions: which tokens are edited; see `glossae.lm.chosen`. `compile` knows no positions: they are for
            `glossae.lm.edit` and `glossae.lm.replay`.

    Raises:
        GlossaeError: the operation or the positions are unknown, a unit is named twice, a value is missing, too many,
            or not finite. The line names the key.
    """

    operation: Operation
    units: tuple[int, ...] = ()
    targets: tuple[float, ...] = ()
    splice: bool = False
    value: float | None = None
    positions: Positions = "all"

    def __post_init__(self) -> None:
        _check_word("operation", self.operation, OPERATIONS)
        _check_word("positions", self.positions, POSITIONS)
        if self.operation == "none" and self.units:
            raise GlossaeError("edit: units: 'none' changes no unit, so it has none")
        optional = self.operation == "project_out" and not self.targets
        needed = 0 if self.operation == "zero" or optional else len(self.units)
        if len(self.targets) != needed:
            if self.operation == "zero":
                raise GlossaeError("edit: targets: 'zero' has none; 'set' takes values")
            raise GlossaeError(f"edit: {len(self.units)} units but {len(self.targets)} values")
        seen: set[int] = set()
        for unit in self.units:
            if unit in seen:
                raise GlossaeError(f"edit: the unit {unit} is named twice")
            seen.add(unit)
        for place, target in enumerate(self.targets):
            if not math.isfinite(target):
                raise GlossaeError(f"edit: targets[{place}]: {target} is not a finite number")
        if self.value is not None and not math.isfinite(self.value):
            raise GlossaeError(f"edit: value: {self.value} is not a finite number")

    @classmethod
    def project_to(
        cls, units: Units, ids: Sequence[int], mean: Float[Tensor, " d"], *, positions: Positions = "all"
    ) -> "Edit":
        """Project units to where a mean activation has them, such as that of English text.

        Raises:
            GlossaeError: there is no such unit, or a direction is zero.
        """
        components = unit_rows(units, ids) @ mean.detach().double().to(units.direction(ids).device)
        return cls("project_out", tuple(ids), tuple(components.tolist()), positions=positions)

    def compile(self, units: Sae | Units) -> TokenEdit:
        """The function `(tokens, d) -> (tokens, d)` for `glossae.lm.edit`.

        Args:
            units: an autoencoder, whose latents are meant, or units of any kind.

        Raises:
            GlossaeError: there is no such unit, a splice is asked of what is no autoencoder's, or a direction is zero
                that is to be projected out; or (when it is called) the site is of another width.
        """
        return compile_edits([self], units)[0]

    def to_json(self) -> dict[str, Any]:
        """The edit as JSON's types, which `from_json` takes back."""
        return asdict(self) | {"units": list(self.units), "targets": list(self.targets)}

    @classmethod
    def from_json(cls, value: Any) -> "Edit":
        """An edit from what `to_json` gave; keys that are not there have their defaults.

        Raises:
            GlossaeError: a key is unknown, missing, or of the wrong type; or what it says is no edit. The line names
                the key.
        """
        if not isinstance(value, Mapping):
            raise GlossaeError(f"edit: it has to be a JSON object, not {type(value).__name__}")
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise GlossaeError(f"edit: {key}: is not a key of an edit; there are {', '.join(known)}")
        if "operation" not in value:
            raise GlossaeError("edit: operation: is missing")
        for key, given in value.items():
            if not _FITS[key](given):
                raise GlossaeError(f"edit: {key}: {given!r} is not {_MEANT[key]}")
        _check_word("operation", value["operation"], OPERATIONS)
        _check_word("positions", value.get("positions", "all"), POSITIONS)
        return cls(
            **(
                dict(value)
                | {"units": tuple(value.get("units", ()))}
                | {"targets": tuple(map(float, value.get("targets", ())))}
            )
        )


def compile_edits(edits: Sequence[Edit], units: Sae | Units) -> list[TokenEdit]:
    """Compile several edits of the same units; called on the same tensor one after the other, they encode it once.

    Raises:
        GlossaeError: as for `Edit.compile`.
    """
    reading = Reading(Latents(units) if isinstance(units, Sae) else units)
    compiled_edits = []
    for edit in edits:
        values = edit.targets or (0.0,) * len(edit.units)
        compiled_edits.append(compiled(edit.operation, edit.units, values, reading, splice=edit.splice))
    return compiled_edits


def _check_word(key: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise GlossaeError(f"edit: {key}: '{given}' is not one of {', '.join(known)}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FITS = {
    "operation": lambda given: isinstance(given, str),
    "units": lambda given: isinstance(given, list | tuple) and all(type(unit) is int for unit in given),
    "targets": lambda given: isinstance(given, list | tuple) and all(map(_number, given)),
    "splice": lambda given: isinstance(given, bool),
    "value": lambda given: given is None or _number(given),
    "positions": lambda given: isinstance(given, str),
}
_MEANT = {
    "operation": "a word",
    "units": "a list of whole numbers",
    "targets": "a list of numbers",
    "splice": "true or false",
    "value": "a number or null",
    "positions": "a word",
}
