"""Amounts of everything in a run, and the cost of passes of the model.

A pass of the model costs two FLOPs per weight and token, and its attention four per width, token of context
and token, in each layer; a pass that stops at layer l costs the share (l + 1) / layers, without the output
matrix. The cost of a stage is counted beside the stage, in `glossae.stages`.
"""

import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from glossae.errors import GlossaeError
from glossae.plan.facts import Amounts, Shape
from glossae.plan.machine import LAUNCH, Machine
from glossae.recipe import Recipe

# bytes of Python and the libraries before any model is loaded, on a CPU
BASE = 0.75e9


@dataclass(frozen=True)
class Work:
    """The cost of a stage, independent of the machine.

    Attributes:
        model_flops: of the language model's products.
        float_flops: of float32 products.
        half_flops: of products in bfloat16 where the device is built for that, and in float32 elsewhere.
        moved: bytes read and written outside of products.
        spared: bytes of these that the Triton kernels of an SAE's training spare a GPU.
        operations: the number of operations.
        seconds: time that is the same on every machine.
        weights: of language models held at once.
        held: other bytes held on the device.
        sae: bytes of the largest SAE; one that takes more than half of a GPU's memory lies on the CPU.
        movable, fetched: bytes of those held that are not held then, and bytes that come from the CPU.
        tables: bytes held in the machine's own memory, whatever the device.
        written: bytes on disk.
        scratch: values in the model's precision on disk while the stage runs.
        shared: other bytes on disk while the stage runs: what ranks give each other.
        checkpoints: bytes of checkpoints on disk while the stage runs.
    """

    model_flops: float = 0
    float_flops: float = 0
    half_flops: float = 0
    moved: float = 0
    spared: float = 0
    operations: float = 0
    seconds: float = 0
    weights: float = 0
    held: float = 0
    sae: float = 0
    movable: float = 0
    fetched: float = 0
    tables: float = 0
    written: float = 0
    scratch: float = 0
    shared: float = 0
    checkpoints: float = 0

    def __add__(self, other: "Work") -> "Work":
        """The cost of one after the other: times add up, and of held bytes the larger counts."""
        held = max(self.held, other.held)
        return Work(
            self.model_flops + other.model_flops,
            self.float_flops + other.float_flops,
            self.half_flops + other.half_flops,
            self.moved + other.moved,
            self.spared + other.spared,
            self.operations + other.operations,
            self.seconds + other.seconds,
            max(self.weights, other.weights),
            held,
            max(self.sae, other.sae),
            held - max(self.held - self.movable, other.held - other.movable),
            self.fetched + other.fetched,
            max(self.tables, other.tables),
            self.written + other.written,
            max(self.scratch, other.scratch),
            max(self.shared, other.shared),
            max(self.checkpoints, other.checkpoints),
        )

    def beside(self, other: "Work") -> "Work":
        """The cost of both at once: held bytes add up, too."""
        held, movable = self.held + other.held, self.movable + other.movable
        return replace(self + other, held=held, movable=movable)

    @property
    def flops(self) -> float:
        """Operations of all products."""
        return self.model_flops + self.float_flops + self.half_flops

    def time(self, machine: Machine) -> float:
        """Seconds on a machine."""
        return (
            self.model_flops / machine.model_rate
            + self.float_flops / machine.float_rate
            + self.half_flops / machine.half_rate
            + (self.moved - (self.spared if machine.gpu else 0)) / machine.bandwidth
            + (self.fetched / FETCHING if self._away(machine) else 0)
            + self.operations * LAUNCH
            + self.seconds
        )

    def memory(self, machine: Machine) -> float:
        """Bytes on a machine's device; on a CPU with the pages of files that are mapped."""
        held = self.held - (self.movable if self._away(machine) else 0)
        return self.weights * machine.model_bytes + held + (0 if machine.gpu else BASE + self.tables)

    def _away(self, machine: Machine) -> bool:
        return machine.gpu and self.sae > PLACED * machine.memory


# operations of a block in a forward pass: each takes at least LAUNCH
BLOCK_OPERATIONS = 40
# cost of selection per latent and token: top-k reads every pre-activation several times
SELECTING = 48
# logits (lm.loss) and pre-activations (sae.sparse) held at once
MAX_LOGITS = PRE_ACTIVATIONS = 2**26
# the share of a GPU's memory that an SAE may take on it (sae.whole), and bytes a second that come from the CPU
PLACED, FETCHING = 0.5, 1e10
# cost of an entry of a sparse code in an encoding, bytes per value of the site's width
ENTRY = 12
# the assumed share of a ReLU SAE's latents that is live at a token: above it glossae.sae uses dense products
LIVE = 0.04


