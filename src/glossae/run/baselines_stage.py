"""What training adds: the units of trained and untrained autoencoders, found by one rule, and of what needs neither."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from glossae.effects import Arrays, Switched, UnitSet, switch_off
from glossae.errors import GlossaeError
from glossae.files import fingerprint
from glossae.find import paper_rule, passages, testing
from glossae.lm import Site, TokenizedCorpus
from glossae.run.added_by_training import added_by_training
from glossae.run.baseline_sets import (
    COORDINATES,
    DOSE_SENTENCES,
    FROZEN,
    TRAINED,
    UNTRAINED,
    Ranked,
    means_of,
    sets_down,
    sets_off,
)
from glossae.run.context import Context
from glossae.run.directions import site_neurons
from glossae.run.found import own_claim
from glossae.run.panels import Panel, replication_panel, test_panel
from glossae.run.sae_stage import baseline_jobs, load_sae, other_seeds, untrained_autoencoders
from glossae.run.samples import first_sentences
from glossae.run.show import Report, part
from glossae.sae import measure_reconstruction, read_sae
from glossae.units import Latents, Neurons, SentenceTable, UnitStatistics, collect_all

# a latent of another seed is the same one from this cosine of their decoder rows on
SAME = 0.7


def baselines_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Find units of every kind by one rule, look at them on held-out text, and switch them off side by side."""
    recipe, site, parts = context.recipe, context.site(layer), context.parts["baselines"]
    try:
        panel = test_panel(context)
        # not searched again where nothing more is asked of it
        searched = cache(
            lambda: _ranked(context, site, _families(context, site), panel, part(report, 0.0, 0.25))
        )
        claim = parts.json("claim", lambda: {key: vars(searched()[2])[key] for key in ("name", "outside")})
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        report(1.0)
        return {"baselines": {"reason": str(error)}}
    autoencoders = parts.json(
        "autoencoders",
        lambda: _autoencoder_rows(
            context,
            site,
            searched()[0],
            _held_out(context, site, searched()[0], panel, report),
            claim["outside"],
        ),
    )
    measured = parts.arrays("switched", lambda: _switched(context, site, searched(), panel, report))
    sets = json.loads(str(measured.pop("sets")))
    report(1.0)
    return {
        "baselines": {
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
    }


def _held_out(
    context: Context, site: Site, ranked: Sequence[Ranked], panel: Panel, report: Report
) -> dict[str, list[dict[str, Float[np.ndarray, " units"]]]]:
    """The AUROCs of every family's first units on what the panel holds out, and on other text where there is some."""
    again = {"held_out": panel.held_out}
    if (elsewhere := replication_panel(context)) is not None:
        again["replicate"] = elsewhere.held_out
    return {
        name: _again(context, site, ranked, tokens, part(report, 0.25 + 0.1 * number, 0.35 + 0.1 * number))
        for number, (name, tokens) in enumerate(again.items())
    }


def _switched(
    context: Context,
    site: Site,
    searched: tuple[list[Ranked], UnitStatistics, testing.Claim],
    panel: Panel,
    report: Report,
) -> Arrays:
    """What switching the sets off does: the arrays of `Switched`, and the sets themselves as JSON, without edits."""
    recipe, (ranked, statistics, _) = context.recipe, searched
    means = means_of(context, statistics, context.lm.width(site))
    sets = sets_off(context, ranked, means, panel.found_on, part(report, 0.45, 0.5))
    sets += sets_down(context, site, ranked, means, part(report, 0.5, 0.65))
    described = [{key: value for key, value in vars(each).items() if key != "edit"} for each in sets]
    switched = switch_off(
        context.lm,
        site,
        sets,
        context.tokens("test"),
        precision=recipe.baselines.precision,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        # of these very sets, should another machine have found others
        keep=context.parts["baselines"].under(f"off-{fingerprint(described)}"),
        progress=part(report, 0.65, 1.0),
    )
    arrays = {name: getattr(switched, name) for name in ("index", "raw", "change", "used")}
    return arrays | {"sets": np.array(json.dumps(described))}


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
    others = untrained_autoencoders(context, site, seeds)
    found += [(UNTRAINED, seed, Latents(sae)) for seed, sae in zip(seeds, others, strict=True)]
    return [*found, (COORDINATES, 0, site_neurons(context, site))]


def _ranked(
    context: Context,
    site: Site,
    families: Sequence[tuple[str, int, Latents | Neurons]],
    panel: Panel,
    report: Report,
) -> tuple[list[Ranked], UnitStatistics, testing.Claim]:
    """Every family by the run's test on the half of the panel that is searched.

    Returns:
        The families, the coordinates' statistics, and the claim that was tested.
    """
    recipe = context.recipe
    collected = collect_all(
        context.lm,
        site,
        [units for _, _, units in families],
        panel.found_on,
        budget=recipe.batch_tokens,
        progress=part(report, 0.0, 0.7),
    )
    evidence = []
    for number, (_, table) in enumerate(collected):
        assert table is not None
        evidence.append(
            testing.units_evidence(
                passages(table, recipe.evidence.tokens),
                context.target,
                minimum=recipe.evidence.minimum,
                q=recipe.evidence.q,
                method=recipe.evidence.method,
                reference=context.reference,
                within="all",
            )
        )
        report(0.7 + 0.3 * (number + 1) / len(families))
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


def _again(
    context: Context, site: Site, ranked: Sequence[Ranked], tokens: TokenizedCorpus, report: Report
) -> list[dict[str, Float[np.ndarray, " units"]]]:
    """The AUROC of every family's first units over each other language, on other text."""
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


def _aurocs(context: Context, table: SentenceTable) -> dict[str, Float[np.ndarray, " units"]]:
    auroc = testing.auroc_table(passages(table, context.recipe.evidence.tokens))
    return {code: auroc.of(context.target, code) for code in auroc.languages if code != context.target}


def _autoencoder_rows(
    context: Context,
    site: Site,
    ranked: Sequence[Ranked],
    held_out: dict[str, list[dict[str, Float[np.ndarray, " units"]]]],
    outside: Sequence[str],
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
                    name: _told_again(found[number], outside, context.recipe.evidence.minimum)
                    for name, found in held_out.items()
                },
                "stable": _stable(each, ranked),
            }
        )
    return rows


def _told_again(
    auroc: dict[str, Float[np.ndarray, " units"]], outside: Sequence[str], minimum: float
) -> dict[str, Any]:
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
