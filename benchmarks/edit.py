"""An edit of a batch of 16 x 128 tokens against the same edit position by position in a Python loop.

    python benchmarks/edit.py [--json] [--case 512,2048,30] [--case 2048,16384,32] [--positions 256]

The paper's own hook went through batch and positions in a Python double loop. Four edits of six units each, with
random weights: `set` of latents with everything that belongs to it; the same where another edit has already encoded the
batch, as in a sweep, against a loop that is given the code too; `set` of neurons; `project_out` of directions. Both
ways are run turn by turn and have to agree; the loop goes over some of the 2,048 positions, and its time is scaled up.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from glossae.effects import Edit, compile_edits
from glossae.lm import Site, TokenEdit
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Neurons

BATCH, LENGTH = 16, 128
UNITS = (1, 2, 3, 5, 8, 13)
VALUES = (-8.0, -6.0, -4.0, 2.0, 4.0, 6.0)
Loop = Callable[[Tensor, int], Tensor]


def random_sae(d: int, latents: int, k: int) -> Sae:
    """An autoencoder that was never trained."""
    sae = Sae(SaeConfig(d_in=d, latents=latents, k=k)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = d**-0.5 * torch.randn(parameter.shape, generator=generator)
    return sae


def code_of(sae: Sae, row: Tensor) -> tuple[Tensor, Tensor]:
    """The selected latents of one token."""
    values, indices = (sae.W_enc @ (row - sae.b_dec) + sae.b_enc).topk(sae.config.k)
    return values.relu(), indices


def latent_loop(sae: Sae, x: Tensor, codes: tuple[Tensor, Tensor] | None) -> Loop:
    """The formula as it is written, x + decode(z') - decode(z), with a token's code made dense."""

    def decode(code: Tensor) -> Tensor:
        return code @ sae.W_dec + sae.b_dec

    def one(row: Tensor, place: int) -> Tensor:
        values, indices = code_of(sae, row) if codes is None else (codes[0][place], codes[1][place])
        code = x.new_zeros(sae.config.latents)
        code[indices] = values
        after = code.clone()
        for unit, value in zip(UNITS, VALUES, strict=True):
            after[unit] = value
        return row + decode(after) - decode(code)

    return one


def neuron_loop(row: Tensor, _place: int) -> Tensor:
    """A token's coordinates set one by one."""
    after = row.clone()
    for unit, value in zip(UNITS, VALUES, strict=True):
        after[unit] = value
    return after


def direction_loop(directions: Tensor) -> Loop:
    """The component along each of some orthonormal directions moved one by one."""

    def one(row: Tensor, _place: int) -> Tensor:
        for direction, value in zip(directions, VALUES, strict=True):
            row = row - (row @ direction - value) * direction
        return row

    return one


def compare(
    name: str, x: Tensor, fn: TokenEdit, loop: Loop, positions: int, repeats: int
) -> dict[str, object]:
    """Median seconds of both for the whole batch."""
    flat = x.reshape(-1, x.shape[-1])
    places = torch.linspace(0, len(flat) - 1, min(positions, len(flat))).long().tolist()
    ours, theirs = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        edited = fn(flat)
        ours.append(time.perf_counter() - start)
        out = torch.empty_like(x)
        start = time.perf_counter()
        for place in places:
            b, t = divmod(place, LENGTH)
            out[b, t] = loop(x[b, t], place)
        theirs.append((time.perf_counter() - start) * len(flat) / len(places))
    torch.testing.assert_close(edited[places], out.reshape(flat.shape)[places], rtol=1e-3, atol=1e-3)
    vectorised, looped = statistics.median(ours), statistics.median(theirs)
    return {"edit": name, "seconds": vectorised, "loop_seconds": looped, "times_as_fast": looped / vectorised}


@torch.no_grad()
def measure(d: int, latents: int, k: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """The four edits at one size."""
    sae = random_sae(d, latents, k)
    x = torch.randn(BATCH, LENGTH, d, generator=torch.Generator().manual_seed(1))
    flat = x.reshape(-1, d)
    whole = Edit("set", UNITS, VALUES).compile(sae)

    def encoded_anew(tokens: Tensor) -> Tensor:
        # another tensor each time, so that nothing is left from the last call
        return whole(tokens.view_as(tokens))

    first, later = compile_edits([Edit("zero", UNITS), Edit("set", UNITS, VALUES)], sae)
    orthonormal = torch.linalg.qr(torch.randn(d, len(UNITS), generator=torch.Generator().manual_seed(2))).Q.T
    directions = Directions([str(i) for i in range(len(UNITS))], orthonormal, torch.zeros(len(UNITS)))
    codes = sae.encode(flat)
    shared = x.reshape(-1, d)
    first(shared)
    rows = []
    for name, fn, loop in (
        ("latents: set", encoded_anew, latent_loop(sae, x, None)),
        (
            "latents: set, encoded",
            lambda _: later(shared),
            latent_loop(sae, x, (codes.values, codes.indices)),
        ),
        ("neurons: set", Edit("set", UNITS, VALUES).compile(Neurons(Site("resid", 0), d)), neuron_loop),
        (
            "directions: project_out",
            Edit("project_out", tuple(range(len(UNITS))), VALUES).compile(directions),
            direction_loop(orthonormal),
        ),
    ):
        row = compare(name, x, fn, loop, arguments.positions, arguments.repeats)
        rows.append({"d_in": d, "latents": latents, "k": k, **row})
    return rows


def main() -> None:
    """Measure every size and print a line for each edit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--case", action="append", help="d_in,latents,k; may be given several times")
    parser.add_argument("--positions", type=int, default=128, help="of 2,048, that the loop goes over")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for case in arguments.case or ["512,2048,30", "2048,16384,32"]:
        d, latents, k = map(int, case.split(","))
        for row in measure(d, latents, k, arguments):
            rows.append(row)
            print(
                f"{d:5} {latents:6} {k:3}  {row['edit']:24} {1000 * row['seconds']:9.2f} ms   "
                f"loop {row['loop_seconds']:8.3f} s   {row['times_as_fast']:7.0f} times as fast",
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"cases": rows}))


if __name__ == "__main__":
    main()
