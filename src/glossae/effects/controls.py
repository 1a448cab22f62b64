"""Controls: the effect of other units, drawn many times, and the rank of the selected units among them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.effects.edits import Edit, UnitReader, as_units, compile_edits, unit_rows
from glossae.effects.sets import OFF, UnitSet
from glossae.effects.sweep import Arrays, Keep, keep_nothing
from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenEdit, TokenizedCorpus, replayed_losses
from glossae.results import Control
from glossae.sae import Sae
from glossae.units import Units

UNTRAINED = 3
"""The number of untrained SAEs that the selected latents are compared with, one per seed."""
# tokens in a batch: the edited tensors of a small batch stay in a CPU's cache
BUDGET = 1024
# sentences after which results are kept
PART = 64
# for each selected latent, the number of most similar latents from which its substitute is drawn
CANDIDATES = 20

Share: TypeAlias = Callable[[Iterable[int]], Iterator[int]]
"""The parts of the work that are done here."""


@dataclass(frozen=True)
class Rises:
    """The rise of the mean loss under each of some edits, nats per UTF-8 byte of predicted tokens.

    Attributes:
        target, reference: of the two languages.
        nearest: the largest of all languages but the target; None if the reference is the only other language.
    """

    target: Float[np.ndarray, " edits"]
    reference: Float[np.ndarray, " edits"]
    nearest: Float[np.ndarray, " edits"] | None = None

    def statistics(self) -> dict[str, Float[np.ndarray, " edits"]]:
        """The statistics that sets are compared by, for every edit: the target's loss, and its excess over others."""
        found = {"target": self.target, "target - reference": self.target - self.reference}
        return found if self.nearest is None else found | {"target - nearest": self.target - self.nearest}

    def take(self, place: slice) -> "Rises":
        """The rises under some of the edits."""
        nearest = None if self.nearest is None else self.nearest[place]
        return Rises(self.target[place], self.reference[place], nearest)


def measure_rises(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit],
    target: str,
    reference: str,
    *,
    keep: Keep = keep_nothing,
    share: Share = iter,
    progress: Callable[[float], None] = lambda _: None,
) -> Rises:
    """Run a text under every edit; the part below the site is computed once per batch for all of them.

    Languages of the text besides the two count for `nearest`. Memory is one batch, and a number for each edit
    and sentence. Every `PART` sentences are one part for `keep`, and `share` says which of these are measured here.

    Raises:
        GlossaeError: the text lacks one of the two languages, or an edit does not fit the site.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    for code in (target, reference):
        if code not in languages:
            raise GlossaeError(f"controls: there is no text in {code} to measure them on")
    parts = []
    for start in share(range(0, len(tokens), PART)):
        some = tokens.take(range(start, min(start + PART, len(tokens))))

        def work(some: TokenizedCorpus = some, start: int = start) -> Arrays:
            def told(share: float) -> None:
                progress((start + share * len(some)) / len(tokens))

            return {"losses": replayed_losses(lm, site, some, [None, *fns], budget=BUDGET, progress=told)}

        parts.append(keep(str(start), work)["losses"])
    progress(1.0)
    losses = np.concatenate(parts, axis=1)
    rises = {}
    for code in tokens.corpus.languages:
        own = languages == code
        rises[code] = (losses[1:, own] - losses[0, own]).sum(1) / tokens.predicted_bytes[own].sum()
    others = [rises[code] for code in tokens.corpus.languages if code != target]
    return Rises(rises[target], rises[reference], np.max(others, axis=0) if len(others) > 1 else None)


def compare_with_draws(units: str, edit: Edit, observed: Rises, control: str, null: Rises) -> list[Control]:
    """A set's edit compared with many draws, one row for each statistic."""
    rows, drawn = [], null.statistics()
    for name, values in observed.statistics().items():
        own, draws = float(values[0]), drawn[name]
        rows.append(
            Control(
                units=units,
                edit=edit.operation,
                value=edit.value,
                control=control,
                control_edit=edit.operation,
                statistic=name,
                draws=len(draws),
                observed=own,
                null_mean=float(draws.mean()),
                null_p95=float(np.quantile(draws, 0.95)),
                rank=rank(own, draws),
            )
        )
    return rows


def compare_with_one(
    units: str, edit: Edit, observed: Rises, control: str, control_edit: str, other: Rises
) -> list[Control]:
    """A set's one edit beside another set's, a row for each statistic."""
    theirs = other.statistics()
    return [
        Control(
            units=units,
            edit=edit.operation,
            value=edit.value,
            control=control,
            control_edit=control_edit,
            statistic=name,
            draws=1,
            observed=float(values[0]),
            null_mean=float(theirs[name][0]),
            null_p95=None,
            rank=None,
        )
        for name, values in observed.statistics().items()
    ]


