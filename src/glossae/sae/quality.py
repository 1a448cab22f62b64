"""Measure an SAE's fidelity by language, and check that an SAE matches a run's model, site and width."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import (
    Activations,
    FoundSinks,
    LanguageModel,
    Site,
    TokenEdit,
    TokenizedCorpus,
    activations,
    batches,
    growing_samples,
    half_width,
    narrow_enough,
    random_order,
    replayed_losses,
    tokens_to_score,
    with_sinks,
)
from glossae.results import SinkLosses, SpliceLoss
from glossae.sae.sae import LARGEST, Quality, Sae

# tokens for measuring reconstruction, if a precision is asked for
RECONSTRUCTED = 50_000
# tokens of the sample for the mean that single tokens are compared with
CENTRED = 8192
# up to this width the principal direction is computed from all tokens, beyond it from this many tokens
MAX_WIDTH = 4096
# sentences of each language on which spliced attention sinks are held against sinks left alone
SINK_SENTENCES = 256
# vectors iterated together, and times, for the largest eigenvalue
BLOCK, ITERATIONS = 8, 50
# TransformerLens' names of models, and the hub's
SAME = {"gpt2-small": "gpt2"}
IN_CACHE = re.compile(r"models--[^/]+?--([^/]+)/snapshots/")


def check_fits(sae: Sae, *, d_in: int, model: str, site: str, layer: int) -> None:
    """Check that an SAE was trained on a run's model and site, as far as its config names them.

    Args:
        sae: the SAE.
        d_in: the width of the run's site.
        model: the run's model; only the last part of the name counts, so that a folder may stand for a hub id.
        site: the run's site.
        layer: its layer.

    Raises:
        GlossaeError: its model, site, layer or width differs.
    """
    config = sae.config
    here, there = Site(site, layer), Site(config.site, config.layer)
    if config.model and _bare(config.model) != _bare(model):
        raise GlossaeError(
            f"sae.from: was trained on the model '{config.model}', and this run's is '{model}'; give --model "
            f"{config.model}, or, if they are the same, take the name out of the autoencoder's config"
        )
    if (config.site or site) != site:
        raise GlossaeError(
            f"sae.from: was trained at {there}, and this run is at {here}; "
            f"give --site {config.site} --layer {config.layer}"
        )
    # without a site, layer 0 may mean that neither is known
    if (config.site or config.layer) and config.layer != layer:
        raise GlossaeError(
            f"sae.from: was trained at layer {config.layer}, and this run is at layer {layer}; "
            f"give --layer {config.layer}"
        )
    if config.d_in != d_in:
        raise GlossaeError(f"sae.from: reads {config.d_in} values at a token, and {here} has {d_in}")


def _bare(model: str) -> str:
    """A model's name without owner, folder and revision."""
    cached = IN_CACHE.search(model)
    name = cached[1] if cached else model.rstrip("/").rpartition("/")[2].partition("@")[0]
    return SAME.get(name.lower(), name.lower())


