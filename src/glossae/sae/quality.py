"""How faithful autoencoders are, language by language, and when one is unsound."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.lm import (
    Activations,
    LanguageModel,
    Site,
    TokenEdit,
    TokenizedCorpus,
    activations,
    batches,
    growing,
    half_width,
    narrow_enough,
    random_order,
    replayed_losses,
    worth_scoring,
)
from glossae.sae.sae import Sae

# bounds beyond which an autoencoder is unsound: nats a token that the spliced loss may lie above the model's own, the
# least share of loss recovered, and the most of the latents that may be dead
LOSS_BOUND, RECOVERED_BOUND, DEAD_BOUND = 0.35, 0.9, 0.15
# and the most of the site's variance that one direction, and the largest 1 % of tokens, may carry: beyond them an FVU
# says how well that direction, or those tokens, are reconstructed, and little of the rest
DIRECTION_BOUND, TOKENS_BOUND = 0.5, 0.2
LARGEST = 0.01
# tokens on which reconstruction is measured where a precision is asked for, and those behind the mean that single
# tokens are held against
RECONSTRUCTED, CENTRED = 50_000, 8192
# up to this width the principal direction is that of all tokens, beyond it that of as many tokens
MAX_WIDTH = 4096
# vectors iterated together, and times, for the largest eigenvalue
BLOCK, ITERATIONS = 8, 50


@dataclass(frozen=True)
class SpliceLoss:
    """Next-token loss of a language in nats per token.

    Attributes:
        raw: of the model itself.
        spliced: with the reconstruction in the site's place.
        ablated: with zeros in the site's place; where losses are measured on a growing sample, on its first part.
        recovered: (ablated - spliced) / (ablated - raw) on the same part; None where ablation changes nothing.
        sentences: how many sentences were measured.
        tokens: their predicted tokens; where a precision was asked for, losses are of some of each sentence's.
        half_width: half the width of the 95 % interval of spliced - raw over sentences; None for fewer than 2.
    """

    raw: float
    spliced: float
    ablated: float
    recovered: float | None
    sentences: int
    tokens: int
    half_width: float | None


@dataclass(frozen=True)
class Quality:
    """Fidelity on a corpus.

    Attributes:
        fvu: by language, the fraction of variance unexplained: sums of squares over its tokens, around the
            mean of the whole corpus.
        fvu_within: the same around the language's own mean, so that telling languages apart explains nothing.
        fvu_normalised: by language, the mean over tokens of |x - x_hat|^2 / |x - mean|^2, in which large tokens count
            no more than small ones; the mean is that of a sample of the whole corpus (8,192 tokens).
        l0: latents firing at a token.
        dead_fraction: share of latents that fire on no token.
        top_direction: share of the variance along its first principal direction.
        top_tokens: share of the variance that the largest 1 % of tokens carry, by |x - mean|^2.
        tokens: on how many tokens all of that was measured.
        ce: by language; empty where it was not measured.
        judged: the languages whose losses `unsound` looks at: those that the autoencoder was trained on.
    """

    fvu: dict[str, float]
    fvu_within: dict[str, float]
    fvu_normalised: dict[str, float]
    l0: float
    dead_fraction: float
    top_direction: float
    top_tokens: float
    tokens: int
    ce: dict[str, SpliceLoss] = field(default_factory=dict)
    judged: tuple[str, ...] = ()


def unsound(quality: Quality) -> tuple[str, ...]:
    """Return what makes an autoencoder unsound, a sentence each with the number and its bound; nothing if it is sound.

    The bounds: in a language of `judged`, an FVU of 1, a spliced loss 0.35 nats a token above the model's own, or less
    than 90 % of the loss recovered; 15 % of latents dead; 50 % of the variance along one direction; 20 % of it in 1 %
    of tokens.
    """
    found = []
    for language in quality.judged:
        if quality.fvu.get(language, 0.0) >= 1:
            found.append(
                f"The reconstruction is no nearer to the activations in {language} than their mean: its FVU is "
                f"{quality.fvu[language]:.2f}, and the bound is 1."
            )
        ce = quality.ce.get(language)
        if ce is None:
            continue
        if ce.spliced - ce.raw > LOSS_BOUND:
            found.append(
                f"The loss in {language} is {ce.spliced - ce.raw:.3f} nats a token higher with the reconstruction in "
                f"the site's place; the bound is {LOSS_BOUND:g}."
            )
        if ce.recovered is not None and ce.recovered < RECOVERED_BOUND:
            found.append(
                f"The reconstruction recovers {_percent(ce.recovered)} of the loss in {language}; the bound is at "
                f"least {_percent(RECOVERED_BOUND)}."
            )
    if quality.dead_fraction > DEAD_BOUND:
        found.append(
            f"{_percent(quality.dead_fraction)} of the latents are dead: they fire on none of {quality.tokens:,} "
            f"tokens; the bound is {_percent(DEAD_BOUND)}."
        )
    if quality.top_direction > DIRECTION_BOUND:
        found.append(
            f"One direction carries {_percent(quality.top_direction)} of the variance at the site, so the FVU says "
            f"little of the others; the bound is {_percent(DIRECTION_BOUND)}."
        )
    if quality.top_tokens > TOKENS_BOUND:
        found.append(
            f"{_percent(LARGEST)} of the tokens carry {_percent(quality.top_tokens)} of the variance at the site, so "
            f"the FVU says little of the others; the bound is {_percent(TOKENS_BOUND)}."
        )
    return tuple(found)


def _percent(share: float) -> str:
    # four digits, so that what is beyond a bound does not look equal to it
    return f"{100 * share:.4g} %"


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
    """Measure an autoencoder on a corpus, streamed: reconstruction, and losses with it in the site's place.

    With a precision, losses are measured on some tokens (`worth_scoring`) of random sentences of each language, twice
    as many sentences of a judged language every time, until the 95 % interval of spliced - raw is narrow enough; and
    reconstruction on random sentences of 50,000 tokens, with as large a share of each language.

    Args:
        lm: the model.
        site: where the autoencoder belongs.
        sae: the autoencoder.
        tokens: the text.
        judged: the languages that it was trained on; None: all of the text.
        precision: half the width of the interval that is asked for, in nats a token; a tenth of the change is narrow
            enough, too. None: all of the text is measured.
        seed: of the random sentences.
        budget: tokens in a batch, pads included.
        progress: called with the share that is done.
    """
    looked_at = tokens if precision is None else _some(tokens, RECONSTRUCTED, seed)
    (quality,) = measure_reconstruction(
        lm, site, [sae], looked_at, budget=budget, progress=lambda x: progress(0.25 * x)
    )
    judged = tokens.corpus.languages if judged is None else judged
    losses = _splice_losses(
        lm, site, sae, tokens, judged, precision, seed, budget, lambda x: progress(0.25 + 0.75 * x)
    )
    return replace(quality, ce=losses, judged=tuple(judged))


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
    """Measure autoencoders on a corpus in one pass of the model, all but the losses (`ce` is empty)."""
    languages = tokens.corpus.languages
    number = {language: i for i, language in enumerate(languages)}
    of = torch.tensor([number[s.language] for s in tokens.corpus.sentences], device=lm.device)
    # in random order, so that the mean of the first ones is that of the text
    drawn = list(batches(tokens, budget))
    order = np.random.default_rng(0).permutation(len(drawn))
    centre, parts = _begun(activations(lm, (drawn[place] for place in order), [site]), site)
    spread = _Spread(lm.width(site), int(tokens.lengths.sum()), lm.device)
    # float64 sums: sums of squares minus squares of sums lose digits
    squares, count, apart = (
        torch.zeros(len(languages), dtype=torch.float64, device=lm.device) for _ in range(3)
    )
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
        # a token at the mean itself has no share that is unexplained
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
    # `sums` and `squares` are around the centre, and so are these means
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
    """The second moments of a stream of vectors; of wide ones, some of the vectors themselves."""

    def __init__(self, width: int, tokens: int, device: torch.device) -> None:
        self.wide = width > MAX_WIDTH
        self.every, self.count = math.ceil(tokens / MAX_WIDTH), 0
        self.kept: list[Tensor] = []
        self.sum = torch.zeros(width, dtype=torch.float64, device=device)
        self.moments = torch.zeros(0 if self.wide else (width, width), dtype=torch.float64, device=device)

    def add(self, x: Float[Tensor, "tokens d"]) -> None:
        """Take vectors that lie around a common centre."""
        if self.wide:
            self.kept.append(x[-self.count % self.every :: self.every].double())
        else:
            self.moments += x.T @ x
            self.sum += x.double().sum(0)
        self.count += len(x)

    def top_direction(self) -> float:
        """The share of the variance along the first principal direction; 0 without variance."""
        if self.wide:
            # the products of vectors have the same eigenvalues as those of coordinates, and are fewer
            kept = torch.cat(self.kept)
            kept -= kept.mean(0)
            return _largest_eigenvalue(kept @ kept.T)
        return _largest_eigenvalue(self.moments - torch.outer(self.sum, self.sum) / max(1, self.count))


def _largest_eigenvalue(matrix: Float[Tensor, "n n"]) -> float:
    """The largest eigenvalue of a matrix that has none below zero, as a share of their sum, by subspace iteration."""
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
    """The share of the sum of squared distances that the largest 1 % have; 0 without any."""
    total = float(distances.sum())
    largest = distances.topk(math.ceil(LARGEST * len(distances))).values
    return float(largest.sum()) / total if total > 0 else 0.0


def _begun(parts: Iterator[Activations], site: Site) -> tuple[Float[Tensor, " d"], Iterator[Activations]]:
    """The mean over the first `CENTRED` tokens of a stream, and the stream from its beginning."""
    first, count = [], 0
    for part in parts:
        first.append(part)
        count += len(part.sentence)
        if count >= CENTRED:
            break
    total = sum(part.sites[site].double().sum(0) for part in first)
    return torch.as_tensor(total / max(1, count)).float(), chain(first, parts)


def _some(tokens: TokenizedCorpus, most: int, seed: int) -> TokenizedCorpus:
    """Random sentences of about so many tokens, the same share of each language's; all, if there are no more."""
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
    losses = np.full((3, len(tokens)), np.nan)
    if precision is not None:
        tokens = tokens.scoring(worth_scoring(lm, site, tokens))
    used: dict[str, Int[np.ndarray, " sample"]] = {}
    found: dict[str, SpliceLoss] = {}
    lengths = tokens.lengths
    samples = [_all(tokens)] if precision is None else growing(_languages(tokens), seed=seed)
    for sample in samples:
        # a language that is precise enough grows no more, nor one that nothing is judged by
        wider = {
            code: own
            for code, own in sample.items()
            if code not in found or (code in judged and not _precise(found[code], precision))
        }
        new = [own[len(used.get(code, ())) :] for code, own in wider.items()]
        index = np.sort(np.concatenate([*new, np.zeros(0, dtype=np.int64)]))
        if not len(index):
            break
        before, share = sum(lengths[own].sum() for own in used.values()), lengths[index].sum()

        def told(x: float, before: float = before, share: float = share) -> None:
            progress((before + x * share) / lengths.sum())

        # what ablation costs is large, and needs no more than the first sample
        edits: list[TokenEdit | None] = [
            None,
            lambda x: sae(x.float()),
            *([] if used else [torch.zeros_like]),
        ]
        losses[: len(edits), index] = replayed_losses(
            lm, site, tokens.take(index), edits, budget=budget, progress=told
        )
        used |= wider
        found |= {code: _splice_loss(losses[:, own], tokens.predicted[own]) for code, own in wider.items()}
    # where the text is at an end before, what is judged is measured on all of its tokens
    coarse = [code for code in judged if code in found and not _precise(found[code], precision)]
    if tokens.scored is not None and coarse:
        index = np.sort(np.concatenate([used[code] for code in coarse]))
        some = tokens.scoring(None).take(index)
        losses[:2, index] = replayed_losses(
            lm, site, some, [None, lambda x: sae(x.float())], budget=budget, progress=progress
        )
        found |= {code: _splice_loss(losses[:, used[code]], tokens.predicted[used[code]]) for code in coarse}
    progress(1.0)
    return {language: found[language] for language in tokens.corpus.languages}


