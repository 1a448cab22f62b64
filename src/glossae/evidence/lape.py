"""LAPE neurons: the MLP neurons of a whole model that are active on few languages (Tang et al. 2024)."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.evidence.scores import lape as lape_rule
from glossae.lm import LanguageModel, Place, Site, TokenizedCorpus, batches, own_activations, require_finite

# values of all layers held at once, 256 MiB of float32: batches are made small enough for it
VALUES = 2**26
# the site of the counted values in a gated MLP: the activation function's output
COUNTED = "mlp.activation"


@dataclass(frozen=True)
class LapeNeurons:
    """The neurons of all layers, their activation probabilities by language, and the target's neurons.

    Neuron i of layer l is coordinate i of the site `mlp.hidden` of layer l.

    Attributes:
        target: the language.
        languages: the compared languages, sorted.
        tokens: counted tokens of each language.
        probability: the share of a language's tokens on which a neuron is active.
        entropy: LAPE: the entropy of the probabilities normalised over languages, in nats; NaN if a neuron is
            never active. Low: few languages.
        assigned: the languages that each neuron is assigned to; none for most.
        ranked: the target's neurons as (layer, neuron), lowest entropy first.
    """

    target: str
    languages: tuple[str, ...]
    tokens: Int[np.ndarray, " languages"]
    probability: Float[np.ndarray, "languages layers neurons"]
    entropy: Float[np.ndarray, "layers neurons"]
    assigned: Bool[np.ndarray, "languages layers neurons"]
    ranked: tuple[tuple[int, int], ...]

    @property
    def neurons(self) -> dict[int, tuple[int, ...]]:
        """The target's neurons by layer, in ascending order, without empty layers."""
        return self.best(len(self.ranked))

    def best(self, count: int) -> dict[int, tuple[int, ...]]:
        """The target's `count` neurons of lowest entropy, by layer; all if there are fewer."""
        found: dict[int, list[int]] = {}
        for layer, neuron in sorted(self.ranked[: max(0, count)]):
            found.setdefault(layer, []).append(neuron)
        return {layer: tuple(ids) for layer, ids in found.items()}


