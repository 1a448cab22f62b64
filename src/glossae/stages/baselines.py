"""The stage `baselines`: what training adds.

Units of trained and untrained autoencoders, and of what needs neither, are found by one rule and switched off.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.effects import (
    Arrays,
    Edit,
    Switched,
    UnitSet,
    compile_edits,
    doses_of_each,
    neurons_off,
    switch_off,
)
from glossae.errors import GlossaeError
from glossae.evidence import lape, paper_rule, passages, testing
from glossae.files import fingerprint
from glossae.lm import TokenEdit, TokenizedCorpus, replayed_losses, worth_scoring
from glossae.plan import Quantities, Work, sentences_of, tokens_of
from glossae.results import StageResults
from glossae.run.context import Context, Inputs, Progress, only, part
from glossae.run.folder import write_table
from glossae.sae import measure_reconstruction, read_sae
from glossae.stages.found import evidence_on, own_claim, site_neurons, tables_of
from glossae.stages.panels import Panel, first_sentences, replication_panel, tested_panel
from glossae.stages.sae import baseline_jobs, load_sae, other_seeds, untrained_autoencoders, wants_baselines
from glossae.stages.stage import Stage, settings_of
from glossae.stats import interval
from glossae.units import Directions, Latents, Neurons, UnitStatistics

TRAINED, UNTRAINED, FROZEN = "trained", "untrained", "frozen decoder"
COORDINATES, MEANS, LAPE = "coordinates", "difference of means", "LAPE neurons"
# the autoencoders that training is judged by
LEARNT = (TRAINED, UNTRAINED)
# a latent of another seed is the same one from this cosine of their decoder rows on
SAME = 0.7
# sentences of the target on which doses are looked for
DOSE_SENTENCES = 48
# of all the damage that sets do, the share that "carries" it
CARRIED = 0.9
# of a dry run: sentences of a language on which sets are switched off, and doses that are tried to match a damage
SWITCHED_SENTENCES, DOSES_TRIED = 64, 5

Aurocs = dict[str, Float[np.ndarray, " units"]]
"""By language, the AUROC of the target over it by each unit."""
Samples = dict[str, Float[np.ndarray, "draws sets"]]
"""By language, the mean change by set in each resample."""


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


def run(context: Context, progress: Progress) -> StageResults:
    """Find units of every kind by one rule, look at them on held-out text, and switch them off side by side."""
    recipe, parts = context.recipe, context.parts["baselines"]
    try:
        panel = tested_panel(context)
        # not searched again where nothing more is asked of it
        searched = cache(lambda: _ranked(context, _families(context), panel, part(progress, 0.0, 0.25)))
        claim = parts.json("claim", lambda: {key: vars(searched()[2])[key] for key in ("name", "outside")})
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        progress(1.0)
        return StageResults(baselines={"reason": str(error)})
    autoencoders = parts.json(
        "autoencoders",
        lambda: _autoencoder_rows(
            context, searched()[0], _held_out(context, searched()[0], panel, progress), claim["outside"]
        ),
    )
    measured = parts.arrays("switched", lambda: _switched(context, searched(), panel, progress))
    sets = json.loads(str(measured.pop("sets")))
    progress(1.0)
    return StageResults(
        baselines={
            "reason": None,
            "minimum": recipe.evidence.minimum,
            "q": recipe.evidence.q,
            "claim": claim["name"],
            "outside": list(claim["outside"]),
            "autoencoders": autoencoders,
            **added_by_training(
                context,
                [UnitSet(**row | {"members": tuple(row["members"])}) for row in sets],
                Switched(context.tokens("test").take(measured["index"]), **measured),
            ),
        }
    )


def _held_out(
    context: Context, ranked: Sequence[Ranked], panel: Panel, progress: Progress
) -> dict[str, list[Aurocs]]:
    """The AUROCs of every family's first units on what the panel holds out, and on other text where there is some."""
    again, target = {"held_out": panel.held_out}, context.target
    if (elsewhere := replication_panel(context)) is not None:
        again["replicate"] = elsewhere.held_out
    found: dict[str, list[Aurocs]] = {name: [] for name in again}
    for number, (name, tokens) in enumerate(again.items()):
        own = part(progress, 0.25 + 0.1 * number, 0.35 + 0.1 * number)
        tables = tables_of(context, [each.units for each in ranked], tokens, own)
        for each, (_, table) in zip(ranked, tables, strict=True):
            first = passages(table.columns(each.order), context.recipe.evidence.tokens)
            auroc = testing.auroc_table(first)
            found[name].append({code: auroc.of(target, code) for code in auroc.languages if code != target})
    return found