def _precise(ce: SpliceLoss | None, precision: float | None) -> bool:
    if ce is None or ce.half_width is None or precision is None:
        return False
    return narrow_enough(ce.half_width, ce.spliced - ce.raw, precision)


def _all(tokens: TokenizedCorpus) -> dict[str, Int[np.ndarray, " sample"]]:
    column = np.array(_languages(tokens), dtype=object)
    return {language: np.flatnonzero(column == language) for language in tokens.corpus.languages}


def _splice_loss(
    losses: Float[np.ndarray, "3 sentences"], predicted: Int[np.ndarray, " sentences"]
) -> SpliceLoss:
    """The losses of one language, of sums over its sentences: as it is, spliced, ablated (NaN: not measured)."""
    count = int(predicted.sum())
    raw, spliced = (float(own.sum() / count) for own in losses[:2])
    known = ~np.isnan(losses[2])
    own_raw, own_spliced, ablated = losses[:, known].sum(1) / predicted[known].sum()
    reached = half_width(losses[1] - losses[0], predicted)
    return SpliceLoss(
        raw,
        spliced,
        float(ablated),
        float((ablated - own_spliced) / (ablated - own_raw)) if ablated != own_raw else None,
        sentences=len(predicted),
        tokens=count,
        half_width=reached if math.isfinite(reached) else None,
    )
