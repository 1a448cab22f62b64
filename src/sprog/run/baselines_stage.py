"""What training adds: the units of trained and untrained autoencoders, found by one rule, and of what needs neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sprog.effects import (
    Edit,
    Switched,
    UnitSet,
    compile_edits,
    doses_at,
    interval,
    neurons_off,
    switch_off,
)
from sprog.errors import SprogError
from sprog.features import (
    Directions,
    Latents,
    Neurons,
    SentenceTable,
    UnitStatistics,
    collect_all,
    lape,
    paper_rule,
    passages,
    testing,
)
from sprog.lm import Site, TokenEdit, TokenizedCorpus, activations, batches, replayed_losses
from sprog.run.context import Context
from sprog.run.directions import site_neurons
from sprog.run.panels import Panel, replication_panel, test_panel
from sprog.run.sae_stage import baseline_jobs, load_sae, other_seeds
from sprog.run.samples import first_sentences
from sprog.run.show import Report, part
from sprog.run.tables import write_table
from sprog.sae import measure_reconstruction, read_sae, untrained

TRAINED, UNTRAINED, FROZEN = "trained", "untrained", "frozen decoder"
COORDINATES, MEANS, LAPE = "coordinates", "difference of means", "LAPE neurons"
# the autoencoders that training is judged by
LEARNT = (TRAINED, UNTRAINED)
# a latent of another seed is the same one from this cosine of their decoder rows on
SAME = 0.7
# tokens of train that an untrained autoencoder takes its centre and scale from
START_TOKENS = 1024
# sentences of the target on which doses are looked for
DOSE_SENTENCES = 24
# of all the damage that sets do, the share that "carries" it
CARRIED = 0.9


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


def baselines_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Find units of every kind by one rule, look at them on held-out text, and switch them off side by side."""
    recipe, site = context.recipe, context.site(layer)
    try:
        panel = test_panel(context)
        families = _families(context, site)
        ranked, statistics = _ranked(context, site, families, panel, part(report, 0.0, 0.25))
    except SprogError as error:
        if "panel" in context.roles.corpora:
            raise
        report(1.0)
        return {"baselines": {"reason": str(error)}}
    again = {"held_out": panel.held_out}
    if (elsewhere := replication_panel(context)) is not None:
        again["replicate"] = elsewhere.held_out
    held_out = {
        name: _again(context, site, ranked, tokens, part(report, 0.25 + 0.1 * number, 0.35 + 0.1 * number))
        for number, (name, tokens) in enumerate(again.items())
    }
    text = context.tokens("test")
    sets = _sets(context, site, ranked, statistics, panel, part(report, 0.45, 0.5))
    doses = _doses(context, site, ranked, statistics, part(report, 0.5, 0.65))
    switched = switch_off(
        context.lm,
        site,
        [*sets, *doses],
        text,
        precision=recipe.baselines.precision,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        progress=part(report, 0.65, 1.0),
    )
    _write_losses(context, [*sets, *doses], switched)
    rows = _set_rows(context, [*sets, *doses], switched)
    return {
        "baselines": {
            "reason": None,
            "minimum": recipe.evidence.minimum,
            "q": recipe.evidence.q,
            "languages": list(panel.found_on.corpus.languages),
            "autoencoders": _autoencoder_rows(context, site, ranked, held_out),
            "sets": rows,
            "measured": _measured(switched),
            "adds": _adds(context, [*sets, *doses], switched),
        }
    }


def _families(context: Context, site: Site) -> list[tuple[str, int, Latents | Neurons]]:
    """The run's autoencoder, those trained beside it, untrained ones, and the site's coordinates."""
    recipe, folder = context.recipe, context.folder.path / "sae"
    own = load_sae(context)
    found: list[tuple[str, int, Latents | Neurons]] = [(TRAINED, recipe.seed, Latents(own))]
    for name, change in baseline_jobs(recipe).items():
        group = FROZEN if "frozen_decoder" in change else TRAINED
        sae = read_sae(folder / name / "sae.safetensors").to(context.lm.device)
        found.append((group, change["seed"], Latents(sae)))
    seeds = (recipe.seed, *other_seeds(recipe, recipe.baselines.untrained - 1))
    first = _first_activations(context, site)
    for seed in seeds:
        sae = untrained(own.config, first, seed=seed, centre=recipe.sae.centre)
        found.append((UNTRAINED, seed, Latents(sae.requires_grad_(False))))
    return [*found, (COORDINATES, 0, site_neurons(context, site))]


