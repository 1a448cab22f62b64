"""Triton kernels of the training step: top-k encoding, dot products, sums by segment, Adam with renormalisation.

They do what the torch code that calls them does, up to rounding. No sum uses atomics, and each has a fixed order: on
one device a step repeats bit for bit. The tests run them under Triton's interpreter and compile them for NVIDIA's
compute capability 9.0. They are untested on hardware.

`no_type_check` keeps the tests' import hook from wrapping what Triton compiles. A block's entries begin somewhere else
at every step: without `do_not_specialize_on_alignment` kernels would be compiled again for each alignment.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import BFloat16, Float, Int
from torch import Tensor

# the most latents of a token that the encoder's kernel selects: it keeps them in registers
MOST_SELECTED = 256
# parts into which the latents are divided, at least, so that the tokens read at a time stay in the L2 cache; and the
# programs that keep a GPU of some 130 multiprocessors busy
PARTS, PROGRAMS = 8, 264
# entries of a chunk: longer segments are summed chunk by chunk, so that no program has more than two chunks' entries
CHUNK = 128
# entries that a program reads at a time, and values of each of their rows
ENTRIES, WIDTH = 4, 1024


@triton.jit
@no_type_check
def _top_k(
    x,
    weight,
    bias,
    values,
    latents,
    tokens,
    count,
    d_in,
    x_stride,
    weight_stride,
    k,
    parts,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    part = tl.program_id(0) % parts
    rows = (tl.program_id(0) // parts) * ROWS + tl.arange(0, ROWS)
    # rows and columns beyond the last read the last: loads then need no mask for them
    x_rows = x + tl.minimum(rows, tokens - 1).to(tl.int64)[:, None] * x_stride
    depth, columns, slots = tl.arange(0, DEPTH), tl.arange(0, COLUMNS), tl.arange(0, K)
    # the largest values so far; those beyond the k-th are never the smallest of a row
    best = tl.zeros([ROWS, K], tl.float32) + tl.where(slots < k, -float("inf"), float("inf"))[None, :]
    which = tl.zeros([ROWS, K], tl.int32) + slots[None, :]
    for tile in range(part, tl.cdiv(count, COLUMNS), parts):
        latent = tile * COLUMNS + columns
        held = tl.minimum(latent, count - 1)
        rows_of_weight = weight + held.to(tl.int64)[None, :] * weight_stride
        pre = tl.zeros([ROWS, COLUMNS], tl.float32)
        for start in range(0, d_in, DEPTH):
            at = start + depth
            left = tl.load(x_rows + at[None, :], mask=at[None, :] < d_in, other=0.0)
            right = tl.load(rows_of_weight + at[:, None], mask=at[:, None] < d_in, other=0.0)
            pre = tl.dot(left, right, pre)
        pre = tl.where(latent[None, :] < count, pre + tl.load(bias + held)[None, :], -float("inf"))
        # a value enters if it is above the smallest of the best: after the first tiles few do
        edge = tl.min(best, 1)
        top, place = tl.max(pre, 1, return_indices=True)
        while tl.max((top > edge).to(tl.int32), 0) > 0:
            enters = (top > edge)[:, None]
            replaced = enters & (slots[None, :] == tl.argmin(best, 1)[:, None])
            best = tl.where(replaced, top[:, None], best)
            which = tl.where(replaced, tile * COLUMNS + place[:, None], which)
            pre = tl.where(enters & (columns[None, :] == place[:, None]), -float("inf"), pre)
            edge = tl.min(best, 1)
            top, place = tl.max(pre, 1, return_indices=True)
    out = (rows.to(tl.int64) * parts + part)[:, None] * k + slots[None, :]
    kept = (rows < tokens)[:, None] & (slots < k)[None, :]
    tl.store(values + out, best, mask=kept)
    tl.store(latents + out, which, mask=kept)


def top_k(
    x: BFloat16[Tensor, "tokens d_in"],
    weight: BFloat16[Tensor, "latents d_in"],
    bias: Float[Tensor, " latents"],
    k: int,
) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """The k largest pre-activations `x W' + b` of each token and their latents, in no order.

    Products are of bfloat16, sums float32, and the selection is exact for these sums. A program walks over tiles of
    latents and keeps the k largest: the tokens times latents are never held, only `PARTS` times k candidates a token.
    """
    tokens, latents = len(x), len(weight)
    slots = max(16, triton.next_power_of_2(k))
    # what a program keeps in registers: rows x (columns + 2 slots)
    rows, columns = (128, 256) if slots <= 32 else (128, 128) if slots <= 64 else (64, 128)
    blocks = triton.cdiv(tokens, rows)
    parts = min(max(PARTS, PROGRAMS // max(1, blocks)), triton.cdiv(latents, columns))
    values = x.new_empty(tokens, parts, k, dtype=torch.float32)
    which = torch.empty(tokens, parts, k, dtype=torch.int32, device=x.device)
    with torch.cuda.device_of(x):
        _top_k[(blocks * parts,)](
            x,
            weight,
            bias,
            values,
            which,
            tokens,
            latents,
            x.shape[1],
            x.stride(0),
            weight.stride(0),
            k,
            parts,
            K=slots,
            ROWS=rows,
            COLUMNS=columns,
            DEPTH=64,
            num_warps=8,
            num_stages=3,
        )
    found, place = values.flatten(1).topk(k, dim=1, sorted=False)
    return found, which.flatten(1).gather(1, place).long()


@triton.jit(do_not_specialize_on_alignment=["latents", "tokens"])
@no_type_check
def _dots(weight, x, latents, tokens, out, count, d_in, ENTRIES: tl.constexpr, WIDTH: tl.constexpr):
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    here = entry < count
    of_weight = weight + tl.load(latents + entry, mask=here, other=0)[:, None] * d_in
    of_x = x + tl.load(tokens + entry, mask=here, other=0)[:, None] * d_in
    products = tl.zeros([ENTRIES, WIDTH], tl.float32)
    for start in range(0, d_in, WIDTH):
        columns = start + tl.arange(0, WIDTH)[None, :]
        inside = here[:, None] & (columns < d_in)
        left = tl.load(of_weight + columns, mask=inside, other=0.0)
        products += left * tl.load(of_x + columns, mask=inside, other=0.0)
    tl.store(out + entry, tl.sum(products, 1), mask=here)


def dots(
    weight: Float[Tensor, "latents d_in"],
    x: Float[Tensor, "tokens d_in"],
    latents: Int[Tensor, " entries"],
    tokens: Int[Tensor, " entries"],
) -> Float[Tensor, " entries"]:
    """`weight[latent] . x[token]` of each entry; fastest if neighbours have the same latent."""
    out, d_in, entries = x.new_empty(len(latents)), x.shape[1], 8
    if len(latents):
        with torch.cuda.device_of(x):
            _dots[(triton.cdiv(len(latents), entries),)](
                weight.contiguous(),
                x.contiguous(),
                latents,
                tokens,
                out,
                len(latents),
                d_in,
                ENTRIES=entries,
                WIDTH=min(512, triton.next_power_of_2(d_in)),
            )
    return out


@triton.jit
@no_type_check
def _gathered(total, values, index, rows, begin, end, columns, d_in, ENTRIES: tl.constexpr):
    for first in range(begin, end, ENTRIES):
        entry = first + tl.arange(0, ENTRIES)
        here = entry < end
        row = tl.load(index + entry, mask=here, other=0)[:, None] * d_in
        inside = here[:, None] & (columns < d_in)[None, :]
        value = tl.load(values + entry, mask=here, other=0.0)[:, None]
        total += tl.sum(value * tl.load(rows + row + columns[None, :], mask=inside, other=0.0), 0)
    return total


@triton.jit(do_not_specialize_on_alignment=["values", "index", "segments"])
@no_type_check
def _chunk_sums(
    values,
    index,
    segments,
    rows,
    chunks,
    d_in,
    CHUNK: tl.constexpr,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    chunk = tl.program_id(0).to(tl.int64)
    begin = chunk * CHUNK
    # only chunks within one segment are summed
    if tl.load(segments + begin) == tl.load(segments + begin + CHUNK - 1):
        for start in range(0, d_in, WIDTH):
            columns = start + tl.arange(0, WIDTH)
            total = tl.zeros([WIDTH], tl.float32)
            total = _gathered(total, values, index, rows, begin, begin + CHUNK, columns, d_in, ENTRIES)
            tl.store(chunks + chunk * d_in + columns, total, mask=columns < d_in)


@triton.jit(do_not_specialize_on_alignment=["values", "index", "starts"])
@no_type_check
def _segment_sums(
    values,
    index,
    starts,
    rows,
    chunks,
    out,
    d_in,
    ADD: tl.constexpr,
    CHUNK: tl.constexpr,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = columns < d_in
    begin, end = tl.load(starts + segment), tl.load(starts + segment + 1)
    # entries before the segment's first whole chunk, whole chunks, and the entries after them
    whole = tl.minimum((begin + CHUNK - 1) // CHUNK * CHUNK, end)
    rest = tl.maximum(end // CHUNK * CHUNK, whole)
    total = tl.zeros([WIDTH], tl.float32)
    total = _gathered(total, values, index, rows, begin, whole, columns, d_in, ENTRIES)
    for chunk in range(whole // CHUNK, rest // CHUNK):
        total += tl.load(chunks + chunk * d_in + columns, mask=inside, other=0.0)
    total = _gathered(total, values, index, rows, rest, end, columns, d_in, ENTRIES)
    at = out + segment * d_in + columns
    if ADD:
        total += tl.load(at, mask=inside, other=0.0)
    tl.store(at, total, mask=inside)


def segment_sums(
    values: Float[Tensor, " entries"],
    index: Int[Tensor, " entries"],
    starts: Int[Tensor, " segments_and_one"],
    segments: Int[Tensor, " entries"],
    rows: Float[Tensor, "rows d_in"],
    out: Float[Tensor, "segments d_in"],
    add: bool = False,
) -> None:
    """Write (or `add`) the sum of `values rows[index]` over each segment's entries into `out`.

    Segment i's entries go from `starts[i]` up to `starts[i + 1]`; `segments` is the segment of each entry, or a number
    that differs between segments. Chunks of `CHUNK` entries that lie within one segment are summed first.
    """
    d_in, rows, whole = rows.shape[1], rows.contiguous(), len(values) // CHUNK
    width = min(WIDTH, triton.next_power_of_2(d_in))
    chunks = rows.new_empty(max(1, whole), d_in)
    with torch.cuda.device_of(rows):
        if whole:
            _chunk_sums[(whole,)](
                values,
                index,
                segments,
                rows,
                chunks,
                d_in,
                CHUNK=CHUNK,
                ENTRIES=ENTRIES,
                WIDTH=width,
            )
        if len(out):
            _segment_sums[(len(out), triton.cdiv(d_in, width))](
                values,
                index,
                starts,
                rows,
                chunks,
                out,
                d_in,
                ADD=add,
                CHUNK=CHUNK,
                ENTRIES=ENTRIES,
                WIDTH=width,
            )


@triton.jit
@no_type_check
def _segment_totals(values, starts, out, BLOCK: tl.constexpr):
    segment = tl.program_id(0)
    end = tl.load(starts + segment + 1)
    totals = tl.zeros([BLOCK], tl.float32)
    for first in range(tl.load(starts + segment), end, BLOCK):
        entry = first + tl.arange(0, BLOCK)
        totals += tl.load(values + entry, mask=entry < end, other=0.0)
    tl.store(out + segment, tl.sum(totals, 0))


def segment_totals(
    values: Float[Tensor, " entries"], starts: Int[Tensor, " segments_and_one"]
) -> Float[Tensor, " segments"]:
    """The sum of each segment's values; segment i goes from `starts[i]` up to `starts[i + 1]`."""
    out = values.new_empty(len(starts) - 1)
    with torch.cuda.device_of(values):
        _segment_totals[(len(out),)](values, starts, out, BLOCK=256, num_warps=1)
    return out


