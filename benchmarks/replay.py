"""A sweep of ten values at one site: replayed, against ten full passes.

    python benchmarks/replay.py [--json] [--layers 24] [--width 512] [--vocabulary 8192] [--layer 16] [--values 10]

A GPT-NeoX model with random weights and random text, right-padded. Both ways give the losses of every sentence under
every value, turn by turn, and have to agree to 1e-4. The arithmetic is that of matrix products (two operations a
weight and token, and the attention's own): the layers up to the site once, the rest and the unembedding for each
value, at the rate that the full passes had.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
import transformers

from glossae.corpora import Corpus, Sentence
from glossae.effects import Edit, compile_edits
from glossae.lm import (
    ARCHITECTURES,
    LanguageModel,
    Site,
    TokenizedCorpus,
    edit,
    replayed_losses,
    sentence_losses,
)
from glossae.units import Directions


def make_model(arguments: argparse.Namespace) -> LanguageModel:
    """The model; a tokenizer is not needed."""
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        hidden_size=arguments.width,
        intermediate_size=4 * arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=8,
        vocab_size=arguments.vocabulary,
        max_position_embeddings=512,
    )
    model = transformers.GPTNeoXForCausalLM(config).eval()
    return LanguageModel("random", None, model, None, ARCHITECTURES["gpt_neox"])


def make_text(arguments: argparse.Namespace) -> TokenizedCorpus:
    """Sentences of 40 to 64 random tokens."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(40, 65, size=arguments.sentences)
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence(f"{i}", "da", str(i), "random") for i in range(len(lengths))),
        ids=tuple(generator.integers(0, arguments.vocabulary, size=length) for length in lengths),
        predicted_bytes=lengths - 1,
        dropped={},
        cut={},
        prefix=0,
    )


def operations(arguments: argparse.Namespace, tokens: TokenizedCorpus) -> tuple[float, float]:
    """Floating-point operations of one layer, and of the unembedding, over the text; pads are not counted."""
    lengths = tokens.lengths.astype(float)
    layer = 2 * 12 * arguments.width**2 * lengths.sum() + 4 * arguments.width * (lengths**2).sum()
    unembedding = 2 * arguments.width * arguments.vocabulary * tokens.predicted.sum()
    return float(layer), float(unembedding)


def main() -> None:
    """Measure, print, and give the line for programs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--layer", type=int, default=16)
    parser.add_argument("--site", default="resid")
    parser.add_argument("--values", type=int, default=10)
    parser.add_argument("--sentences", type=int, default=8)
    parser.add_argument("--budget", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm, tokens, site = make_model(arguments), make_text(arguments), Site(arguments.site, arguments.layer)
    width = 4 * arguments.width if site.name == "mlp.hidden" else arguments.width
    units = Directions(["random"], torch.randn(1, width), torch.zeros(1), site=site)
    values = np.linspace(-8, 8, arguments.values).tolist()
    fns = compile_edits([Edit("set", (0,), (value,), value=value) for value in values], units)

    def full() -> np.ndarray:
        rows = []
        for fn in fns:
            with edit(lm, site, fn):
                rows.append(sentence_losses(lm, tokens, budget=arguments.budget))
        return np.stack(rows)

    def replay() -> np.ndarray:
        return replayed_losses(lm, site, tokens, fns, budget=arguments.budget)

    seconds: dict[str, list[float]] = {"full": [], "replay": []}
    found: dict[str, np.ndarray] = {}
    sentence_losses(lm, tokens, budget=arguments.budget)  # the first pass is slower than any other
    for _ in range(arguments.repeats):
        for name, way in (("replay", replay), ("full", full)):
            start = time.perf_counter()
            found[name] = way()
            seconds[name].append(time.perf_counter() - start)
    difference = float(np.abs(found["full"] - found["replay"]).max())
    if difference > 1e-4 * max(1.0, float(np.abs(found["full"]).max())):
        raise SystemExit(f"replay and full passes differ by {difference} nats")

    layer, unembedding = operations(arguments, tokens)
    # at `resid` the site's own layer is below it; elsewhere part of it is, and none is counted as such
    below = arguments.layer + (site.name == "resid")
    full_pass = arguments.layers * layer + unembedding
    replayed = below * layer + len(values) * ((arguments.layers - below) * layer + unembedding)
    whole, part = (statistics.median(seconds[name]) for name in ("full", "replay"))
    rate = len(values) * full_pass / whole
    row = {
        "site": str(site),
        "values": len(values),
        "tokens": int(tokens.lengths.sum()),
        "full_seconds": whole,
        "replay_seconds": part,
        "times_as_fast": whole / part,
        "gflop_per_second": rate / 1e9,
        "arithmetic_seconds": replayed / rate,
        "arithmetic_times_as_fast": len(values) * full_pass / replayed,
        "over_arithmetic": part * rate / replayed,
        "largest_difference_nats": difference,
        "threads": arguments.threads,
    }
    print(f"{len(values)} full passes   {whole:7.2f} s   {rate / 1e9:.0f} GFLOP/s")
    print(f"replayed          {part:7.2f} s   {whole / part:.2f} times as fast")
    print(
        f"by arithmetic     {replayed / rate:7.2f} s   {row['arithmetic_times_as_fast']:.2f} times as fast; "
        f"replay takes {row['over_arithmetic']:.2f} times that"
    )
    print(f"largest difference of a sentence's loss {difference:.1e} nats of {found['full'].mean():.0f}")
    if arguments.json:
        print(json.dumps({"cases": [row]}))


if __name__ == "__main__":
    main()