def _first_activations(context: Context, site: Site) -> Float[Tensor, "tokens d"]:
    tokens = context.training_tokens()
    parts, count = [], 0
    for one in activations(context.lm, batches(tokens, START_TOKENS, seed=context.recipe.seed), [site]):
        parts.append(one.sites[site].float())
        count += len(parts[-1])
        if count >= START_TOKENS:
            break
    return torch.cat(parts)


def _ranked(
    context: Context,
    site: Site,
    families: Sequence[tuple[str, int, Latents | Neurons]],
    panel: Panel,
    report: Report,
) -> tuple[list[Ranked], UnitStatistics]:
    """Every family by the run's test on the half of the panel that is searched; and the coordinates' statistics."""
    recipe = context.recipe
    collected = collect_all(
        context.lm,
        site,
        [units for _, _, units in families],
        panel.found_on,
        budget=recipe.batch_tokens,
        progress=part(report, 0.0, 0.7),
    )
    ranked = []
    for number, ((group, seed, units), (statistics, table)) in enumerate(
        zip(families, collected, strict=True)
    ):
        assert table is not None
        evidence = testing.test_units(
            passages(table, recipe.evidence.tokens),
            context.target,
            minimum=recipe.evidence.minimum,
            q=recipe.evidence.q,
            method=recipe.evidence.method,
            reference=context.reference,
            within="all",
        )
        name = evidence.claims[0].claim.name
        weakest = evidence.weakest(name)
        rates = (statistics.rate(context.target), statistics.rate(context.reference))
        ranked.append(
            Ranked(
                group,
                seed,
                units,
                tuple(np.argsort(-weakest, kind="stable")[: max(recipe.baselines.sizes)].tolist()),
                len(evidence.passing(name)),
                int(paper_rule(*rates).sum()) if group != COORDINATES else 0,
                weakest,
            )
        )
        report(0.7 + 0.3 * (number + 1) / len(families))
    return ranked, collected[-1][0]


def _again(
    context: Context, site: Site, ranked: Sequence[Ranked], tokens: TokenizedCorpus, report: Report
) -> list[Float[np.ndarray, "units languages"]]:
    """The AUROC over each other language of every family's first units, on other text."""
    collected = collect_all(
        context.lm,
        site,
        [each.units for each in ranked],
        tokens,
        budget=context.recipe.batch_tokens,
        progress=report,
    )
    found = []
    for each, (_, table) in zip(ranked, collected, strict=True):
        assert table is not None
        found.append(_aurocs(context, table.columns(each.order)))
    return found


def _aurocs(context: Context, table: SentenceTable) -> Float[np.ndarray, "units languages"]:
    auroc = testing.auroc_table(passages(table, context.recipe.evidence.tokens))
    others = [code for code in auroc.languages if code != context.target]
    found: Float[np.ndarray, "units languages"] = np.stack(
        [auroc.of(context.target, code) for code in others], axis=1
    )
    return found