def _switched(
    context: Context,
    searched: tuple[list[Ranked], UnitStatistics, testing.Claim],
    panel: Panel,
    progress: Progress,
) -> Arrays:
    """What switching the sets off does: the arrays of `Switched`, and the sets themselves as JSON, without edits."""
    recipe, (ranked, statistics, _) = context.recipe, searched
    mean, directions = _means(context, statistics)
    sets = _sets_off(context, ranked, mean, directions, panel.found_on, part(progress, 0.45, 0.5))
    sets += _sets_down(context, ranked, mean, directions, part(progress, 0.5, 0.65))
    described = [{key: value for key, value in vars(each).items() if key != "edit"} for each in sets]
    switched = switch_off(
        context.lm,
        context.site,
        sets,
        context.tokens("test"),
        precision=recipe.baselines.precision,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        # of these very sets, should another machine have found others
        keep=context.parts["baselines"].under(f"off-{fingerprint(described)}"),
        progress=part(progress, 0.65, 1.0),
    )
    arrays = {name: getattr(switched, name) for name in ("index", "raw", "change", "used")}
    return arrays | {"sets": np.array(json.dumps(described))}


def _families(context: Context) -> list[tuple[str, int, Latents | Neurons]]:
    """The run's autoencoder, those trained beside it, untrained ones, and the site's coordinates."""
    recipe, folder = context.recipe, context.folder.path / "sae"
    own = load_sae(context)
    found: list[tuple[str, int, Latents | Neurons]] = [(TRAINED, recipe.seed, Latents(own))]
    for name, change in baseline_jobs(recipe).items():
        group = FROZEN if "frozen_decoder" in change else TRAINED
        sae = read_sae(folder / name / "sae.safetensors").to(context.lm.device)
        found.append((group, change["seed"], Latents(sae)))
    seeds = (recipe.seed, *other_seeds(recipe, recipe.baselines.untrained - 1))
    others = untrained_autoencoders(context, seeds)
    found += [(UNTRAINED, seed, Latents(sae)) for seed, sae in zip(seeds, others, strict=True)]
    return [*found, (COORDINATES, 0, site_neurons(context))]


def _ranked(
    context: Context, families: Sequence[tuple[str, int, Latents | Neurons]], panel: Panel, progress: Progress
) -> tuple[list[Ranked], UnitStatistics, testing.Claim]:
    """Every family by the run's test on the half of the panel that is searched.

    Returns:
        The families, the coordinates' statistics, and the claim that was tested.
    """
    recipe = context.recipe
    every = [units for _, _, units in families]
    collected = tables_of(context, every, panel.found_on, part(progress, 0.0, 0.7))
    evidence = []
    for number, (_, table) in enumerate(collected):
        evidence.append(evidence_on(context, table))
        progress(0.7 + 0.3 * (number + 1) / len(families))
    # one claim for all
    name = own_claim(evidence)
    ranked = []
    for (group, seed, units), (statistics, _), tested in zip(families, collected, evidence, strict=True):
        weakest = tested.weakest(name)
        rates = (statistics.rate(context.target), statistics.rate(context.reference))
        ranked.append(
            Ranked(
                group,
                seed,
                units,
                tuple(np.argsort(-weakest, kind="stable")[: max(recipe.baselines.sizes)].tolist()),
                len(tested.passing(name)),
                int(paper_rule(*rates).sum()) if group != COORDINATES else 0,
                weakest,
            )
        )
    return ranked, collected[-1][0], evidence[0].claim(name).claim


