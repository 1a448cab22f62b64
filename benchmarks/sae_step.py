"""One training step of a TopK autoencoder: glossae's against every installed peer's, turn by turn on the same data.

    python benchmarks/sae_step.py [--json] [--repeats 3] [--threads 2] [--case 512,2048,30,800]

Peers: `plain`, what a short PyTorch script does and about what the paper's code does (top-k, rows gathered and summed,
autograd through all of it); `dictionary-learning` and `sae-lens`, by their own trainers' step, as they come (float32),
and under bfloat16 autocast, which both offer. eai-sparsify trains on a GPU only and takes part there. On a GPU with
Triton, `ours, plain torch` is glossae's step without its kernels. What runs out of memory is named and left out.

The roofline is the encoder's product at the rate measured for that very product in the same run: a step cannot be
faster, since nobody knows how to select latents without their pre-activations.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from unittest.mock import patch

# as the command line has it; before torch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch
from torch import Tensor

from glossae.lm import fast_bfloat16
from glossae.sae import SaeConfig, TrainSettings, sparse, train

CASES = ((512, 2048, 30, 800), (2048, 16384, 32, 2048))
# steps timed together; the first of a turn warms up
STEPS = 4
Case = tuple[int, int, int, int]
Steps = Callable[[Case, list[Tensor]], float]
"""Seconds for all steps but the first."""


def timed(batches: list[Tensor], step: Callable[[Tensor], object]) -> float:
    """Seconds that `step` takes for the batches after the first."""
    step(batches[0])
    synchronise(batches[0])
    start = time.perf_counter()
    for x in batches[1:]:
        step(x)
    synchronise(batches[0])
    return time.perf_counter() - start


def synchronise(x: Tensor) -> None:
    """Wait for a GPU to have done what it was told."""
    if x.device.type == "cuda":
        torch.cuda.synchronize()


def ours(dtype: str) -> Steps:
    """Glossae's trainer as `glossae run` uses it, with the encoder's product in `dtype`."""

    def steps(case: Case, batches: list[Tensor]) -> float:
        d_in, latents, k, _ = case
        times: list[float] = []

        def stream() -> Iterator[Tensor]:
            for batch in batches:
                synchronise(batch)
                times.append(time.perf_counter())
                yield batch

        settings = TrainSettings(steps=1000, tokens=1000 * len(batches[0]), encoder_dtype=dtype)
        train(SaeConfig(d_in=d_in, latents=latents, k=k), stream(), settings)
        synchronise(batches[0])
        return time.perf_counter() - times[1]

    return steps


def without_kernels(run: Steps) -> Steps:
    """The same on plain torch."""

    def steps(case: Case, batches: list[Tensor]) -> float:
        with patch.object(sparse, "_has_kernels", lambda _: False):
            return run(case, batches)

    return steps


def plain_step(first: Tensor, latents: int, k: int) -> Callable[[Tensor], None]:
    """A step of plain autograd, from random weights and the mean of the first batch."""
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(latents, first.shape[1], device=first.device), dim=1)
    encoder, decoder = (torch.nn.Parameter(rows.clone()) for _ in range(2))
    bias = torch.nn.Parameter(torch.zeros(latents, device=first.device))
    centre = torch.nn.Parameter(first.mean(0))
    optimizer = torch.optim.Adam([encoder, decoder, bias, centre], lr=1e-4)

    def step(x: Tensor) -> None:
        values, indices = torch.addmm(bias, x - centre, encoder.T).topk(k, dim=1, sorted=False)
        x_hat = (values.relu()[..., None] * decoder[indices]).sum(1) + centre
        loss = (x_hat - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain(case: Case, batches: list[Tensor]) -> float:
    """Plain autograd."""
    return timed(batches, plain_step(batches[0], case[1], case[2]))


def dictionary_learning(autocast: bool) -> Steps:
    """dictionary-learning's TopK trainer."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    def steps(case: Case, batches: list[Tensor]) -> float:
        d_in, latents, k, _ = case
        device = batches[0].device
        trainer = TopKTrainer(10_000, d_in, latents, k, layer=0, lm_name="", seed=0, device=str(device))
        trainer.ae.b_dec.data = batches[0].mean(0)
        count = iter(range(1, 1000))

        # from step 1 on: step 0 computes a geometric median, which is no part of a step
        def step(x: Tensor) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                trainer.update(next(count), x)

        return timed(batches, step)

    return steps