def _autoencoder_rows(
    context: Context,
    site: Site,
    ranked: Sequence[Ranked],
    held_out: dict[str, list[Float[np.ndarray, "units languages"]]],
) -> list[dict[str, Any]]:
    """What passes in each family, how its best units do on other text, and how stable they are over seeds."""
    latents = [each for each in ranked if isinstance(each.units, Latents)]
    qualities = measure_reconstruction(
        context.lm,
        site,
        [each.units.sae for each in latents if isinstance(each.units, Latents)],
        first_sentences(context.pair_tokens("tune"), DOSE_SENTENCES),
        budget=context.recipe.batch_tokens,
    )
    fvu = {(each.group, each.seed): q.fvu for each, q in zip(latents, qualities, strict=True)}
    rows = []
    for number, each in enumerate(ranked):
        best = each.order[0]
        rows.append(
            {
                "group": each.group,
                "seed": each.seed,
                "units": len(each.weakest),
                "passing": each.passing,
                "paper": each.paper if isinstance(each.units, Latents) else None,
                "fvu": fvu.get((each.group, each.seed)),
                "best": each.units.name(best),
                "weakest": float(each.weakest[best]),
                "again": {
                    name: {
                        "best": float(found[number][0].min()),
                        "above": int((found[number].min(1) >= context.recipe.evidence.minimum).sum()),
                        "of": len(found[number]),
                    }
                    for name, found in held_out.items()
                },
                "stable": _stable(each, ranked),
            }
        )
    return rows


def _stable(each: Ranked, ranked: Sequence[Ranked]) -> float | None:
    """Of its first units, the share that has a latent of cosine `SAME` in the group's other seeds, on average."""
    if not isinstance(each.units, Latents):
        return None
    rows = torch.nn.functional.normalize(each.units.direction(each.order).detach().float(), dim=1)
    shares = []
    for other in ranked:
        if other.group == each.group and other.seed != each.seed and isinstance(other.units, Latents):
            theirs = torch.nn.functional.normalize(other.units.sae.W_dec.detach().float(), dim=1)
            shares.append(float(((rows @ theirs.T).amax(1) >= SAME).double().mean()))
    return float(np.mean(shares)) if shares else None


def _others_mean(statistics: UnitStatistics, width: int, target: str) -> Float[Tensor, " d"]:
    """The mean of the other languages' mean activations, each counting alike."""
    means = [statistics.mean_value(code)[:width] for code in statistics.languages if code != target]
    return torch.stack(means).mean(0)


def _sets(
    context: Context,
    site: Site,
    ranked: Sequence[Ranked],
    statistics: UnitStatistics,
    panel: Panel,
    report: Report,
) -> list[UnitSet]:
    """The sets that are switched off: latents at 0, coordinates and directions at the other languages' mean."""
    lm, sizes, width = context.lm, context.recipe.baselines.sizes, context.lm.width(site)
    mean = _others_mean(statistics, width, context.target)
    sets = []
    for each in ranked:
        chosen = [each.order[:size] for size in sorted(sizes) if size <= len(each.order)]
        edits = [_off(each, units, mean) for units in chosen]
        for units, edit in zip(chosen, compile_edits(edits, each.units), strict=True):
            sets.append(UnitSet(each.group, each.seed, len(units), units, edit))
    for number, direction in enumerate(_directions(context, statistics, width)):
        edit = Edit.project_to(direction, (0,), mean).compile(direction)
        sets.append(UnitSet(direction.names[0], number, 1, (), edit))
    if context.recipe.baselines.lape:
        neurons = lape(
            lm, panel.found_on, target=context.target, budget=context.recipe.batch_tokens, progress=report
        )
        for size in (*sorted(sizes), len(neurons.ranked)):
            if 0 < size <= len(neurons.ranked):
                changes = tuple(neurons_off(lm, neurons.best(size)))
                sets.append(UnitSet(LAPE, 0, size, (), changes))
    return sets


def _off(each: Ranked, units: tuple[int, ...], mean: Float[Tensor, " d"]) -> Edit:
    if isinstance(each.units, Latents):
        return Edit("zero", units)
    return Edit("mean", units, tuple(each.units.read(mean[None], units)[0].tolist()))


def _directions(context: Context, statistics: UnitStatistics, width: int) -> list[Directions]:
    """The target's mean less the reference's, and less the mean of all other languages."""
    means = {code: statistics.mean_value(code)[:width] for code in statistics.languages}
    target = context.target
    others = _others_mean(statistics, width, target)
    contrasts = {f"{MEANS}, {target} less {context.reference}": means[target] - means[context.reference]}
    if len(means) > 2:
        contrasts[f"{MEANS}, {target} less all others"] = means[target] - others
    return [Directions([name], vector[None], vector[None] @ others) for name, vector in contrasts.items()]