def _autoencoder_rows(
    context: Context,
    ranked: Sequence[Ranked],
    held_out: dict[str, list[Aurocs]],
    outside: Sequence[str],
) -> list[dict[str, Any]]:
    """What passes in each family, how its best units do on other text, and how stable they are over seeds."""
    latents = [each for each in ranked if isinstance(each.units, Latents)]
    qualities = measure_reconstruction(
        context.lm,
        context.site,
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
                    name: _told_again(found[number], outside, context.recipe.evidence.minimum)
                    for name, found in held_out.items()
                },
                "stable": _stable(each, ranked),
            }
        )
    return rows


def _told_again(auroc: Aurocs, outside: Sequence[str], minimum: float) -> dict[str, Any]:
    """The first unit's least AUROC over the claim's languages, how many of the first units reach the minimum, and the
    first one's AUROC over every language.
    """
    least = np.min([values for code, values in auroc.items() if code in outside], axis=0)
    return {
        "best": float(least[0]),
        "above": int((least >= minimum).sum()),
        "of": len(least),
        "auroc": {code: float(values[0]) for code, values in auroc.items()},
    }


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


def _means(context: Context, statistics: UnitStatistics) -> tuple[Float[Tensor, " d"], list[Directions]]:
    """The mean of the languages but the target, and the differences of means as directions.

    The target's mean less the reference's, and less that of all others where that is another one.

    Args:
        context: the run.
        statistics: of the site's coordinates, those of both signs after each other.
    """
    target, width = context.target, context.lm.width(context.site)
    means = {code: statistics.mean_value(code)[:width] for code in statistics.languages}
    # each counts alike
    others = torch.stack([mean for code, mean in means.items() if code != target]).mean(0)
    contrasts = {f"{MEANS}, {target} less {context.reference}": means[target] - means[context.reference]}
    if len(means) > 2:
        contrasts[f"{MEANS}, {target} less all others"] = means[target] - others
    return others, [
        Directions([name], vector[None], vector[None] @ others) for name, vector in contrasts.items()
    ]


def _sets_off(
    context: Context,
    ranked: Sequence[Ranked],
    mean: Float[Tensor, " d"],
    directions: Sequence[Directions],
    found_on: TokenizedCorpus,
    progress: Progress,
) -> list[UnitSet]:
    """The sets that are switched off: latents at 0, coordinates and directions at the other languages' mean.

    LAPE neurons are found on `found_on`.
    """
    lm, sizes = context.lm, context.recipe.baselines.sizes
    sets = []
    for each in ranked:
        chosen = [each.order[:size] for size in sorted(sizes) if size <= len(each.order)]
        edits = [_off(each, units, mean) for units in chosen]
        for units, edit in zip(chosen, compile_edits(edits, each.units), strict=True):
            sets.append(UnitSet(each.group, each.seed, len(units), units, edit=edit))
    for number, direction in enumerate(directions):
        edit = Edit.project_to(direction, (0,), mean).compile(direction)
        sets.append(UnitSet(direction.names[0], number, 1, (), edit=edit))
    if context.recipe.baselines.lape:
        neurons = lape(
            lm, found_on, target=context.target, budget=context.recipe.batch_tokens, progress=progress
        )
        # they lie in many layers, so that each set is a pass of the whole model
        for size in sorted({min(max(sizes), len(neurons.ranked)), len(neurons.ranked)} - {0}):
            everywhere = tuple(neurons_off(lm, neurons.best(size)))
            sets.append(UnitSet(LAPE, 0, size, (), edit=everywhere))
    return sets


def _off(each: Ranked, units: tuple[int, ...], mean: Float[Tensor, " d"]) -> Edit:
    if isinstance(each.units, Latents):
        return Edit("zero", units)
    return Edit("mean", units, tuple(each.units.read(mean[None], units)[0].tolist()))


