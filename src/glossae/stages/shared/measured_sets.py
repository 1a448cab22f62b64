"""The sets of units whose effects are measured side by side: the selected latents, and what they have to beat."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glossae.effects import (
    UNTRAINED,
    Arrays,
    Dose,
    UnitSet,
    best_neurons,
    direction_set,
    latent_set,
    neuron_set,
)
from glossae.errors import GlossaeError
from glossae.evidence import Panel, Selection, paper_rule, testing
from glossae.files import note, noting, read_json, write_json
from glossae.plan import Quantities, Work, tokens_of
from glossae.results import ChosenLatents, EvidenceResult
from glossae.run.context import Context, Progress, part
from glossae.run.folder import as_rows
from glossae.sae import Sae
from glossae.stages.evidence import directions_from
from glossae.stages.sae import load_sae, untrained_autoencoders
from glossae.stages.shared.panels import tested_panel
from glossae.stages.shared.units import (
    Selected,
    by_the_rule,
    coded_statistics,
    find_in,
    found_latents,
    language_directions,
    selected_latents,
    site_neurons,
    tested_neurons,
)
from glossae.units import Latents, UnitStatistics, collect_all, latent_statistics

# what tables call the sets that are no language's own
BEST_NEURONS, BEST_NEURON = "best neurons", "best neuron"
DIRECTIONS = ("difference of means", "probe")
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class MeasuredSets:
    """The sets of units whose effects are measured, and what the latents among them were chosen by.

    Attributes:
        selected: the selected latents.
        sets: their set, then the others'; each has its sweep.
        chosen: how sets of latents were chosen, and how many latents pass in the same way; of the selected ones, too.
    """

    selected: Selected
    sets: list[UnitSet]
    chosen: list[ChosenLatents]

    @property
    def own(self) -> UnitSet:
        """The selected latents."""
        return self.sets[0]

    @property
    def only_off(self) -> set[str]:
        """Other languages' latents, which are only switched off, and not compared at matched damage."""
        return {each.units for each in self.chosen if each.units == each.language} - {self.own.name}


def measured_sets(context: Context, progress: Progress, panel: Panel | None = None) -> MeasuredSets:
    """The selected latents; and, as far as `effects.families` has them, other latents, neurons and directions.

    What was chosen before is read from the parts of the effects stage.

    Args:
        context: the run.
        progress: is told the share that is done.
        panel: the run's panel, where it is at hand.
    """
    families, target, parts = context.recipe.effects.families, context.target, context.parts["effects"]
    selected, sae = selected_latents(context, context.recipe.effects.values), load_sae(context)
    sets = [latent_set(target, sae, selected.units, selected.doses, selected.means)]
    chosen: list[ChosenLatents] = []
    if "latent" in families and selected.units:
        own = part(progress, 0.0, 0.7)
        kept = parts.json("chosen", lambda: _choose_and_freeze(context, selected, sae, panel, own))
        chosen = [ChosenLatents(**row) for row in kept["rows"]]
        for name, frozen in kept["frozen"].items():
            _restore(context.folder.path / "effects" / name, frozen)
        sets += [
            _latents_of(context, selected, sae, each)
            for each in chosen
            if each.units != target and each.members
        ]
    if "neuron" in families or "direction" in families:
        cheaper = parts.arrays("cheaper", lambda: _cheaper(context, max(1, len(selected.units))))
        mean, target_mean, *vectors = map(torch.from_numpy, cheaper["vectors"])
        if "neuron" in families:
            ranked = tuple(cheaper["neurons"].tolist())
            for name, ids in ((BEST_NEURONS, ranked), (BEST_NEURON, ranked[:1])):
                if name == BEST_NEURON or len(ranked) > 1:
                    sets.append(neuron_set(name, site_neurons(context), ids, mean))
        if "direction" in families:
            for name, vector in zip(DIRECTIONS, vectors, strict=True):
                sets.append(direction_set(name, vector, mean, target_mean))
        progress(1.0)
    return MeasuredSets(selected, sets, chosen)


