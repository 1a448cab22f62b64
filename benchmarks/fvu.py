"""Reconstruction at equal tokens: glossae's TopK trainer against dictionary-learning's, on the same real activations.

    python benchmarks/fvu.py MODEL TRAIN.tsv TEST.tsv [--site resid] [--layer 4] [--expansion 8] [--k 32]
                             [--seeds 0 1 2] [--rates 1 2 4 8 16] [--dtypes auto float32] [--json]

Both see the same batches of the same tokens, once. glossae trains as it does by default. dictionary-learning gets every
one of `--rates`, multiples of the learning rate of its own law (Gao et al.'s), with our shares of warm-up and decay,
since its default of 1,000 steps of warm-up is meant for longer runs, and inputs of unit mean square norm, as its own
training loop makes them; everything else is its default. FVU is held out: on the test text, around its mean. Dead is
the share of latents that fire on no test token.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from glossae.corpora import Corpus, read_source
from glossae.lm import LanguageModel, Site, activations, batches, load, tokenize
from glossae.sae import Mixer, SaeConfig, TrainSettings, train

POOL = 2**17


def corpus_activations(lm: LanguageModel, corpus: Corpus, site: Site) -> Tensor:
    """The activations at a site, sentence after sentence of a shuffled text."""
    tokens = tokenize(lm, corpus)
    return torch.cat([part.sites[site] for part in activations(lm, batches(tokens, 4096, seed=0), [site])])


def mixed(data: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Batches of mixed tokens."""
    return Mixer(size, POOL, torch.Generator().manual_seed(seed)).batches(iter(data.split(8192)))


def fvu(x: Tensor, x_hat: Tensor) -> float:
    """Fraction of variance unexplained."""
    return float((x_hat - x).double().square().sum() / (x - x.mean(0)).double().square().sum())


def ours(
    data: Tensor, test: Tensor, latents: int, k: int, size: int, seed: int, dtype: str
) -> tuple[float, float]:
    """Held-out FVU and dead share of ours."""
    settings = TrainSettings(
        steps=math.ceil(len(data) / size), tokens=len(data), seed=seed, encoder_dtype=dtype
    )
    sae, _ = train(SaeConfig(d_in=data.shape[1], latents=latents, k=k), mixed(data, size, seed), settings)
    with torch.no_grad():
        codes = sae.encode(test)
        live = torch.unique(codes.indices[sae.fires(codes)])
        return fvu(test, sae.decode(codes)), 1 - len(live) / latents


def theirs(
    data: Tensor, test: Tensor, latents: int, k: int, size: int, seed: int, factor: float
) -> tuple[float, float]:
    """The same of dictionary-learning's."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    steps = math.ceil(len(data) / size)
    norm = float(data.square().sum(1).mean().sqrt())
    trainer = TopKTrainer(
        steps,
        data.shape[1],
        latents,
        k,
        layer=0,
        lm_name="",
        lr=factor * 2e-4 / math.sqrt(latents / 2**14),
        warmup_steps=max(1, round(0.05 * steps)),
        decay_start=round(0.8 * steps),
        seed=seed,
        device="cpu",
    )
    for number, x in enumerate(mixed(data, size, seed)):
        trainer.update(number, x / norm)
    with torch.no_grad():
        codes = trainer.ae.encode(test / norm)
        dead = float((codes > 0).any(0).logical_not().float().mean())
        return fvu(test, trainer.ae.decode(codes) * norm), dead


def spread(values: Sequence[float]) -> float:
    """The standard deviation between seeds; zero of one alone."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    """Train both with every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "train", "test"):
        parser.add_argument(name)
    parser.add_argument("--site", default="resid")
    parser.add_argument("--layer", type=int, default=4)
    parser.add_argument("--expansion", type=int, default=8)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--dtypes", nargs="*", default=["auto", "float32"], help="of our encoder's product")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm, site = load(arguments.model), Site(arguments.site, arguments.layer)
    data, test = (
        corpus_activations(lm, read_source(path, languages=("da", "en")).corpus, site)
        for path in (arguments.train, arguments.test)
    )
    latents = arguments.expansion * data.shape[1]
    shape = (latents, arguments.k, arguments.batch)
    print(
        f"{site}: {len(data):,} tokens, tested on {len(test):,}; d_in {data.shape[1]}, {latents} latents, "
        f"k {arguments.k}; seeds {', '.join(map(str, arguments.seeds))}"
    )
    arms: dict[str, Callable[[int], tuple[float, float]]] = {
        f"glossae, encoder in {dtype}": partial(ours, data, test, *shape, dtype=dtype)
        for dtype in arguments.dtypes
    }
    if find_spec("dictionary_learning") is None:
        print("dictionary-learning is not installed: nothing to compare with")
    else:
        arms |= {
            f"dictionary-learning, {rate:g} times its rate": partial(theirs, data, test, *shape, factor=rate)
            for rate in arguments.rates
        }
    rows = []
    for name, arm in arms.items():
        fvus, dead = zip(*(arm(seed=seed) for seed in arguments.seeds), strict=True)
        rows.append(
            {
                "arm": name,
                "fvu": fvus,
                "mean": statistics.mean(fvus),
                "spread": spread(fvus),
                "dead": dead,
                "mean_dead": statistics.mean(dead),
            }
        )
        print(
            f"  {name:38} FVU {statistics.mean(fvus):.4f} +- {spread(fvus):.4f} ("
            + " ".join(f"{value:.4f}" for value in fvus)
            + f"), dead {statistics.mean(dead):.1%}",
            flush=True,
        )
    if arguments.json:
        about = {"site": str(site), "tokens": len(data), "tested": len(test), "d_in": data.shape[1]}
        print(
            json.dumps(
                {**about, "latents": latents, "k": arguments.k, "seeds": arguments.seeds, "arms": rows}
            )
        )


if __name__ == "__main__":
    main()
