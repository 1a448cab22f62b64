"""The stage that makes, or takes, the autoencoder."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.lm import (
    FoundSinks,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    half_width,
    random_order,
    replayed_losses,
    with_sinks,
)
from glossae.recipe import Recipe
from glossae.run.context import Context, check_latents
from glossae.run.folder import as_rows
from glossae.run.show import Report, part
from glossae.run.tables import write_table
from glossae.run.training import TrainingText, train_jobs, train_settings
from glossae.sae import Sae, SaeConfig, TrainPoint, check_fits, measure, read_sae, untrained

SEEDS = 2**32
"""How many seeds there are."""
# sentences of each language on which spliced attention sinks are held against sinks left alone
SINK_SENTENCES = 256
# tokens of train that an untrained autoencoder takes its centre and scale from
START_TOKENS = 1024


def sae_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Train the autoencoder on the target's and the reference's text, or take the given one; measure it on `select`."""
    recipe, site, folder = context.recipe, context.site(layer), context.folder.path / "sae"
    log: list[TrainPoint] = []
    if context.given is None:
        sae, log = train_autoencoder(
            context, layer, "sae", part(report, 0.0, 0.75), more=baseline_jobs(recipe)
        )
        write_table(folder / "log.parquet", as_rows(log))
    else:
        sae = context.given.sae.to(context.lm.device)
        check_fits(sae, d_in=context.lm.width(site), model=recipe.model, site=site.name, layer=layer)
        # a log of an earlier training in this folder is not this one's
        (folder / "log.parquet").unlink(missing_ok=True)
    sae.save(folder)
    quality = sae.quality = measure(
        context.lm,
        site,
        sae,
        context.tokens("select"),
        judged=None if recipe.sae.text == "all" else (context.target, context.reference),
        # the paper measures all of its text
        precision=None if recipe.by_the_paper else recipe.sae.precision,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        progress=part(report, 0.75, 1.0),
    )
    sae.save(folder)
    sinks = _with_sinks_left_alone(context, site, sae, recipe.batch_tokens)
    for language, losses in sinks.items():
        context.show.note(
            f"attention sinks at {site} are spliced, as in the paper: the loss in {language} is "
            f"{losses['spliced']:.2f} nats a token with the reconstruction in place, {losses['left_alone']:.2f} with "
            f"the sinks left alone, {losses['raw']:.2f} without it (protocol controlled leaves them alone)"
        )
    config = sae.config
    return {
        "sae": {
            "site": site.name,
            "layer": layer,
            "d_in": config.d_in,
            "latents": config.latents,
            "activation": config.activation,
            "k": config.k,
            "tokens": quality.tokens,
            "train_tokens": log[-1].tokens if log else None,
            "from": recipe.sae.from_,
            "from_commit": None if context.given is None else context.given.commit,
            "l0": quality.l0,
            "dead_fraction": quality.dead_fraction,
            "fvu": quality.fvu,
            "fvu_within": quality.fvu_within,
            "fvu_normalised": quality.fvu_normalised,
            "top_direction": quality.top_direction,
            "top_tokens": quality.top_tokens,
            "unsound": list(sae.unsound),
            "ce": {language: as_rows([ce])[0] for language, ce in quality.ce.items()},
            "sinks": sinks,
        }
    }


def _with_sinks_left_alone(
    context: Context, site: Site, sae: Sae, budget: int
) -> dict[str, dict[str, float | int | None]]:
    """What it costs the target and the reference that the paper splices attention sinks too, nats a token.

    Both losses are of the same random sentences of `select`. Nothing where sinks are left alone anyway, and where the
    site has none.
    """
    found = [FoundSinks.from_json(row) for row in context.habits["sinks"]]
    here = [each for each in found if each.site == site and each.count]
    if not here or not context.recipe.by_the_paper:
        return {}
    tokens = context.pair_tokens("select")
    order = random_order(
        [sentence.language for sentence in tokens.corpus.sentences], seed=context.recipe.seed
    )
    said = {}
    for language, numbers in order.items():
        text = tokens.take(np.sort(numbers[:SINK_SENTENCES]))
        raw, spliced = replayed_losses(
            context.lm, site, text, [None, lambda x: sae(x.float())], budget=budget
        )
        (left_alone,) = replayed_losses(
            with_sinks(context.lm, here), site, text, [lambda x: sae(x.float())], budget=budget
        )
        predicted = text.predicted
        half = half_width(spliced - left_alone, predicted)
        said[language] = {
            "raw": float(raw.sum() / predicted.sum()),
            "spliced": float(spliced.sum() / predicted.sum()),
            "left_alone": float(left_alone.sum() / predicted.sum()),
            "half_width": half if math.isfinite(half) else None,
            "sentences": len(text),
            "tokens": int(predicted.sum()),
        }
    return said


def load_sae(context: Context) -> Sae:
    """The run's autoencoder."""
    # not `Sae.load`: a run says itself, once, what is unsound
    return read_sae(context.folder.path / "sae" / "sae.safetensors").to(context.lm.device)