@triton.jit
@no_type_check
def _rounded(values, noise, RANDOM: tl.constexpr):
    if RANDOM:
        # the lower half of a float32 is cut off after a random number below it was added
        bits = values.to(tl.int32, bitcast=True) + (noise & 0xFFFF).to(tl.int32)
        values = (bits & -65536).to(tl.float32, bitcast=True)
    return values


@triton.jit
@no_type_check
def _adam(
    weight,
    gradient,
    first,
    second,
    along,
    seed,
    d_in,
    rate,
    spread,
    epsilon,
    one_less_beta_1,
    beta_2,
    one_less_beta_2,
    UNIT: tl.constexpr,
    RANDOM: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    at, inside = row * d_in + columns, columns < d_in
    w = tl.load(weight + at, mask=inside, other=0.0)
    g = tl.load(gradient + at, mask=inside, other=0.0)
    if UNIT:
        g -= tl.load(along + row) * w
    m = tl.load(first + at, mask=inside, other=0.0).to(tl.float32)
    v = tl.load(second + at, mask=inside, other=0.0).to(tl.float32)
    m += one_less_beta_1 * (g - m)
    v = beta_2 * v + one_less_beta_2 * g * g
    w -= rate * m / (tl.sqrt(v) * spread + epsilon)
    if UNIT:
        w /= tl.maximum(tl.sqrt(tl.sum(tl.where(inside, w * w, 0.0), 0)), 1e-12)
    tl.store(weight + at, w, mask=inside)
    noise = at
    if RANDOM:
        # seven rounds pass every test of randomness (Salmon et al. 2011, table 2)
        noise = tl.randint(tl.load(seed), at, 7).to(tl.uint32, bitcast=True)
    tl.store(first + at, _rounded(m, noise, RANDOM).to(first.dtype.element_ty), mask=inside)
    tl.store(second + at, _rounded(v, noise >> 16, RANDOM).to(second.dtype.element_ty), mask=inside)


def adam(
    weight: Float[Tensor, "rows d_in"],
    gradient: Float[Tensor, "rows d_in"],
    first: Float[Tensor, "rows d_in"],
    second: Float[Tensor, "rows d_in"],
    along: Float[Tensor, " rows"] | None,
    seed: Int[Tensor, " 1"],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Adam's update number `step` (from 1) of rows in place, in one pass over memory (Kingma & Ba 2015, algorithm 1).

    With `along`, the rows are unit vectors: the part `along` of the gradient along each row is removed before, and the
    rows are brought back to length 1. Moments in bfloat16 are rounded at random by Philox's numbers of the `seed`, a
    tensor so that its values compile nothing anew.
    """
    d_in, (beta_1, beta_2) = weight.shape[1], betas
    width = triton.next_power_of_2(d_in)
    with torch.cuda.device_of(weight):
        _adam[(len(weight),)](
            weight,
            gradient,
            first,
            second,
            gradient if along is None else along,
            seed,
            d_in,
            lr / (1 - beta_1**step),
            (1 - beta_2**step) ** -0.5,
            epsilon,
            1 - beta_1,
            beta_2,
            1 - beta_2,
            UNIT=along is not None,
            RANDOM=first.dtype == torch.bfloat16,
            WIDTH=width,
            num_warps=min(16, max(1, width // 512)),
        )
