"""One training step of a TopK autoencoder: sprog's against plain autograd, turn by turn on the same data.

    python benchmarks/sae_step.py [--json] [--repeats 5] [--threads 2]

The peer is what a short PyTorch script does, and about what the paper's code does: top-k, decoder rows gathered and
summed, Adam, with autograd through all of it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sprog.sae import SaeConfig, TrainSettings, train

CASES = ((512, 2048, 30, 800), (2048, 16384, 32, 2048))
# steps timed together; the first one of a turn warms up
STEPS = 4


def plain_steps(d_in: int, latents: int, k: int, batches: list[Tensor]) -> float:
    """Seconds for the steps after the first, in plain autograd."""
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(latents, d_in), dim=1)
    encoder, decoder = (torch.nn.Parameter(rows.clone()) for _ in range(2))
    bias = torch.nn.Parameter(torch.zeros(latents))
    centre = torch.nn.Parameter(batches[0].mean(0))
    optimizer = torch.optim.Adam([encoder, decoder, bias, centre], lr=1e-4)
    start = time.perf_counter()
    for number, x in enumerate(batches):
        values, indices = torch.addmm(bias, x - centre, encoder.T).topk(k, dim=1, sorted=False)
        x_hat = (values.relu()[..., None] * decoder[indices]).sum(1) + centre
        loss = (x_hat - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number == 0:
            start = time.perf_counter()
    return time.perf_counter() - start


def our_steps(d_in: int, latents: int, k: int, batches: list[Tensor]) -> float:
    """Seconds for the steps after the first, by sprog's trainer as `sprog run` uses it."""
    times: list[float] = []

    def stream() -> object:
        for batch in batches:
            times.append(time.perf_counter())
            yield batch

    config = SaeConfig(d_in=d_in, latents=latents, k=k, relu=True, model="", site="", layer=0)
    train(config, stream(), TrainSettings(steps=len(batches), tokens=sum(map(len, batches))))
    return time.perf_counter() - times[1]


def measure(case: tuple[int, int, int, int], repeats: int) -> dict[str, object]:
    """Median tokens per second of each, taking turns."""
    d_in, latents, k, tokens = case
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(tokens, d_in, generator=generator) for _ in range(STEPS + 1)]
    runs: dict[str, Callable[..., float]] = {"ours": our_steps, "plain": plain_steps}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(run(d_in, latents, k, batches))
    rate = {name: STEPS * tokens / statistics.median(values) for name, values in seconds.items()}
    return {
        "d_in": d_in,
        "latents": latents,
        "k": k,
        "tokens": tokens,
        "dtype": "float32",
        "device": "cpu",
        "ours": rate["ours"],
        "peers": {"plain": rate["plain"]},
        "ratio_to_fastest_peer": rate["ours"] / rate["plain"],
    }


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = []
    for case in CASES:
        row = measure(case, arguments.repeats)
        cases.append(row)
        print(
            f"d_in {row['d_in']}, latents {row['latents']}, k {row['k']}, tokens {row['tokens']}, {row['dtype']}: "
            f"ours {row['ours']:,.0f} tokens/s, {row['ratio_to_fastest_peer']:.2f} times plain autograd",
            flush=True,
        )
    if arguments.json:
        print(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
