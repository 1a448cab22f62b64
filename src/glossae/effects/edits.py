"""Edits as data: an operation, units, values and positions; and the functions of a site's tensor made from them."""

import math
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import POSITIONS, LanguageModel, Positions, Site, SiteEdit, TokenEdit, edit
from glossae.sae import Codes, Sae
from glossae.units import Latents, Neurons, Units, check_ids

Operation = Literal["none", "set", "zero", "mean", "draw", "scale", "add", "project_out"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True)
class Edit:
    """An edit of some latents of an SAE, or of units of another kind.

    With b the site x, or its reconstruction if spliced, r the units' values and D their directions::

        | operation | formula | effect on each unit, at every edited token | `targets` |
        |---|---|---|---|
        | `none` | b | nothing | none |
        | `set`, `mean` | b + (targets - r) D | it reads its target, also where it did not fire | what each reads |
        | `zero` | b - r D | it reads 0 | none |
        | `draw` | b + value (targets - r) D | it goes that share of the way to its target | what each reads |
        | `scale` | b + (targets - 1) r D | it reads its target times what it read | factors |
        | `add` | b + targets D | its direction is added, its target times | amounts |
        | `project_out` | b + V+ (targets - V b) | the component along it becomes its target | components; none for 0 |

    V has the directions at length 1 and V+ is its pseudo-inverse, so that V b becomes `targets` by the
    smallest possible change. Targets of 0 remove the component along the span of the directions; for one unit
    that is the directional ablation of Deng et al. (2025, arXiv 2505.05111), x - (x.d) d. A latent's value is
    that in the code, a neuron's the coordinate, a direction's the product less its offset.

    Attributes:
        operation: one of those.
        units: the units' numbers.
        targets: a value for each.
        splice: whether the reconstruction replaces the activation, as in the paper; only for latents.
            Otherwise the edit is error-preserving: what the SAE does not explain stays.
        value: the dose that the targets stand for, as reported; None if there is none.
        positions: the edited tokens; see `glossae.lm.positions_mask`. `compile` ignores them: they are for
            `glossae.lm.edit` and `glossae.lm.replay`.

    Raises:
        GlossaeError: the operation or the positions are unknown, a unit is named twice, a value is missing,
            superfluous or not finite. The line names the key.
    """

    operation: Operation
    units: tuple[int, ...] = ()
    targets: tuple[float, ...] = ()
    splice: bool = False
    value: float | None = None
    positions: Positions = "all"

    def __post_init__(self) -> None:
        for key, given, known in (
            ("operation", self.operation, OPERATIONS),
            ("positions", self.positions, POSITIONS),
        ):
            if given not in known:
                raise GlossaeError(f"edit: {key}: '{given}' is not one of {', '.join(known)}")
        if self.operation == "none" and self.units:
            raise GlossaeError("edit: units: 'none' changes no unit, so it has none")
        if self.operation == "zero" and self.targets:
            raise GlossaeError("edit: targets: 'zero' has none; 'set' takes values")
        optional = self.operation == "zero" or (self.operation == "project_out" and not self.targets)
        if not optional and len(self.targets) != len(self.units):
            raise GlossaeError(f"edit: {len(self.units)} units but {len(self.targets)} values")
        if len(set(self.units)) < len(self.units):
            twice = next(unit for unit in self.units if self.units.count(unit) > 1)
            raise GlossaeError(f"edit: the unit {twice} is named twice")
        for place, target in enumerate(self.targets):
            if not math.isfinite(target):
                raise GlossaeError(f"edit: targets[{place}]: {target} is not a finite number")
        if self.operation == "draw" and self.value is None:
            raise GlossaeError("edit: value: 'draw' needs one: the share of the way to the targets")
        if self.value is not None and not math.isfinite(self.value):
            raise GlossaeError(f"edit: value: {self.value} is not a finite number")

    @classmethod
    def project_to(
        cls, units: Units, ids: Sequence[int], mean: Float[Tensor, " d"], *, positions: Positions = "all"
    ) -> "Edit":
        """Project units to their components in a mean activation, such as that of English text.

        Raises:
            GlossaeError: a unit does not exist, or a direction is zero.
        """
        components = unit_rows(units, ids) @ mean.detach().double().to(units.direction(ids).device)
        return cls("project_out", tuple(ids), tuple(components.tolist()), positions=positions)

    def compile(self, units: Sae | Units) -> TokenEdit:
        """The function `(tokens, d) -> (tokens, d)` for `glossae.lm.edit`.

        Raises:
            GlossaeError: a unit does not exist, a splice is asked for without an SAE, or a direction to be
                projected out is zero; or (when it is called) the site has another width.
        """
        return compile_edits([self], units)[0]

    @property
    def changes(self) -> bool:
        """Whether it changes anything: an error-preserving edit of no units does not."""
        return self.splice or bool(self.units)


def compile_edits(edits: Sequence[Edit], units: Sae | Units) -> list[TokenEdit]:
    """Compile several edits of the same units; on the same tensor, they share one encoding.

    Raises:
        GlossaeError: as for `Edit.compile`.
    """
    reader = UnitReader(as_units(units))
    return [_compiled(edit, reader) for edit in edits]