def tokens_of(amounts: Amounts, languages: tuple[str, ...] | None = None) -> float:
    """Tokens in some languages, or in all."""
    return sum(a.tokens for code, a in amounts.items() if languages is None or code in languages)


def sentences_of(amounts: Amounts, languages: tuple[str, ...] | None = None) -> float:
    """Sentences in some languages, or in all."""
    return sum(a.sentences for code, a in amounts.items() if languages is None or code in languages)


def share_of(sentences: float, most: float | None) -> float:
    """The share of a text that `most` sentences make up, at most 1."""
    return 1.0 if most is None else min(1.0, most / max(1.0, sentences))


@dataclass(frozen=True)
class Quantities:
    """The amounts of one recipe, after its text and its model's shape are known."""

    recipe: Recipe
    shape: Shape
    roles: dict[str, Amounts]
    prefix_tokens: int = 0
    """Tokens of a chat template before each text, which the model processes too."""
    models: dict[str, Shape | None] = field(default_factory=dict)
    """The shapes of other models by name; None if unknown until fetched."""
    ranks: int = 1
    """The processes that torchrun started: what is counted is the work of one of them."""

    def shape_of(self, model: str) -> Shape | None:
        """The shape of the run's model, or of another by its name; None if unknown until fetched."""
        return self.shape if model == self.recipe.model else self.models[model]

    def check_length(self, key: str, tokens: int) -> None:
        """Refuse a length that the run's model has no positions for; `key` is the setting that asks for it."""
        positions = self.shape.positions or sys.maxsize
        check_positions(key, tokens + self.prefix_tokens, self.recipe.model, positions)

    @property
    def d_in(self) -> int:
        """Width of the site."""
        return self.shape.site_width(self.recipe.site)

    @property
    def latents(self) -> int:
        """Latents of the SAE."""
        return self.recipe.sae.latents or (self.recipe.sae.expansion or 1) * self.d_in

    @property
    def coordinates(self) -> int:
        """The site's coordinates that are tested as units: with both signs, except at mlp.hidden."""
        return self.d_in if self.recipe.site == "mlp.hidden" else 2 * self.d_in

    @property
    def live_latents(self) -> float:
        """Latents of the SAE that are live at a token."""
        return LIVE * self.latents if self.recipe.sae.activation == "relu" else self.recipe.sae.k

    @property
    def depth(self) -> int:
        """Blocks in a pass to the site; all of them while the layer is not chosen."""
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
        """Tokens of train that probes, directions and, without `sae.stream`, the SAE are fitted to."""
        return tokens_of(self.roles["train"], self.recipe.trained_languages)

    @property
    def sae_tokens(self) -> float:
        """Tokens of an epoch of the SAE's training."""
        return self.recipe.sae.tokens or self.train_tokens

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        sae = self.recipe.sae
        if sae.batch_sentences is not None:
            sentences = sentences_of(self.roles["train"], self.recipe.trained_languages)
            return math.ceil(sentences / sae.batch_sentences) * sae.epochs
        return math.ceil(self.sae_tokens * sae.epochs / sae.batch_tokens)

    @property
    def step_tokens(self) -> float:
        """Tokens in an optimiser step."""
        return self.sae_tokens * self.recipe.sae.epochs / max(1, self.steps)

    @property
    def blocks_above(self) -> int:
        """Blocks that an edit runs again: those above the site, and its own if the site is inside; all if unknown."""
        if self.recipe.layer == "auto":
            return self.shape.layers
        return self.shape.layers - self.depth + (self.recipe.site != "resid")

    def forward(self, tokens: float, depth: int, *, output: bool = False, shape: Shape | None = None) -> Work:
        """The cost of passes over `tokens` through `depth` blocks of a model (None: the run's), maybe with logits.

        Ranks divide the text.
        """
        tokens /= self.ranks
        recipe, everything, shape = self.recipe, tokens_of(self.roles["train"]), shape or self.shape
        own = everything / max(1.0, sentences_of(self.roles["train"]))
        context, passed = (
            own + self.prefix_tokens,
            tokens * (own + self.prefix_tokens) / own if own else tokens,
        )
        share = depth / shape.layers
        flops = 2 * shape.block_weights * share + 4 * context * shape.width * depth
        logits = min(recipe.batch_tokens * shape.vocabulary, MAX_LOGITS) if output else 0
        unembedding = 2 * shape.vocabulary * shape.width if output else 0
        batch = logits / shape.vocabulary if output else recipe.batch_tokens
        # hidden states in and beside a block, the MLP's, attention over the padded length; logits of predicted
        # tokens, twice if the model caps them
        held = (
            4 * recipe.batch_tokens * (8 * shape.width + 3 * shape.mlp + 2 * shape.heads * context)
            + 8 * logits
        )
        return Work(
            model_flops=flops * passed + unembedding * tokens,
            # norms, the activation function and the softmax of the attention; for logits, the loss, slab by
            # slab
            moved=passed * 4 * depth * (20 * shape.width + 12 * shape.mlp + 6 * shape.heads * context)
            + (12 * shape.vocabulary * tokens if output else 0),
            operations=BLOCK_OPERATIONS * depth * math.ceil(passed / batch),
            weights=shape.weights,
            held=held,
        )

    def encode(self, tokens: float) -> Work:
        """The cost of the SAE's encoder: one dense product, and a selection that reads its result a few times."""
        return self.encodings(tokens, self.d_in, self.latents, [self.live_latents])

    def encodings(self, tokens: float, d: int, m: int, live: Sequence[float]) -> Work:
        """The cost of several SAEs' encoders on the same tokens; `live` has the live latents per token of each."""
        batch, count = min(tokens, self.recipe.batch_tokens), len(live)
        return Work(
            float_flops=2 * d * m * tokens * count,
            moved=tokens * (SELECTING * m * count + ENTRY * d * sum(live)),
            # both matrices, and a slab of pre-activations with what selects from it
            held=8 * d * m * count + 8 * min(batch * m, PRE_ACTIVATIONS),
            sae=8 * d * m,
            # but a block of the encoder, or rows of the decoder
            movable=max(0, 8 * d * m * count - 4 * PRE_ACTIVATIONS),
            # the encoder's matrix for every batch, and of the decoder's the rows of each token
            fetched=4 * d * (m * count * math.ceil(tokens / max(1.0, batch)) + tokens * sum(live)),
        )

    def joined(self, weights: float) -> Work:
        """What ranks write for each other, so that all have SAEs of so many weights in all."""
        return Work(shared=4 * weights if self.ranks > 1 else 0)