def untrained_autoencoders(context: Context, site: Site, seeds: Sequence[int]) -> list[Sae]:
    """Autoencoders like the run's before their first step, one for each seed: see `glossae.sae.untrained`.

    Of one from elsewhere, whose k is not known, as many latents fire at a token as of that.
    """
    own, recipe = load_sae(context), context.recipe
    config = own.config
    if config.k is None and own.threshold is not None and own.quality is not None:
        config = dataclasses.replace(config, k=min(config.latents, max(1, round(own.quality.l0))))
    kept = context.parts["sae"].arrays(
        "first", lambda: {"x": _first_activations(context, site).cpu().numpy()}
    )
    first = torch.from_numpy(kept["x"]).to(context.lm.device)
    return [
        untrained(config, first, seed=seed, centre=recipe.sae.centre, published=recipe.by_the_paper)
        for seed in seeds
    ]


def _first_activations(context: Context, site: Site) -> Float[Tensor, "tokens d"]:
    tokens = context.training_tokens()
    parts, count = [], 0
    for one in activations(context.lm, batches(tokens, START_TOKENS, seed=context.recipe.seed), [site]):
        parts.append(one.sites[site].float())
        count += len(parts[-1])
        if count >= START_TOKENS:
            break
    return torch.cat(parts)


def train_autoencoder(
    context: Context,
    layer: int,
    folder: str,
    report: Report,
    seed: int | None = None,
    more: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> tuple[Sae, list[TrainPoint]]:
    """Train an autoencoder as the recipe says, with checkpoints in `folder` of the run's.

    Args:
        context: the run.
        layer: of its site.
        folder: the stage's, or one within it.
        report: progress.
        seed: of the first weights and of the order of the text; None: the recipe's.
        more: more to train in the same pass, by the name of a folder within `folder`, where they are saved: what is
            different in their `TrainSettings`.

    Raises:
        GlossaeError: as `train_jobs`.
    """
    recipe, site = context.recipe, context.site(layer)
    if seed is not None:
        recipe = dataclasses.replace(recipe, seed=seed)
    text = TrainingText(context.lm, site, context.training_tokens(), recipe)
    latents = check_latents(recipe, context.lm)
    config = sae_config(recipe, d_in=context.lm.width(site), latents=latents, layer=layer)
    settings = train_settings(recipe, text)
    identity = training_identity(context, layer, seed)
    jobs = [(config, dataclasses.replace(settings, **change)) for change in ({}, *more.values())]
    (sae, log), *others = train_jobs(context, folder, jobs, text, identity, report)
    words = _trained_on(text.tokens, log[-1].tokens, chat=bool(context.lm.chat))
    sae.trained_on = words
    for name, (other, _) in zip(more, others, strict=True):
        other.trained_on = words
        other.save(context.folder.path / folder / name)
    return sae, log


def baseline_jobs(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What is trained beside the run's autoencoder, for the stage baselines: by name, what is different of each."""
    if "baselines" not in recipe.stages:
        return {}
    wanted = recipe.baselines
    seeds = {f"seed_{seed}": {"seed": seed} for seed in other_seeds(recipe, wanted.trained)}
    frozen = (recipe.seed, *other_seeds(recipe, wanted.frozen))[: wanted.frozen]
    return seeds | {f"frozen_{seed}": {"seed": seed, "frozen_decoder": True} for seed in frozen}


def other_seeds(recipe: Recipe, count: int) -> tuple[int, ...]:
    """So many seeds beside the run's own; after the last seed comes 0."""
    return tuple((recipe.seed + 1 + number) % SEEDS for number in range(count))


def _trained_on(tokens: TokenizedCorpus, trained: int, *, chat: bool) -> str:
    """The text that an autoencoder was trained on, in words."""
    corpus = tokens.corpus
    words = f"{trained:,} tokens of {' and '.join(corpus.languages)} from {', '.join(corpus.sources)}"
    return f"{words}, as replies in a chat" if chat else words


def training_identity(context: Context, layer: int, seed: int | None = None) -> str:
    """A fingerprint over whatever decides a bit of a training; checkpoints and measurements afterwards do not."""
    but = ("checkpoint", "precision")
    what = {key: value for key, value in context.recipe.to_dict()["sae"].items() if key not in but}
    other: dict[str, Any] = {} if seed is None else {"training_seed": seed}
    if seed is None and (more := baseline_jobs(context.recipe)):
        other["more"] = sorted(more)
    return context.fingerprint("train", sae=what, layer=layer, **other)


def sae_config(recipe: Recipe, *, d_in: int, latents: int, layer: int) -> SaeConfig:
    """What the recipe's autoencoder is."""
    settings = recipe.sae
    nested = settings.matryoshka
    return SaeConfig(
        d_in=d_in,
        latents=latents,
        k=None if settings.activation == "relu" else settings.k,
        relu=not recipe.by_the_paper,
        model=recipe.model,
        site=recipe.site,
        layer=layer,
        activation=settings.activation,
        tied=settings.tied,
        pre_encoder_bias=settings.pre_encoder_bias,
        matryoshka=(*sorted(nested), latents) if nested else (),
    )