MATCHED, REDIRECTED = "matched latents", "random directions"


def compare_sets(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    sets: Sequence[UnitSet],
    edits: Sequence[Edit],
    target: str,
    reference: str,
    *,
    drawn: Int[np.ndarray, "draws selected"] | None,
    means: Float[np.ndarray, " latents"],
    matched_under: Collection[str],
    draws: int,
    seed: int,
    keep: Keep = keep_nothing,
    share: Share = iter,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Control], int]:
    """Compare the selected latents with drawn ones, random directions and other sets, measured in one pass of a text.

    Neurons and directions are brought to the reference's mean, and held against random directions themselves.

    Args:
        sets: the selected latents, then the others, each with its sweep.
        edits: of the selected latents, the one that switches them off first; none where none were selected.
        drawn: sets of latents in their place (`matched_sets`).
        means: what every latent reads on the reference's text on average.
        matched_under: the operations under which drawn sets are measured.
        draws: how often random directions are drawn.
        keep, share, progress: as in `measure_rises`.

    Returns:
        The rows, and how many edits were measured.

    Raises:
        GlossaeError: as `measure_rises`.
    """
    own, latents = sets[0], [each for each in sets[1:] if each.kind == "latent"]
    cheaper = [each for each in sets[1:] if each.kind != "latent"]
    fns: list[TokenEdit] = []
    places: dict[tuple[str, str], slice] = {}

    def add(name: str, edit: str, more: Sequence[TokenEdit]) -> None:
        places[name, edit] = slice(len(fns), len(fns) + len(more))
        fns.extend(more)

    units = own.all_units
    for edit in edits:
        same = []
        if drawn is not None and edit.operation in matched_under:
            for ids in drawn:
                wanted = tuple(means[ids].tolist()) if edit.operation == "mean" else edit.targets
                same.append(Edit(edit.operation, tuple(ids.tolist()), wanted, value=edit.value))
        first, *others = compile_edits([edit, *same], units)
        add(own.name, edit.operation, [first])
        if others:
            add(MATCHED, edit.operation, others)
    if edits:
        add(_redirected(own), edits[0].operation, random_direction_edits(edits[0], units, draws, seed=seed))
    for each in latents:
        for edit in edits:
            add(each.name, edit.operation, [_same(each, edit).compile(each.all_units)])
    for each in cheaper:
        ((at, off, _),) = each.off
        assert off is not None
        add(each.name, off.operation, [off.compile(at)])
        if each.size == 1:
            # another seed than the latents' random directions have
            add(_redirected(each), off.operation, random_direction_edits(off, at, draws, seed=seed + 1))
    found = measure_rises(lm, site, tokens, fns, target, reference, keep=keep, share=share, progress=progress)
    rises = {place: found.take(which) for place, which in places.items()}
    rows = []
    for edit in edits:
        for control, name in ((MATCHED, MATCHED), (REDIRECTED, _redirected(own))):
            if (null := rises.get((name, edit.operation))) is not None:
                rows += compare_with_draws(own.name, edit, rises[own.name, edit.operation], control, null)
    # one neuron or direction each, then several
    cheaper.sort(key=lambda each: each.size > 1)
    for each in cheaper:
        operation = OFF[each.kind]
        if (null := rises.get((_redirected(each), operation))) is not None:
            edit = Edit(operation)
            rows += compare_with_draws(each.name, edit, rises[each.name, operation], REDIRECTED, null)
    for edit in edits:
        observed = rises[own.name, edit.operation]
        for each in (*cheaper, *latents):
            operation = edit.operation if each.kind == "latent" else OFF[each.kind]
            other = rises[each.name, operation]
            rows += compare_with_one(own.name, edit, observed, each.name, operation, other)
    return rows, len(fns)


def _redirected(units: UnitSet) -> str:
    """The draws in the place of a set."""
    return f"{REDIRECTED} for {units.name}"


def _same(other: UnitSet, edit: Edit) -> Edit:
    """An edit of the selected latents made to another set of latents, which may be smaller."""
    if edit.operation == "zero":
        return Edit("zero", other.ids)
    targets = other.low if edit.operation == "mean" else edit.targets[: other.size]
    return Edit(edit.operation, other.ids, targets, value=edit.value)


def rank(observed: float, null: Float[np.ndarray, " draws"]) -> int:
    """The rank of the observed value among itself and the draws, the largest first; after draws that are equal."""
    return int(np.count_nonzero(null >= observed)) + 1


