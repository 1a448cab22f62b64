"""The layer of the target's nearest other language: where it is told from it, settled by short autoencoders."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae import ranks
from glossae.corpora import first_of_each
from glossae.errors import GlossaeError
from glossae.evidence.testing import auroc_table
from glossae.lm import (
    Activations,
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    in_text_order,
    require_finite,
)
from glossae.probing import LEAST_SENTENCES, language_layers, nearest_candidates
from glossae.results import LayerTrial, NearestLanguage, NearestLayer, divided
from glossae.sae import Mixer, Sae, SaeConfig, TrainSettings, train_group
from glossae.units import Counter, Latents

NEAREST_RULE = (
    "of the layers whose least held-out sentence AUROC against another language, by the weaker of a difference of "
    "means and a standardised probe, is within one standard error of the best, the one whose short autoencoders have "
    "the most latents at evidence.minimum or above against every other language"
)
# the short autoencoders: tokens of their text, at most, epochs over it, tokens of a step, and latents active at a token
TOKENS, EPOCHS, STEP_TOKENS, MOST_K = 20_000, 2, 256, 64
# their sizes, of which none is larger than the run's own autoencoder
LATENTS = (512, 2048)
# what is kept of their text in memory, as values (1 GiB of float32)
VALUES = 2**28
# lines of the training log that a FVU is averaged over
LAST_POINTS = 10

Progress = Callable[[float], None]


def short_sizes(latents: int) -> list[int]:
    """How many latents each short autoencoder has, where the run's own has `latents`."""
    return [size for size in LATENTS if size <= latents] or [latents]


def nearest_language(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    train: TokenizedCorpus,
    *,
    site: str,
    target: str,
    role: str,
    source: str | None,
    latents: int,
    k: int,
    lr: float | None,
    minimum: float = 0.8,
    seeds: int = 3,
    seed: int = 0,
    budget: int = 1024,
    progress: Progress = lambda _: None,
) -> NearestLanguage | None:
    """Choose the layer where the target is told from its nearest other language; None without a third language.

    Args:
        lm: the model.
        tokens: sentences of one kind in the target and other languages; languages with under 10 are left out.
        train: text for the short autoencoders, of which the first 20,000 tokens are read.
        site: the site, at every layer.
        target: the language.
        role: of `tokens`, for the result.
        source: likewise.
        latents: of the run's own autoencoder, which short ones do not exceed.
        k: latents active at a token, at most 64.
        lr: the learning rate; None: by size.
        minimum: the AUROC from which on a latent counts as found.
        seeds: splits of the sentences in halves.
        seed: of splits, weights and order.
        budget: tokens in a batch.
        progress: called with the finished share.

    Raises:
        GlossaeError: the sentences of a language cannot be split, or the loss diverges.
    """
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    enough = {code for code in languages if languages.count(code) >= LEAST_SENTENCES}
    if target not in enough or len(enough) < 3:
        return None
    tokens = tokens.take([place for place, code in enumerate(languages) if code in enough])
    rows = language_layers(
        lm,
        tokens,
        site=site,
        target=target,
        seeds=seeds,
        seed=seed,
        budget=budget,
        progress=lambda share: progress(0.4 * share),
    )
    candidates = nearest_candidates(rows)
    trained, trials = 0, list[LayerTrial]()
    # a single candidate leaves nothing to settle
    if len(candidates) > 1:
        sites = [Site(site, layer) for layer in candidates]
        stored = _activations(lm, train, sites, budget, lambda share: progress(0.4 + 0.18 * share))
        trained = len(stored[sites[0]])

        def tried(own: Sequence[Site]) -> list[LayerTrial]:
            found: dict[Site, list[tuple[Sae, float]]] = {}
            for number, place in enumerate(own):

                def told(share: float, number: int = number) -> None:
                    progress(0.58 + 0.36 * (number + share) / len(own))

                configs = [
                    SaeConfig(
                        d_in=lm.width(place),
                        latents=size,
                        k=min(k, MOST_K, size),
                        model=lm.name,
                        site=site,
                        layer=place.layer,
                    )
                    for size in short_sizes(latents)
                ]
                found[place] = _train(configs, stored.pop(place), lr, seed, told)
            return _trials(
                lm, sites, found, tokens, target, minimum, budget, lambda x: progress(0.94 + 0.06 * x)
            )

        # ranks take candidates, and not shares of their latents: each autoencoder is that of one process
        count = min(ranks.count(), len(sites))
        shares = [sites[number::count] for number in range(count)]
        trials = divided(LayerTrial, "short autoencoders", shares, tried)
        trials.sort(key=lambda trial: trial.layer)
    progress(1.0)
    return NearestLanguage(
        role=role,
        source=source,
        sentences={code: len(tokens.corpus.only(code)) for code in tokens.corpus.languages},
        seeds=seeds,
        minimum=minimum,
        rows=rows,
        candidates=candidates,
        trials=trials,
        train_tokens=trained,
        chosen=_chosen(rows, candidates, trials),
        rule=NEAREST_RULE,
    )