@torch.no_grad()
def lape(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    *,
    target: str,
    share: float = 0.01,
    percentile: float = 0.95,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> LapeNeurons:
    """The target's neurons by language activation probability entropy (LAPE; Tang et al. 2024, arXiv 2402.16438).

    A neuron is active at a token if the output of its activation function is above 0 (eq. 1 and 2); in a gated
    MLP that is the gate's side, before the product with the other. Neurons of all layers are ranked together,
    and kept and assigned to languages by `scores.lape`. One pass of the model; memory is layers x neurons x
    languages, and one batch. Tokens that `activations` leaves out, such as a BOS, are not counted.

    Args:
        lm: the model.
        tokens: text in the target and at least one other language; in the paper as many tokens of each.
        target: the language of the wanted neurons.
        share: the share of all neurons of the model that is kept.
        percentile: a neuron is assigned to the languages on which its probability is above this quantile of
            all.
        budget: tokens in a batch; fewer if the MLPs of all layers would have more than 2^26 values.
        progress: called with the finished share.

    Raises:
        GlossaeError: there is no text in the target or in any other language, `share` or `percentile` is not
            between 0 and 1, an activation is not finite, or the activation function of a gated MLP is not
            found.
    """
    for name, value in (("share", share), ("percentile", percentile)):
        if not 0 < value < 1:
            raise GlossaeError(f"lape: {name}: {value} is not between 0 and 1")
    languages = tokens.corpus.languages
    if target not in languages or len(languages) < 2:
        raise GlossaeError(
            f"lape: text in {target} and in another language is needed; there is some in "
            f"{', '.join(languages) or 'none'}"
        )
    fired, counted = _count(lm, tokens, languages, budget, progress)
    shape = fired.shape[1:]
    found = lape_rule(
        fired=fired.reshape(len(languages), -1), tokens=counted, percentile=percentile, share=share
    )
    own = np.flatnonzero(found.languages[languages.index(target)])
    ranked = own[np.argsort(found.entropy[own], kind="stable")]
    return LapeNeurons(
        target=target,
        languages=languages,
        tokens=counted,
        probability=fired / counted[:, None, None],
        entropy=found.entropy.reshape(shape),
        assigned=found.languages.reshape(len(languages), *shape),
        ranked=tuple((int(unit) // shape[1], int(unit) % shape[1]) for unit in ranked),
    )


def _count(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    languages: tuple[str, ...],
    budget: int,
    progress: Callable[[float], None],
) -> tuple[Int[np.ndarray, "languages layers neurons"], Int[np.ndarray, " languages"]]:
    """How often each neuron is active on each language, and the tokens of each language."""
    lm, counted_name = _with_counted(lm)
    # every neuron is more than is read again
    lm = dataclasses.replace(lm, passes=None)
    # with mlp.hidden as well: attention sinks are defined by its norms, and are left out at all sites of a pass
    sites = [Site(name, layer) for name in {"mlp.hidden": 0, counted_name: 0} for layer in range(lm.layers)]
    width = lm.width(sites[0])
    budget = min(budget, max(1, VALUES // (len(sites) * width)))
    row = torch.tensor([languages.index(s.language) for s in tokens.corpus.sentences], device=lm.device)
    fired = torch.zeros(len(languages), lm.layers, width, dtype=torch.int64, device=lm.device)
    counted = torch.zeros(len(languages), dtype=torch.int64, device=lm.device)
    lengths = tokens.lengths
    done, total = 0, max(1, int(lengths.sum()))
    # shuffled, so that progress is even
    mine = ranks.mine(batches(tokens, budget, seed=0))
    for part in require_finite(lm, own_activations(lm, mine, sites), tokens):
        language = row[part.sentence]
        counted += torch.bincount(language, minlength=len(languages))
        for own in language.unique().tolist():
            chosen = language == own
            for site, x in part.sites.items():
                if site.name == counted_name:
                    fired[own, site.layer] += (x[chosen] > 0).sum(0)
        done += int(lengths[part.batch.index.numpy()].sum()) * ranks.count()
        progress(min(1.0, done / total))
    ranks.meet(f"active neurons on {total} tokens")
    for counts in (fired, counted):
        ranks.sum_(counts)
    return fired.cpu().numpy(), counted.cpu().numpy()


def check_lape(lm: LanguageModel) -> None:
    """Check that a model's MLPs have an activation function whose output can be counted.

    Raises:
        GlossaeError: one is gated, and its activation function is not found.
    """
    _with_counted(lm)


def _with_counted(lm: LanguageModel) -> tuple[LanguageModel, str]:
    """The model with a site for the output of the MLP's activation function, and the site's name.

    Without a gate this is `mlp.hidden`, otherwise the extra site `COUNTED`.

    Raises:
        GlossaeError: the MLP is gated, and its activation function is not found.
    """
    inside = lm.architecture.places["mlp.hidden"].path.rpartition(".")[0]
    if inside:
        children = dict(lm.blocks[0].get_submodule(inside).named_children())
        # an activation function is the only part of an MLP without weights, except dropout
        functions = [
            name
            for name, child in children.items()
            if not list(child.parameters()) and not isinstance(child, nn.Dropout | nn.Identity)
        ]
        gated = len(children) - len(functions) > 2 or any("gate" in name for name in children)
        if gated and len(functions) != 1:
            raise GlossaeError(
                f"lape: {lm.name}: the gated MLP '{inside}' of a block has {len(functions)} modules that could be "
                f"its activation function, and one is needed; its modules are {', '.join(children)}"
            )
        if gated:
            places = lm.architecture.places | {COUNTED: Place(f"{inside}.{functions[0]}", "output")}
            widths = lm.widths | {COUNTED: lm.widths["mlp.hidden"]}
            architecture = dataclasses.replace(lm.architecture, places=places)
            return dataclasses.replace(lm, architecture=architecture, widths=widths), COUNTED
    return lm, "mlp.hidden"
