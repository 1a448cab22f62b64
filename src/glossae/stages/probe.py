"""The stage `probe`: probe every layer, and choose the run's.

The layer is where the target is told from its nearest other language, settled by short autoencoders; without a third
language, and by the paper, the probes of the target against the reference choose it.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from glossae.errors import GlossaeError
from glossae.evidence import layers, nearest_language, panels, short_sizes
from glossae.files import delete
from glossae.lm import LanguageModel
from glossae.paper import AsCodedCell, as_coded_table, paper_batches, replay_agreement, replay_layers
from glossae.plan import UNKNOWN, Quantities, Shape, Work, count_text, sentences_of, share_of, tokens_of
from glossae.probing import LEAST_SENTENCES, ProbeSample, choose_layer, probe_layers, sample_sentences
from glossae.recipe import Recipe
from glossae.results import (
    NearestLanguage,
    OrderAgreement,
    PairLayer,
    ProbeCell,
    ProbeLayer,
    ProbeResult,
    StageResults,
)
from glossae.run.context import Context, Inputs, Progress, longest_text, model_identity, part
from glossae.run.folder import as_rows, write_table
from glossae.sae import OPERATIONS, SaeConfig, step_cost
from glossae.stages.shared.panels import panel_text
from glossae.stages.shared.units import evidence_settings
from glossae.stages.stage import Stage, settings_of

PAIR_RULE = (
    "the earliest layer whose standardised held-out BCE at 0.1 x the critical lambda is within one standard error of "
    "the best"
)
# sentences of a language that layers are compared on
SENTENCES = 60
# of a dry run: passes of the probes' solver over a layer's activations, for all penalties together (150 to 350 were
# seen); as many passes as the float64 check takes, once a penalty
SOLVER_PASSES, CHECK_PASSES = 220, 7
# what a token and fit costs beside the products in each pass, in bytes moved: logits, losses and slopes in float64
ELEMENTWISE = 1000
# beyond this width the probes are not preconditioned by an eigendecomposition (probe.path)
MAX_EIGH_WIDTH = 4096
# of the probes' sentences, the share held out (probe.sample)
HELD_OUT = 0.2
# passes of a solver over the sentences that layers are compared on, and candidates at most
COMPARING_PASSES, MOST_CANDIDATES = 100, 4
# of the paper's own optimisation: sentences of a batch, and operations of a step on one small set of weights
BATCH_SENTENCES, REPLAY_OPERATIONS = 32, 60


def inputs(context: Context) -> Inputs:
    """The text of the pair and the settings of the probes, and what the choice by the nearest language reads."""
    recipe = context.recipe
    own = settings_of(recipe, "probe") | {"models": [model_identity(name) for name in recipe.probe.models]}
    roles, settings = nearest_inputs(context)
    known = Inputs(("train", *roles), own | settings)
    # a layer that is named after the layer choice does not probe every layer again
    if recipe.layer != "auto" and not context.folder.is_done("probe", context.fingerprints(known)[1]):
        return Inputs(("train",), own)
    return known


def check(context: Context) -> None:
    """Check that `train` has sentences enough for the probes that the recipe asks for.

    Raises:
        GlossaeError: it has not.
    """
    if context.recipe.fits_papers_probes:
        _sample(context, context.lm)


def _sample(context: Context, lm: LanguageModel) -> ProbeSample:
    """The sentences that a model's probes are fitted on and tried on."""
    recipe = context.recipe
    return sample_sentences(
        context.tokens("train", lm),
        (context.target, context.reference),
        recipe.probe.tokens,
        seeds=recipe.probe.seeds,
        seed=recipe.seed,
    )


