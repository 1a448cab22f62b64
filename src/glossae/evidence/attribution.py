"""Attribution of the loss to units, and sequences of random tokens: the scores that run the model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.corpora import Corpus
from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenizedCorpus, gradients
from glossae.units import Fired, Units

# values of gathered rows held at once
GATHERED = 2**24
# in the same time, a dense product does this many times the work of a gather
DENSE_GAIN = 16
RANDOM = "random"


@dataclass(frozen=True)
class Attribution:
    """The predicted change of the loss, summed over the tokens of each language.

    Attributes:
        languages: the rows.
        predicted: predicted tokens of each language.
        effect: the first-order rise of the language's summed loss, in nats, if the unit were zero at every
            token where it fires and all else stayed. Above zero: the unit helps.
    """

    languages: tuple[str, ...]
    predicted: Int[np.ndarray, " languages"]
    effect: Float[np.ndarray, "languages units"]


def gradient_attribution(
    lm: LanguageModel,
    site: Site,
    units: Units,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Attribution:
    """Attribution patching to zero (Nanda 2023; Marks et al. 2024, arXiv 2403.19647), summed by language.

    Where unit u fires with value v at a token whose loss gradient at the site is g, zeroing it subtracts v d_u
    from the site, with d_u its direction, and the loss changes by about -v g . d_u. The part that an SAE
    leaves unexplained stays.
    This is the slope at the unedited activation: zeroing a strong unit can cost several times as much, and a
    weak effect can change its sign. Use it for ranking; zero a unit to measure its effect.
    """
    languages = tokens.corpus.languages
    row = {language: i for i, language in enumerate(languages)}
    of = np.array([row[sentence.language] for sentence in tokens.corpus.sentences], dtype=np.int64)
    language_of = torch.from_numpy(of).to(lm.device)
    effect = torch.zeros(len(languages) * len(units), dtype=torch.float64, device=lm.device)
    done, total = 0, int(tokens.lengths.sum())
    for part in gradients(lm, tokens, site, budget=budget):
        with torch.no_grad():
            found = units.fired(part.x.float())
            change = -found.value * _slopes(part.gradient.float(), found, units)
            cell = language_of[part.sentence][found.token] * len(units) + found.unit
            effect.index_add_(0, cell, change.double())
        done += len(part.x)
        progress(done / total)
    return Attribution(
        languages=languages,
        predicted=np.bincount(of, tokens.predicted, len(languages)).astype(np.int64),
        effect=effect.view(len(languages), len(units)).cpu().numpy(),
    )


def _slopes(gradient: Float[Tensor, "tokens d"], found: Fired, units: Units) -> Float[Tensor, " entries"]:
    """The gradient along the direction of each unit that fires, token by token."""
    present, place = found.unit.unique(return_inverse=True)
    directions = units.direction(present.tolist()).to(gradient)
    # if most units fire everywhere (neurons), one product is faster than a gathered row per entry
    if len(gradient) * len(present) < DENSE_GAIN * len(place):
        return (gradient @ directions.T)[found.token, place]
    step = max(1, GATHERED // gradient.shape[1])
    slopes = gradient.new_empty(len(place))
    for first in range(0, len(place), step):
        here = slice(first, first + step)
        slopes[here] = torch.linalg.vecdot(gradient[found.token[here]], directions[place[here]])
    return slopes


def random_token_sequences(lm: LanguageModel, tokens: TokenizedCorpus, *, seed: int = 0) -> TokenizedCorpus:
    """For every sentence, a sequence of as many tokens drawn uniformly from the vocabulary.

    LangFIR (arXiv 2604.03532) compares text with such sequences. Special tokens, and rows of the embedding
    without a token, are not drawn; a prefix stays. The language is `random`, and the bytes are those of the
    decoded tokens.

    Raises:
        GlossaeError: the vocabulary has only special tokens.
    """
    vocabulary = min(len(lm.tokenizer), int(lm.model.get_input_embeddings().num_embeddings))
    choice = np.setdiff1d(np.arange(vocabulary), lm.tokenizer.all_special_ids)
    if not len(choice):
        raise GlossaeError(f"scores: the tokenizer of {lm.name} has no tokens to draw from")
    generator = np.random.default_rng(seed)
    ids, sentences, sizes = [], [], []
    for sentence, own in zip(tokens.corpus.sentences, tokens.ids, strict=True):
        drawn = own.copy()
        drawn[tokens.prefix :] = generator.choice(choice, len(own) - tokens.prefix)
        texts = [
            lm.tokenizer.decode(part) for part in (drawn[tokens.prefix :], drawn[max(1, tokens.prefix) :])
        ]
        ids.append(drawn)
        sentences.append(sentence._replace(text=texts[0], language=RANDOM, source=f"{RANDOM} tokens"))
        sizes.append(len(texts[1].encode()))
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=ids,
        predicted_bytes=np.array(sizes, dtype=np.int64),
        dropped={},
        cut={},
        prefix=tokens.prefix,
    )
