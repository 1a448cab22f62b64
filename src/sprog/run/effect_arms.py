"""The sets of units whose effects are measured side by side: the selected latents, and what they have to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sprog.effects import (
    Arm,
    Dose,
    UnitRange,
    direction_arm,
    doses,
    latent_arm,
    neuron_arm,
    random_weights,
)
from sprog.errors import SprogError
from sprog.features import Moments, UnitStatistics, latent_statistics, select, testing
from sprog.run.context import Context
from sprog.run.directions import language_directions, site_neurons
from sprog.run.panels import Panel, test_panel
from sprog.run.sae_stage import load_sae
from sprog.run.show import Report, part
from sprog.sae import Sae

# what tables call the sets that are no language's own
BEST_NEURONS, BEST_NEURON = "best neurons", "best neuron"
DIRECTIONS = ("difference of means", "probe")
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class Selected:
    """The selected latents with all that their doses need.

    Attributes:
        units: those that fire on the target's text; another has no doses of its own.
        ranges: what each emits there.
        means: what each reads on the reference's text on average.
        doses: the values of the sweep.
    """

    units: tuple[int, ...]
    ranges: tuple[UnitRange, ...]
    means: tuple[float, ...]
    doses: tuple[Dose, ...]


@dataclass(frozen=True)
class Arms:
    """Every set, the selected latents first, and what the others were made from.

    Attributes:
        selected: the selected latents.
        arms: their sweep, then the others'.
        autoencoders: by the name of a set of latents, whose they are.
        latents: by that name, which.
        means: by that name, what each reads on the reference's text on average.
        mean: the reference's mean activation; None where neither neurons nor directions are asked for.
    """

    selected: Selected
    arms: list[Arm]
    autoencoders: dict[str, Sae]
    latents: dict[str, tuple[int, ...]]
    means: dict[str, tuple[float, ...]]
    mean: Float[Tensor, " d"] | None


def selected_latents(context: Context) -> Selected:
    """What the stage before left of the selected latents."""
    settings, stored = context.recipe.effects, context.folder.read("features", "ranges.json")
    units = tuple(int(unit) for unit in stored["ranges"])
    ranges = tuple(UnitRange(**stored["ranges"][str(unit)]) for unit in units)
    means = tuple(stored["reference_means"][str(unit)] for unit in units)
    return Selected(units, ranges, means, tuple(doses(settings.values, ranges, settings.unit)))


def all_arms(context: Context, layer: int, report: Report, panel: Panel | None = None) -> Arms:
    """The selected latents; and, as far as `effects.families` has them, other latents, neurons and directions.

    The panel is looked up where it is needed and not at hand.
    """
    families, target = context.recipe.effects.families, context.target
    selected, sae = selected_latents(context), load_sae(context)
    arms = [latent_arm(target, sae, selected.units, selected.doses, selected.means)]
    found = Arms(selected, arms, {target: sae}, {target: selected.units}, {target: selected.means}, None)
    if "latent" in families and selected.units:
        _other_languages(context, layer, found, panel, part(report, 0.0, 0.4))
        _learned_nothing(context, layer, found, part(report, 0.4, 0.7))
    if "neuron" not in families and "direction" not in families:
        return found
    site = context.site(layer)
    directions, moments = language_directions(context, site)
    mean, target_mean = (moments.mean(code).cpu() for code in (context.reference, target))
    if "neuron" in families:
        neurons = site_neurons(context, site)
        ranked = _best_neurons(context, moments, max(1, len(selected.units)), neurons.both)
        for name, ids in ((BEST_NEURONS, ranked), (BEST_NEURON, ranked[:1])):
            if name == BEST_NEURON or len(ranked) > 1:
                arms.append(neuron_arm(name, neurons, ids, mean))
    if "direction" in families:
        for name in DIRECTIONS:
            vector = directions.direction((directions.names.index(name),))[0]
            arms.append(direction_arm(name, vector, mean, target_mean))
    report(1.0)
    return Arms(selected, arms, found.autoencoders, found.latents, found.means, mean)


def _other_languages(context: Context, layer: int, found: Arms, panel: Panel | None, report: Report) -> None:
    """Each other language's latents by the run's rule, as many, on the half of the panel that units are found on."""
    sae = found.autoencoders[context.target]
    try:
        text = (panel or test_panel(context)).found_on
    except SprogError:
        # the run goes on without a panel, and so without them
        return
    codes = [code for code in text.corpus.languages if code not in (context.target, context.reference)]
    if not codes or context.reference not in text.corpus.languages:
        return
    statistics = latent_statistics(
        context.lm, context.site(layer), sae, text, budget=context.recipe.batch_tokens, progress=report
    )
    for code in codes:
        _add(context, found, code, sae, statistics, code, found.selected.units)


def _learned_nothing(context: Context, layer: int, found: Arms, report: Report) -> None:
    """An autoencoder of random weights, its latents chosen by the run's rule on `select`."""
    sae = random_weights(found.autoencoders[context.target], seed=context.recipe.seed)
    statistics = latent_statistics(
        context.lm,
        context.site(layer),
        sae,
        context.tokens("select"),
        budget=context.recipe.batch_tokens,
        progress=report,
    )
    _add(context, found, RANDOM_WEIGHTS, sae, statistics, context.target, ())


def _add(
    context: Context,
    found: Arms,
    name: str,
    sae: Sae,
    statistics: UnitStatistics,
    language: str,
    but: tuple[int, ...],
) -> None:
    """A set of another language, or of another autoencoder, as large as the selected one, at the same values."""
    rule, size = context.recipe.features, len(found.selected.units)
    chosen = select(
        statistics,
        language,
        context.reference,
        min_target=rule.min_target,
        max_reference=rule.max_reference,
        fallback=size + len(but),
        max_reference_fallback=rule.max_reference_fallback,
    )
    units = tuple(unit for unit in chosen.units if unit not in but)[:size]
    if not units:
        return
    means = tuple(statistics.mean_value(context.reference)[list(units)].tolist())
    # multiples of a percentile that nobody knows of these are left out; 0 is the same for all
    own = context.recipe.effects.unit == "latent"
    values = [dose.value for dose in found.selected.doses if dose.value == 0 or (own and dose.value < 0)]
    dose_list = [Dose(value, (value,) * len(units), False) for value in values]
    found.arms.append(latent_arm(name, sae, units, dose_list, means, splice=False))
    found.autoencoders[name], found.latents[name], found.means[name] = sae, units, means


def _best_neurons(context: Context, moments: Moments, count: int, both: bool) -> tuple[int, ...]:
    """Those that passed the tests, best first, then those whose means are furthest apart, in standard deviations.

    No coordinate twice.
    """
    means = moments.mean(context.target) - moments.mean(context.reference)
    apart = (means / moments.pooled_covariance().diagonal().clamp_min(1e-30).sqrt()).cpu()
    width = len(apart)
    if both:
        apart = torch.cat([apart, -apart])
    order: Sequence[int] = [
        *_tested_neurons(context),
        *torch.argsort(apart, descending=True, stable=True).tolist(),
    ]
    chosen: dict[int, int] = {}
    for unit in order:
        chosen.setdefault(unit % width, unit)
    return tuple(list(chosen.values())[:count])


def _tested_neurons(context: Context) -> tuple[int, ...]:
    summary: dict[str, Any] = context.folder.summary("evidence")["evidence"]
    if summary["reason"] is not None:
        return ()
    return testing.load_frozen(context.folder.path / "evidence" / "neurons.json").units