def _sets_down(
    context: Context,
    ranked: Sequence[Ranked],
    mean: Float[Tensor, " d"],
    directions: Sequence[Directions],
    progress: Progress,
) -> list[UnitSet]:
    """Sets of the largest size turned down to the same damage, found on the target's sentences of `tune`."""
    recipe, levels = context.recipe, context.recipe.baselines.damage
    own = first_sentences(only(context.tokens("tune"), context.target), DOSE_SENTENCES)
    own = own.scoring(worth_scoring(context.lm, context.site, own))
    if not levels or not len(own):
        return []
    wanted: list[tuple[str, int, tuple[int, ...], Latents | Neurons | Directions, tuple[float, ...]]] = []
    for group in (TRAINED, FROZEN, UNTRAINED, COORDINATES):
        for each in [one for one in ranked if one.group == group][:1]:
            at = (
                ()
                if isinstance(each.units, Latents)
                else tuple(each.units.read(mean[None], each.order)[0].tolist())
            )
            wanted.append((group, each.seed, each.order, each.units, at))
    for number, direction in enumerate(directions):
        at = tuple(direction.read(mean[None], (0,))[0].tolist())
        wanted.append((direction.names[0], number, (0,), direction, at))

    def damage(asked: list[list[float]]) -> list[list[float]]:
        edits = [
            _towards(of, units, at, dose)
            for (_, _, units, of, at), doses in zip(wanted, asked, strict=True)
            for dose in doses
        ]
        losses = replayed_losses(context.lm, context.site, own, [None, *edits], budget=recipe.batch_tokens)
        rises = iter(((losses[1:] - losses[0]).sum(1) / own.predicted.sum()).tolist())
        return [[next(rises) for _ in doses] for doses in asked]

    known = [{1.0: off} for (off,) in damage([[1.0]] * len(wanted))]
    progress(0.2)
    found = [
        UnitSet(group, seed, len(units), units, dose, level, _towards(of, units, at, dose))
        for (group, seed, units, of, at), doses in zip(
            wanted, doses_of_each(damage, known, [levels] * len(wanted)), strict=True
        )
        for level, dose in doses.items()
        if dose is not None
    ]
    progress(1.0)
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


def added_by_training(context: Context, sets: Sequence[UnitSet], switched: Switched) -> dict[str, Any]:
    """What each set costs each language, on how much text, and what the trained ones cost more than the untrained.

    The change of every sentence's loss under every set is written to `baselines/losses.parquet`.
    """
    _write_losses(context, sets, switched)
    tokens = switched.tokens
    samples = {code: switched.resampled(code, **context.resampling) for code in tokens.corpus.languages}
    measured = {}
    for code in samples:
        rows = switched.rows(code)
        predicted = tokens.predicted[rows].sum()
        measured[code] = {
            "sentences": len(rows),
            "tokens": int(predicted),
            "bytes": int(tokens.predicted_bytes[rows].sum()),
            "loss": float(switched.raw[rows].sum() / predicted),
        }
    return {
        "sets": _set_rows(context, sets, switched, samples),
        "measured": measured,
        "adds": _adds(context, sets, switched, samples),
    }


def _named(each: UnitSet, *names: str) -> dict[str, Any]:
    return {name: getattr(each, name) for name in names}


def _write_losses(context: Context, sets: Sequence[UnitSet], switched: Switched) -> None:
    """Every set's change of every measured sentence's loss, so that any other statistic can be computed from it."""
    tokens, sentences = switched.tokens, switched.tokens.corpus.sentences
    rows = [
        {
            **_named(each, "group", "seed", "size", "dose", "at"),
            "language": sentences[i].language,
            "source": sentences[i].source,
            "pair": sentences[i].pair,
            "tokens": int(tokens.predicted[i]),
            "bytes": int(tokens.predicted_bytes[i]),
            "loss": float(switched.raw[i]),
            "change": float(changes[i]),
        }
        for each, changes, used in zip(sets, switched.change, switched.used, strict=True)
        for i in np.flatnonzero(used).tolist()
    ]
    write_table(context.folder.path / "baselines" / "losses.parquet", rows)