def _cheaper(context: Context, count: int) -> Arrays:
    """The best neurons; the means of the reference and of the target, then the vectors of the directions."""
    directions, moments = language_directions(context)
    means = [moments.mean(code).cpu() for code in (context.reference, context.target)]
    vectors = [directions.direction((directions.names.index(name),))[0] for name in DIRECTIONS]
    neurons = best_neurons(moments, context.target, context.reference, count, tested_neurons(context))
    return {
        "neurons": np.array(neurons, dtype=np.int64),
        "vectors": torch.stack([each.double() for each in (*means, *vectors)]).numpy(),
    }


def _choose_and_freeze(
    context: Context, selected: Selected, sae: Sae, panel: Panel | None, progress: Progress
) -> dict[str, Any]:
    """What `_choose` returns as rows, and the contents of the frozen sets that it writes, by the file's name."""
    with noting() as written:
        rows = _choose(context, selected, sae, panel, progress)
    own = sorted(path for path in written if path.parent == context.folder.path / "effects")
    return {
        "rows": as_rows(rows),
        "frozen": {path.name: read_json(path) for path in own},
    }


def _restore(path: Path, frozen: dict[str, Any]) -> None:
    """Write a frozen set that an earlier try of the stage chose, unless it is there as it was."""
    with suppress(GlossaeError, OSError, ValueError):
        if read_json(path) == frozen:
            note(path)
            return
    write_json(path, frozen)


def _choose(
    context: Context, selected: Selected, sae: Sae, panel: Panel | None, progress: Progress
) -> list[ChosenLatents]:
    """Select latents of the trained autoencoder and of random weights, and for other languages."""
    try:
        panel = panel or tested_panel(context)
    except GlossaeError:
        # the run goes on without a panel, and so without other languages' latents
        panel = None
    chosen = _trained_and_untrained(context, selected, sae, panel, part(progress, 0.0, 0.7))
    if panel is not None:
        chosen += _other_languages(context, selected, sae, panel, part(progress, 0.7, 1.0))
    return chosen


def _tested(context: Context) -> bool:
    """Whether units are selected by the run's tests, and its text allows them."""
    evidence = context.folder.summary("evidence").evidence
    return context.recipe.features.rule == "tested" and isinstance(evidence, EvidenceResult)


def _trained_and_untrained(
    context: Context, selected: Selected, sae: Sae, panel: Panel | None, progress: Progress
) -> list[ChosenLatents]:
    """How many latents the run would select, trained and with random weights, on the text that it selected on."""
    rule, target = context.recipe.features, context.target
    seeds = {f"{RANDOM_WEIGHTS} {number + 1}": context.recipe.seed + number for number in range(UNTRAINED)}
    others = untrained_autoencoders(context, [*seeds.values()])
    saes = {target: sae} | dict(zip(seeds, others, strict=True))
    collected = collect_all(
        context.lm,
        context.site,
        [Latents(each) for each in saes.values()],
        context.tokens("select"),
        budget=context.recipe.batch_tokens,
        table=False,
        progress=part(progress, 0.0, 0.3),
    )
    rows = []
    for number, ((name, each), (statistics, _)) in enumerate(zip(saes.items(), collected, strict=True)):
        own = part(progress, 0.3 + 0.7 * number / len(saes), 0.3 + 0.7 * (number + 1) / len(saes))
        seen, units = statistics, found_latents(context).units
        text = context.roles.corpora["select"].sha256
        if context.recipe.protocol == "as_coded":
            seen = coded_statistics(context, each, own)
        if _tested(context):
            assert panel is not None
            text = panel.found_on.corpus.sha256
            if name != target:
                path = context.folder.path / "effects" / f"{name.replace(' ', '_')}.json"
                frozen = find_in(context, Latents(each), panel, {target: path}, own)[1][target]
                units = frozen.units
        selection = by_the_rule(context, seen, target, units, given=rule.units if name == target else ())
        members = selected.units if name == target else selection.units[: len(selected.units)]
        passing = _passing(context, seen, target, units)
        facts = {"units": name, "language": target, "seed": seeds.get(name), "text": text}
        rows.append(_chosen(context, statistics, selection, members, passing=passing, **facts))
    return rows


