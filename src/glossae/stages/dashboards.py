"""The stage `dashboards`: look at the run's units over its whole text, for a page each."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glossae.corpora import Corpus
from glossae.files import write_json
from glossae.lm import TokenizedCorpus, random_order, tokenize
from glossae.plan import Quantities, Work, count_text, sentences_of, share_of, tokens_of
from glossae.results import (
    EvidenceResult,
    Partner,
    ShownUnit,
    StageResults,
    TestedClaim,
    UnitDashboard,
    UnitTests,
)
from glossae.run.context import Context, Inputs, Progress, longest_text, part
from glossae.stages.sae import load_sae
from glossae.stages.shared.units import language_directions, site_neurons
from glossae.stages.stage import Stage, settings_of
from glossae.units import Latents, Units, look_at_units, nearest_units, token_counts, unit_logits

# at most so many neurons, so many directions, and so many latents that pass a claim without being selected
OF_EACH_KIND = 8
# text of another kind is kept for the tests alone
NOT_READ = ("replicate",)

Chosen = dict[int, bool]
"""The numbers of units of a kind, and whether each was selected."""


def run(context: Context, progress: Progress) -> StageResults:
    """Read the chosen units over the text, and write a file for each."""
    lm, site, folder = context.lm, context.site, context.folder.path
    tokens = _text(context)
    tests, partners = _tests(context), _partners(context)
    families = _families(context, tests)
    looked_at = look_at_units(
        lm,
        site,
        [(units, list(chosen)) for units, chosen in families],
        tokens,
        seed=context.recipe.seed,
        budget=context.recipe.batch_tokens,
        progress=part(progress, 0.0, 0.9),
    )
    languages = tokens.corpus.languages
    counts = token_counts(tokens, len(lm.tokenizer))
    rows = []
    for (units, chosen), seen in zip(families, looked_at, strict=True):
        ids = list(chosen)
        logits = unit_logits(lm, site, units.direction(ids), counts, languages) if ids else []
        nearest = nearest_units(units, ids)
        for place, unit in enumerate(ids):
            dashboard = UnitDashboard(
                kind=units.kind,
                unit=unit,
                label=units.name(unit),
                site=site.name,
                layer=site.layer,
                target=context.target,
                reference=context.reference,
                selected=chosen[unit],
                logits=None if isinstance(logits, str) else logits[place],
                no_logits=logits if isinstance(logits, str) else None,
                nearest=nearest[place],
                tests=tests.get((units.kind, unit)),
                partners=partners.get(unit, []) if units.kind == "latent" else [],
                **vars(seen[place]),
            )
            write_json(folder / "dashboards" / f"{units.kind}-{unit}.json", dashboard.to_json())
            read = sum(each.tokens for each in dashboard.density.values())
            claims = dashboard.tests.claims if dashboard.tests else {}
            rows.append(
                ShownUnit(
                    kind=units.kind,
                    unit=unit,
                    tokens=read,
                    label=dashboard.label,
                    passes=[name for name, claim in claims.items() if claim.passed],
                )
            )
    progress(1.0)
    return StageResults(dashboards=rows)


def roles_read(context: Context) -> tuple[str, ...]:
    """The roles whose text is read."""
    return tuple(role for role in context.roles.corpora if role not in NOT_READ)


def _text(context: Context) -> TokenizedCorpus:
    """The sentences of all roles that are read, or as many of each language as asked for."""
    sentences = [s for role in roles_read(context) for s in context.roles.corpora[role].sentences]
    most = context.recipe.dashboards.sentences
    if most is not None:
        order = random_order([s.language for s in sentences], seed=context.recipe.seed)
        kept = np.sort(np.concatenate([own[:most] for own in order.values()]))
        sentences = [sentences[number] for number in kept]
    lm = context.lm
    return tokenize(lm, Corpus.of(sentences), max_tokens=longest_text(context.recipe, lm), prefix=lm.prefix)


def _families(context: Context, tests: Mapping[tuple[str, int], UnitTests]) -> list[tuple[Units, Chosen]]:
    """Latents, neurons and directions with those to look at, and whether each was selected.

    The selected latents come first; then in turn latents that pass a claim, such as that of a family of languages,
    neurons and directions, of these the tested ones, or where none passed those that came closest (random directions
    are for comparison only), and neurons that pass another claim; then the latents nearest to the rate rule.
    """
    folder, most = context.folder, context.recipe.dashboards.units
    features, evidence = folder.summary("features").features, folder.summary("evidence").evidence
    assert features is not None
    selected = {row.unit for row in features.units}
    tested: dict[str, Chosen] = {"latent": {}, "neuron": {}, "direction": {}}
    for row in evidence.units if isinstance(evidence, EvidenceResult) else []:
        own = tested[row.kind]
        if row.kind != "latent" and (row.selected or not row.label.startswith("random")):
            own[row.unit] = row.selected
    # all directions are among the evidence's units
    for kind in ("latent", "neuron"):
        for unit in _passing(tests, kind):
            if kind != "latent" or unit not in selected:
                tested[kind].setdefault(unit, False)
    tested = {kind: dict(list(own.items())[:OF_EACH_KIND]) for kind, own in tested.items()}
    in_turn = zip_longest(*([(kind, unit) for unit in own] for kind, own in tested.items()))
    order = [("latent", row.unit) for row in features.units]
    order += [each for turn in in_turn for each in turn if each is not None]
    order += [("latent", row.unit) for row in features.nearest]
    looked_at: dict[str, Chosen] = {"latent": {}, "neuron": {}, "direction": {}}
    for kind, unit in list(dict.fromkeys(order))[:most]:
        looked_at[kind][unit] = unit in selected if kind == "latent" else tested[kind][unit]
    found: list[tuple[Units, Chosen]] = [(Latents(load_sae(context)), looked_at["latent"])]
    if looked_at["neuron"]:
        found.append((site_neurons(context), looked_at["neuron"]))
    if looked_at["direction"]:
        found.append((language_directions(context)[0], looked_at["direction"]))
    return found


def _passing(tests: Mapping[tuple[str, int], UnitTests], kind: str) -> list[int]:
    """The units of a kind that pass, those of each claim in turn (a unit's is its most specific), by q."""
    by_claim: dict[str, list[tuple[float, int]]] = {}
    for (own, unit), each in tests.items():
        for name, claim in each.claims.items() if own == kind else ():
            # claims of which no unit's is the most specific keep their place
            passing = by_claim.setdefault(name, [])
            if claim.passed:
                passing.append((claim.q, unit))
                break
    in_turn = zip_longest(*(sorted(own) for own in by_claim.values()))
    return [each[1] for turn in in_turn for each in turn if each is not None]


def _tests(context: Context) -> dict[tuple[str, int], UnitTests]:
    """By kind and number, what the tests found of each unit that they looked at."""
    evidence = context.folder.summary("evidence").evidence
    if not isinstance(evidence, EvidenceResult):
        return {}
    table = pd.read_parquet(context.folder.path / "evidence" / "units.parquet")
    start = f"auroc {context.target} "
    return {
        (row["kind"], row["unit"]): _tests_of(row, evidence, start) for row in table.to_dict(orient="records")
    }


def _tests_of(row: dict[Any, Any], evidence: EvidenceResult, start: str) -> UnitTests:
    auroc = {name.removeprefix(start): float(value) for name, value in row.items() if name.startswith(start)}
    claims = {
        name.removeprefix("q "): TestedClaim(
            p=float(row[f"p {name.removeprefix('q ')}"]), q=float(value), passed=float(value) <= evidence.q
        )
        for name, value in row.items()
        if name.startswith("q ")
    }
    return UnitTests(
        claims=claims,
        auroc=auroc,
        least=min(auroc.values()),
        left_out={
            code: min(value for other, value in auroc.items() if other != code)
            for code in auroc
            if len(auroc) > 1
        },
    )


def _partners(context: Context) -> dict[int, list[Partner]]:
    """By latent, its partners in autoencoders of other seeds."""
    if not context.recipe.evidence.seeds:
        return {}
    path: Path = context.folder.path / "stability" / "units.parquet"
    if not path.is_file():
        return {}
    found: dict[int, list[Partner]] = {}
    for row in pd.read_parquet(path).to_dict(orient="records"):
        unit = int(row.pop("unit"))
        found.setdefault(unit, []).append(Partner.model_validate(row))
    return found


def inputs(context: Context) -> Inputs:
    """All text but that of `replicate`, and the stages that chose and tested the units."""
    stability = ("stability",) if context.recipe.evidence.seeds else ()
    return Inputs(
        roles_read(context),
        settings_of(context.recipe, "dashboards"),
        ("sae", "evidence", *stability, "features"),
    )


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """How many units have a page."""
    if results.dashboards:
        kinds = [row.kind for row in results.dashboards]
        told = ", ".join(f"{kinds.count(kind)} {kind}s" for kind in dict.fromkeys(kinds))
        yield f"dashboards {told} over {results.dashboards[0].tokens:,} tokens: units/index.html"


def _amount(counts: Quantities) -> tuple[float, float]:
    """Tokens and sentences that are read."""
    most, tokens, sentences = counts.recipe.dashboards.sentences, 0.0, 0.0
    texts = [amounts for role, amounts in counts.roles.items() if role not in NOT_READ]
    for code in {code for amounts in texts for code in amounts}:
        of_all = sum(sentences_of(amounts, (code,)) for amounts in texts)
        share = share_of(of_all, most)
        tokens += share * sum(tokens_of(amounts, (code,)) for amounts in texts)
        sentences += share * of_all
    return tokens, sentences


def cost(counts: Quantities) -> Work:
    """A pass over the text to the site, with the encoder, and one of the unembedding for each unit."""
    tokens, sentences = _amount(counts)
    units, passes = counts.recipe.dashboards.units, counts.forward(tokens, counts.depth)
    read = Work(
        # the values of each unit at each token are gone through some twenty times
        moved=80 * units * tokens,
        held=8 * units * sentences,
        written=1e5 * units,
        float_flops=2.0 * units * counts.shape.vocabulary * counts.shape.width,
        seconds=0.5,
    )
    return passes + counts.encode(tokens) + read


def words(counts: Quantities) -> str:
    """How many units, over how much text."""
    tokens, _ = _amount(counts)
    return f"a pass over {count_text(tokens)} tokens for at most {counts.recipe.dashboards.units} units"


STAGE = Stage(
    name="dashboards",
    does="looking at the units over the whole text",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.dashboards.units > 0,
    lower="batch_tokens, dashboards.units or dashboards.sentences",
    lines=lines,
)
