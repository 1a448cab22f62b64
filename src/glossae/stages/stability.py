"""The stage `stability`: train autoencoders with other seeds, and look in them for the units that were found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.evidence import match_latents, stability_result, testing
from glossae.files import delete, file_sha256, note, read_json, write_json
from glossae.plan import Quantities, Work, sentences_of, tokens_of
from glossae.results import NotTested, StageResults
from glossae.run.context import Context, Inputs, Progress, part
from glossae.run.folder import as_rows, write_table
from glossae.sae import Sae
from glossae.stages.sae import load_sae, other_seeds, save_sae, train_autoencoder, training_identity
from glossae.stages.shared.panels import tested_panel
from glossae.stages.shared.sae_jobs import training_work
from glossae.stages.shared.units import find_in
from glossae.stages.stage import Stage
from glossae.units import Latents

# what says that the autoencoder beside it is whole, and of which training
TRAINED = "trained.json"
# what it says the hashes of
FILES = ("sae.safetensors", "log.parquet")
# of a dry run: of each latent, how many of another autoencoder's it is correlated with (find.stability)
CANDIDATES = 8


def run(context: Context, progress: Progress) -> StageResults:
    """Train with other seeds, test each autoencoder's latents on the half that the run's were found on, match both.

    An autoencoder of another seed has its own first weights and reads the same text in another order; all else is the
    run's. Matches are made on the half of the panel that is held out.
    """
    recipe, folder = context.recipe, context.folder.path
    evidence = context.folder.summary("evidence").evidence
    if isinstance(evidence, NotTested):
        # without units there is nothing to look for
        progress(1.0)
        return StageResults(stability=evidence)
    panel = tested_panel(context)
    one, frozen = Latents(load_sae(context)), testing.load_frozen(folder / "evidence" / "latents.json")
    frozen.check_units(one.identity)
    matches = {}
    for number, seed in context.share(enumerate(other_seeds(recipe, recipe.evidence.seeds))):
        own = part(progress, number / recipe.evidence.seeds, (number + 1) / recipe.evidence.seeds)
        other = Latents(_autoencoder(context, seed, part(own, 0.0, 0.8)))
        path = _place(context, seed) / "latents.json"
        found = find_in(context, other, panel, {context.target: path}, part(own, 0.8, 0.9))[1][context.target]
        match = match_latents(
            context.lm,
            context.site,
            one,
            other,
            panel.held_out,
            frozen.units,
            budget=recipe.batch_tokens,
            progress=part(own, 0.9, 1.0),
        )
        matches[seed] = match, found.units
    table = folder / "stability" / "units.parquet"
    rows = [
        {"unit": unit, **partner.to_json()}
        for seed, (match, units) in matches.items()
        for unit, partner in zip(match.selected.tolist(), match.partners(seed, units), strict=True)
    ]
    if rows:
        write_table(table, rows)
    else:
        delete(table)
    return StageResults(stability=stability_result(matches, frozen, one, panel.role))


def _place(context: Context, seed: int) -> Path:
    return context.folder.path / "stability" / f"seed_{seed}"


def _autoencoder(context: Context, seed: int, progress: Progress) -> Sae:
    """The autoencoder of another seed: trained, or taken where an earlier try of this stage has finished it."""
    folder, identity = _place(context, seed), training_identity(context, seed)
    # one rank looks for all: files of the others' may be late
    if ranks.exchange(ranks.rank() == 0 and _trained(folder, identity), "a trained autoencoder")[0]:
        progress(1.0)
        return load_sae(context, folder)
    delete(folder / TRAINED)
    sae, log, _ = train_autoencoder(context, f"stability/{folder.name}", progress, seed)
    save_sae(sae, folder)
    write_table(folder / "log.parquet", as_rows(log))
    if ranks.rank() == 0:
        write_json(folder / TRAINED, _facts(folder, identity))
    return sae


def _facts(folder: Path, identity: str) -> dict[str, Any]:
    return {"identity": identity, "files": {name: file_sha256(folder / name) for name in FILES}}


def _trained(folder: Path, identity: str) -> bool:
    """Whether the whole autoencoder of this training lies there; its files then are this try's."""
    try:
        said = read_json(folder / TRAINED)
        whole: bool = said == _facts(folder, identity)
    except (GlossaeError, OSError, ValueError):
        return False
    for name in (*FILES, TRAINED) if whole else ():
        note(folder / name)
    return whole


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """Of each seed, how many units it has and how many of the run's are there again."""
    if not (stability := results.stability):
        return
    if isinstance(stability, NotTested):
        yield f"stability not looked at: {stability.reason}"
        return
    for row in stability.seeds:
        again = "none to look for"
        if stability.found:
            own = row.selected
            again = (
                f"{own.both:.0%} of the run's {stability.found} there again (cosine {own.cosine:.0%}, correlation "
                f"{own.correlation:.0%}), partners of {own.partner_found:.0%} found too"
            )
        yield f"stability seed {row.seed}: {row.found} {stability.claim}; {again}"


def cost(counts: Quantities) -> Work:
    """Trainings with other seeds; of each, a pass over the half where it is tested, and one where it is matched."""
    m, d, tied = counts.latents, counts.d_in, counts.recipe.sae.tied
    tokens, sentences = tokens_of(counts.panel), sentences_of(counts.panel)
    train = training_work(counts, counts.shape, counts.depth, m, [counts.live_latents], [tied])
    passes = counts.forward(tokens, counts.depth)
    # the new autoencoder on both halves, the run's own on the half where they are matched
    codes = counts.encode(tokens) + counts.encode(tokens / 2)
    entries = min(tokens / 2 * counts.live_latents, sentences / 2 * m)
    tests = Work(moved=entries * 400, tables=entries * 60, seconds=1)
    weights = 4 * (1 if tied else 2) * d * m
    match = Work(
        float_flops=2 * d * m * m,
        # a latent's products with its candidates at every token where it fires
        moved=tokens / 2 * counts.live_latents * CANDIDATES * 40,
        held=2 * weights + 8 * m * CANDIDATES * 3,
        sae=weights,
        movable=2 * weights,
        written=weights,
    )
    # one after the other, so that no more is held than for one
    return sum([train + passes + codes + tests + match] * counts.recipe.evidence.seeds, Work())


STAGE = Stage(
    name="stability",
    does="training with other seeds, and looking for the units again",
    run=run,
    inputs=lambda context: Inputs(("train",), {"seeds": context.recipe.evidence.seeds}, ("evidence", "sae")),
    cost=cost,
    words=lambda counts: (
        f"{counts.recipe.evidence.seeds} more like sae, with other seeds, one after the other; the latents "
        "of each are tested like the run's, and matched with them"
    ),
    asked=lambda recipe: recipe.evidence.seeds > 0,
    lower="batch_tokens, sae.latents (or sae.expansion) or sae.batch_tokens",
    cells=True,
    # autoencoders that are trained already
    keep=("seed_*",),
    lines=lines,
)