def _other_languages(
    context: Context, selected: Selected, sae: Sae, panel: Panel, progress: Progress
) -> list[ChosenLatents]:
    """Select as many latents of each other language in the same way, on the half of the panel that is searched."""
    text = panel.found_on
    codes = [code for code in text.corpus.languages if code not in (context.target, context.reference)]
    if not codes or context.reference not in text.corpus.languages:
        return []
    frozen: dict[str, testing.FrozenSet] = {}
    if _tested(context):
        paths = {code: context.folder.path / "effects" / f"latents_{code}.json" for code in codes}
        statistics, frozen = find_in(context, Latents(sae), panel, paths, progress)
    else:
        statistics = latent_statistics(
            context.lm, context.site, sae, text, budget=context.recipe.batch_tokens, progress=progress
        )
    rows = []
    for code in codes:
        units = frozen[code].units if code in frozen else ()
        selection = by_the_rule(context, statistics, code, units, but=selected.units)
        members = selection.units[: len(selected.units)]
        passing = _passing(context, statistics, code, units)
        facts = {"units": code, "language": code, "seed": None, "text": text.corpus.sha256}
        rows.append(_chosen(context, statistics, selection, members, passing=passing, **facts))
    return rows


def _passing(
    context: Context, statistics: UnitStatistics, language: str, units: tuple[int, ...]
) -> int | None:
    """How many latents pass the recipe's tests or rate rule (the fallback's do not); None where nothing was tested."""
    rule = context.recipe.features
    if rule.rule == "tested":
        return len(units) if _tested(context) else None
    rates = statistics.rate(language), statistics.rate(context.reference)
    return int(paper_rule(*rates, min_target=rule.min_target, max_reference=rule.max_reference).sum())


def _chosen(
    context: Context, statistics: UnitStatistics, selection: Selection, members: tuple[int, ...], **facts: Any
) -> ChosenLatents:
    means, asked = statistics.mean_value(context.reference), context.recipe.features.rule
    facts |= {"members": members, "means": tuple(means[list(members)].tolist())}
    return ChosenLatents(asked=asked, rule=selection.rule, of=len(means), **facts)


def _latents_of(context: Context, selected: Selected, sae: Sae, chosen: ChosenLatents) -> UnitSet:
    """The latents of another language, or of random weights, with a sweep at the selected set's values."""
    if chosen.seed is not None:
        (sae,) = untrained_autoencoders(context, [chosen.seed])
    # multiples of a percentile that nobody knows of these are left out; 0 is the same for all
    own = context.recipe.effects.unit == "latent"
    values = [dose.value for dose in selected.doses if dose.value == 0 or (own and dose.value < 0)]
    dose_list = [Dose(value, (value,) * len(chosen.members), False) for value in values]
    return latent_set(chosen.units, sae, chosen.members, dose_list, chosen.means, splice=False)


def sets_encoding(counts: Quantities, tokens: float) -> Work:
    """The encoders of the trained autoencoder and, where other latents are measured, of random weights."""
    others = UNTRAINED if "latent" in counts.recipe.effects.families else 0
    codes = counts.encodings(tokens, counts.d_in, counts.latents, [counts.live_latents] * (1 + others))
    return codes + counts.joined(2 * counts.d_in * counts.latents * others)


def direction_reading(counts: Quantities) -> Work:
    """Text of train, which neurons are ranked on and directions made from."""
    if not {"neuron", "direction"} & set(counts.recipe.effects.families):
        return Work()
    return counts.forward(directions_from(counts), counts.depth) + Work(seconds=1)


def latent_reading(counts: Quantities) -> Work:
    """Text on which other latents are selected: `select`, and half of the panel."""
    if "latent" not in counts.recipe.effects.families:
        return Work()
    select, tested = tokens_of(counts.roles["select"]), counts.recipe.features.rule == "tested"
    work = counts.forward(select, counts.depth) + sets_encoding(counts, select)
    # other languages' latents, and what is tested of random weights, one autoencoder after the other
    passes = (1 if "panel" in counts.roles else 0) + (UNTRAINED if tested else 0)
    half = passes * tokens_of(counts.panel) / 2
    return work + counts.forward(half, counts.depth) + counts.encode(half)
