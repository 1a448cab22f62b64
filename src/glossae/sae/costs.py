"""What an optimiser step of an SAE costs by arithmetic: operations, bytes moved, held, and sent between ranks."""

from dataclasses import dataclass

from glossae import ranks
from glossae.sae.sae import SaeConfig
from glossae.sae.trainer import GRADIENT_VALUES, Moments

# operations of a step, each of which takes a while however small it is, and collectives of a step of several ranks:
# reconstruction, decoder bias, candidates, AuxK's and the log's counts, and the activations with their sizes
OPERATIONS, COLLECTIVES = 120, 8
# bytes that a weight moves: Adam reads and writes it and both moments in float32, and writes and reads its gradient;
# what the plain code moves more to round moments to bfloat16 at random; and to keep a decoder row at length 1
ADAM, ROUNDING, UNIT_ROW = 32, 84, 24


@dataclass(frozen=True)
class StepCost:
    """The part of one rank in an optimiser step; of one process, the whole step.

    Attributes:
        flops: of the encoder's product.
        sparse_flops: of the products with selected entries only.
        moved: bytes read from memory and written to it, if no cache holds anything from one operation to the next.
        held: bytes of weights, moments, gradients and pre-activations at their most.
        made: of these, bytes of pre-activations.
        kept: bytes of weights and moments, which a checkpoint holds.
        sent: bytes sent to other ranks, without those of AuxK.
        collectives: that the rank takes part in.
    """

    flops: float
    sparse_flops: float
    moved: float
    held: float
    made: float
    kept: float
    sent: float
    collectives: int


def step_cost(
    config: SaeConfig,
    tokens: float,
    *,
    live: float | None = None,
    low: bool = True,
    moments: Moments = "float32",
    unit_rows: bool = True,
    kernels: bool = False,
    count: int = 1,
) -> StepCost:
    """Count one step.

    With width d, m latents, T tokens of k live latents each, and n ranks, of which each holds m / n latents: the
    encoder's product takes 2 T d m / n operations, and each of the four products with entries (a fifth if values are
    computed again after a product in bfloat16) 2 T k d / n. An all-reduce sends 2 (n - 1) / n of its tensor, an
    all-gather n - 1 times a rank's own part.

    Args:
        config: the SAE.
        tokens: in the step.
        live: latents that fire at a token; None: k.
        low: the encoder's product is in bfloat16.
        moments: the precision of Adam's moments.
        unit_rows: decoder rows are kept at length 1.
        kernels: the Triton kernels do it, which hold no pre-activations, and round and renormalise on the way.
        count: the ranks.

    Raises:
        GlossaeError: there are fewer latents than would give each rank one.
    """
    rows, entry = ranks.share(config.latents, count), 2 if low else 4
    live = float(config.k or 0) if live is None else live
    encoder, values = float(config.d_in) * rows, tokens * config.d_in
    weights, selected = encoder * (1 if config.tied else 2), tokens * live / count
    product = 0.0 if kernels else tokens * rows
    stored = 4 if moments == "float32" else 2
    # weights are copied to bfloat16 before the product; pre-activations are written once and read twice; each product
    # with entries reads a row for each; inputs, reconstruction and gradient are gone through some ten times
    moved = encoder * (8 if low else 4) + 3 * entry * product + 4 * config.d_in * selected * (5 if low else 4)
    moved += 10 * 4 * values + weights * (ADAM - 4 * (4 - stored))
    if not kernels:
        moved += weights * (ROUNDING if stored == 2 else 0) + (encoder * UNIT_ROW if unit_rows else 0)
    # blocks of gradients, and of what bfloat16's moments are made from
    blocks = 4 * min(weights, 2.0 * GRADIENT_VALUES)
    if stored == 2 and not kernels:
        blocks += 16 * min(encoder, float(GRADIENT_VALUES))
    kept = weights * (4 + 2 * stored)
    held = kept + (2 * encoder if low else 0) + blocks + entry * product
    sent = 0.0
    if count > 1:
        reduced = 2 * (count - 1) / count
        # the reconstruction of each level, b_dec's gradient, the candidates' values, and this rank's activations
        sent = reduced * 4 * (values * max(1, len(config.matryoshka)) + config.d_in)
        candidates = tokens * live * (1 if config.activation == "topk" else 1 / count)
        if config.activation in ("topk", "batchtopk"):
            lower = config.activation == "topk" and not kernels
            sent += (count - 1) * (entry if lower else 4) * candidates
        sent += (count - 1) / count * 4 * values
    products = 5 if low else 4
    return StepCost(
        flops=2 * tokens * encoder,
        sparse_flops=2 * products * selected * config.d_in,
        moved=moved,
        held=held,
        made=entry * product,
        kept=kept,
        sent=sent,
        collectives=COLLECTIVES if count > 1 else 0,
    )