def random_direction_edits(edit: Edit, units: Sae | Units, draws: int, *, seed: int) -> list[TokenEdit]:
    """The edit with random directions in place of the units' own.

    Every unit gets a random direction of the length of its own, and each token moves exactly as far as under
    the edit: only the directions differ.

    Args:
        edit: `set`, `zero`, `mean` or `project_out`, error-preserving.

    Raises:
        GlossaeError: the edit is another one.
    """
    if edit.operation not in ("set", "zero", "mean", "project_out") or edit.splice:
        raise GlossaeError(f"controls: an edit '{edit.operation}' has no random directions in its place")
    reading = UnitReader(as_units(units))
    wanted = edit.targets or (0.0,) * len(edit.units)
    # as in `Edit`: the change is an amount of each unit times its row
    along = unit_rows(reading.units, edit.units) if edit.operation == "project_out" else None
    own = (
        reading.units.direction(edit.units).detach().double() if along is None else torch.linalg.pinv(along).T
    )
    generator = torch.Generator().manual_seed(seed)

    def one() -> TokenEdit:
        drawn = torch.randn(own.shape, generator=generator, dtype=torch.float64).to(own.device)
        rows = drawn * (own.norm(dim=1) / drawn.norm(dim=1))[:, None]

        def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
            base = reading.precise(x)
            now = reading.read(x, edit.units) if along is None else base @ along.T.to(base)
            amount = torch.tensor(wanted, dtype=base.dtype, device=base.device) - now
            change = amount @ rows.to(base)
            # random rows are only nearly orthogonal, so that their sum may be longer or shorter
            lengths = (amount @ own.to(base)).norm(dim=1) / change.norm(dim=1).clamp_min(1e-30)
            moved: Tensor = base + change * lengths[:, None]
            return moved

        return apply

    return [one() for _ in range(draws)]


def profiles(
    rate: Float[np.ndarray, " units"],
    mean_active: Float[np.ndarray, " units"],
    norm: Float[np.ndarray, " units"],
    reference_rate: Float[np.ndarray, " units"],
) -> Float[np.ndarray, "units 4"]:
    """The features for matching latents, as standardised logarithms; NaN if a latent does not fire.

    Args:
        rate: the share of the target's tokens on which each fires.
        norm: the length of its row of the decoder.
        reference_rate: the share of the reference's tokens on which each fires, above 0 (`smoothed_rate`).
    """
    table = np.stack([rate, mean_active, norm, reference_rate], axis=1).astype(np.float64)
    alive = (table > 0).all(1)
    logs = np.full(table.shape, np.nan)
    logs[alive] = np.log(table[alive])
    spread = logs[alive].std(axis=0) if alive.any() else np.ones(table.shape[1])
    # rows of one length differ only by rounding
    scaled: Float[np.ndarray, "units 4"] = logs / np.where(spread > 1e-6, spread, np.inf)
    return scaled


def smoothed_rate(fired: Int[np.ndarray, " units"], tokens: int) -> Float[np.ndarray, " units"]:
    """(fired + 1/2) / (tokens + 1): a firing rate with a finite logarithm also for a latent that never fired."""
    rate: Float[np.ndarray, " units"] = (fired + 0.5) / (tokens + 1)
    return rate


def matched_sets(
    profile: Float[np.ndarray, "units features"],
    selected: tuple[int, ...],
    draws: int,
    *,
    seed: int,
    candidates: int = CANDIDATES,
) -> Int[np.ndarray, "draws selected"]:
    """Sets of other latents, one for each selected one, drawn from its nearest neighbours in the profile.

    A set has no latent twice, and no selected latent.

    Args:
        candidates: the number of nearest neighbours to draw from.

    Raises:
        GlossaeError: there are fewer other latents than selected ones.
    """
    free = np.isfinite(profile).all(1)
    free[list(selected)] = False
    pool = np.flatnonzero(free)
    if len(pool) < len(selected):
        raise GlossaeError(
            f"controls: {len(pool)} latents fire besides the {len(selected)} selected ones: too few to match them; "
            "select fewer (features.units, features.at_most), or set effects.controls to 0"
        )
    # a selected latent that never fires on the target's text has no profile; any latent may replace it
    own = np.nan_to_num(profile[list(selected)])
    width = max(candidates, len(selected))
    nearest = [pool[np.argsort(np.square(profile[pool] - row).sum(1), kind="stable")[:width]] for row in own]
    generator = np.random.default_rng(seed)
    sets = np.empty((draws, len(selected)), dtype=np.int64)
    for draw in range(draws):
        taken: set[int] = set()
        # in a new order for every draw, so that no selected latent always chooses first
        for place in generator.permutation(len(selected)).tolist():
            left = [unit for unit in nearest[place].tolist() if unit not in taken]
            sets[draw, place] = left[int(generator.integers(len(left)))]
            taken.add(int(sets[draw, place]))
    return sets
