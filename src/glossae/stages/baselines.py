"""The stage `baselines`: what training adds.

Units of trained and untrained autoencoders, and of what needs neither, are found by the same test and switched off.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from glossae.effects import Arrays, SwitchOff, switch_off
from glossae.effects import baselines as training
from glossae.errors import GlossaeError
from glossae.evidence import Panel, check_lape, first_sentences, lape, own_claim, testing
from glossae.files import fingerprint
from glossae.plan import Quantities, Work, sentences_of, tokens_of
from glossae.results import Baselines, FoundUnits, StageResults, TurnedSet
from glossae.run.context import Context, Inputs, Progress, only, part
from glossae.run.folder import as_rows, write_table
from glossae.sae import measure_reconstruction
from glossae.stages.sae import baseline_jobs, load_sae, other_seeds, untrained_autoencoders, wants_baselines
from glossae.stages.shared.panels import replication_panel, tested_panel
from glossae.stages.shared.units import evidence_on, site_neurons, tables_of
from glossae.stages.stage import Stage, settings_of
from glossae.units import Latents, Neurons, UnitStatistics

# sentences of the target on which doses are looked for
DOSE_SENTENCES = 48
# of a dry run: sentences of a language on which sets are switched off, and doses that are tried to match a damage
SWITCHED_SENTENCES, DOSES_TRIED = 64, 5

Searched = tuple[list[training.Ranked], UnitStatistics, testing.Claim]
"""Every group's units that pass, the coordinates' statistics, and the claim that was tested."""


def check(context: Context) -> None:
    """Check that the neurons of LAPE can be counted in the model.

    Raises:
        GlossaeError: they cannot.
    """
    if wants_baselines(context.recipe) and context.recipe.baselines.lape:
        check_lape(context.lm)


def run(context: Context, progress: Progress) -> StageResults:
    """Find units of every kind by the same test, look at them on held-out text, and switch them off side by side."""
    recipe, parts = context.recipe, context.parts["baselines"]
    try:
        panel = tested_panel(context)
        # not searched again where nothing more is asked of it
        searched = cache(lambda: _searched(context, panel, part(progress, 0.0, 0.25)))
        claim = parts.json("claim", lambda: {key: vars(searched()[2])[key] for key in ("name", "outside")})
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        progress(1.0)
        return StageResults(baselines=Baselines(reason=str(error)))
    found = parts.rows(
        FoundUnits, "autoencoders", lambda: _found(context, searched()[0], panel, claim["outside"], progress)
    )
    measured = parts.arrays("switched", lambda: _switched(context, searched(), panel, progress))
    sets = [TurnedSet(**row) for row in json.loads(str(measured.pop("sets")))]
    switched = SwitchOff(context.tokens("test").take(measured["index"]), **measured)
    _write_losses(context, sets, switched)
    compared = training.compared(sets, switched, context.target, **context.resampling)
    progress(1.0)
    return StageResults(
        baselines=Baselines(
            reason=None,
            minimum=recipe.evidence.minimum,
            q=recipe.evidence.q,
            claim=claim["name"],
            outside=list(claim["outside"]),
            autoencoders=found,
            **vars(compared),
        )
    )


def _groups(context: Context) -> list[tuple[str, int, Latents | Neurons]]:
    """The run's autoencoder, those trained beside it, untrained ones, and the site's coordinates."""
    recipe, folder = context.recipe, context.folder.path / "sae"
    found: list[tuple[str, int, Latents | Neurons]] = [
        (training.TRAINED, recipe.seed, Latents(load_sae(context)))
    ]
    for name, change in baseline_jobs(recipe).items():
        group = training.FROZEN if "frozen_decoder" in change else training.TRAINED
        found.append((group, change["seed"], Latents(load_sae(context, folder / name))))
    seeds = (recipe.seed, *other_seeds(recipe, recipe.baselines.untrained - 1))
    others = untrained_autoencoders(context, seeds)
    found += [(training.UNTRAINED, seed, Latents(sae)) for seed, sae in zip(seeds, others, strict=True)]
    return [*found, (training.COORDINATES, 0, site_neurons(context))]


def _searched(context: Context, panel: Panel, progress: Progress) -> Searched:
    """Every group by the run's test on the half of the panel that is searched; one claim for all."""
    groups = _groups(context)
    every = [units for _, _, units in groups]
    collected = tables_of(context, every, panel.found_on, part(progress, 0.0, 0.7))
    evidence = []
    for number, (_, table) in enumerate(collected):
        evidence.append(evidence_on(context, table))
        progress(0.7 + 0.3 * (number + 1) / len(groups))
    name = own_claim(evidence)
    statistics = [own for own, _ in collected]
    found = training.ranked(
        groups,
        statistics,
        evidence,
        name,
        target=context.target,
        reference=context.reference,
        most=max(context.recipe.baselines.sizes),
    )
    return found, statistics[-1], evidence[0].claim(name).claim


