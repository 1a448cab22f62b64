"""Memory, bytes sent and seconds of each rank of an SAE's training at 1, 2 and 4 ranks, beside the arithmetic.

    python benchmarks/ranks.py [--json] [--ranks 1,2,4] [--case 512,32768,32,1024] [--steps 10] [--moments float32]
    python benchmarks/ranks.py --simulate [--case 8192,262144,32,4096]

Every rank is a process on this machine's CPU and takes its share of the latents through gloo. Memory is the most that
a rank holds by itself (anonymous pages, looked at every 5 ms), less that before the first step: until the whole SAE is
there, then what is left with it, and the most where it encodes and decodes a batch. Tensors of a rank's share are to
fall as 1 / ranks, and the batch is whole on each. Pages of mapped files are the system's, one copy for all ranks of a
machine. Bytes are those that the loopback device carries in the steps, over ranks and steps, headers of TCP included;
nothing else should use it meanwhile. There is no peer.

Seconds are simulated from `glossae.sae.step_cost` and four rates that each rank measures after its last step, while the
others do the same: of a product, of copies, of a large all-reduce, and of a small one. With `--simulate` the rates
are half of the data sheet's of an H100 and those of some networks, and nothing is measured; the model's passes, which
the ranks divide, are those of pythia-1.4b to layer 16.
"""

import argparse
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glossae import ranks
from glossae.plan.facts import known_shape
from glossae.plan.machine import LAUNCH, listed_gpus
from glossae.sae import OPERATIONS, Mixer, SaeConfig, StepCost, TrainSettings, step_cost, train_group

Case = tuple[int, int, int, int]
Rates = dict[str, float]
# bytes a second of networks, and seconds that a collective takes at least
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9, "400 Gbit/s": 50e9, "NVLink": 450e9}
LATENCY = 3e-5
# the paper's model and layer
MODEL, LAYER = "EleutherAI/pythia-1.4b", 16


def sent() -> int:
    """Bytes that the loopback device has carried."""
    rows = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return int(next(row for row in rows if row.strip().startswith("lo:")).split(":")[1].split()[0])


def held() -> dict[str, int]:
    """Bytes that this process holds by itself, and those of mapped files among its pages."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return {row[:7]: 1024 * int(row.split()[1]) for row in rows if row.startswith(("RssAnon", "RssFile"))}


class Watch:
    """The most that this process has held by itself since the last `restart`, bytes."""

    def __init__(self) -> None:
        self.restart()
        threading.Thread(target=self._look, daemon=True).start()

    def restart(self) -> None:
        """Forget what was held before."""
        self.peak = held()["RssAnon"]

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, held()["RssAnon"])
            time.sleep(0.005)


def cost_of(case: Case, count: int, moments: str, *, low: bool, kernels: bool = False) -> StepCost:
    """A rank's part of a step by arithmetic."""
    d, m, k, tokens = case
    return step_cost(
        SaeConfig(d_in=d, latents=m, k=k), tokens, low=low, moments=moments, kernels=kernels, count=count
    )


def simulated(cost: StepCost, rates: Rates) -> float:
    """Seconds of a step at some rates."""
    computed = cost.flops / rates["product"] + cost.moved / rates["memory"] + OPERATIONS * LAUNCH
    return computed + cost.sent / rates["link"] + cost.collectives * rates["latency"]