def sae_lens(autocast: bool) -> Steps:
    """SAELens' TopK trainer."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    def steps(case: Case, batches: list[Tensor]) -> float:
        d_in, latents, k, tokens = case
        device = str(batches[0].device)
        torch.manual_seed(0)
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=latents, k=k, device=device))
        config = SAETrainerConfig(
            total_training_samples=1000 * tokens,
            train_batch_size_samples=tokens,
            lr_end=0.0,
            device=device,
            autocast=autocast,
        )
        trainer = SAETrainer(config, sae, iter(batches))
        return timed(batches, trainer.step)

    return steps


def sparsify(case: Case, batches: list[Tensor]) -> float:
    """eai-sparsify's sparse coder, whose kernels need a GPU, with Adam."""
    from sparsify import SparseCoder, SparseCoderConfig

    d_in, latents, k, _ = case
    coder = SparseCoder(d_in, SparseCoderConfig(num_latents=latents, k=k), device=batches[0].device)
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-4, fused=True)

    def step(x: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        with torch.autocast("cuda", torch.bfloat16):
            loss = coder(x).fvu
        optimizer.zero_grad()
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()

    return timed(batches, step)


def peers(device: torch.device) -> tuple[dict[str, Steps], dict[str, Steps]]:
    """The peers that are installed: as they come, and under autocast."""
    as_they_come: dict[str, Steps] = {"plain": plain}
    in_bfloat16: dict[str, Steps] = {}
    for name, make in (("dictionary-learning", dictionary_learning), ("sae-lens", sae_lens)):
        try:
            as_they_come[name], in_bfloat16[f"{name}, autocast"] = make(False), make(True)
        except ImportError as error:
            print(f"{name} is not installed here ({error}): not measured")
    if device.type == "cuda":
        try:
            import sparsify as _  # noqa: F401

            in_bfloat16["eai-sparsify, autocast"] = sparsify
        except ImportError as error:
            print(f"eai-sparsify is not installed here ({error}): not measured")
    return as_they_come, in_bfloat16


def product_rate(case: Case, device: torch.device, dtype: torch.dtype) -> float:
    """Tokens per second of the encoder's product alone, at its best of several tries."""
    d_in, latents, _, tokens = case
    x, weight = (torch.randn(n, d_in, device=device).to(dtype) for n in (tokens, latents))
    best = float("inf")
    for _ in range(5):
        synchronise(x)
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        synchronise(x)
        best = min(best, time.perf_counter() - start)
    return tokens / best


def measure(case: Case, repeats: int, device: torch.device) -> list[dict[str, object]]:
    """Median tokens per second of each, taking turns; one row for each precision of ours."""
    d_in, latents, k, tokens = case
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(tokens, d_in, generator=generator).to(device) for _ in range(STEPS + 1)]
    as_they_come, in_bfloat16 = peers(device)
    own = {"float32": ours("float32")}
    if fast_bfloat16(device):
        own["bfloat16"] = ours("bfloat16")
    runs = {**{f"ours {dtype}": run for dtype, run in own.items()}, **as_they_come, **in_bfloat16}
    if sparse.kernels_for(batches[0]) is not None:
        runs |= {f"ours {dtype}, plain torch": without_kernels(run) for dtype, run in own.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name in list(seconds):
            try:
                seconds[name].append(runs[name](case, batches))
            except torch.OutOfMemoryError:
                print(f"{name} runs out of memory at {case}: not measured")
                del seconds[name]
    rate = {name: STEPS * tokens / statistics.median(values) for name, values in seconds.items()}
    rows: list[dict[str, object]] = []
    for dtype in own:
        mine = rate[f"ours {dtype}"]
        theirs = {name: rate[name] for name in as_they_come if name in rate}
        low = {name: rate[name] for name in in_bfloat16 if name in rate}
        rows.append(
            {
                "d_in": d_in,
                "latents": latents,
                "k": k,
                "tokens": tokens,
                "dtype": f"float32, encoder product {dtype}",
                "device": device.type,
                "ours": mine,
                "ours_plain_torch": rate.get(f"ours {dtype}, plain torch"),
                "peers": theirs,
                "ratio_to_fastest_peer": mine / max(theirs.values()) if theirs else None,
                "peers_autocast": low,
                "ratio_to_fastest_peer_autocast": mine / max(low.values()) if low else None,
                "roofline": mine / product_rate(case, device, getattr(torch, dtype)),
            }
        )
    return rows


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", action="append", help="d_in,latents,k,tokens; several times if you like")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    given = [tuple(map(int, case.split(","))) for case in arguments.case or ()]
    rows = []
    for case in given or CASES:
        for row in measure(case, arguments.repeats, torch.device(arguments.device)):
            rows.append(row)
            d_in, latents, k, tokens = case
            print(f"d_in {d_in}, latents {latents}, k {k}, {tokens} tokens a step; {row['dtype']}")
            print(f"  ours {row['ours']:,.0f} tokens/s, {row['roofline']:.0%} of the roofline")
            for ratio, what in (
                ("ratio_to_fastest_peer", "the fastest peer"),
                ("ratio_to_fastest_peer_autocast", "the fastest peer under autocast"),
            ):
                if row[ratio]:
                    print(f"  {row[ratio]:.2f} times {what}")
            plain_torch = {"ours, plain torch": row["ours_plain_torch"]} if row["ours_plain_torch"] else {}
            for name, rate in {**plain_torch, **row["peers"], **row["peers_autocast"]}.items():
                print(f"    {name:32} {rate:>10,.0f} tokens/s", flush=True)
    if arguments.json:
        print(json.dumps({"cases": rows}))


if __name__ == "__main__":
    main()
