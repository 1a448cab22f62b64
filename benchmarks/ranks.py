"""Memory and bytes sent by each rank of an SAE's training at 1, 2 and 4 ranks, beside the arithmetic.

    python benchmarks/ranks.py [--json] [--ranks 1,2,4] [--case 512,32768,32,1024] [--steps 10] [--moments float32]

Every rank is a process on this machine's CPU and takes its share of the latents through gloo. Memory is the largest
resident size during the steps, less that before the first; tensors of a rank's share are to fall as 1 / ranks, and the
batch is whole on each. Bytes are those that the loopback device carries in the steps, over ranks and steps, headers of
TCP included; nothing else should use it meanwhile. There is no peer.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from glossae import ranks
from glossae.sae import Mixer, SaeConfig, TrainSettings, train_group

Case = tuple[int, int, int, int]
# values of a gradient that are held at once (glossae.sae.trainer)
GRADIENT_VALUES = 2**25


def sent() -> int:
    """Bytes that the loopback device has carried."""
    rows = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return int(next(row for row in rows if row.strip().startswith("lo:")).split(":")[1].split()[0])


def peak() -> int:
    """The largest resident size of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def by_arithmetic(case: Case, count: int, moments: str) -> dict[str, float]:
    """Bytes that a rank holds of its latents, and bytes that it sends in a step."""
    d, m, k, tokens = case
    rows = -(-m // count)
    # two matrices with two moments each, a block of both gradients, and pre-activations
    held = rows * d * 2 * (4 + 2 * (4 if moments == "float32" else 2))
    held += 2 * 4 * min(rows * d, GRADIENT_VALUES) + 4 * tokens * rows
    # an all-reduce sends 2 (n - 1) / n of its tensor, an all-gather n - 1 of a rank's part; activations are
    # broadcast, each rank's own 1 / n to the others
    reconstruction = 2 * (count - 1) / count * 4 * (tokens * d + d)
    candidates = (count - 1) * 4 * tokens * k
    activations = (count - 1) / count * 4 * tokens * d
    return {"held": held, "sent": reconstruction + candidates + activations if count > 1 else 0.0}


def work(case: Case, steps: int, moments: str) -> None:
    """One rank: train, and print what it took."""
    d, m, k, tokens = case
    torch.set_num_threads(1)
    settings = TrainSettings(
        steps=steps, tokens=steps * tokens, encoder_dtype="float32", moments=moments, aux_k=0
    )
    seen: dict[int, int] = {}

    def own(start: int, every: int) -> Iterator[tuple[Tensor]]:
        for number in range(start, steps, every):
            yield (torch.randn(tokens, d, generator=torch.Generator().manual_seed(number)),)

    def stream(start: int) -> Iterator[Tensor]:
        parts = ranks.in_turn(own(start + ranks.rank(), ranks.count()), "cpu")
        for number, (chunk,) in enumerate(parts):
            seen[number] = sent()
            yield chunk

    with ranks.joined(), ranks.together():
        before = peak()
        job = (SaeConfig(d_in=d, latents=m, k=k), settings)
        # what is measured ends with the last step: rank 0 then gathers the whole SAE
        taken: dict[str, int] = {}

        def progress(share: float) -> None:
            if share >= 1:
                taken["peak"] = peak()

        train_group([job], stream, Mixer(None, 0, torch.Generator()), progress=progress)
        count = ranks.count()
        # whole rounds, in each of which every rank sends a chunk
        first, last = count, (steps - 1) // count * count
        found = {
            "rank": ranks.rank(),
            "held": taken["peak"] - before,
            "sent": (seen[last] - seen[first]) / (last - first) / count if count > 1 else 0.0,
            "whole": peak() - before,
        }
    print(json.dumps(found), flush=True)
    ranks.leave()


def measured(count: int, words: list[str]) -> list[dict[str, float]]:
    """What every rank of `count` says."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", *words],
            env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    return [json.loads(child.communicate()[0]) for child in children]


def main() -> None:
    """Measure, and print a line for each number of ranks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line for programs")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--case", default="512,32768,32,1024", help="width, latents, k, tokens of a step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--moments", default="float32")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    d, m, k, tokens = (int(part) for part in options.case.split(","))
    case: Case = (d, m, k, tokens)
    if options.work:
        work(case, options.steps, options.moments)
        return
    words = ["--case", options.case, "--steps", str(options.steps), "--moments", options.moments]
    print(f"width {d}, {m:,} latents, k {k}, {tokens} tokens a step, moments in {options.moments}")
    cases = []
    for count in map(int, options.ranks.split(",")):
        found, expected = measured(count, words), by_arithmetic(case, count, options.moments)
        cases.append({"ranks": count, "measured": found, "arithmetic": expected})
        held = max(each["held"] for each in found)
        print(
            f"{count} ranks: {held / 1e6:7.0f} MB a rank in training ({expected['held'] / 1e6:.0f} MB of its "
            f"latents), {found[0]['whole'] / 1e6:.0f} MB at rank 0 with the whole SAE; "
            f"{found[0]['sent'] / 1e6:.2f} MB sent a rank and step, by arithmetic {expected['sent'] / 1e6:.2f} MB",
            flush=True,
        )
    if options.json:
        print(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