def apply_edit(
    lm: LanguageModel, site: Site, units: Sae | Units, change: Edit | None
) -> AbstractContextManager[None]:
    """Apply an edit to the model inside the block; None for no edit.

    Raises:
        GlossaeError: the edit does not fit the units or the site.
    """
    if change is None:
        return nullcontext()
    return edit(lm, site, change.compile(units), positions=change.positions)


def neurons_off(
    lm: LanguageModel, neurons: Mapping[int, Sequence[int]], *, positions: Positions = "all"
) -> list[SiteEdit]:
    """The edits that set neurons of `mlp.hidden` to 0 at all their layers at once, for `glossae.lm.edits`.

    Tang et al. (2024, section 3.2) deactivate LAPE neurons this way. `evidence.lape(...).best(n)` gives such a
    mapping.

    Raises:
        GlossaeError: a layer or neuron does not exist, or a neuron is named twice.
    """
    changes = []
    for layer, ids in sorted(neurons.items()):
        if ids:
            site = Site("mlp.hidden", layer)
            units = Neurons(site, lm.width(site), model=lm.name)
            changes.append(SiteEdit(site, Edit("zero", tuple(ids)).compile(units), positions))
    return changes


def as_units(units: Sae | Units) -> Units:
    """The latents of an SAE; other units unchanged."""
    return Latents(units) if isinstance(units, Sae) else units


class UnitReader:
    """Reads units and keeps the code of the last tensor: edits that share it encode a tensor once.

    Nothing is kept while gradients are recorded, or for a tensor that was written into since.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        self._of: weakref.ref[Tensor] | None = None
        self._version = -1
        self._codes: Codes | None = None
        self._reconstruction: Tensor | None = None

    def precise(self, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        """The tensor in the precision of edits: the SAE's, or else at least float32."""
        if isinstance(self.units, Latents):
            return x.to(self.units.sae.W_dec.dtype)
        return x if x.dtype == torch.float64 else x.float()

    def read(self, x: Float[Tensor, "tokens d"], ids: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few units."""
        if isinstance(self.units, Latents):
            return self.units.values(self._code(self.units, x), ids)
        return self.units.read(x, ids)

    def reconstruction(self, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        """The SAE's reconstruction of x; only latents have one."""
        assert isinstance(self.units, Latents)
        codes = self._code(self.units, x)
        if self._codes is not codes:
            return self.units.sae.decode(codes)
        if self._reconstruction is None:
            self._reconstruction = self.units.sae.decode(codes)
        return self._reconstruction

    def _code(self, latents: Latents, x: Float[Tensor, "tokens d"]) -> Codes:
        if torch.is_grad_enabled() or x.is_inference():
            return latents.sae.encode(self.precise(x))
        if self._codes is None or self._of is None or self._of() is not x or self._version != x._version:
            self._codes, self._reconstruction = latents.sae.encode(self.precise(x)), None
            self._of, self._version = weakref.ref(x), x._version
        return self._codes


def _compiled(change: Edit, reader: UnitReader) -> TokenEdit:
    """The function of an edit, by the formulas of `Edit`."""
    units, ids, operation = reader.units, change.units, change.operation
    check_ids(units, ids)
    if change.splice and not isinstance(units, Latents):
        raise GlossaeError(f"edit: a {units.kind} has no reconstruction to splice; leave splice off")
    along = unit_rows(units, ids) if operation == "project_out" else None
    pull = None if along is None else torch.linalg.pinv(along)

    def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        if x.shape[1] != units.d_in:
            raise GlossaeError(
                f"edit: the {units.kind}s are of a site of d_in {units.d_in}, and this one is {x.shape[1]} wide"
            )
        base = reader.reconstruction(x) if change.splice else reader.precise(x)
        if operation == "none" or not ids:
            return base if change.splice else x
        wanted = torch.tensor(change.targets or (0.0,) * len(ids), dtype=base.dtype, device=base.device)
        if operation == "add":
            return base + wanted @ units.direction(ids).to(base)
        if along is not None and pull is not None:
            return torch.addmm(base, wanted - base @ along.T.to(base), pull.T.to(base))
        now = reader.read(x, ids)
        by = now * (wanted - 1) if operation == "scale" else wanted - now
        if operation == "draw":
            by = (change.value or 0.0) * by
        return torch.addmm(base, by, units.direction(ids).to(base))

    return apply


def unit_rows(units: Units, ids: Sequence[int]) -> Float[Tensor, "chosen d"]:
    """The directions of a few units at length 1, float64.

    Raises:
        GlossaeError: a unit does not exist, or a direction is zero.
    """
    check_ids(units, ids)
    rows = units.direction(ids).detach().double()
    norms = rows.norm(dim=1)
    for unit, norm in zip(ids, norms.tolist(), strict=True):
        if norm == 0:
            raise GlossaeError(
                f"edit: {units.name(unit)} has no direction to be projected on: it writes nothing"
            )
    scaled: Tensor = rows / norms[:, None]
    return scaled