def _doses(
    context: Context,
    site: Site,
    ranked: Sequence[Ranked],
    statistics: UnitStatistics,
    report: Report,
) -> list[UnitSet]:
    """Sets of the largest size turned down to the same damage, found on the target's sentences of `tune`."""
    recipe, width = context.recipe, context.lm.width(site)
    levels = recipe.baselines.damage
    tune = context.tokens("tune")
    own = first_sentences(
        tune.take([i for i, s in enumerate(tune.corpus.sentences) if s.language == context.target]),
        DOSE_SENTENCES,
    )
    if not levels or not len(own):
        return []
    mean = _others_mean(statistics, width, context.target)
    wanted: list[tuple[str, int, tuple[int, ...], Latents | Neurons | Directions, tuple[float, ...]]] = []
    for group in (TRAINED, FROZEN, UNTRAINED, COORDINATES):
        for each in [one for one in ranked if one.group == group][:1]:
            at = (
                ()
                if isinstance(each.units, Latents)
                else tuple(each.units.read(mean[None], each.order)[0].tolist())
            )
            wanted.append((group, each.seed, each.order, each.units, at))
    for number, direction in enumerate(_directions(context, statistics, width)):
        at = tuple(direction.read(mean[None], (0,))[0].tolist())
        wanted.append((direction.names[0], number, (0,), direction, at))
    found = []
    for place, (group, seed, units, of, at) in enumerate(wanted):

        def down(doses: Sequence[float], units: Any = units, of: Any = of, at: Any = at) -> list[TokenEdit]:
            return [_towards(of, units, at, dose) for dose in doses]

        def damage(doses: list[float], down: Any = down) -> list[float]:
            losses = replayed_losses(context.lm, site, own, [None, *down(doses)], budget=recipe.batch_tokens)
            rises: list[float] = ((losses[1:] - losses[0]).sum(1) / own.predicted.sum()).tolist()
            return rises

        known = dict(zip((1.0,), damage([1.0]), strict=True))
        for level, dose in doses_at(damage, known, levels).items():
            if dose is not None:
                found.append(UnitSet(group, seed, len(units), units, down([dose])[0], dose=dose, at=level))
        report((place + 1) / len(wanted))
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


def _write_losses(context: Context, sets: Sequence[UnitSet], switched: Switched) -> None:
    """Every set's change of every measured sentence's loss, so that any other statistic can be computed from it."""
    sentences = switched.tokens.corpus.sentences
    rows = [
        {
            "group": each.group,
            "seed": each.seed,
            "size": each.size,
            "dose": each.dose,
            "at": each.at,
            "language": sentence.language,
            "source": sentence.source,
            "pair": sentence.pair,
            "tokens": int(tokens),
            "bytes": int(size),
            "loss": float(raw),
            "change": float(change),
        }
        for each, changes, used in zip(sets, switched.change, switched.used, strict=True)
        for sentence, tokens, size, raw, change, measured in zip(
            sentences,
            switched.tokens.predicted,
            switched.tokens.predicted_bytes,
            switched.raw,
            changes,
            used,
            strict=True,
        )
        if measured
    ]
    write_table(context.folder.path / "baselines" / "losses.parquet", rows)


def _measured(switched: Switched) -> dict[str, Any]:
    """How much text the changes were measured on, and what its loss is."""
    found = {}
    for code in switched.tokens.corpus.languages:
        rows = switched.rows(code)
        predicted = switched.tokens.predicted[rows].sum()
        found[code] = {
            "sentences": len(rows),
            "tokens": int(predicted),
            "bytes": int(switched.tokens.predicted_bytes[rows].sum()),
            "loss": float(switched.raw[rows].sum() / predicted),
        }
    return found


