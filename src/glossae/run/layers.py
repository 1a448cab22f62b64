"""The layer of a run: where the target is told from its nearest other language, settled by short autoencoders."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.find import testing
from glossae.lm import Activations, Site, TokenizedCorpus, activations, batches, finite, in_text_order
from glossae.probe import LEAST_SENTENCES, NearestLayer, language_layers, nearest_candidates
from glossae.run.context import Context
from glossae.run.panels import panel_text, searched_sample
from glossae.run.show import Report, part
from glossae.sae import Mixer, Sae, SaeConfig, TrainSettings, train_group
from glossae.text import first_of_each
from glossae.units import Counter, Latents

# sentences of a language that layers are compared on
SENTENCES = 60
# the short autoencoders: their text, as tokens, and what is kept of it in memory, as values (1 GiB of float32); their
# sizes, of which none is larger than the run's own autoencoder
TOKENS, VALUES = 20_000, 2**28
LATENTS, MOST_K = (512, 2048), 64
EPOCHS, STEP_TOKENS = 2, 256
# lines of the training log that a FVU is averaged over
LAST_POINTS = 10

RULE = (
    "of the layers whose least held-out sentence AUROC against another language, by the weaker of a difference of "
    "means and a standardised probe, is within one standard error of the best, the one whose short autoencoders have "
    "the most latents at evidence.minimum or above against every other language"
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
        "latents": _sizes(context),
        "k": recipe.sae.k,
        "lr": recipe.sae.lr,
        "text": recipe.sae.text,
    }
    return (role,), {"nearest": settings}


def _sizes(context: Context) -> list[int]:
    """How many latents each short autoencoder has."""
    sae = context.recipe.sae
    own = sae.latents or (sae.expansion or 1) * context.lm.widths[context.recipe.site]
    return [latents for latents in LATENTS if latents <= own] or [own]


def choose_by_nearest(context: Context, report: Report) -> dict[str, Any] | None:
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
        role, source, tokens = searched_sample(context, SENTENCES)
    except GlossaeError:
        if roles == ("panel",):
            raise
        # nobody gave this text to test units on; the evidence says what is wrong with it
        return None
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    enough = {code for code in languages if languages.count(code) >= LEAST_SENTENCES}
    if context.target not in enough or len(enough) < 3:
        return None
    tokens = tokens.take([place for place, code in enumerate(languages) if code in enough])
    rows = language_layers(
        context.lm,
        tokens,
        site=recipe.site,
        target=context.target,
        seeds=recipe.probe.seeds,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        progress=part(report, 0.0, 0.4),
    )
    candidates = nearest_candidates(rows)
    # a single candidate leaves nothing to settle
    trained, trials = (
        _trials(context, candidates, tokens, part(report, 0.4, 1.0)) if len(candidates) > 1 else (0, [])
    )
    report(1.0)
    return {
        "role": role,
        "source": source,
        "sentences": {code: len(tokens.corpus.only(code)) for code in tokens.corpus.languages},
        "seeds": recipe.probe.seeds,
        "minimum": recipe.evidence.minimum,
        "rows": [dataclasses.asdict(row) | {"score": row.score, "se": row.weaker.se} for row in rows],
        "candidates": candidates,
        "trials": trials,
        "train_tokens": trained,
        "chosen": _chosen(rows, candidates, trials),
        "rule": RULE,
    }


def only_the_pair(context: Context) -> str:
    """One line for runs where there is no third language to compare layers by."""
    return (
        f"probe: the layer rule can only see {context.target} against {context.reference}: give text in more "
        f"languages, {2 * LEAST_SENTENCES} sentences of each at least (corpora.panel, languages.others)"
    )


def _chosen(rows: Sequence[NearestLayer], candidates: Sequence[int], trials: Sequence[dict[str, Any]]) -> int:
    """The candidate with most latents of the target, then with the best latent, then with the best score."""

    def merit(layer: int) -> tuple[float, ...]:
        own = [trial for trial in trials if trial["layer"] == layer]
        return (
            sum(trial["found"] for trial in own),
            max((trial["best_auroc"] for trial in own), default=0.0),
            next(row.score for row in rows if row.layer == layer),
        )

    return max(candidates, key=merit)


def _trials(
    context: Context, candidates: Sequence[int], tokens: TokenizedCorpus, report: Report
) -> tuple[int, list[dict[str, Any]]]:
    """Train short autoencoders at each candidate, and count their latents that tell the target from every other.

    Returns:
        The tokens they are trained on, and a row for each autoencoder.
    """
    recipe, lm = context.recipe, context.lm
    sites = [context.site(layer) for layer in candidates]
    stored = _activations(context, sites, part(report, 0.0, 0.3))
    trained = len(stored[sites[0]])
    found: dict[Site, list[tuple[Sae, float]]] = {}
    for number, site in enumerate(sites):
        own = part(report, 0.3 + 0.6 * number / len(sites), 0.3 + 0.6 * (number + 1) / len(sites))
        found[site] = _train(context, site, stored.pop(site), own)
    counters = {site: [Counter(Latents(sae), tokens) for sae, _ in found[site]] for site in sites}
    done, every = 0, int(tokens.lengths.sum())
    with torch.no_grad():
        for seen in finite(lm, activations(lm, batches(tokens, recipe.batch_tokens), sites), tokens):
            for site in sites:
                for counter in counters[site]:
                    counter.add(seen.sites[site], seen.sentence)
            done += len(seen.sentence)
            report(0.9 + 0.1 * done / every)
    rows = []
    for site in sites:
        for (sae, fvu), counter in zip(found[site], counters[site], strict=True):
            _, table = counter.finish()
            assert table is not None
            areas = testing.auroc_table(table)
            others = [code for code in areas.languages if code != context.target]
            least = np.min([areas.of(context.target, code) for code in others], axis=0)
            best = int(least.argmax())
            rows.append(
                {
                    "layer": site.layer,
                    "latents": sae.config.latents,
                    "k": sae.config.k,
                    "fvu": fvu,
                    "found": int((least >= recipe.evidence.minimum).sum()),
                    "best_latent": best,
                    "best_auroc": float(least[best]),
                }
            )
    return trained, rows


def _train(
    context: Context, site: Site, x: Float[Tensor, "tokens d"], report: Report
) -> list[tuple[Sae, float]]:
    """A short autoencoder of each size on a site's activations, and its FVU in the last steps of its training.

    Raises:
        GlossaeError: the loss diverges.
    """
    recipe = context.recipe
    settings = TrainSettings(
        steps=-(-len(x) // STEP_TOKENS) * EPOCHS, tokens=len(x) * EPOCHS, lr=recipe.sae.lr, seed=recipe.seed
    )
    jobs = [
        (
            SaeConfig(
                d_in=x.shape[1],
                latents=latents,
                k=min(recipe.sae.k, MOST_K, latents),
                model=recipe.model,
                site=site.name,
                layer=site.layer,
            ),
            settings,
        )
        for latents in _sizes(context)
    ]
    try:
        trained = train_group(
            jobs, lambda _: _steps(x, recipe.seed), Mixer(None, 0, torch.Generator()), progress=report
        )
    except GlossaeError as error:
        raise GlossaeError(
            f"layer: a short autoencoder at layer {site.layer}, to choose the layer: {error}"
        ) from error
    return [(sae, float(np.mean([point.fvu for point in log[-LAST_POINTS:]]))) for sae, log in trained]


def _activations(
    context: Context, sites: Sequence[Site], report: Report
) -> dict[Site, Float[Tensor, "tokens d"]]:
    """The activations of the first sentences of the training text at several sites, in one pass of the model."""
    lm, tokens = context.lm, context.training_tokens()
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    most = min(TOKENS, VALUES // sum(lm.width(site) for site in sites))
    each = most // len(tokens.corpus.languages)
    text = tokens.take(first_of_each(languages, each, [int(length) for length in tokens.lengths]))
    every = int(text.lengths.sum())

    def told() -> Iterator[Activations]:
        done = 0
        for seen in finite(lm, activations(lm, batches(text, context.recipe.batch_tokens), sites), text):
            yield seen
            done += len(seen.sentence)
            report(done / every)

    return {site: x.float() for site, x in in_text_order(told()).items()}


def _steps(x: Float[Tensor, "tokens d"], seed: int) -> Iterator[Float[Tensor, "_ d"]]:
    """The batches of all epochs, each epoch in its own random order."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(x), generator=generator).split(STEP_TOKENS):
            yield x[places.to(x.device)]
