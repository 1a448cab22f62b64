"""The stages before any unit is chosen: text, probes, autoencoder."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sprog.hub import quietly
from sprog.lm import TokenizedCorpus, activations, batches, sentence_batches, tokenize
from sprog.probe import ProbeCell, choose_layer, probe_layers, sample_sentences
from sprog.run.context import Context, check_latents, load_model, longest_text
from sprog.run.folder import as_rows
from sprog.run.show import Report, part
from sprog.run.tables import write_table
from sprog.sae import Sae, SaeConfig, TrainSettings, measure, mixed_batches, train

# activations mixed at a time, in values: 32 Mi float32 values are 128 MiB
POOL_VALUES = 2**25


def corpora_stage(context: Context, report: Report) -> dict[str, Any]:
    """Count every role's sentences and tokens."""
    rows = []
    roles = list(context.roles.corpora)
    for number, role in enumerate(roles):
        tokens = context.tokens(role)
        lengths = dict.fromkeys(((s.source, s.language) for s in tokens.corpus.sentences), 0)
        for sentence, length in zip(tokens.corpus.sentences, tokens.lengths, strict=True):
            lengths[sentence.source, sentence.language] += int(length)
        for count in (c for c in context.roles.counts if c.role == role):
            where = (count.name, count.language)
            short = tokens.dropped.get(where, 0)
            (row,) = as_rows([count])
            row["sentences"] -= short
            if short:
                row["dropped"]["under_2_tokens"] = short
            rows.append({**row, "tokens": lengths.get(where, 0), "cut": tokens.cut.get(where, 0)})
        report((number + 1) / len(roles))
    return {"corpora": rows}


def probe_stage(context: Context, report: Report) -> dict[str, Any]:
    """Probe every layer of every model named, the run's own always."""
    recipe, folder = context.recipe, context.folder.path / "probe"
    names = list(dict.fromkeys((recipe.model, *recipe.probe.models)))
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[ProbeCell] = []
    layers: list[dict[str, Any]] = []
    best = 0
    for number, name in enumerate(names):
        own = name == recipe.model
        # what is fetched only now gets no bar of its own inside the stage's
        with quietly(bars=False):
            lm = context.lm if own else load_model(recipe, name, context.show)
        tokens = (
            context.tokens("train")
            if own
            else tokenize(
                lm, context.roles.corpora["train"], max_tokens=longest_text(recipe, lm), bos=recipe.bos
            )
        )
        sample = sample_sentences(
            tokens,
            (context.target, context.reference),
            recipe.probe.tokens,
            seeds=recipe.probe.seeds,
            seed=recipe.seed,
        )
        found = probe_layers(
            lm,
            sample,
            site=recipe.site,
            reference=context.reference,
            penalties=recipe.probe.lambdas,
            published=recipe.protocol == "published",
            budget=recipe.batch_tokens,
            scratch=folder,
            progress=part(report, number / len(names), (number + 1) / len(names)),
        )
        choice = choose_layer(found)
        best = choice.best if own else best
        cells += found
        layers += [
            {"model": name, "layer": layer, "bce": bce, "bce_se": error}
            for layer, bce, error in choice.layers
        ]
    rows = [
        {"lambda" if key == "penalty" else key: value for key, value in row.items()} for row in as_rows(cells)
    ]
    write_table(folder / "cells.parquet", rows)
    return {
        "probe": {
            "site": recipe.site,
            "best_layer": best,
            "rule": "the earliest layer whose standardised held-out BCE at 0.1 x the critical lambda is within "
            "one standard error of the best",
            "layers": layers,
            "cells": rows,
        }
    }


def sae_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Train the autoencoder on the target's and the reference's text, and measure it on `select`."""
    recipe, settings = context.recipe, context.recipe.sae
    published = recipe.protocol == "published"
    lm, site, tokens = context.lm, context.site(layer), context.pair_tokens("train")
    config = SaeConfig(
        d_in=lm.width(site),
        latents=check_latents(recipe, lm),
        k=settings.k,
        relu=not published,
        model=recipe.model,
        site=site.name,
        layer=layer,
    )
    total = int(tokens.lengths.sum()) * settings.epochs
    if settings.batch_sentences is None:
        steps = math.ceil(total / settings.batch_tokens)
    else:
        steps = math.ceil(len(tokens) / settings.batch_sentences) * settings.epochs
    sae, log = train(
        config,
        _training_batches(context, tokens, layer),
        TrainSettings(
            steps=steps,
            tokens=total,
            lr=settings.lr,
            warmup=settings.warmup,
            decay=settings.decay,
            aux_k=None if settings.aux_k == "auto" else settings.aux_k,
            published=published,
            seed=recipe.seed,
        ),
        part(report, 0.0, 0.75),
    )
    folder = context.folder.path / "sae"
    sae.save(folder)
    write_table(folder / "log.parquet", as_rows(log))
    quality = measure(
        lm, site, sae, context.tokens("select"), budget=recipe.batch_tokens, progress=part(report, 0.75, 1.0)
    )
    return {
        "sae": {
            "site": site.name,
            "layer": layer,
            "d_in": config.d_in,
            "latents": config.latents,
            "activation": config.activation,
            "k": config.k,
            "tokens": quality.tokens,
            "train_tokens": log[-1].tokens,
            "l0": quality.l0,
            "dead_fraction": quality.dead_fraction,
            "fvu": quality.fvu,
            "ce": {language: as_rows([ce])[0] for language, ce in quality.ce.items()},
        }
    }


def load_sae(context: Context) -> Sae:
    """The run's autoencoder."""
    return Sae.load(context.folder.path / "sae", context.lm.device)


def _training_batches(context: Context, tokens: TokenizedCorpus, layer: int) -> Iterator[Tensor]:
    """Activations for training: mixed tokens, or the paper's batches of whole sentences."""
    recipe, site = context.recipe, context.site(layer)
    width = context.lm.width(site)
    generator = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(recipe.sae.epochs):
        seed = recipe.seed + epoch
        if recipe.sae.batch_sentences is not None:
            stream = sentence_batches(tokens, recipe.sae.batch_sentences, seed=seed)
            yield from (part.sites[site] for part in activations(context.lm, stream, [site]))
        else:
            stream = batches(tokens, recipe.batch_tokens, seed=seed)
            yield from mixed_batches(
                (part.sites[site] for part in activations(context.lm, stream, [site])),
                recipe.sae.batch_tokens,
                pool=POOL_VALUES // width,
                generator=generator,
            )