def measure(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    *,
    judged: Sequence[str] | None = None,
    precision: float | None = None,
    seed: int = 0,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Quality:
    """Measure an SAE on a corpus, streamed: reconstruction, and losses with the reconstruction at the site.

    With a precision, losses are measured on some tokens (`tokens_to_score`) of random sentences of each
    language; the number of sentences of a judged language doubles until the 95 % interval of spliced - raw is
    narrow enough. Reconstruction is then measured on random sentences of 50,000 tokens in all, with the same
    share of each language.

    Args:
        lm: the model.
        site: the SAE's site.
        sae: the SAE.
        tokens: the text.
        judged: the languages that it was trained on; None for all of the text's.
        precision: the wanted half width of the interval, in nats per token; a tenth of the change is narrow
            enough, too. None measures all of the text.
        seed: of the random sentences.
        budget: tokens in a batch, pads included.
        progress: called with the finished share.
    """
    looked_at = tokens if precision is None else _sample_sentences(tokens, RECONSTRUCTED, seed)
    (quality,) = measure_reconstruction(
        lm, site, [sae], looked_at, budget=budget, progress=lambda x: progress(0.25 * x)
    )
    judged = tokens.corpus.languages if judged is None else judged
    losses = _splice_losses(
        lm, site, sae, tokens, judged, precision, seed, budget, lambda x: progress(0.25 + 0.75 * x)
    )
    return quality.model_copy(update={"ce": losses, "judged": tuple(judged)})


def sink_losses(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    sinks: Sequence[FoundSinks],
    tokens: TokenizedCorpus,
    *,
    seed: int = 0,
    budget: int = 1024,
) -> dict[str, SinkLosses]:
    """Measure by language what it costs to splice attention sinks too, on the same 256 random sentences.

    Args:
        lm: the model, which leaves no token out.
        site: where the SAE belongs.
        sae: the SAE.
        sinks: those found at the site.
        tokens: the text.
        seed: of the random sentences.
        budget: tokens in a batch, pads included.
    """
    found = {}
    for language, numbers in random_order(_languages(tokens), seed=seed).items():
        text = tokens.take(np.sort(numbers[:SINK_SENTENCES]))
        edits: list[TokenEdit | None] = [None, lambda x: sae(x.float())]
        raw, spliced = replayed_losses(lm, site, text, edits, budget=budget)
        (left_alone,) = replayed_losses(with_sinks(lm, sinks), site, text, edits[1:], budget=budget)
        predicted = text.predicted
        half = half_width(spliced - left_alone, predicted)
        found[language] = SinkLosses(
            raw=float(raw.sum() / predicted.sum()),
            spliced=float(spliced.sum() / predicted.sum()),
            left_alone=float(left_alone.sum() / predicted.sum()),
            half_width=half if math.isfinite(half) else None,
            sentences=len(text),
            tokens=int(predicted.sum()),
        )
    return found


@torch.no_grad()
def measure_reconstruction(
    lm: LanguageModel,
    site: Site,
    saes: Sequence[Sae],
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Quality]:
    """Measure the reconstruction of SAEs on a corpus in one pass of the model, without losses (`ce` is empty)."""
    languages = tokens.corpus.languages
    number = {language: i for i, language in enumerate(languages)}
    of = torch.tensor([number[language] for language in _languages(tokens)], device=lm.device)
    # in random order, so that the mean of the first tokens is close to that of the text
    drawn = list(batches(tokens, budget))
    order = np.random.default_rng(0).permutation(len(drawn))
    centre, parts = _mean_then_stream(activations(lm, (drawn[place] for place in order), [site]), site)
    spread = _Spread(lm.width(site), int(tokens.lengths.sum()), lm.device)
    # float64 sums: differences of sums of squares lose digits
    squares, count, apart = torch.zeros(3, len(languages), dtype=torch.float64, device=lm.device)
    sums = torch.zeros(len(languages), lm.width(site), dtype=torch.float64, device=lm.device)
    error, share = torch.zeros(2, len(saes), len(languages), dtype=torch.float64, device=lm.device)
    fired = [torch.zeros(sae.config.latents, dtype=torch.int64, device=lm.device) for sae in saes]
    distances = []
    done = 0
    for part in parts:
        x = part.sites[site].float()
        language, from_centre = of[part.sentence], x - centre
        distance = from_centre.double().square().sum(1)
        spread.add(from_centre)
        distances.append(distance)
        squares.index_add_(0, language, distance)
        sums.index_add_(0, language, from_centre.double())
        count.index_add_(0, language, torch.ones_like(distance))
        # a token equal to the mean has no unexplained share
        elsewhere = distance > 0
        apart.index_add_(0, language, elsewhere.double())
        for sae, own, own_share, times in zip(saes, error, share, fired, strict=True):
            codes = sae.encode(x)
            missed = (x - sae.decode(codes)).double().square().sum(1)
            own.index_add_(0, language, missed)
            own_share.index_add_(0, language[elsewhere], missed[elsewhere] / distance[elsewhere])
            times += torch.bincount(codes.indices[sae.fires(codes)], minlength=len(times))
        done += len(part.batch.index)
        progress(done / len(tokens))
    # `sums` and `squares` are relative to the centre, and so are these means
    mean = sums.sum(0) / count.sum()
    around_all = squares - 2 * sums @ mean + count * mean.square().sum()
    around_own = squares - sums.square().sum(1) / count
    top_direction, top_tokens = spread.top_direction(), _largest(torch.cat(distances))

    def by_language(
        values: Float[Tensor, " languages"], over: Float[Tensor, " languages"]
    ) -> dict[str, float]:
        return {language: float(values[i] / over[i]) for i, language in enumerate(languages) if over[i] > 0}

    return [
        Quality(
            fvu=by_language(own, around_all),
            fvu_within=by_language(own, around_own),
            fvu_normalised=by_language(own_share, apart),
            l0=float(times.sum() / count.sum()),
            dead_fraction=float((times == 0).double().mean()),
            top_direction=top_direction,
            top_tokens=top_tokens,
            tokens=int(count.sum()),
        )
        for own, own_share, times in zip(error, share, fired, strict=True)
    ]


class _Spread:
    """The second moments of a stream of vectors; for a large width, a sample of the vectors."""

    def __init__(self, width: int, tokens: int, device: torch.device) -> None:
        self.wide = width > MAX_WIDTH
        self.every, self.count = math.ceil(tokens / MAX_WIDTH), 0
        self.kept: list[Tensor] = []
        self.sum = torch.zeros(width, dtype=torch.float64, device=device)
        self.moments = torch.zeros(0 if self.wide else (width, width), dtype=torch.float64, device=device)

    def add(self, x: Float[Tensor, "tokens d"]) -> None:
        """Add vectors, relative to a common centre."""
        if self.wide:
            self.kept.append(x[-self.count % self.every :: self.every].double())
        else:
            self.moments += x.T @ x
            self.sum += x.double().sum(0)
        self.count += len(x)

    def top_direction(self) -> float:
        """The share of the variance along the first principal direction, by subspace iteration; 0 without variance."""
        if self.wide:
            # the Gram matrix has the same eigenvalues as the covariance, and is smaller
            kept = torch.cat(self.kept)
            kept -= kept.mean(0)
            matrix = kept @ kept.T
        else:
            matrix = self.moments - torch.outer(self.sum, self.sum) / max(1, self.count)
        total = float(matrix.trace())
        if total <= 0:
            return 0.0
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(len(matrix), min(BLOCK, len(matrix)), generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(start.to(matrix.device)).Q
        for _ in range(ITERATIONS):
            basis = torch.linalg.qr(matrix @ basis).Q
        return float(torch.linalg.eigvalsh(basis.T @ matrix @ basis)[-1]) / total


def _largest(distances: Float[Tensor, " tokens"]) -> float:
    """The share of the sum of squared distances in the largest 1 %; 0 if the sum is 0."""
    total = float(distances.sum())
    largest = distances.topk(math.ceil(LARGEST * len(distances))).values
    return float(largest.sum()) / total if total > 0 else 0.0


def _mean_then_stream(
    parts: Iterator[Activations], site: Site
) -> tuple[Float[Tensor, " d"], Iterator[Activations]]:
    """The mean over the first `CENTRED` tokens of a stream, and the stream from its beginning."""
    first, count = [], 0
    for part in parts:
        first.append(part)
        count += len(part.sentence)
        if count >= CENTRED:
            break
    total = sum(part.sites[site].double().sum(0) for part in first)
    return torch.as_tensor(total / max(1, count)).float(), chain(first, parts)


def _sample_sentences(tokens: TokenizedCorpus, most: int, seed: int) -> TokenizedCorpus:
    """Random sentences of about `most` tokens, with the same share of each language; all, if there are no more."""
    lengths = tokens.lengths
    if lengths.sum() <= most:
        return tokens
    parts = []
    for own in random_order(_languages(tokens), seed=seed).values():
        reached = np.cumsum(lengths[own]) / lengths[own].sum()
        parts.append(own[: 1 + np.searchsorted(reached, most / lengths.sum())])
    return tokens.take(np.sort(np.concatenate(parts)))


def _languages(tokens: TokenizedCorpus) -> list[str]:
    return [sentence.language for sentence in tokens.corpus.sentences]


def _splice_losses(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    judged: Sequence[str],
    precision: float | None,
    seed: int,
    budget: int,
    progress: Callable[[float], None],
) -> dict[str, SpliceLoss]:
    def coarse(code: str) -> bool:
        """Whether a judged language's interval is still too wide."""
        ce = found[code]
        if code not in judged:
            return False
        if ce.half_width is None or precision is None:
            return True
        return not narrow_enough(ce.half_width, ce.spliced - ce.raw, precision)

    languages = _languages(tokens)
    if precision is None:
        column = np.array(languages, dtype=object)
        samples = iter([{code: np.flatnonzero(column == code) for code in tokens.corpus.languages}])
    else:
        tokens = tokens.scoring(tokens_to_score(lm, site, tokens))
        samples = iter(growing_samples(languages, seed=seed))
    losses, lengths = np.full((3, len(tokens)), np.nan), tokens.lengths
    used: dict[str, Int[np.ndarray, " sample"]] = {}
    found: dict[str, SpliceLoss] = {}
    edits: list[TokenEdit | None] = [None, lambda x: sae(x.float()), torch.zeros_like]
    for sample in samples:
        # only judged languages whose interval is too wide grow
        wider = {code: own for code, own in sample.items() if code not in found or coarse(code)}
        new = [own[len(used.get(code, ())) :] for code, own in wider.items()]
        index = np.sort(np.concatenate([*new, np.zeros(0, dtype=np.int64)]))
        if not len(index):
            break
        before, share = sum(lengths[own].sum() for own in used.values()), lengths[index].sum()

        def told(x: float, before: float = before, share: float = share) -> None:
            progress((before + x * share) / lengths.sum())

        # the cost of ablation is large, so the first sample is enough for it
        own_edits = edits[:2] if used else edits
        losses[: len(own_edits), index] = replayed_losses(
            lm, site, tokens.take(index), own_edits, budget=budget, progress=told
        )
        used |= wider
        found |= {code: _splice_loss(losses[:, own], tokens.predicted[own]) for code, own in wider.items()}
    # a judged language whose text ended before it was precise enough is measured on all of its tokens
    again = [code for code in judged if code in found and coarse(code)]
    if tokens.scored is not None and again:
        index = np.sort(np.concatenate([used[code] for code in again]))
        some = tokens.scoring(None).take(index)
        losses[:2, index] = replayed_losses(lm, site, some, edits[:2], budget=budget, progress=progress)
        found |= {code: _splice_loss(losses[:, used[code]], tokens.predicted[used[code]]) for code in again}
    progress(1.0)
    return {language: found[language] for language in tokens.corpus.languages}


def _splice_loss(
    losses: Float[np.ndarray, "3 sentences"], predicted: Int[np.ndarray, " sentences"]
) -> SpliceLoss:
    """The losses of one language, from sums over its sentences: raw, spliced, ablated (NaN: not measured)."""
    count = int(predicted.sum())
    raw, spliced = (float(own.sum() / count) for own in losses[:2])
    known = ~np.isnan(losses[2])
    own_raw, own_spliced, ablated = losses[:, known].sum(1) / predicted[known].sum()
    reached = half_width(losses[1] - losses[0], predicted)
    return SpliceLoss(
        raw=raw,
        spliced=spliced,
        ablated=float(ablated),
        recovered=float((ablated - own_spliced) / (ablated - own_raw)) if ablated != own_raw else None,
        sentences=len(predicted),
        tokens=count,
        half_width=reached if math.isfinite(reached) else None,
    )