def _chosen(rows: Sequence[NearestLayer], candidates: Sequence[int], trials: Sequence[LayerTrial]) -> int:
    """The candidate with most latents of the target, then with the best latent, then with the best score."""

    def merit(layer: int) -> tuple[float, ...]:
        own = [trial for trial in trials if trial.layer == layer]
        return (
            sum(trial.found for trial in own),
            max((trial.best_auroc for trial in own), default=0.0),
            next(row.score for row in rows if row.layer == layer),
        )

    return max(candidates, key=merit)


def _trials(
    lm: LanguageModel,
    sites: Sequence[Site],
    found: dict[Site, list[tuple[Sae, float]]],
    tokens: TokenizedCorpus,
    target: str,
    minimum: float,
    budget: int,
    progress: Progress,
) -> list[LayerTrial]:
    """Count the latents of each autoencoder that tell the target from every other language.

    Attention sinks of any of the `sites` are left out.
    """
    counters = {site: [Counter(Latents(sae), tokens) for sae, _ in own] for site, own in found.items()}
    done, every = 0, int(tokens.lengths.sum())
    with torch.no_grad():
        for seen in require_finite(lm, activations(lm, batches(tokens, budget), sites), tokens):
            for site, own in counters.items():
                for counter in own:
                    counter.add(seen.sites[site], seen.sentence)
            done += len(seen.sentence)
            progress(done / every)
    trials = []
    for site, trained in found.items():
        for (sae, fvu), counter in zip(trained, counters[site], strict=True):
            _, table = counter.finish()
            assert table is not None
            areas = auroc_table(table)
            others = [code for code in areas.languages if code != target]
            least = np.min([areas.of(target, code) for code in others], axis=0)
            best = int(least.argmax())
            assert sae.config.k is not None
            trials.append(
                LayerTrial(
                    layer=site.layer,
                    latents=sae.config.latents,
                    k=sae.config.k,
                    fvu=fvu,
                    found=int((least >= minimum).sum()),
                    best_latent=best,
                    best_auroc=float(least[best]),
                )
            )
    return trials


def _train(
    configs: Sequence[SaeConfig],
    x: Float[Tensor, "tokens d"],
    lr: float | None,
    seed: int,
    progress: Progress,
) -> list[tuple[Sae, float]]:
    """Short autoencoders on a site's activations, and their FVU in the last steps of training."""
    steps = -(-len(x) // STEP_TOKENS) * EPOCHS
    settings = TrainSettings(steps=steps, tokens=len(x) * EPOCHS, lr=lr, seed=seed)
    try:
        trained = train_group(
            [(config, settings) for config in configs],
            lambda _: _steps(x, seed),
            Mixer(None, 0, torch.Generator()),
            progress=progress,
        )
    except GlossaeError as error:
        raise GlossaeError(
            f"layer: a short autoencoder at layer {configs[0].layer}, to choose the layer: {error}"
        ) from error
    return [(sae, float(np.mean([point.fvu for point in log[-LAST_POINTS:]]))) for sae, log in trained]


def _activations(
    lm: LanguageModel, tokens: TokenizedCorpus, sites: Sequence[Site], budget: int, progress: Progress
) -> dict[Site, Float[Tensor, "tokens d"]]:
    """The activations of a text's first sentences at several sites, in one pass of the model."""
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    most = min(TOKENS, VALUES // sum(lm.width(site) for site in sites))
    each = most // len(tokens.corpus.languages)
    text = tokens.take(first_of_each(languages, each, [int(length) for length in tokens.lengths]))
    every = int(text.lengths.sum())

    def told() -> Iterator[Activations]:
        done = 0
        for seen in require_finite(lm, activations(lm, batches(text, budget), sites), text):
            yield seen
            done += len(seen.sentence)
            progress(done / every)

    return {site: x.float() for site, x in in_text_order(told()).items()}


def _steps(x: Float[Tensor, "tokens d"], seed: int) -> Iterator[Float[Tensor, "_ d"]]:
    """The batches of all epochs, each epoch in its own random order."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(x), generator=generator).split(STEP_TOKENS):
            yield x[places.to(x.device)]