def _set_rows(context: Context, sets: Sequence[UnitSet], switched: Switched) -> list[dict[str, Any]]:
    """What each set costs each language, nats a token and a byte, with 95 % intervals over sentences."""
    draws, seed = context.recipe.effects.bootstrap, context.recipe.seed
    languages = switched.tokens.corpus.languages
    samples = {code: switched.resampled(code, draws=draws, seed=seed) for code in languages}
    mean = {code: switched.mean(code) for code in languages}
    sentences = {code: switched.sentences(code) for code in languages}
    per_byte = {code: switched.per_byte(code) for code in languages}
    rows = []
    for number, each in enumerate(sets):
        change = {}
        for code in languages:
            low, high = interval(samples[code][:, number])
            change[code] = {
                "delta": float(mean[code][number]),
                "low": low,
                "high": high,
                "per_byte": float(per_byte[code][number]),
                "sentences": int(sentences[code][number]),
            }
        others = {code: change[code]["delta"] for code in languages if code != context.target}
        nearest = max(others, key=lambda code: others[code]) if others else None
        rows.append(
            {
                "group": each.group,
                "seed": each.seed,
                "size": each.size,
                "members": list(each.members),
                "dose": each.dose,
                "at": each.at,
                "change": change,
                "nearest": nearest,
            }
        )
    return rows


def _adds(context: Context, sets: Sequence[UnitSet], switched: Switched) -> list[dict[str, Any]]:
    """Trained less untrained, size by size: with intervals over sentences and, resampled with them, over seeds.

    `target`: what switching off costs the target. `margin`: that less what it costs the nearest other language, found
    anew in every resample. `units`: how many units carry 90 % of what the largest set does to the target.
    """
    draws, seed, target = context.recipe.effects.bootstrap, context.recipe.seed, context.target
    languages = switched.tokens.corpus.languages
    others = [code for code in languages if code != target]
    point = {code: switched.mean(code)[None] for code in languages}
    samples = {code: switched.resampled(code, draws=draws, seed=seed) for code in languages}
    generator = np.random.default_rng([seed, 1])
    rows = []
    for size in sorted({each.size for each in sets if each.group in LEARNT and each.at is None}):
        numbers = {
            group: [
                n for n, each in enumerate(sets) if (each.group, each.size, each.at) == (group, size, None)
            ]
            for group in LEARNT
        }
        if not all(numbers.values()):
            continue
        drawn = {group: generator.choice(own, (draws, len(own))) for group, own in numbers.items()}
        for what in ("target", "margin"):
            values, spread = {}, {}
            for group, own in numbers.items():
                values[group] = float(_statistic(what, point, target, others)[0, own].mean())
                every = _statistic(what, samples, target, others)
                spread[group] = np.take_along_axis(every, drawn[group], axis=1).mean(1)
            low, high = interval(spread[TRAINED] - spread[UNTRAINED])
            rows.append(
                {
                    "what": what,
                    "size": size,
                    "trained": values[TRAINED],
                    "untrained": values[UNTRAINED],
                    "difference": values[TRAINED] - values[UNTRAINED],
                    "low": low,
                    "high": high,
                    "seeds": [len(numbers[group]) for group in LEARNT],
                }
            )
    rows.append(_carrying(sets, point[target][0]))
    return rows


def _statistic(
    what: str, changes: dict[str, Float[np.ndarray, "draws sets"]], target: str, others: Sequence[str]
) -> Float[np.ndarray, "draws sets"]:
    if what == "target" or not others:
        return changes[target]
    nearest = np.max([changes[code] for code in others], axis=0)
    margin: Float[np.ndarray, "draws sets"] = changes[target] - nearest
    return margin


def _carrying(sets: Sequence[UnitSet], damage: Float[np.ndarray, " sets"]) -> dict[str, Any]:
    """The smallest of the measured sizes that does 90 % of what the largest set does to the target, seed by seed."""
    needed: dict[str, list[int]] = {group: [] for group in LEARNT}
    for group, seed in dict.fromkeys((s.group, s.seed) for s in sets if s.group in LEARNT and s.at is None):
        own = {
            each.size: damage[n]
            for n, each in enumerate(sets)
            if (each.group, each.seed, each.at) == (group, seed, None)
        }
        most = own[max(own)]
        needed[group].append(min(size for size, value in own.items() if value >= CARRIED * most))
    return {"what": "units", "size": None, **{group: needed[group] for group in LEARNT}}
