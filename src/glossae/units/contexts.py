"""Token-by-token view of a few latents: their pre-activations, and texts that show them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata

from glossae import ranks
from glossae.corpora import Corpus
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, pad
from glossae.results import UnitRow
from glossae.sae import Sae
from glossae.units.counting import UnitStatistics

BINS = 60
# longer sentences make the figure unreadable
LONGEST_SHOWN = 60


@dataclass(frozen=True)
class UnitDetail:
    """Pre-activations of one latent on a corpus.

    Attributes:
        unit: its number.
        auroc: the probability that a random target token has a larger pre-activation than a random reference
            token.
        quantiles: of its values on the target's tokens where it fires, at 0.5 and 0.99; None if it never fires
            there.
        edges: bin edges of the histograms.
        counts: tokens in each bin, by language.
    """

    unit: int
    auroc: float
    quantiles: tuple[float, float] | None
    edges: Float[np.ndarray, " edges"]
    counts: dict[str, np.ndarray]


def unit_row(statistics: UnitStatistics, detail: UnitDetail, **tested: float | None) -> UnitRow:
    """What a run says of a latent; `tested` are its `sentence_auroc` and `q_value`."""
    unit, rows = detail.unit, {language: statistics.row(language) for language in statistics.languages}
    return UnitRow(
        unit=unit,
        kind="latent",
        rate={language: float(statistics.rate(language)[unit]) for language in rows},
        mean={language: float(statistics.mean_pre[row, unit]) for language, row in rows.items()},
        mean_active={language: float(statistics.mean_active(language)[unit]) for language in rows},
        max_active={language: float(statistics.active_max[row, unit]) for language, row in rows.items()},
        token_auroc=detail.auroc,
        **tested,
    )


@torch.no_grad()
def unit_details(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    units: Sequence[int],
    target: str,
    reference: str,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[UnitDetail]:
    """Collect the pre-activations of `units` on a corpus; tokens x units values are held."""
    if not units:
        return []
    chosen = torch.tensor(list(units), device=lm.device)
    pre, value, sentence = [], [], []
    done, total = 0, int(tokens.lengths.sum())
    for part in activations(lm, batches(tokens, budget), [site]):
        x = part.sites[site].float()
        pre.append(sae.pre_activations(x, chosen).cpu().numpy())
        value.append(_fired_values(sae, x, chosen).cpu().numpy())
        sentence.append(part.sentence.cpu().numpy())
        done += len(x)
        progress(done / total)
    of = np.array([s.language for s in tokens.corpus.sentences])[np.concatenate(sentence)]
    all_pre, all_values = np.concatenate(pre), np.concatenate(value)
    details = []
    for column, unit in enumerate(units):
        own, values = all_pre[:, column], all_values[of == target, column]
        values = values[~np.isnan(values)]
        edges = np.linspace(own.min(), own.max(), BINS + 1, dtype=np.float64)
        details.append(
            UnitDetail(
                unit=unit,
                auroc=_auroc(own[of == target], own[of == reference]),
                quantiles=(float(np.quantile(values, 0.5)), float(np.quantile(values, 0.99)))
                if len(values)
                else None,
                edges=edges,
                counts={
                    language: np.histogram(own[of == language], bins=edges)[0]
                    for language in tokens.corpus.languages
                },
            )
        )
    return details


def sentences_to_show(corpus: Corpus, target: str, reference: str, count: int) -> Corpus:
    """Translated pairs if the corpus has them, otherwise the first sentences of either language."""
    by_pair: dict[str, dict[str, int]] = {}
    for number, sentence in enumerate(corpus.sentences):
        by_pair.setdefault(sentence.pair, {}).setdefault(sentence.language, number)
    pairs = [[p[target], p[reference]] for p in by_pair.values() if target in p and reference in p]
    if not pairs:
        of_either = (corpus.only(language).sentences[: count // 2] for language in (target, reference))
        return Corpus.of(sentence for sentences in of_either for sentence in sentences)
    return Corpus.of(corpus.sentences[n] for pair in pairs[:count] for n in pair)


@torch.no_grad()
def token_texts(
    lm: LanguageModel, site: Site, sae: Sae, tokens: TokenizedCorpus, units: Sequence[int]
) -> list[dict[str, Any]]:
    """Each sentence's tokens as readable strings, with each unit's pre-activation and whether it fires.

    Attention sinks, on which units are not read, are left out.
    """
    chosen = torch.tensor(list(units), dtype=torch.int64, device=lm.device)

    def of(number: int) -> dict[str, Any]:
        sentence = tokens.corpus.sentences[number]
        (part,) = activations(lm, [pad(tokens, torch.tensor([number]).numpy())], [site])
        x = part.sites[site].float()[:LONGEST_SHOWN]
        pre = sae.pre_activations(x, chosen).T.tolist()
        fires = (~_fired_values(sae, x, chosen).isnan()).T.tolist()
        readable = readable_tokens(lm, tokens.ids[number][tokens.prefix :].tolist())
        places = part.position[:LONGEST_SHOWN] - tokens.prefix
        return {
            "pair": sentence.pair,
            "source": sentence.source,
            "language": sentence.language,
            "tokens": [readable[place] for place in places.tolist()],
            "units": {
                str(unit): {"pre": pre[column], "fires": fires[column]} for column, unit in enumerate(units)
            },
        }

    return ranks.each("shown texts", range(len(tokens)), of)


def readable_tokens(lm: LanguageModel, ids: Sequence[int]) -> list[str]:
    """One string per token; a character whose bytes span several tokens stands whole at the first."""
    strings: list[str] = []
    start = 0
    while start < len(ids):
        end = start + 1
        # U+FFFD at the end marks an incomplete character: take more tokens until it is complete
        while end < len(ids) and lm.tokenizer.decode(ids[start:end]).endswith("�"):
            end += 1
        strings += [lm.tokenizer.decode(ids[start:end])] + [""] * (end - start - 1)
        start = end
    return strings


def _fired_values(
    sae: Sae, x: Float[torch.Tensor, "tokens d_in"], units: torch.Tensor
) -> Float[torch.Tensor, "tokens units"]:
    """The value of each of `units` at each token where it fires, NaN elsewhere."""
    codes = sae.encode(x)
    hit = (codes.indices[:, :, None] == units) & sae.fires(codes)[:, :, None]
    values = (codes.values[:, :, None] * hit).sum(1)
    return values.masked_fill(~hit.any(1), torch.nan)


def _auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half (the Mann-Whitney statistic over all pairs)."""
    if not len(positive) or not len(negative):
        return 0.5
    places = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((places.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))