def check_positions(key: str, tokens: int, model: str, positions: int) -> None:
    """Refuse a length that a model has no positions for.

    Raises:
        GlossaeError: `tokens` is more than `positions`.
    """
    if tokens > positions:
        raise GlossaeError(
            f"{key}: {tokens} is more than the {positions} tokens that {model} has positions for"
        )


def too_few_message(
    role: str, language: str, sentences: float, *, units: int, minimum: float, q: float
) -> str:
    """`panel: 12 sentences of nb are too few for a test of 4,096 units at q 0.05, which takes at least 102`.

    Args:
        role: the text that is halved; units are selected on one half and tested again on the other.
        language: its code.
        sentences: the number of its sentences.
        units: the number of units tested together.
        minimum: the AUROC that a unit has to exceed.
        q: the false discovery rate.
    """
    counted = f"{sentences:,}" if isinstance(sentences, int) else count_text(sentences)
    least = least_sentences(units, minimum, q)
    return (
        f"{role}: {counted} sentences of {language} are too few for a test of {units:,} units at q {q:g}, which takes "
        f"at least {least:,} ({2 * least:,} where they are translations of the others)"
    )


def least_sentences(units: int, minimum: float, q: float) -> int:
    """The fewest sentences of a language, in both halves, with which a unit can pass; without translations."""
    # scipy is a heavy import, and `glossae doctor` imports this room too
    from glossae.evidence import testing

    return 2 * testing.comparisons_needed(units, minimum, q)


WIDTH = 80
UNKNOWN = "unknown until fetched"


def bytes_text(size: float) -> str:
    """Bytes in a suitable unit, powers of ten: `2.93 GB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:.0f} B"


def count_text(count: float) -> str:
    """An integer; large ones rounded to three digits and marked with ~."""
    if count < 1000:
        return f"~{count:.0f}"
    digits = len(str(round(count))) - 3
    return f"~{round(count, -digits):,.0f}"


def time_text(seconds: float) -> str:
    """A duration, rounded to the precision of this arithmetic."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def wrap_text(head: str, text: str, gap: int = 2) -> Iterator[str]:
    """`head` and `text` on one line, or on several with the rest indented."""
    # a path or a name may be longer than a line, and is not cut
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