def _set_rows(
    context: Context, sets: Sequence[UnitSet], switched: Switched, samples: Samples
) -> list[dict[str, Any]]:
    """What each set costs each language, nats a token and a byte, with 95 % intervals over sentences."""
    mean, sentences, per_byte = (
        {code: find(code) for code in samples}
        for find in (switched.mean, switched.sentences, switched.per_byte)
    )
    rows = []
    for number, each in enumerate(sets):
        change = {}
        for code, drawn in samples.items():
            low, high = interval(drawn[:, number])
            change[code] = {
                "delta": float(mean[code][number]),
                "low": low,
                "high": high,
                "per_byte": float(per_byte[code][number]),
                "sentences": int(sentences[code][number]),
            }
        others = {code: change[code]["delta"] for code in samples if code != context.target}
        rows.append(
            {
                **_named(each, "group", "seed", "size"),
                "members": list(each.members),
                **_named(each, "dose", "at"),
                "change": change,
                "nearest": max(others, key=lambda code: others[code]) if others else None,
            }
        )
    return rows


def _adds(
    context: Context, sets: Sequence[UnitSet], switched: Switched, samples: Samples
) -> list[dict[str, Any]]:
    """Trained less untrained, size by size: with intervals over sentences and, resampled with them, over seeds.

    `target`: what switching off costs the target. `margin`: that less what it costs the nearest other language, found
    anew in every resample. `units`: how many units carry 90 % of what the largest set does to the target.
    """
    draws, target = context.recipe.effects.bootstrap, context.target
    others = [code for code in samples if code != target]
    point = {code: switched.mean(code)[None] for code in samples}
    generator = np.random.default_rng([context.recipe.seed, 1])
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
    what: str, changes: Samples, target: str, others: Sequence[str]
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
        # a largest set that does no damage carries itself
        least = min(CARRIED * own[max(own)], own[max(own)])
        needed[group].append(min(size for size, value in own.items() if value >= least))
    return {"what": "units", "size": None, **{group: needed[group] for group in LEARNT}}


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """What switching units off costs, trained and untrained."""
    what = {"target": target, "margin": f"{target} less the nearest"}
    baselines = results.baselines
    for row in baselines.differences if baselines else []:
        yield (
            f"baselines {row.size} latent{'s' * (row.size > 1)} off, {what[row.what]}: "
            f"trained {row.trained:+.3f}, untrained {row.untrained:+.3f} nats "
            f"(difference {row.difference:+.3f}, 95 % {row.low:+.3f} to {row.high:+.3f})"
        )


def cost(counts: Quantities) -> Work:
    """Both halves of the panel through every autoencoder; then the sets, on text of `test` that they touch."""
    asked, layers, test = counts.recipe.baselines, counts.shape.layers, counts.roles["test"]
    count = 1 + asked.trained + asked.frozen + asked.untrained
    tokens = tokens_of(counts.panel) + tokens_of(counts.roles.get("replicate", {}))
    passes = counts.forward(tokens, counts.depth)
    if asked.lape:
        passes += counts.forward(tokens_of(counts.panel) / 2, layers)
    codes = counts.encodings(tokens, counts.d_in, counts.latents, [counts.live] * count)
    sentences = sum(min(SWITCHED_SENTENCES, a.sentences) for a in test.values())
    share = min(1.0, sentences / max(1.0, sentences_of(test)))
    # latents of the target touch its own text, and hardly any other
    touched = share * tokens_of(test, counts.pair[:1])
    sets = (count + 1) * len(asked.sizes) + 2 + (len(asked.sizes) + 1) * asked.lape
    searched = DOSES_TRIED * 5 * len(asked.damage)
    passes += counts.forward(share * tokens_of(test), layers, output=True)
    passes += counts.forward((sets + searched) * touched, counts.above, output=True)
    return dataclasses.replace(passes + codes, held=passes.held + codes.held)


STAGE = Stage(
    name="baselines",
    does="holding untrained autoencoders against it",
    run=run,
    inputs=lambda context: Inputs(
        ("train", "tune", "test", *context.reads_panel),
        {**settings_of(context.recipe, "baselines"), **settings_of(context.recipe, "evidence", "seeds")},
        ("sae",),
        {"bootstrap": context.recipe.effects.bootstrap},
    ),
    cost=cost,
    words=lambda counts: (
        f"{counts.recipe.baselines.untrained} untrained autoencoders by the same rule, coordinates, directions "
        "and LAPE neurons; each switched off on test until the change of loss is known"
    ),
    asked=wants_baselines,
    lower="batch_tokens or sae.latents (or sae.expansion)",
    lines=lines,
)
