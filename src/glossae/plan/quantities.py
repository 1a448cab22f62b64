"""How much there is of everything in a run, and what passes over it cost.

A pass of the model costs two FLOPs a weight and token, and its attention four a width and token of context, a
layer; stopped at layer l it costs the share (l + 1) / layers, without the output matrix. What a stage costs is
counted beside the stage, in `glossae.stages`.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from glossae.plan.facts import Amounts, Shape
from glossae.plan.machine import LAUNCH, Machine
from glossae.recipe import Recipe

# bytes that Python and the libraries take before any model is there, on a CPU
BASE = 0.75e9


@dataclass(frozen=True)
class Work:
    """What a stage costs, whatever it runs on.

    Attributes:
        model_flops: of the language model's products.
        float_flops: of float32 products.
        moved: bytes read and written that no product accounts for.
        operations: how many are started.
        seconds: what takes as long everywhere.
        weights: of language models held at once.
        held: bytes held besides, on the device.
        written: bytes on disk.
        scratch: values in the model's precision that wait on disk while it runs.
        checkpoints: bytes of them on disk while it runs.
    """

    model_flops: float = 0
    float_flops: float = 0
    moved: float = 0
    operations: float = 0
    seconds: float = 0
    weights: float = 0
    held: float = 0
    written: float = 0
    scratch: float = 0
    checkpoints: float = 0

    def __add__(self, other: "Work") -> "Work":
        """One after the other: costs add up, and of what is held the larger counts."""
        return Work(
            self.model_flops + other.model_flops,
            self.float_flops + other.float_flops,
            self.moved + other.moved,
            self.operations + other.operations,
            self.seconds + other.seconds,
            max(self.weights, other.weights),
            max(self.held, other.held),
            self.written + other.written,
            max(self.scratch, other.scratch),
            max(self.checkpoints, other.checkpoints),
        )

    def time(self, machine: Machine) -> float:
        """Seconds on a machine."""
        return (
            self.model_flops / machine.model_rate
            + self.float_flops / machine.float_rate
            + self.moved / machine.bandwidth
            + self.operations * LAUNCH
            + self.seconds
        )

    def memory(self, machine: Machine) -> float:
        """Bytes on a machine's device."""
        return self.weights * machine.model_bytes + self.held + (0 if machine.gpu else BASE)


# operations of a block in a forward pass: each takes at least LAUNCH
BLOCK_OPERATIONS = 40
# what selecting costs, a latent and token: top-k looks at every pre-activation several times
SELECTING = 48
# logits held at once (lm.loss)
MAX_LOGITS = 2**26
# what an entry of a sparse code costs in an encoding, a value of the site's width, in bytes
ENTRY = 12
# of a ReLU autoencoder's latents, the share that is live at a token: beyond it glossae.sae goes over to dense products
LIVE = 0.04


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
    models: dict[str, Shape | None] = field(default_factory=dict)
    """The shapes of other models by name; None where one is unknown until fetched."""

    def shape_of(self, model: str) -> Shape | None:
        """The shape of the run's model, or of another one by its name; None if it is unknown until fetched."""
        return self.shape if model == self.recipe.model else self.models[model]

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
    def panel(self) -> Amounts:
        """The text that units are tested on."""
        return self.roles.get("panel", self.roles["select"])

    @property
    def pair(self) -> tuple[str, str]:
        """The target and the reference."""
        return self.recipe.languages.target, self.recipe.languages.reference

    @property
    def train_tokens(self) -> float:
        """Tokens the autoencoder trains on in an epoch."""
        return tokens_of(self.roles["train"], self.recipe.trained_languages)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        sae = self.recipe.sae
        if sae.batch_sentences is not None:
            sentences = sentences_of(self.roles["train"], self.recipe.trained_languages)
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

    def forward(self, tokens: float, depth: int, *, output: bool = False, shape: Shape | None = None) -> Work:
        """Passes over `tokens` through `depth` blocks of a model (None: the run's), and its output matrix or not."""
        recipe, everything, shape = self.recipe, tokens_of(self.roles["train"]), shape or self.shape
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


def too_few_words(role: str, language: str, sentences: float, *, units: int, minimum: float, q: float) -> str:
    """`panel: 12 sentences of nb are too few for a test of 4,096 units at q 0.05, which takes at least 102`.

    Args:
        role: the text that is halved; units are searched on one half, and looked at again on the other.
        language: its code.
        sentences: how many it has.
        units: how many are tested together.
        minimum: the AUROC that a unit has to exceed.
        q: the rate of false discoveries.
    """
    counted = f"{sentences:,}" if isinstance(sentences, int) else count_text(sentences)
    least = least_sentences(units, minimum, q)
    return (
        f"{role}: {counted} sentences of {language} are too few for a test of {units:,} units at q {q:g}, which takes "
        f"at least {least:,} ({2 * least:,} where they are translations of the others)"
    )


def least_sentences(units: int, minimum: float, q: float) -> int:
    """The fewest sentences of a language, in both halves together, with which a unit can pass; without translations."""
    # scipy is heavy, and `glossae doctor` uses this room too
    from glossae.evidence import testing

    return 2 * testing.comparisons_needed(units, minimum, q)


WIDTH = 80
UNKNOWN = "unknown until fetched"


def bytes_text(size: float) -> str:
    """Bytes in the unit that suits them, powers of ten: `2.93 GB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:.0f} B"


def count_text(count: float) -> str:
    """A whole number; of large ones the first three digits, marked as about."""
    if count < 1000:
        return f"~{count:.0f}"
    digits = len(str(round(count))) - 3
    return f"~{round(count, -digits):,.0f}"


def time_text(seconds: float) -> str:
    """A duration with the precision that arithmetic of this kind has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def wrapped(head: str, text: str, gap: int = 2) -> Iterator[str]:
    """`head` and `text` on one line, or on several with the rest indented."""
    # a path or a name may be longer than a line; it is better whole than cut
    start = head + " " * gap
    if len(start) > WIDTH - 24 and gap:
        yield head
        start = " " * 6
    indent = " " * (len(start) if len(start) <= 40 else 6)
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]