def run(context: Context, progress: Progress) -> StageResults:
    """Probe every layer of every model named, and choose the run's layer if the recipe names none."""
    recipe, folder, parts = context.recipe, context.folder.path / "probe", context.parts["probe"]
    nearest, only_pair = None, None
    if recipe.layer == "auto" and not recipe.by_the_paper:
        nearest = parts.result(
            NearestLanguage, "nearest", lambda: _by_nearest(context, part(progress, 0.0, 0.3))
        )
        if nearest is None:
            only_pair = (
                f"probe: the layer choice compares {context.target} with {context.reference} only: give text in more "
                f"languages, {2 * LEAST_SENTENCES} sentences of each at least (corpora.panel, languages.others)"
            )
            context.show.note(only_pair)
    names = list(dict.fromkeys((recipe.model, *recipe.probe.models)))
    # without the paper's probes the layer choice still needs its own, where nothing else chooses
    penalties = recipe.probe.lambdas if recipe.fits_papers_probes else ()
    if nearest is not None and not recipe.fits_papers_probes:
        names = []
    progress = progress if nearest is None else part(progress, 0.3, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[ProbeCell] = []
    replayed: list[AsCodedCell] = []
    rows: list[ProbeLayer] = []
    agreement: list[OrderAgreement] = []
    pair: PairLayer | None = None
    for number, name in context.share(enumerate(names)):
        lm = context.model(name)
        sample = _sample(context, lm)
        shared: dict[str, Any] = {
            "site": recipe.site,
            "reference": context.reference,
            "budget": recipe.batch_tokens,
            "scratch": folder,
        }
        own = part(progress, number / len(names), (number + 1) / len(names))
        probing = partial(
            probe_layers,
            lm,
            sample,
            penalties=penalties,
            published=recipe.by_the_paper,
            progress=part(own, 0.0, 0.5 if recipe.replays_probes else 1.0),
            **shared,
        )
        found = parts.rows(ProbeCell, f"cells-{number}", probing)
        choice = choose_layer(found)
        if name == recipe.model:
            pair = PairLayer(layer=choice.best, rule=PAIR_RULE)
        cells += found
        rows += choice.layers
        of_model: dict[str, Any] = {"model": name, "seeds": sample.seeds}
        agreement.append(OrderAgreement(**of_model, scores="rule", penalty=None, spearman=choice.agreement))
        if recipe.replays_probes:
            replaying = partial(
                replay_layers,
                lm,
                sample,
                penalties=recipe.probe.lambdas,
                seed=recipe.seed,
                progress=part(own, 0.5, 1.0),
                **shared,
            )
            coded = parts.rows(AsCodedCell, f"as_coded-{number}", replaying)
            replayed += coded
            agreement += [
                OrderAgreement(
                    **of_model,
                    scores="as_coded",
                    penalty=penalty,
                    spearman=replay_agreement(coded, penalty, sample.seeds),
                )
                for penalty in recipe.probe.lambdas
            ]
    # those of an earlier run in this folder are not this one's
    for name in ("cells", "as_coded"):
        delete(folder / f"{name}.parquet")
    if cells:
        write_table(folder / "cells.parquet", as_rows(cells))
    if replayed:
        write_table(folder / "as_coded.parquet", as_rows(replayed))
    chosen = pair if nearest is None else PairLayer(layer=nearest.chosen, rule=nearest.rule)
    assert chosen is not None
    return StageResults(
        probe=ProbeResult(
            site=recipe.site,
            best_layer=chosen.layer,
            rule=chosen.rule,
            pair=pair,
            nearest=nearest,
            only_pair=only_pair,
            layers=rows,
            agreement=agreement,
            cells=cells,
            as_coded=as_coded_table(replayed) if replayed else None,
        )
    )


def nearest_inputs(context: Context) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The roles and settings that the choice by the nearest language depends on; none where there is no such choice."""
    recipe = context.recipe
    if recipe.by_the_paper:
        return (), {}
    try:
        role, _, corpus = panel_text(context)
    except GlossaeError:
        return (), {}
    if set(corpus.languages) <= {context.target, context.reference}:
        return (), {}
    settings = {
        "minimum": recipe.evidence.minimum,
        "ambiguous": recipe.evidence.ambiguous,
        "latents": short_sizes(_latents(context)),
        "k": recipe.sae.k,
        "lr": recipe.sae.lr,
        "text": recipe.sae.text,
    }
    return (role,), {"nearest": settings}


def _latents(context: Context) -> int:
    """The latents of the run's own autoencoder, which the short ones do not exceed."""
    sae = context.recipe.sae
    return sae.latents or (sae.expansion or 1) * context.lm.widths[context.recipe.site]


def _by_nearest(context: Context, progress: Progress) -> NearestLanguage | None:
    """Choose the layer where the target is told from its nearest other language; None without a third language.

    Layers are compared on the half of the panel on which units are found, and never on the half that is held out.

    Raises:
        GlossaeError: `corpora.panel` has one language's text as another's.
    """
    recipe = context.recipe
    roles, _ = nearest_inputs(context)
    if not roles:
        return None
    try:
        role, source, corpus = panel_text(context)
        tokens = panels.searched_sample(
            context.lm,
            corpus,
            evidence_settings(context),
            role=role,
            each=SENTENCES,
            max_tokens=longest_text(recipe, context.lm),
        )
    except GlossaeError:
        if roles == ("panel",):
            raise
        # nobody gave this text to test units on; the evidence says what is wrong with it
        return None
    return nearest_language(
        context.lm,
        tokens,
        context.training_tokens(),
        site=recipe.site,
        target=context.target,
        role=role,
        source=source,
        latents=_latents(context),
        k=recipe.sae.k,
        lr=recipe.sae.lr,
        minimum=recipe.evidence.minimum,
        seeds=recipe.probe.seeds,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        progress=progress,
    )


def adds(recipe: Recipe, results: StageResults) -> StageResults:
    """The layer that the run uses: said here, so that another layer does not probe every layer again."""
    assert results.probe is not None
    auto = recipe.layer == "auto"
    used = results.probe.best_layer if auto else recipe.layer
    more = {"layer_used": used, "chosen_by": "probe" if auto else "recipe"}
    return StageResults(probe=results.probe.model_copy(update=more))


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """The layer."""
    if probe := results.probe:
        chosen = f"layer choice: {probe.best_layer}"
        given = f"layer {probe.layer_used} from the recipe; " if probe.chosen_by == "recipe" else ""
        yield f"probe     {given}{chosen}"


def compares_layers(counts: Quantities) -> bool:
    """Whether the target's nearest other language chooses the layer."""
    third = any(code not in counts.pair for code in counts.panel)
    return counts.recipe.layer == "auto" and not counts.recipe.by_the_paper and third


def penalties_of(counts: Quantities) -> int:
    """Penalties of the probes that tell the target from the reference: the recipe's, and the layer choice's own."""
    if counts.recipe.fits_papers_probes:
        return len(counts.recipe.probe.lambdas) + 1
    return 0 if compares_layers(counts) else 1


def probe_tokens(counts: Quantities) -> float:
    """Tokens of a probe's sample, held-out ones included."""
    wanted = counts.recipe.probe.tokens / 2 / (1 - HELD_OUT)
    return sum(min(wanted, tokens_of(counts.roles["train"], (code,))) for code in counts.pair)


def _probed(counts: Quantities) -> dict[str, Shape | None]:
    """The models that are probed, the run's first."""
    return {name: counts.shape_of(name) for name in (counts.recipe.model, *counts.recipe.probe.models)}


def cost(counts: Quantities) -> Work:
    """The comparison by the nearest language, and probes of every model whose shape is known."""
    work, before = comparing_work(counts) if compares_layers(counts) else Work(), 0.0
    for name, shape in _probed(counts).items():
        if shape is None or not penalties_of(counts):
            continue
        # the run's own model stays, and the one before goes only when the next is there
        held = 0 if shape is counts.shape else counts.shape.weights + before
        before = 0 if shape is counts.shape else shape.weights
        work += probing_work(counts, name, shape, held)
    return work


def comparing_work(counts: Quantities) -> Work:
    """Every layer by the target's nearest other language, and short autoencoders at all candidates there may be."""
    shape, recipe, d = counts.shape, counts.recipe, counts.d_in
    # half of the panel, and the first sentences of that
    seen = [(a, share_of(a.sentences / 2, SENTENCES) / 2) for a in counts.panel.values()]
    tokens = sum(amount.tokens * share for amount, share in seen)
    sentences = sum(amount.sentences * share for amount, share in seen)
    text = min(layers.TOKENS, counts.train_tokens)
    k = min(recipe.sae.k, layers.MOST_K)
    steps = math.ceil(text / layers.STEP_TOKENS) * layers.EPOCHS
    fits = recipe.probe.seeds * shape.layers
    work = counts.forward(2 * tokens + text, shape.layers)
    work += Work(
        moved=4 * 8 * sentences * d * fits * COMPARING_PASSES, held=4 * sentences * d * (shape.layers + 4)
    )
    for m in short_sizes(counts.latents):
        step = step_cost(SaeConfig(d_in=d, latents=m, k=k), layers.STEP_TOKENS)
        one = Work(
            half_flops=steps * step.flops,
            moved=steps * step.moved,
            operations=steps * OPERATIONS,
            held=4 * MOST_CANDIDATES * text * d + step.held,
        )
        for _ in range(MOST_CANDIDATES):
            work += one + counts.encodings(tokens, d, m, [k])
    return work


def probing_work(counts: Quantities, model: str, shape: Shape, held_weights: float) -> Work:
    """Every layer of one model (its name), with `held_weights` of other models held meanwhile."""
    recipe, rows, width = counts.recipe, probe_tokens(counts), shape.site_width(counts.recipe.site)
    matrix = 4 * rows * width
    fits = 2 if recipe.by_the_paper else 1
    layer = Work(
        moved=matrix * (SOLVER_PASSES + CHECK_PASSES * penalties_of(counts) + 10 * fits)
        + ELEMENTWISE * rows * recipe.probe.seeds * SOLVER_PASSES,
        held=5 * matrix,
    )
    if width <= MAX_EIGH_WIDTH:
        # second moments, and their eigenvectors in float64
        layer += Work(
            float_flops=fits * (2 * rows * width**2 + 20 * width**3), held=5 * matrix + 24 * width**2
        )
    count = shape.layers
    # a layer's activations wait on disk in the model's precision
    collected = counts.forward(rows, count, shape=shape)
    solved = dataclasses.replace(
        layer,
        moved=layer.moved * count,
        float_flops=layer.float_flops * count,
        operations=10 * SOLVER_PASSES * count,
        weights=shape.weights,
    )
    work = collected + solved
    if recipe.replays_probes:
        length = counts.train_tokens / max(1.0, sentences_of(counts.roles["train"], counts.pair))
        work += collected + solved + replay_work(counts, model, count, width, length)
    return dataclasses.replace(work, weights=work.weights + held_weights, scratch=rows * width * count)


def replay_work(counts: Quantities, model: str, layers: int, width: int, sentence_tokens: float) -> Work:
    """The steps of the paper's optimiser on every layer, the probes of all penalties on the same batches.

    Args:
        counts: of the run.
        model: its name, by which the paper's code has a number of batches.
        layers: of the model.
        width: of the site.
        sentence_tokens: of a sentence, on average.
    """
    probe = counts.recipe.probe
    steps, values = layers * paper_batches(model) * probe.seeds, BATCH_SENTENCES * sentence_tokens * width
    return Work(
        # a product, and another for its gradient
        float_flops=4 * values * len(probe.lambdas) * steps,
        # activations are fetched, and read by either product
        moved=16 * values * steps,
        operations=REPLAY_OPERATIONS * steps,
    )


def words(counts: Quantities) -> str:
    """What chooses the layer, and how many probes there are."""
    recipe, shapes = counts.recipe, _probed(counts)
    known = [shape for shape in shapes.values() if shape is not None]
    penalties, said = penalties_of(counts), []
    if compares_layers(counts):
        said.append("the nearest other language on each layer, then short autoencoders at 4 layers at most")
    if penalties:
        said.append(
            f"{penalties} {'penalties' if penalties > 1 else 'penalty'} x {recipe.probe.seeds} seeds on each of "
            f"{sum(shape.layers for shape in known)} layers of {len(shapes)} model{'s' if len(shapes) > 1 else ''}, "
            f"{count_text(probe_tokens(counts))} tokens"
        )
    if recipe.replays_probes:
        said.append("the paper's own optimisation at each lambda beside the optimum")
    if unknown := [name for name, shape in shapes.items() if shape is None]:
        said.append(f"without {', '.join(unknown)}, {UNKNOWN}")
    return "; ".join(said)


STAGE = Stage(
    name="probe",
    does="probing every layer",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.layer == "auto" or recipe.fits_papers_probes,
    lower="batch_tokens or probe.tokens",
    models=lambda recipe: [("probe.models", name) for name in recipe.probe.models],
    check=check,
    adds=adds,
    lines=lines,
    cells=True,
)
