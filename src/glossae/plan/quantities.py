"""How much there is of everything in a run, and what a pass over it costs.

A pass of the model costs two FLOPs a weight and token, and its attention four a width and token of context, a
layer; stopped at layer l it costs the share (l + 1) / layers, without the output matrix.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glossae.plan.models import Shape
from glossae.plan.texts import Amounts
from glossae.plan.work import Work
from glossae.recipe import Recipe

# operations of a block in a forward pass, and of an optimiser step: each takes at least LAUNCH
BLOCK_OPERATIONS, STEP_OPERATIONS = 40, 120
# what selecting costs, a latent and token: top-k looks at every pre-activation several times
SELECTING = 48
# of the probes' sentences, the share held out (probe.layers)
HELD_OUT = 0.2
# float32 values mixed at a time for the autoencoder, and logits held at once (run.early_stages, lm.loss)
POOL_VALUES, MAX_LOGITS = 2**25, 2**26
# what an entry of a sparse code costs in a training step, and in an encoding, a value of the site's width, in bytes
TRAINED_ENTRY, ENTRY = 8, 12
# of a ReLU autoencoder's latents, the share that is live at a token: beyond it glossae.sae goes over to dense products
LIVE = 0.04
# edits of a sweep: shares that are left of a latent's value and of a distance, multiples added (effects.arms)
LATENT_SHARES, SHARES, MULTIPLES = 3, 6, 5
# tokens on which reconstruction is measured where a precision is asked for, and sentences in the first sample of losses
# (glossae.sae.quality, lm.batches)
RECONSTRUCTED, FIRST = 50_000, 32
# upper bound on the standard deviation of what splicing adds to a sentence's loss, nats a token: .12 to .3 on the toy,
# tiny-da-en and Gemma-3-270M where it adds less than half a nat; where it adds more, a tenth of it is near enough
SPLICE_SPREAD = 0.5
# autoencoders of random weights beside the trained one (effects.controls), and damages that sets are compared at
UNTRAINED, MATCHED = 3, 2
# sentences of a language that a precision of effects takes, nats a token
PRECISE, PRECISION = 256, 0.03


def tokens_of(amounts: Amounts, languages: tuple[str, ...] | None = None) -> float:
    """Tokens in some languages, or in all."""
    return sum(a.tokens for code, a in amounts.items() if languages is None or code in languages)


def sentences_of(amounts: Amounts, languages: tuple[str, ...] | None = None) -> float:
    """Sentences in some languages, or in all."""
    return sum(a.sentences for code, a in amounts.items() if languages is None or code in languages)


def share_of(sentences: float, most: float | None) -> float:
    """The share of a text that so many sentences are at most."""
    return 1.0 if most is None else min(1.0, most / max(1.0, sentences))


@dataclass(frozen=True)
class Quantities:
    """Of one recipe, once its text and its model's shape are known."""

    recipe: Recipe
    shape: Shape
    roles: dict[str, Amounts]
    before: int = 0
    """Tokens of a chat template before each text, over which the model passes too."""

    @property
    def d_in(self) -> int:
        """Width of the site."""
        return self.shape.site_width(self.recipe.site)

    @property
    def latents(self) -> int:
        """Latents of the autoencoder."""
        return self.recipe.sae.latents or (self.recipe.sae.expansion or 1) * self.d_in

    @property
    def coordinates(self) -> int:
        """The site's coordinates that are tested as units: with both signs, except at mlp.hidden."""
        return self.d_in if self.recipe.site == "mlp.hidden" else 2 * self.d_in

    @property
    def live(self) -> float:
        """Latents of the autoencoder that are live at a token."""
        return LIVE * self.latents if self.recipe.sae.activation == "relu" else self.recipe.sae.k

    @property
    def depth(self) -> int:
        """Blocks that a pass to the site goes through; all of them while the layer is not chosen."""
        return (
            self.shape.layers
            if self.recipe.layer == "auto"
            else min(self.recipe.layer + 1, self.shape.layers)
        )

    @property
    def pair(self) -> tuple[str, str]:
        """The target and the reference."""
        return self.recipe.languages.target, self.recipe.languages.reference

    @property
    def train_tokens(self) -> float:
        """Tokens the autoencoder trains on in an epoch."""
        return tokens_of(self.roles["train"], self._trained_on)

    @property
    def _trained_on(self) -> tuple[str, ...] | None:
        """Languages of train that autoencoders see; None for all."""
        return None if self.recipe.sae.text == "all" else self.pair

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        sae = self.recipe.sae
        if sae.batch_sentences is not None:
            sentences = sentences_of(self.roles["train"], self._trained_on)
            return math.ceil(sentences / sae.batch_sentences) * sae.epochs
        return math.ceil(self.train_tokens * sae.epochs / sae.batch_tokens)

    @property
    def step_tokens(self) -> float:
        """Tokens in an optimiser step."""
        return self.train_tokens * self.recipe.sae.epochs / max(1, self.steps)

    @property
    def above(self) -> int:
        """Blocks that an edit runs again, its own among them unless it is at their output; all while none is chosen."""
        if self.recipe.layer == "auto":
            return self.shape.layers
        return self.shape.layers - self.depth + (self.recipe.site != "resid")

    @property
    def edits(self) -> int:
        """Edits of the selected latents that run the model: doses, no edit and the mean, spliced and not; the rest."""
        doses = len({0.0, *self.recipe.effects.values}) + 2
        # switched off, and their own values turned about
        return (doses + 2) + (doses + 1) + 1 + LATENT_SHARES

    @property
    def cheaper(self) -> int:
        """Edits of the other sets that are tried on `tune`: other latents, random weights, neurons, directions."""
        effects = self.recipe.effects
        down = (
            len({0.0, *(value for value in effects.values if value < 0)}) if effects.unit == "latent" else 1
        )
        of_kind = {
            # at each value, the mean, switched off, and turned about
            "latent": (self._other_languages + UNTRAINED) * (down + 2 + LATENT_SHARES),
            # all of them and the best one: zero, the mean, and drawn towards it
            "neuron": 2 * (2 + SHARES),
            # the difference of means and the probe's: projected, drawn, added
            "direction": 2 * (1 + SHARES + MULTIPLES),
        }
        return sum(of_kind[family] for family in effects.families)

    @property
    def _other_languages(self) -> int:
        return sum(code not in self.pair for code in self.roles.get("panel", self.roles["select"]))

    @property
    def ways(self) -> int:
        """Ways down of the other sets, on each of which a dose is looked for at each damage."""
        of_kind = {
            # fixed at values below 0, where values count the latents' own units, and turned about
            "latent": UNTRAINED * (1 + (self.recipe.effects.unit == "latent")),
            "neuron": 2,
            "direction": 2 * 2,
        }
        return sum(of_kind[family] for family in self.recipe.effects.families)

    @property
    def compared(self) -> int:
        """Edits of the other sets that all languages are measured under: switched off, and at the same damage."""
        sets = {"latent": self._other_languages + UNTRAINED, "neuron": 2, "direction": 2}
        off = sum(sets[family] for family in self.recipe.effects.families)
        return off + self.ways * MATCHED

    def measured(self, role: str) -> Amounts:
        """What effects are measured on of a text: half of the panel, and `effects.sentences` of each language.

        With a precision that is as many sentences as intervals of 0.03 nats a token take.
        """
        effects, half = self.recipe.effects, 2 if role == "panel" else 1
        finer = math.inf if effects.precision is None else PRECISION / effects.precision
        needed = PRECISE * finer * finer
        most = min(needed, math.inf if effects.sentences is None else effects.sentences)
        return {
            code: replace(
                a,
                sentences=a.sentences / half * (share := share_of(a.sentences / half, most)),
                tokens=a.tokens / half * share,
            )
            for code, a in self.roles[role].items()
        }

    @property
    def fidelity_sentences(self) -> int | None:
        """Sentences of each language, at most, on which losses with the autoencoder spliced in are measured; None: all.

        Samples double until 1.96 standard errors are at most `sae.precision`.
        """
        if self.recipe.by_the_paper:
            return None
        errors, sample = 1.96 * SPLICE_SPREAD / self.recipe.sae.precision, FIRST
        wanted = min(errors * errors, max((a.sentences for a in self.roles["select"].values()), default=0))
        while sample < wanted:
            sample *= 2
        return sample

    @property
    def fidelity_tokens(self) -> tuple[float, float]:
        """Tokens of `select`, at most, on which reconstruction is measured, and losses."""
        select, most = self.roles["select"], self.fidelity_sentences
        every = tokens_of(select)
        if most is None:
            return every, every
        return min(every, RECONSTRUCTED), sum(a.tokens * share_of(a.sentences, most) for a in select.values())

    @property
    def compares_layers(self) -> bool:
        """Whether the target's nearest other language chooses the layer."""
        panel = self.roles.get("panel", self.roles["select"])
        third = any(code not in self.pair for code in panel)
        return self.recipe.layer == "auto" and not self.recipe.by_the_paper and third

    @property
    def penalties(self) -> int:
        """Penalties of the probes that tell the target from the reference: the recipe's, and the layer rule's own."""
        if self.recipe.fits_papers_probes:
            return len(self.recipe.probe.lambdas) + 1
        return 0 if self.compares_layers else 1

    @property
    def probe_tokens(self) -> float:
        """Tokens of a probe's sample, held-out ones included."""
        wanted = self.recipe.probe.tokens / 2 / (1 - HELD_OUT)
        return sum(min(wanted, tokens_of(self.roles["train"], (code,))) for code in self.pair)

    def forward(self, shape: Shape, tokens: float, depth: int, *, output: bool) -> Work:
        """Passes over `tokens` through `depth` blocks of a model, and its output matrix or not."""
        recipe, everything = self.recipe, tokens_of(self.roles["train"])
        own = everything / max(1.0, sentences_of(self.roles["train"]))
        context, passed = own + self.before, tokens * (own + self.before) / own if own else tokens
        share = depth / shape.layers
        flops = 2 * shape.block_weights * share + 4 * context * shape.width * depth
        logits = min(recipe.batch_tokens * shape.vocabulary, MAX_LOGITS) if output else 0
        unembedding = 2 * shape.vocabulary * shape.width if output else 0
        batch = logits / shape.vocabulary if output else recipe.batch_tokens
        # hidden states in and beside a block, the MLP's, attention over the padded length; logits of predicted
        # tokens, twice where the model caps them
        held = (
            4 * recipe.batch_tokens * (8 * shape.width + 3 * shape.mlp + 2 * shape.heads * context)
            + 8 * logits
        )
        return Work(
            model_flops=flops * passed + unembedding * tokens,
            # norms, the activation function and the softmax of the attention; of logits, the loss, slab by slab
            moved=passed * 4 * depth * (20 * shape.width + 12 * shape.mlp + 6 * shape.heads * context)
            + (12 * shape.vocabulary * tokens if output else 0),
            operations=BLOCK_OPERATIONS * depth * math.ceil(passed / batch),
            weights=shape.weights,
            held=held,
        )

    def encode(self, tokens: float) -> Work:
        """The autoencoder's encoder: one dense product, and a selection that reads its result a few times."""
        return self.encodings(tokens, self.d_in, self.latents, [self.live])

    def encodings(self, tokens: float, d: int, m: int, live: Sequence[float]) -> Work:
        """Several autoencoders' encoders on the same tokens, each with so many live latents at a token."""
        batch, count = min(tokens, self.recipe.batch_tokens), len(live)
        return Work(
            float_flops=2 * d * m * tokens * count,
            moved=tokens * (SELECTING * m * count + ENTRY * d * sum(live)),
            held=8 * d * m * count + 8 * batch * m,
        )