def rates_here(case: Case) -> Rates:
    """The rates that this rank has while the others are at work, too."""
    d, m, _, tokens = case
    rows = -(-m // ranks.count())
    x, weight = torch.randn(tokens, d), torch.randn(rows, d)
    into, small = torch.empty_like(weight), torch.zeros(1)

    def rate(amount: float, call: Callable[[], object]) -> float:
        call()
        ranks.total(0)
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return amount / statistics.median(taken)

    count = ranks.count()
    reduced = 2 * (count - 1) / count * 4 * x.numel()
    return {
        "product": rate(2 * tokens * rows * d, lambda: torch.nn.functional.linear(x, weight)),
        "memory": rate(8 * weight.numel(), lambda: into.copy_(weight)),
        "link": rate(reduced, lambda: ranks.sum_(x)) if count > 1 else 1.0,
        "latency": 1 / rate(1, lambda: ranks.sum_(small)) if count > 1 else 0.0,
    }


def work(case: Case, steps: int, moments: str) -> None:
    """One rank: train, and print what it took."""
    d, m, k, tokens = case
    torch.set_num_threads(1)
    settings = TrainSettings(
        steps=steps, tokens=steps * tokens, encoder_dtype="float32", moments=moments, aux_k=0
    )
    seen: dict[int, int] = {}
    began: dict[int, float] = {}

    def own(start: int, every: int) -> Iterator[tuple[Tensor]]:
        for number in range(start, steps, every):
            yield (torch.randn(tokens, d, generator=torch.Generator().manual_seed(number)),)

    def stream(start: int) -> Iterator[Tensor]:
        parts = ranks.in_turn(own(start + ranks.rank(), ranks.count()), "cpu")
        for number, (chunk,) in enumerate(parts):
            seen[number], began[number] = sent(), time.perf_counter()
            yield chunk

    with ranks.joined(), ranks.together():
        before, watch = held(), Watch()
        job = (SaeConfig(d_in=d, latents=m, k=k), settings)
        ((sae, _),) = train_group([job], stream, Mixer(None, 0, torch.Generator()))
        training, after = watch.peak, held()["RssAnon"]
        watch.restart()
        with torch.no_grad():
            sae(torch.randn(tokens, d, generator=torch.Generator().manual_seed(steps - 1)))
        count = ranks.count()
        # whole rounds, in each of which every rank sends a chunk
        first, last = count, (steps - 1) // count * count
        found = {
            "rank": ranks.rank(),
            "held": training - before["RssAnon"],
            "sent": (seen[last] - seen[first]) / (last - first) / count if count > 1 else 0.0,
            "kept": after - before["RssAnon"],
            "used": watch.peak - before["RssAnon"],
            "mapped": held()["RssFile"] - before["RssFile"],
            "seconds": (began[last] - began[first]) / (last - first),
            "rates": rates_here(case),
        }
    print(json.dumps(found), flush=True)
    ranks.leave()


def measured(count: int, words: list[str]) -> list[dict[str, Any]]:
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


def simulate(case: Case, moments: str, counts: list[int]) -> None:
    """Print the simulated milliseconds of a step, by ranks and network."""
    shape = known_shape(MODEL)
    assert shape is not None
    gpu = next(each for each in listed_gpus("auto") if each.name.startswith("H100"))
    d, m, k, tokens = case
    passes = 2 * shape.block_weights * (LAYER + 1) / shape.layers * tokens
    print(
        f"width {d}, {m:,} latents, k {k}, {tokens} tokens a step, moments in {moments}, {gpu.name}, {MODEL}"
    )
    print(f"{'ranks':>6}{'held':>12}{'sent':>12}" + "".join(f"{name:>14}" for name in LINKS))
    for count in counts:
        cost = cost_of(case, count, moments, low=True, kernels=True)
        model = passes / count / gpu.model_rate
        cells = []
        for link in LINKS.values():
            rates = {"product": gpu.model_rate, "memory": gpu.bandwidth, "link": link, "latency": LATENCY}
            cells.append(f"{1e3 * (model + simulated(cost, rates)):11.1f} ms")
        print(f"{count:>6}{cost.held / 1e9:>9.1f} GB{cost.sent / 1e6:>9.0f} MB" + "".join(cells))


def main() -> None:
    """Measure, and print a line for each number of ranks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line for programs")
    parser.add_argument("--ranks", help="default 1,2,4, or with --simulate up to 64")
    parser.add_argument("--case", default="512,32768,32,1024", help="width, latents, k, tokens of a step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--moments", default="float32")
    parser.add_argument(
        "--simulate", action="store_true", help="print a table by arithmetic; measure nothing"
    )
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    d, m, k, tokens = (int(part) for part in options.case.split(","))
    case: Case = (d, m, k, tokens)
    counts = [
        int(part) for part in (options.ranks or ("1,2,4,8,16,64" if options.simulate else "1,2,4")).split(",")
    ]
    if options.work:
        work(case, options.steps, options.moments)
        return
    if options.simulate:
        simulate(case, options.moments, counts)
        return
    if options.steps <= 2 * max(counts):
        parser.error(f"--steps: two rounds of {max(counts)} ranks take at least {2 * max(counts) + 1}")
    words = ["--case", options.case, "--steps", str(options.steps), "--moments", options.moments]
    print(f"width {d}, {m:,} latents, k {k}, {tokens} tokens a step, moments in {options.moments}")
    cases = []
    for count in counts:
        found, cost = measured(count, words), cost_of(case, count, options.moments, low=False)
        seconds = [simulated(cost, each["rates"]) for each in found]
        cases.append(
            {"ranks": count, "measured": found, "arithmetic": dataclasses.asdict(cost), "simulated": seconds}
        )
        most = {name: max(each[name] for each in found) / 1e6 for name in ("held", "kept", "used", "mapped")}
        print(
            f"{count} ranks: {most['held']:5.0f} MB a rank in training ({cost.held / 1e6:.0f} MB by arithmetic), "
            f"then {most['kept']:.0f} MB with the whole SAE, {most['used']:.0f} MB where it is used, "
            f"{most['mapped']:.0f} MB mapped; {found[0]['sent'] / 1e6:.2f} MB sent a rank and step "
            f"({cost.sent / 1e6:.2f}); {1e3 * found[0]['seconds']:.0f} ms a step ({1e3 * max(seconds):.0f} simulated)",
            flush=True,
        )
    if options.json:
        print(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