def _found(
    context: Context,
    ranked: Sequence[training.Ranked],
    panel: Panel,
    outside: Sequence[str],
    progress: Progress,
) -> list[FoundUnits]:
    """The first units of every group on what the panel holds out, and on other text where there is some."""
    texts, settings = {"held_out": panel.held_out}, context.recipe.evidence
    if (elsewhere := replication_panel(context)) is not None:
        texts["replicate"] = elsewhere.held_out
    again = {}
    for number, (name, tokens) in enumerate(texts.items()):
        own = part(progress, 0.25 + 0.1 * number, 0.35 + 0.1 * number)
        tables = tables_of(context, [each.units for each in ranked], tokens, own)
        again[name] = [
            training.told_again(
                each, table, context.target, outside, settings.minimum, tokens=settings.tokens
            )
            for each, (_, table) in zip(ranked, tables, strict=True)
        ]
    # the site's coordinates, which come last, reconstruct nothing
    qualities = measure_reconstruction(
        context.lm,
        context.site,
        [each.units.sae for each in ranked if isinstance(each.units, Latents)],
        first_sentences(context.pair_tokens("tune"), DOSE_SENTENCES),
        budget=context.recipe.batch_tokens,
    )
    return training.found_units(ranked, again, [*(quality.fvu for quality in qualities), None])


def _switched(context: Context, searched: Searched, panel: Panel, progress: Progress) -> Arrays:
    """What switching the sets off does: the arrays of `SwitchOff`, and what the sets are as JSON."""
    recipe, lm, site, (ranked, statistics, _) = context.recipe, context.lm, context.site, searched
    settings, budget = recipe.baselines, recipe.batch_tokens
    mean, directions = training.directions_to(statistics, lm.width(site), context.target, context.reference)
    neurons = None
    if settings.lape:
        own = part(progress, 0.45, 0.5)
        neurons = lape(lm, panel.found_on, target=context.target, budget=budget, progress=own)
    sets = training.sets_off(ranked, mean, directions, settings.sizes, neurons)
    text = first_sentences(only(context.tokens("tune"), context.target), DOSE_SENTENCES)
    sets += training.sets_down(lm, site, ranked, mean, directions, text, settings.damage, budget=budget)
    progress(0.65)
    described = as_rows([each.row for each in sets])
    switched = switch_off(
        lm,
        site,
        sets,
        context.tokens("test"),
        precision=settings.precision,
        seed=recipe.seed,
        budget=budget,
        # of these very sets, should another machine have found others
        keep=context.parts["baselines"].under(f"off-{fingerprint(described)}"),
        progress=part(progress, 0.65, 1.0),
    )
    arrays = {name: getattr(switched, name) for name in ("index", "raw", "change", "used")}
    return arrays | {"sets": np.array(json.dumps(described))}


def _write_losses(context: Context, sets: Sequence[TurnedSet], switched: SwitchOff) -> None:
    """Every set's change of every measured sentence's loss, so that any other statistic can be computed from it."""
    tokens, sentences = switched.tokens, switched.tokens.corpus.sentences
    rows = [
        {
            **{name: getattr(each, name) for name in ("group", "seed", "size", "dose", "at")},
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
    codes = counts.encodings(tokens, counts.d_in, counts.latents, [counts.live_latents] * count)
    codes += counts.joined(2 * counts.d_in * counts.latents * asked.untrained)
    sentences = sum(min(SWITCHED_SENTENCES, a.sentences) for a in test.values())
    share = min(1.0, sentences / max(1.0, sentences_of(test)))
    # latents of the target touch its own text, and hardly any other
    touched = share * tokens_of(test, counts.pair[:1])
    sets = (count + 1) * len(asked.sizes) + 2 + (len(asked.sizes) + 1) * asked.lape
    searched = DOSES_TRIED * 5 * len(asked.damage)
    passes += counts.forward(share * tokens_of(test), layers, output=True)
    passes += counts.forward((sets + searched) * touched, counts.blocks_above, output=True)
    return passes.beside(codes)


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
        f"{counts.recipe.baselines.untrained} untrained autoencoders by the same test, coordinates, directions "
        "and LAPE neurons; each switched off on test until the change of loss is known"
    ),
    asked=wants_baselines,
    check=check,
    lower="batch_tokens or sae.latents (or sae.expansion)",
    lines=lines,
)
